"""From a source of the recipe to its files, fingerprint and rows; what is unreadable is a Drop."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import import_module
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Final

from samdan.recipe import Source
from samdan.records import DataError, Drop, EnvironmentFailure, Origin

SUFFIXES: Final = (".txt", ".md", ".jsonl", ".jsonl.gz", ".parquet")
KINDS: Final = ", ".join(SUFFIXES)
MAX_LINE_BYTES: Final = 50_000_000
MAX_FILE_BYTES: Final = 200_000_000  # a .txt or .md file is one document, held as a whole
BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, under the file's own column names."""

    values: Mapping[str, Any]
    origin: Origin


def files_of(source: Source) -> tuple[Path, ...]:
    """The files of a local source, sorted by NFC name; none for a Hub source.

    A path is a file, a folder (recursively, supported suffixes only) or a glob in which ``**``
    stands for any number of folders. Linked folders and links that lead out are not followed. NFC
    and NFD names match each other. Raises DataError when there is nothing that can be read.
    """
    return _listing(source.path)[1] if source.path is not None else ()


def fingerprint(source: Source) -> str:
    """sha256 over relative names and contents, or ``hub id@commit``; raises as ``read_rows``."""
    if source.path is None:
        return f"{source.hub}@{resolve_hub(source)}"
    root, files = _listing(source.path)
    digest = hashlib.sha256()
    for path in files:
        name, status = "/".join(_names(path, root)), path.stat()
        content = _sha256(os.path.abspath(path), status.st_size, status.st_mtime_ns)
        digest.update(f"{content} {len(name)} {name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def resolve_hub(source: Source) -> str:
    """The commit a Hub source stands for, fixed for the process; a full one needs no network.

    Raises DataError when the data set or revision does not exist, EnvironmentFailure without the
    ``hub`` extra or a network.
    """
    return _commit(source.hub or "", source.revision)


def read_rows(source: Source, files: Sequence[int] | None = None) -> Iterator[Row | Drop]:
    """Streams the source in little memory; ``max_records`` counts rows and drops, not blank lines.

    ``files``: positions in ``files_of``, to read only those of a local source.
    Raises as ``files_of`` and ``resolve_hub`` do, EnvironmentFailure when the machine cannot read.
    """
    if source.path is None:
        rows = _hub_rows(source, resolve_hub(source))
    else:
        paths = files_of(source)
        chosen = paths if files is None else [paths[number] for number in files]
        rows = chain.from_iterable(map(_file_rows, chosen))
    return islice(rows, source.max_records)


@contextmanager
def _reading(name: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentFailure(f"{name or error.filename}: cannot be read: {error}") from error


@_reading()
def _listing(text: str) -> tuple[Path, tuple[Path, ...]]:
    found = _on_disk(Path(text))
    if found.is_dir():
        return found, _search(text, found, ("**",))
    if found.is_file():
        if _suffix(found) is None:
            raise DataError(f"{text}: this kind of file is not supported; supported are {KINDS}")
        return found.parent, (found,)
    parts = Path(text).parts
    first = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    root = _on_disk(Path(*parts[:first]))
    if first == len(parts) or not root.is_dir():
        raise DataError(_missing(text, root))
    return root, _search(text, root, tuple(map(_nfc, parts[first:])))


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


def _search(text: str, root: Path, pattern: tuple[str, ...]) -> tuple[Path, ...]:
    errors: list[OSError] = []
    walk = os.walk(root, onerror=errors.append)
    paths = [Path(folder, name) for folder, _, names in walk for name in names]
    if errors:
        raise errors[0]
    matching = [path for path in paths if _matches(_names(path, root), pattern)]
    supported = [path for path in matching if _suffix(path) is not None and path.is_file()]
    files = [path for path in supported if path.resolve().is_relative_to(root.resolve())]
    if files:
        return tuple(sorted(files, key=lambda p: (_names(p, root), p.parts)))
    found = f"{len(matching)} matching files, such as '{min(matching)}'" if matching else "no file"
    why = "they are links that lead out of it" if supported else f"supported are {KINDS}"
    raise DataError(f"{text}: found {found} in '{root}'; {why}")


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


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


@lru_cache(maxsize=65536)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """Hash of the bytes; size and time are there to miss the cache when the file has changed."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _file_rows(path: Path) -> Iterator[Row | Drop]:
    # A file name that is not UTF-8 must not break the log it is written to.
    origin = Origin(os.fsencode(path).decode(errors="backslashreplace"))
    readers = {".parquet": _parquet_rows, ".txt": _text_row, ".md": _text_row}
    rows = readers.get(_suffix(path) or "", _json_rows)(path, origin)
    with _reading(origin.path):
        yield next(rows, Drop("empty_file", origin))
        yield from rows


def _text_row(path: Path, origin: Origin) -> Iterator[Row | Drop]:
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        yield Drop("file_too_long", origin, f"{size} bytes; split it, or use .jsonl")
    elif text := _decode(path.read_bytes(), origin):
        yield text if isinstance(text, Drop) else Row({"text": text, "title": path.stem}, origin)


def _json_rows(path: Path, file: Origin) -> Iterator[Row | Drop]:
    with gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb") as stream:
        for number in count(1):
            origin = Origin(file.path, number)
            try:
                line = _line(stream)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                yield Drop("broken_gzip", origin, str(error))
                return
            if line == b"":
                return
            if line is None:
                yield Drop("line_too_long", origin, f"more than {MAX_LINE_BYTES} bytes")
            elif line.removeprefix(BOM).strip():
                yield _parse(line, origin)


def _line(stream: Any) -> bytes | None:
    """The next line, b"" at the end; None for one that is too long, which is passed over."""
    line: bytes = stream.readline(MAX_LINE_BYTES + 1)
    if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
        return line
    while line and not line.endswith(b"\n"):
        line = stream.readline(1 << 20)
    return None


def _parse(line: bytes, origin: Origin) -> Row | Drop:
    text = _decode(line, origin)
    if isinstance(text, Drop):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5,000 digits
        return Drop("broken_json", origin, str(error))
    if not isinstance(value, dict):
        return Drop("not_an_object", origin, f"found {type(value).__name__}, expected an object")
    return Row(value, origin)


def _decode(data: bytes, origin: Origin) -> str | Drop:
    data = data.removeprefix(BOM)
    if b"\0" in data:
        return Drop("nul_byte", origin, f"at byte {data.index(0)}; a text in UTF-16?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        detail = f"byte {error.start}: {error.reason}; a text in CP949? Save it as UTF-8"
        return Drop("invalid_utf8", origin, detail)


def _parquet_rows(path: Path, file: Origin) -> Iterator[Row | Drop]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=256):
                for index in range(len(batch)):
                    number += 1
                    yield _parquet_row(batch.slice(index, 1), Origin(file.path, number))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's failure; pyarrow's own OSError for a bad page has no number
        yield Drop("broken_parquet", Origin(file.path, number + 1), str(error))


def _parquet_row(batch: Any, origin: Origin) -> Row | Drop:
    try:
        return Row(batch.to_pylist()[0], origin)
    except (ValueError, OverflowError) as error:  # nanoseconds, or a date after the year 9999
        reason = "invalid_utf8" if isinstance(error, UnicodeDecodeError) else "bad_value"
        return Drop(reason, origin, str(error))


@contextmanager
def _hub(asked: str, library: str) -> Iterator[Any]:
    try:
        module, errors = import_module(library), import_module("huggingface_hub.errors")
    except ImportError as error:
        raise EnvironmentFailure(f"{asked}: needs the extra samdan[hub]: {error}") from None
    missing = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, FileNotFoundError)
    try:
        yield module
    except (*missing, ValueError) as error:
        raise DataError(f"{asked}: not found, not readable or no access: {error}") from error
    except (errors.HTTPError, OSError) as error:
        needs = "'hub' needs samdan[hub] and a network; without one, give 'path'"
        raise EnvironmentFailure(f"{asked}: cannot be read: {error}; {needs}") from error


@lru_cache
def _commit(name: str, revision: str | None) -> str:
    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    with _hub(f"hub: {name}, revision: {revision or 'main'}", "huggingface_hub") as library:
        return str(library.HfApi().dataset_info(name, revision=revision).sha)


def _hub_rows(source: Source, commit: str) -> Iterator[Row | Drop]:
    name, split = source.hub or "", source.split
    with _hub(f"hub: {name}, split: {split}", "datasets") as library:
        # Versions before 4 run code that comes with the data; offline, streaming reads no cache.
        if int(library.__version__.split(".")[0]) < 4:
            raise OSError(f"datasets {library.__version__} is older than 4")
        stream = not library.config.HF_HUB_OFFLINE
        rows = library.load_dataset(
            name, source.subset, split=split, revision=commit, streaming=stream
        )
        for number, values in enumerate(rows, 1):
            yield Row(values, Origin(f"{name}@{commit}:{split}", number))
