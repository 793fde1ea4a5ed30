"""Files that appear whole: whoever reads one meanwhile finds the old one or the new one.

How files that may come from strangers are opened: a pipe, a device or a link is none, and nothing
is read without a bound. And where what outlives a run is kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

MAX_LINE = 1 << 24  # bytes of a line of JSON
MAX_DEPTH = 64  # of nesting in JSON


def write_text(path: Path, text: str) -> None:
    """Replaces a file as a whole; a link in its place is replaced, and not written through.

    Lone surrogates (a broken tokenizer's, a file name's) are written as ``\\udc80``, which JSON
    reads back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    with draft.open("x", encoding="utf-8", errors="backslashreplace") as opened:
        opened.write(text)
    draft.replace(path)


def open_regular(path: Path, follow: bool = True) -> BinaryIO:
    """Opens a file for reading. ``follow``: also through a link.

    Raises OSError, also for a pipe, a socket or a device, which may hold a reader for ever.
    """
    if not stat.S_ISREG(os.stat(path, follow_symlinks=follow).st_mode):
        linked = not follow and path.is_symlink()
        what = "a link, which is not followed here" if linked else "no regular file"
        raise OSError(errno.EINVAL, what, str(path))
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    return os.fdopen(os.open(path, flags), "rb")


def read_regular(path: Path, most: int, follow: bool = True) -> bytes:
    """A regular file's bytes. Raises OSError as ``open_regular``, and for more than ``most``."""
    with open_regular(path, follow) as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
    return content


def sha256_of(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def appending(path: Path) -> IO[str]:
    """Opens a text file to write at its end and to read. Raises OSError for a link or a pipe."""

    def opener(name: str, flags: int) -> int:
        if os.path.lexists(name) and not stat.S_ISREG(os.lstat(name).st_mode):
            raise OSError(errno.EINVAL, "a link or no regular file", name)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)

    return open(path, "a+", encoding="utf-8", errors="backslashreplace", opener=opener)


def lines_of(opened: BinaryIO, most: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a file; one of more than ``most`` bytes is passed over, and never held."""
    whole = True
    while line := opened.readline(most):
        ends = line.endswith(b"\n")
        if whole and (ends or len(line) < most):
            yield line
        whole = ends


def parse_json(text: str | bytes) -> Any:
    """A JSON value. Raises ValueError, also for one that is nested deeper than ``MAX_DEPTH``."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value, MAX_DEPTH):
        raise ValueError("nested too deep")
    return value


def _is_deep(value: Any, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(one, left - 1) for one in inner)


def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file; a number that JSON cannot say is an error here, not for a reader."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


@contextmanager
def disk_errors() -> Iterator[None]:
    """What safetensors says about a disk becomes the OSError that it was.

    Its own error is no OSError, so a full disk would look like a bug. Any other is passed on.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found.group(1))
        raise OSError(number, os.strerror(number)) from None


def cache_folder() -> Path | None:
    """``SAMDAN_CACHE``, or ``~/.cache/samdan``; None where the variable is empty: keep nothing."""
    named = os.environ.get("SAMDAN_CACHE")
    if named is not None:
        return Path(named) if named else None
    return Path.home() / ".cache" / "samdan"
