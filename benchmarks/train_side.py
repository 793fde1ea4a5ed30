"""One side of a training benchmark in this process: ``train_side SPEC.json``.

It does one thing for every line it reads, and says what that took as one JSON line: first it
begins (checks its loss, runs its reference pass), then it trains, step by step. So the sides take
turns while each keeps its model, and each has a peak of memory of its own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.shapes import SHAPES, Shape
from benchmarks.train_work import load, records_of
from benchmarks.watch import processor_seconds
from samdan.lm.batch import Encoded
from samdan.lm.shards import TrainingData

CHECKED = 4  # records whose loss is compared before anything is timed


@dataclass(frozen=True)
class Spec:
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

    @property
    def sizes(self) -> Shape:
        return SHAPES[self.shape]

    def data(self) -> TrainingData:
        return load(Path(self.work))

    def checked(self) -> list[Encoded]:
        """The records of the check: the first of the first step."""
        return records_of(self.data())[: min(CHECKED, self.per_step)]


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


def main() -> None:
    turns = Turns()
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    if spec.memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (spec.memory_bytes, spec.memory_bytes))
    side = import_module(f"benchmarks.train_{spec.program}").Side(spec)
    turns.done(**side.about())
    turns.wait()
    turns.done(**side.begin())
    side.train(turns)


if __name__ == "__main__":
    main()
