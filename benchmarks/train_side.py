"""One side of a training benchmark in this process: ``train_side SPEC.json``.

It does one thing for every line it reads, and says what that took as one JSON line: first it
begins (checks its loss, runs its reference pass), then it trains, step by step. So the sides take
turns while each keeps its model, and each has a peak of memory of its own.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.shapes import SHAPES, Shape
from benchmarks.train_pipe import Told, serve
from benchmarks.train_records import CHECKED
from benchmarks.train_work import load, records_of
from samdan.lm.batch import Encoded
from samdan.lm.shards import TrainingData


class Spec(Told):
    """What a side is told, and samdan's own view of it."""

    @property
    def sizes(self) -> Shape:
        return SHAPES[self.shape]

    def data(self) -> TrainingData:
        return load(Path(self.work))

    def checked(self) -> list[Encoded]:
        """The records of the check: the first of the first step."""
        return records_of(self.data())[: min(CHECKED, self.per_step)]


def side_of(spec: Spec) -> Any:
    return program(spec.program, spec)


def program(name: str, spec: Spec) -> Any:
    """The side of `benchmarks.train_NAME`."""
    return import_module(f"benchmarks.train_{name}").Side(spec)


if __name__ == "__main__":
    serve(Spec, side_of)
