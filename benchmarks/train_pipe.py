"""What a side of a training benchmark is told, and how it answers. Standard library only.

A side may run under another interpreter, whose libraries samdan cannot be imported beside; so this
module and `benchmarks.train_records` import nothing of samdan.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar


@dataclass(frozen=True)
class Told:
    """What a side is told: plain values, as they stand in the file."""

    job: str
    shape: str
    bf16: bool
    work: str  # the folder of the records
    per_step: int
    steps: int  # the warm-up among them, which is the first
    micro_batch_tokens: int
    program: str
    options: dict[str, Any]
    memory_bytes: int = 0  # 0: no limit
    python: str = ""  # the interpreter, which then runs the program itself; "": this one
    handed: str = ""  # the folder of weights, tokenizer and settings for such a program


ToldT = TypeVar("ToldT", bound=Told)


class Turns:
    """The other end of the pipe. What libraries print goes to the errors' stream instead."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._started = 0.0
        self._cpu = 0.0

    def wait(self) -> None:
        """Until it is this side's turn. Ends the process when nobody asks any more."""
        if not sys.stdin.readline():
            os._exit(0)
        self._started, self._cpu = time.perf_counter(), processor_seconds()

    def done(self, **facts: Any) -> None:
        """Says what the turn took, and the peak of memory so far."""
        took = {
            "seconds": time.perf_counter() - self._started,
            "cpu_seconds": processor_seconds() - self._cpu,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        }
        self._out.write(json.dumps(took | facts) + "\n")
        self._out.flush()


class Taking(Protocol):
    """A side, as `serve` needs it."""

    def about(self) -> dict[str, Any]: ...
    def begin(self) -> dict[str, Any]: ...
    def train(self, turns: Turns) -> None: ...


def serve(told: type[ToldT], make: Callable[[ToldT], Taking]) -> None:
    """Makes the side that the file on the command line describes, and lets it take its turns."""
    turns = Turns()
    spec = told(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    if spec.memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (spec.memory_bytes, spec.memory_bytes))
    side = make(spec)
    turns.done(**side.about())
    turns.wait()
    turns.done(**side.begin())
    side.train(turns)


def processor_seconds() -> float:
    """Of this process, and of its workers once they have ended."""
    of = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(who)[:2]) for who in of)
