"""Content hashes of files, remembered between processes for as long as a file has not changed.

A run begins by hashing everything that its recipe reads; for a base of 15 GB that alone is ten
seconds. What is remembered of a file is its size, its times of change (of content and of the
inode, which no ordinary program can set back), its inode, and the hash. As in git's index, a file
that changed within moments of being hashed is not remembered: another change might get the same
time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from samdan.lm.files import cache_folder, sha256_of, write_json

SMALLEST = 1 << 20  # bytes; a smaller file is hashed as fast as it is looked up
SETTLED_NS = 2_000_000_000  # unchanged for so long before it was hashed
MOST = 4096  # files


def file_hash(path: Path) -> str:
    """sha256 of the file's bytes, in hex. Raises OSError."""
    return _hash_of(os.path.abspath(path), _state(path))


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


@lru_cache(maxsize=65536)
def _hash_of(path: str, state: tuple[int, ...]) -> str:
    file = None if state[0] < SMALLEST else _memory()
    if file is not None and (known := _read(file).get(path)) and known[:-1] == list(state):
        return str(known[-1])
    began = time.time_ns()
    digest = sha256_of(Path(path))
    if file is not None and began - max(state[1:3]) > SETTLED_NS and _state(Path(path)) == state:
        _remember(file, path, [*state, digest])
    return digest


def _memory() -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "hashes.json"


def _read(file: Path) -> Mapping[str, list[int | str]]:
    """What is remembered; a damaged file holds nothing. Parsed once for as long as it stands."""
    try:
        found = file.stat()
    except OSError:
        return {}
    return _parsed(file, found.st_mtime_ns, found.st_size, found.st_ino)


@lru_cache(maxsize=1)
def _parsed(file: Path, *_state: int) -> Mapping[str, list[int | str]]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, list) and value}


def _remember(file: Path, path: str, entry: list[int | str]) -> None:
    """Adds an entry; a full or read-only disk is no reason to fail."""
    known = {key: value for key, value in _read(file).items() if key != path}
    newest = dict(list(known.items())[1 - MOST :])
    try:
        write_json(file, {**newest, path: entry})
    except OSError:
        return
