"""From a source of the recipe to its files, fingerprint and rows; what is unreadable is a Drop."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

from samdan.data.files import Listing, listing, reading
from samdan.data.hub import commit_of, hub_rows
from samdan.data.readers import need_libraries, rows_of, suffix_of, unsupported
from samdan.data.readers.file import File, Row
from samdan.data.readers.worker import Worker
from samdan.lm.hashes import file_hash
from samdan.recipe import Source
from samdan.records import Drop, Origin

__all__ = ["LEFT_OUT", "Row", "files_of", "fingerprint", "read_rows", "resolve_hub"]

# Drops that stand for what was never meant to be read, here and in archives; no bad rows.
LEFT_OUT = frozenset(("unsupported_file", "not_followed"))


def files_of(source: Source) -> tuple[Path, ...]:
    """The files of a local source, sorted by NFC name; none for a Hub source.

    A path is a file, a folder (recursively) or a glob in which ``**`` stands for any number of
    folders. Hidden files, kinds that no reader knows, linked folders and links that lead out are
    not among them. NFC and NFD names match each other. Raises DataError when there is nothing that
    can be read.
    """
    return listing(source.path).files if source.path is not None else ()


def fingerprint(source: Source) -> str:
    """sha256 over relative names and contents, or ``hub id@commit``; raises as ``read_rows``."""
    if source.path is None:
        return f"{source.hub}@{resolve_hub(source)}"
    found = listing(source.path)
    digest = hashlib.sha256()
    for path in found.files:
        name = found.names[path]
        digest.update(f"{file_hash(path)} {len(name)} {name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def resolve_hub(source: Source) -> str:
    """The commit a Hub source stands for, fixed for the process; a full one needs no network.

    Raises DataError when the data set or revision does not exist, EnvironmentFailure without the
    ``hub`` extra or a network.
    """
    return commit_of(source.hub or "", source.revision)


def read_rows(source: Source, files: Sequence[int] | None = None) -> Iterator[Row | Drop]:
    """Streams the source in little memory; a document at a time where a file is one.

    ``max_records`` counts rows and drops, but not blank lines nor what is ``LEFT_OUT``. ``files``:
    positions in ``files_of``, to read only those of a local source; what is left out is told with
    the file behind it, at the end with the last. Raises as ``files_of`` and ``resolve_hub`` do,
    EnvironmentFailure when the machine cannot read or lacks a library that a file needs.
    """
    if source.path is None:
        rows: Iterator[Row | Drop] = hub_rows(source, resolve_hub(source))
    else:
        found = listing(source.path)
        groups = _with_left_out(found)
        chosen = groups if files is None else [groups[number] for number in files]
        _need_libraries(found, [group[-1] for group in chosen])
        rows = _rows(found, chain.from_iterable(chosen), source)
    return rows if source.max_records is None else _first(rows, source.max_records)


def _with_left_out(found: Listing) -> list[list[Path]]:
    """Each file behind what is left out before it; the last one also before the rest of that."""
    groups: list[list[Path]] = [[]]
    for path in found.names:
        groups[-1].append(path)
        if path not in found.left:
            groups.append([])
    rest = groups.pop()
    groups[-1] = rest + groups[-1]
    return groups


def _first(rows: Iterator[Row | Drop], number: int) -> Iterator[Row | Drop]:
    for row in rows:
        yield row
        number -= not isinstance(row, Drop) or row.reason not in LEFT_OUT
        if not number:
            return


@reading()
def _need_libraries(found: Listing, paths: Iterable[Path]) -> None:
    """One file of each kind tells; what lies in a ZIP archive, each of them."""
    seen: set[str | None] = set()
    for path in paths:
        kind = suffix_of(path.name)
        if kind not in seen or kind == ".zip":
            seen.add(kind)
            need_libraries(_file(path, found, "", frozenset()))


def _rows(found: Listing, paths: Iterable[Path], source: Source) -> Iterator[Row | Drop]:
    label, columns = source.label, frozenset(source.columns.values())
    with Worker() as worker:
        for path in paths:
            file = _file(path, found, label, columns)
            if path not in found.left:
                with reading(file.origin.path):
                    yield from rows_of(file, worker)
            elif why := found.left[path]:
                yield Drop("not_followed", file.origin, why)
            else:
                yield unsupported(file)


def _file(path: Path, found: Listing, label: str, columns: frozenset[str]) -> File:
    # A file name that is not UTF-8 must not break the log it is written to.
    shown = os.fsencode(path).decode(errors="backslashreplace")
    name = os.fsencode(found.names[path]).decode(errors="backslashreplace")
    size = 0 if path in found.left else path.stat().st_size
    return File(name, Origin(shown), size, partial(_opened, path), columns, {"source": label})


def _opened(path: Path) -> IO[bytes]:
    return open(path, "rb")
