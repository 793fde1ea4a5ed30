"""The other side of ``worker``: reads files from the standard input, writes rows to the output."""

from __future__ import annotations

import base64
import io
import json
import math
import resource
import struct
import sys
import zipfile
import zlib
from email.errors import MessageError
from functools import partial
from typing import Final

from samdan.data.readers import READERS
from samdan.data.readers.file import File, Reading, Refused, Row
from samdan.records import Drop, Origin

MAX_SECONDS: Final = 300  # of processor time for a file
MAX_MEMORY: Final = 6_000_000_000
# What a library raises for a file that is not what it says. Not Exception: what nobody thought of
# ends the process, which costs the file as well.
FAULTS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, StopIteration),
    *(struct.error, zipfile.BadZipFile, zlib.error, MessageError),
)


def guarded(file: File, suffix: str) -> Reading:
    """What the reader of ``suffix`` gives; whatever it raises is a Drop."""
    try:
        yield from READERS[suffix].read(file)
    except Refused as refused:
        yield Drop(refused.reason, file.origin, refused.detail)
    except FAULTS as error:
        yield Drop(f"broken_{suffix[1:]}", file.origin, f"{type(error).__name__}: {error}"[:500])


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no row
    sink.write(b"ready\n")
    sink.flush()
    while line := source.readline():
        size, suffix, path, origin, columns, meta = json.loads(line)
        content = source.read(size)
        _allow(MAX_SECONDS)
        file = File(
            path, Origin(origin), size, partial(io.BytesIO, content), frozenset(columns), meta
        )
        try:
            for item in guarded(file, suffix):
                frame = json.dumps(_frame(item), ensure_ascii=False)
                sink.write(frame.encode(errors="backslashreplace") + b"\n")
        except ImportError as error:
            sink.write(json.dumps(["missing", str(error)]).encode() + b"\n")
        sink.write(b'["end"]\n')
        sink.flush()


def _allow(seconds: int) -> None:
    """Processor time from now; after it the system ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime) + seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _frame(item: Row | Drop | File) -> list[object]:
    if isinstance(item, File):
        content = base64.b64encode(item.read()).decode()
        return ["file", item.path, item.origin.path, dict(item.meta), content]
    if isinstance(item, Row):
        return ["row", dict(item.values), item.origin.path, item.origin.line, item.notes]
    return ["drop", item.reason, item.origin.path, item.origin.line, item.detail]
