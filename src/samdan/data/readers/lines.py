"""JSON lines, plain or compressed: a row for each object, a Drop for each bad line."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from itertools import count
from typing import IO, Any, Final

from samdan.data.readers.encodings import BOM
from samdan.data.readers.file import File, Row
from samdan.records import Drop, Origin

MAX_LINE_BYTES: Final = 50_000_000


def json_rows(file: File) -> Iterator[Row | Drop]:
    with file.opened() as stream:
        yield from _rows(stream, file.origin)


def gzip_rows(file: File) -> Iterator[Row | Drop]:
    broken = (EOFError, zlib.error, gzip.BadGzipFile)
    with file.opened() as raw, gzip.open(raw) as stream:
        yield from _rows(stream, file.origin, "broken_gzip", broken)


def zstd_rows(file: File) -> Iterator[Row | Drop]:
    import pyarrow as pa

    with file.opened() as raw, pa.CompressedInputStream(raw, "zstd") as decoded:
        # pyarrow's own OSError for a damaged frame has no number; the machine's has one.
        yield from _rows(io.BufferedReader(decoded), file.origin, "broken_zstd", (OSError,))


def _rows(
    stream: Any, file: Origin, broken: str = "", errors: tuple[type[Exception], ...] = ()
) -> Iterator[Row | Drop]:
    for number in count(1):
        origin = Origin(file.path, number)
        try:
            line = _line(stream)
        except errors as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            yield Drop(broken, origin, str(error))
            return
        if line == b"":
            return
        if line is None:
            yield Drop("line_too_long", origin, f"more than {MAX_LINE_BYTES} bytes")
        elif line.removeprefix(BOM).strip():
            yield _parse(line, origin)


def _line(stream: IO[bytes]) -> bytes | None:
    """The next line, b"" at the end; None for one that is too long, which is passed over."""
    line = stream.readline(MAX_LINE_BYTES + 1)
    if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
        return line
    while line and not line.endswith(b"\n"):
        line = stream.readline(1 << 20)
    return None


def _parse(line: bytes, origin: Origin) -> Row | Drop:
    # JSON is UTF-8 by its standard; a single line is too little to tell another encoding by.
    line = line.removeprefix(BOM)
    if b"\0" in line:
        return Drop("nul_byte", origin, f"at byte {line.index(0)}; a text in UTF-16?")
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        detail = f"byte {error.start}: {error.reason}; a text in CP949? Save it as UTF-8"
        return Drop("invalid_utf8", origin, detail)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5,000 digits
        return Drop("broken_json", origin, str(error))
    if not isinstance(value, dict):
        return Drop("not_an_object", origin, f"found {type(value).__name__}, expected an object")
    return Row(value, origin)
