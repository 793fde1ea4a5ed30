"""Readers of foreign formats in a process of their own: a hang or a crash costs one file.

A PDF of a kilobyte can keep a parser busy for days, and parsers in C can crash; a time limit can
only be kept from outside. It is one of processor time, so that a busy machine changes nothing.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from samdan.data.readers.file import File, Reading, Refused, Row
from samdan.records import Drop, EnvironmentFailure, Origin

PROGRAM: Final = "from samdan.data.readers.child import main; main()"


@dataclass(slots=True)
class Worker:
    """The process, started with the first file and again after each file that it died of."""

    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """Ends the process; its exit status, negative for a signal."""
        process, self.process = self.process, None
        if process is None:
            return 0
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        try:
            return process.wait(timeout=1)  # it may be dying by itself, and its status says of what
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def read(self, file: File, suffix: str) -> Reading:
        """What the reader of ``suffix`` gives, run in the process; files in it come last."""
        content = file.read()
        if not content:
            return
        about = [suffix, file.path, file.origin.path, sorted(file.columns), dict(file.meta)]
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        inside: list[File] = []  # read by this process as well, once it is free
        done = False
        try:
            process.stdin.write(json.dumps([len(content), *about]).encode() + b"\n")
            process.stdin.write(content)
            process.stdin.flush()
            for line in process.stdout:
                kind, *rest = json.loads(line)
                if kind == "end":
                    done = True
                    break
                if kind == "missing":
                    raise EnvironmentFailure(f"{file.origin.path}: cannot be read: {rest[0]}")
                if kind == "file":
                    inside.append(_inner(file, *rest))
                else:
                    yield _item(kind, rest)
        except BrokenPipeError:
            pass
        finally:
            if not done:  # it died, or nobody wants the rest
                status = self.stop()
        if not done:
            raise _death(status, suffix)
        yield from inside

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            # Our own package and the installed ones; with -P nothing from the working folder.
            given = os.environ.get("PYTHONPATH", "")
            paths = os.pathsep.join(filter(None, (str(Path(__file__).parents[3]), given)))
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths},
                start_new_session=True,  # a signal to the run is the run's to handle
            )
            if self.process.stdout is None or self.process.stdout.readline() != b"ready\n":
                status = self.stop()
                raise EnvironmentFailure(f"the process for documents ended with status {status}")
        return self.process


def _item(kind: str, rest: list[Any]) -> Row | Drop:
    if kind == "row":
        values, path, line, notes = rest
        return Row(values, Origin(path, line), tuple(notes))
    reason, path, line, detail = rest
    return Drop(reason, Origin(path, line), detail)


def _inner(file: File, path: str, shown: str, meta: dict[str, str], content: str) -> File:
    data = base64.b64decode(content)
    opened = partial(io.BytesIO, data)
    inner = replace(file, path=path, origin=Origin(shown), meta=meta, depth=file.depth + 1)
    return replace(inner, size=len(data), opened=opened)


def _death(status: int, suffix: str) -> Refused:
    if status == -signal.SIGXCPU:
        return Refused("reader_limit", "it takes too much processor time")
    cause = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return Refused(f"broken_{suffix[1:]}", f"its reader ended with {cause}")
