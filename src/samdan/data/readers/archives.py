"""ZIP and TAR: their members are read where they lie, never written to a disk, within bounds.

Links, devices and names that lead out are not read. A bomb ends the archive with a named Drop.
"""

from __future__ import annotations

import errno
import gzip
import io
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import IO, Any, Final

from samdan.data.readers.file import MAX_MEMBERS, Bounds, File, Reading, Refused, is_hidden
from samdan.records import Drop, Origin

# Bytes of a tar archive between two members. Python before 3.11.10 needs their square to read them.
MAX_HEADER: Final = 64_000
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8_NAME: Final = 0x800
_LOCKED: Final = 0x1
# What the standard library raises for damaged archives; an OSError only where it has no number, or
# that of a seek to nowhere: another one is the machine's.
_FAULTS: Final = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, RuntimeError, LookupError, OverflowError, TypeError, AttributeError),
)


@contextmanager
def _damage(reason: str) -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise Refused(reason, f"{type(error).__name__}: {error}") from None


class _Member(io.RawIOBase):
    """The bytes of a member, counted; its damage loses it and not the archive."""

    def __init__(self, stream: IO[bytes], bounds: Bounds | None) -> None:
        super().__init__()
        self._stream, self._bounds = stream, bounds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _damage("broken_member"):
            content = self._stream.read(len(buffer))
        if self._bounds is not None:
            self._bounds.spend(len(content))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._stream.close()
        super().close()


def zip_members(file: File) -> Reading:
    bounds = file.bounds or Bounds(file.size)
    # Within an archive only the whole of a member can be sought in.
    with io.BytesIO(file.read()) if file.depth else file.opened() as stream:
        with _damage("broken_zip"):
            archive = zipfile.ZipFile(stream)
        with archive:
            for info in archive.infolist():
                bounds.count()
                opened = partial(_zip_opened, archive, info, bounds)
                if not info.filename.endswith("/"):  # the library's is_dir needs a name
                    inner = _inside(file, _zip_name(info), info.file_size, opened, bounds)
                    yield from _judged(inner, _zip_fault(info))


def zip_names(stream: IO[bytes]) -> list[str]:
    """The names in a ZIP archive; none where it is damaged."""
    try:
        with _damage(""), zipfile.ZipFile(stream) as archive:
            return [_zip_name(info) for info in archive.infolist()[:MAX_MEMBERS]]
    except Refused:
        return []


def _zip_opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo, bounds: Bounds) -> IO[bytes]:
    with _damage("broken_member"):
        stream = archive.open(info)
    return io.BufferedReader(_Member(stream, bounds), 1 << 16)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Windows in Korean writes CP949 without saying so; the library then reads CP437."""
    if info.flag_bits & _UTF8_NAME:
        return info.filename
    return _name(info.filename.encode("cp437", "replace"))


def _name(data: bytes) -> str:
    for codec in ("utf-8", "cp949"):
        try:
            return data.decode(codec)
        except UnicodeDecodeError:
            continue
    return data.decode(errors="backslashreplace")


def _zip_fault(info: zipfile.ZipInfo) -> tuple[str, str]:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "not_followed", "a link or a device"
    if info.flag_bits & _LOCKED:
        return "encrypted_file", "it has a password"
    if info.compress_type not in _METHODS:  # the others unpack without a bound
        return "unsupported_compression", f"method {info.compress_type}; expected deflate"
    return "", ""


def tar_members(file: File) -> Reading:
    with file.opened() as stream:
        yield from _tar(file, stream)


def tgz_members(file: File) -> Reading:
    with file.opened() as raw, gzip.open(raw) as stream:
        yield from _tar(file, stream)


class _Fenced:
    """The stream of a tar archive, read up to a fence: headers may claim any size."""

    def __init__(self, stream: Any, bounds: Bounds) -> None:
        self._stream, self._bounds = stream, bounds
        self.position, self.fence = 0, MAX_HEADER

    def read(self, size: int) -> bytes:
        content: bytes = self._stream.read(size)
        self.position += len(content)
        self._bounds.spend(len(content))
        if self.position > self.fence:
            raise Refused("archive_limit", f"a header of more than {MAX_HEADER} bytes")
        return content


def _tar(file: File, stream: Any) -> Reading:
    bounds = file.bounds or Bounds(file.size)
    fenced = _Fenced(stream, bounds)
    with _damage("broken_tar"):
        archive = tarfile.TarFile.open(  # type: ignore[call-overload]
            fileobj=fenced, mode="r|", errors="surrogateescape"
        )
    while True:
        fenced.fence = archive.offset + MAX_HEADER
        with _damage("broken_tar"):
            info = archive.next()
        archive.members = []  # the library keeps all that it has seen
        if info is None:
            break
        bounds.count()
        fenced.fence = info.offset_data + info.size + MAX_HEADER
        if not info.isdir():
            name = _name(info.name.encode("utf-8", "surrogateescape"))
            opened = partial(_tar_opened, archive, info)
            inner = _inside(file, name, info.size, opened, bounds)
            yield from _judged(inner, _tar_fault(info))
    if fenced.position < archive.offset + tarfile.BLOCKSIZE:
        raise Refused("broken_tar", "it ends without an end mark")


def _tar_fault(info: tarfile.TarInfo) -> tuple[str, str]:
    if info.issparse():
        return "unsupported_compression", "a sparse file"
    return ("", "") if info.isreg() else ("not_followed", "a link or a device")


def _tar_opened(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    with _damage("broken_member"):
        stream = archive.extractfile(info)
    return io.BufferedReader(_Member(stream or io.BytesIO(), None), 1 << 16)


def _inside(
    file: File, name: str, size: int, opened: Callable[[], IO[bytes]], bounds: Bounds
) -> File:
    place = "!/" + unicodedata.normalize("NFC", name.replace("\\", "/"))
    return replace(
        file,
        path=file.path + place,
        origin=Origin((file.origin.path + place).encode(errors="backslashreplace").decode()),
        size=size,
        opened=opened,
        depth=file.depth + 1,
        bounds=bounds,
    )


def _judged(inner: File, fault: tuple[str, str]) -> Iterator[Drop | File]:
    """A member that can be read, or why it is not; nothing for what programs leave behind."""
    name = inner.path.rpartition("!/")[2]
    if is_hidden(name):
        return
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        yield Drop("unsafe_path", inner.origin, "it leads out of the archive")
    elif fault[0]:
        yield Drop(fault[0], inner.origin, fault[1])
    else:
        yield inner
