"""The answers of a teacher as they come: a line for each request, so that a rerun goes on.

Asking costs money and time; what was answered is on disk before the next answer is waited for.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from samdan.lm.client import Reply
from samdan.records import EnvironmentFailure


class Journal:
    """Answers by request; one process at a time. A line that a crash cut off is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replies: dict[str, Reply] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            raise EnvironmentFailure(f"{path}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._stream.close()
            raise EnvironmentFailure(
                f"{path}: another process is asking for this output; wait or choose another --out"
            ) from None
        self._stream.seek(0)
        last = "\n"
        for last in self._stream:
            self.replies.update(_read(last))
        if not last.endswith("\n"):
            self._stream.write("\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stream.close()

    def add(self, request: str, reply: Reply) -> None:
        """Writes an answer; a failure is not written: the next run asks again."""
        if reply.status == "failed":
            return
        self.replies[request] = reply
        row = {
            "request": request,
            "status": reply.status,
            "text": reply.text,
            "detail": reply.detail,
            "tokens_in": reply.tokens_in,
            "tokens_out": reply.tokens_out,
            "attempts": reply.attempts,
        }
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


def _read(line: str) -> Iterator[tuple[str, Reply]]:
    try:
        row = json.loads(line)
        request = row.pop("request")
        reply = Reply(**row)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return
    if isinstance(request, str) and isinstance(reply.text, str):
        yield request, reply
