"""From a path of the recipe, a file, a folder or a glob, to the files that it stands for."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from samdan.data.readers import INSTEAD, KINDS, suffix_of
from samdan.data.readers.file import is_hidden
from samdan.records import DataError, EnvironmentFailure


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a source with their NFC names below its root, in the order of these.

    ``left``: by path, why it is not read: a link that is not followed; "" for a kind of file that
    no reader knows.
    """

    names: Mapping[Path, str]
    left: Mapping[Path, str]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in self.names if path not in self.left)


@contextmanager
def reading(name: str = "") -> Iterator[None]:
    try:
        yield
    except EnvironmentFailure:
        raise
    except OSError as error:
        raise EnvironmentFailure(f"{name or error.filename}: cannot be read: {error}") from error


@reading()
def listing(text: str) -> Listing:
    """Sorted by NFC name. Raises DataError when there is nothing that can be read."""
    found = _on_disk(Path(text))
    if found.is_dir():
        return _search(text, found, ("**",))
    if found.is_file():
        if suffix_of(found.name) is None:
            hint = INSTEAD.get(found.suffix.lower(), "")
            raise DataError(
                f"{text}: this kind of file is not supported{hint and ': ' + hint}; supported are "
                f"{KINDS}"
            )
        return Listing({found: _nfc(found.name)}, {})
    parts = Path(text).parts
    first = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    root = _on_disk(Path(*parts[:first]))
    if first == len(parts) or not root.is_dir():
        raise DataError(_missing(text, root))
    return _search(text, root, tuple(map(_nfc, parts[first:])))


def _on_disk(path: Path) -> Path:
    """The path as the file system spells it, NFC or NFD."""
    if path.exists() or path == path.parent:
        return path
    parent = _on_disk(path.parent)
    same = (name for name in _names_in(parent) if _nfc(name) == _nfc(path.name))
    return parent / next(same, path.name)


def _names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _missing(text: str, path: Path) -> str:
    while not path.parent.exists():
        path = path.parent
    close = get_close_matches(path.name, _names_in(path.parent), n=1, cutoff=0.5)
    hint = f" (did you mean '{path.parent / close[0]}'?)" if close else ""
    return f"{text}: there is no '{path}'{hint}; expected a file ({KINDS}), a folder or a glob"


def _search(text: str, root: Path, pattern: tuple[str, ...]) -> Listing:
    # As in a shell: what is hidden is found by a pattern that says so.
    named = any(part.startswith((".", "~$")) for part in pattern)
    walked = [(_names(path, root), path) for path in _walk(root)]
    kept = [each for each in walked if _matches(each[0], pattern)]
    shown = {path: "/".join(names) for names, path in sorted(kept, key=_order)}
    matching = [path for path, name in shown.items() if named or not is_hidden(name)]
    inside = root.resolve()
    left: dict[Path, str] = {}
    for path in matching:
        if not path.is_file():
            left[path] = (
                "a link to a folder or to nothing" if path.is_symlink() else "no regular file"
            )
        elif not path.resolve().is_relative_to(inside):
            left[path] = "a link that leads out of the folder"
        elif suffix_of(path.name) is None:
            left[path] = ""
    if len(left) < len(matching):
        return Listing({path: shown[path] for path in matching}, left)
    found = f"{len(matching)} matching files, such as '{min(matching)}'" if matching else "no file"
    links = any(why and suffix_of(path.name) for path, why in left.items())
    why = "they are links that lead out of it" if links else f"supported are {KINDS}"
    raise DataError(f"{text}: found {found} in '{root}'; {why}")


def _order(each: tuple[tuple[str, ...], Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return each[0], each[1].parts  # two names may be the same in NFC


def _walk(root: Path) -> Iterator[Path]:
    """Files, and links to folders, which are not followed."""
    errors: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=errors.append):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        yield from (Path(folder, name) for name in (*names, *links))
    if errors:
        raise errors[0]


def _matches(names: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not names or not pattern:
        return not names and not pattern
    if pattern[0] != "**":
        return fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])
    return len(pattern) == 1 or any(_matches(names[i:], pattern[1:]) for i in range(len(names)))


def _names(path: Path, root: Path) -> tuple[str, ...]:
    return tuple(map(_nfc, path.relative_to(root).parts))


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
