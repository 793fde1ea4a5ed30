"""From a source of the recipe to its files, their fingerprint and their rows.

Nothing that is read is lost in silence: what cannot be a row is a ``Drop``, and what is in a folder
but is not read is named by ``left_out``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Final, Literal

from samdan.data import hub
from samdan.records import DataError, Drop, EnvironmentFailure, Origin
from samdan.recipe import Source

SUFFIXES: Final = (".txt", ".md", ".jsonl", ".jsonl.gz", ".parquet")
MAX_LINE_BYTES: Final = 50_000_000
MAX_FILE_BYTES: Final = 200_000_000  # a .txt or .md file is one document and is held as a whole
PARQUET_ROWS: Final = 256
BOM: Final = b"\xef\xbb\xbf"

WhyLeftOut = Literal["unsupported", "hidden", "link"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file as it stands there, under the file's own column names."""

    values: Mapping[str, Any]
    origin: Origin


@dataclass(frozen=True, slots=True)
class _Listing:
    root: Path
    files: tuple[Path, ...]
    left_out: tuple[tuple[Path, WhyLeftOut], ...] = ()


def files_of(source: Source) -> tuple[Path, ...]:
    """The files of a local source, sorted by their NFC names; none for a Hub source.

    A path is a file, a folder (read recursively) or a glob in which ``**`` stands for any number of
    folders. Names are compared in NFC, so a recipe finds the decomposed names that macOS writes. In
    a folder, hidden names and links that lead out of it are not followed (see ``left_out``).

    Raises DataError when nothing matches or no matching file has a supported suffix.
    """
    return _listing(source.path).files if source.path is not None else ()


def left_out(source: Source) -> tuple[tuple[Path, WhyLeftOut], ...]:
    """What a folder or glob holds beside the files that are read, each with the reason."""
    return _listing(source.path).left_out if source.path is not None else ()


def fingerprint(source: Source) -> str:
    """Identity of the source's content: the same for the same files in another place.

    Local: sha256 over names relative to the folder and content. Hub: ``id@commit``. Raises what
    ``files_of`` and ``resolve_hub`` raise.
    """
    if source.path is None:
        return f"{source.hub}@{resolve_hub(source)}"
    listing = _listing(source.path)
    digest = hashlib.sha256()
    for path in listing.files:
        name = _nfc(path.relative_to(listing.root).as_posix())
        status = path.stat()
        content = _content_sha256(os.path.abspath(path), status.st_size, status.st_mtime_ns)
        digest.update(f"{content} {len(name)} {name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def resolve_hub(source: Source) -> str:
    """The commit that a Hub source stands for, the same for the life of the process.

    A full commit in ``revision`` needs no network. Raises DataError when data set or revision do
    not exist, EnvironmentFailure without the ``hub`` extra or a network.
    """
    return hub.commit(source.hub or "", source.revision)


def read_rows(source: Source) -> Iterator[Row | Drop]:
    """Streams the source, one row at a time; what cannot be read is a Drop at its place.

    ``max_records`` counts rows and drops; blank lines are not rows. Raises what ``files_of`` and
    ``resolve_hub`` raise, at the call, and EnvironmentFailure when a read fails.
    """
    if source.path is None:
        name, split, commit = source.hub or "", source.split, resolve_hub(source)
        rows = _hub_rows(name, split, commit)
    else:
        rows = chain.from_iterable(_file_rows(path) for path in files_of(source))
    return islice(rows, source.max_records)


# -- finding files ---------------------------------------------------------------------------------


def _listing(text: str) -> _Listing:
    found = _on_disk(Path(text))
    if found.is_file():
        if _suffix(found) is None:
            raise DataError(f"{text}: unsupported kind of file; supported: {', '.join(SUFFIXES)}")
        return _Listing(found.parent, (found,))
    if found.is_dir():
        return _search(text, found, ("**",))
    parts = Path(text).parts
    first = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), None)
    root = found if first is None else _on_disk(Path(*parts[:first]))
    if first is None or not root.is_dir():
        raise DataError(_missing(text, root))
    return _search(text, root, tuple(_nfc(part) for part in parts[first:]))


def _on_disk(path: Path) -> Path:
    """The path with each part as the file system spells it, NFC or NFD."""
    if path.exists() or path == path.parent:
        return path
    parent = _on_disk(path.parent)
    wanted = _nfc(path.name)
    names = os.listdir(parent) if parent.is_dir() else []
    same = sorted(name for name in names if _nfc(name) == wanted)
    return parent / (same[0] if same else path.name)


def _missing(text: str, path: Path) -> str:
    while not path.parent.exists():
        path = path.parent
    close = get_close_matches(path.name, sorted(os.listdir(path.parent)), n=1, cutoff=0.5)
    hint = f"; did you mean '{path.parent / close[0]}'?" if close else ""
    return (
        f"{text}: '{path}' does not exist{hint} Expected a file ({', '.join(SUFFIXES)}), "
        "a folder or a glob such as docs/**/*.md"
    ).replace("exist Expected", "exist. Expected")


def _search(text: str, root: Path, pattern: tuple[str, ...]) -> _Listing:
    files: list[Path] = []
    left: list[tuple[Path, WhyLeftOut]] = []
    wants_hidden = any(part.startswith(".") for part in pattern)
    for folder, subfolders, names in os.walk(root, onerror=_unreadable):
        here = Path(folder)
        if not wants_hidden:
            hidden = [name for name in (*subfolders, *names) if name.startswith(".")]
            left += [(here / name, "hidden") for name in hidden]
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            names = [name for name in names if not name.startswith(".")]
        left += [(here / name, "link") for name in subfolders if (here / name).is_symlink()]
        for path in (here / name for name in names):
            relative = tuple(_nfc(part) for part in path.relative_to(root).parts)
            if _matches(relative, pattern):
                files.append(path)
    matched = len(files)
    files, more = _readable(root, files)
    if not files:
        reason = f"{matched} files match and none is of a supported kind" if matched else "no match"
        names = sorted({path.suffix or path.name for path, why in more if why == "unsupported"})
        raise DataError(
            f"{text}: {reason}{': ' + ', '.join(names[:8]) if names else ''}. "
            f"Supported: {', '.join(SUFFIXES)}; links out of '{root}' are not followed"
        )
    return _Listing(root, tuple(files), tuple(sorted(left + more)))


def _readable(
    root: Path, paths: list[Path]
) -> tuple[list[Path], list[tuple[Path, WhyLeftOut]]]:
    """The files to read, in order, and the rest: a link counts only within the root, and once."""
    real_root = root.resolve()
    own = {path.resolve() for path in paths if not path.is_symlink()}
    files: list[Path] = []
    left: list[tuple[Path, WhyLeftOut]] = []
    for path in sorted(paths, key=lambda p: (_nfc(p.as_posix()), p.as_posix())):
        target = path.resolve()
        if path.is_symlink() and (target in own or not target.is_relative_to(real_root)):
            left.append((path, "link"))
        elif _suffix(path) is None or not path.is_file():
            left.append((path, "unsupported"))
        else:
            own.add(target)
            files.append(path)
    return files, left
