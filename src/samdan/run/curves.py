"""The curves of a run: read once, column by column, and thinned where a run is very long."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from samdan.lm.files import MAX_LINE, open_regular, parse_json
from samdan.records import DataError
from samdan.report.charts import smoothed
from samdan.run.ledger import MAX_LINES_FILE

CURVE = ("loss", "lr", "grad_norm", "tokens_per_second")
MOST_ROWS, SLICES = 20_000, 500
_HELDOUT = "heldout/"


class Curves:
    """The metrics of one stage: 40 bytes a step, so that a million of them are a small matter."""

    def __init__(self) -> None:
        self.steps = array("d")
        self.columns = {key: array("d") for key in CURVE}
        self.heldout: dict[str, dict[str, list[Any]]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """A row without a step was damaged, and is passed over."""
        step = _number(row.get("step"))
        if math.isnan(step):
            return
        self.steps.append(step)
        for key, column in self.columns.items():
            column.append(_number(row.get(key)))
        self.add_heldout(row)

    def add_heldout(self, row: Mapping[str, Any]) -> None:
        for key, value in row.items():
            if key.startswith(_HELDOUT):
                name = key.removeprefix(_HELDOUT)
                curve = self.heldout.setdefault(name, {"step": [], "value": []})
                curve["step"].append(row.get("step"))
                curve["value"].append(value)

    def values(self, key: str) -> list[float | None]:
        return [None if math.isnan(value) else value for value in self.columns[key]]

    def curve(self) -> dict[str, Any]:
        """As report.json holds it; null for a value that was not finite.

        Of more than ``MOST_ROWS`` steps those stay at which any of the curves was lowest or highest
        within its five-hundredth of the run. What is smoothed is smoothed before, over all steps,
        since a mean of extremes is no mean. ``rows`` and ``nonfinite`` count all steps.
        """
        kept: Iterable[int] = range(len(self.steps))
        more: dict[str, Any] = {}
        if len(self.steps) > MOST_ROWS:
            kept = sorted(self._extremes())
            more = {
                "rows": len(self.steps),
                "nonfinite": {
                    key: sum(map(math.isnan, column)) for key, column in self.columns.items()
                },
                "smoothed": {
                    key: self._smoothed(key, kept)
                    for key in ("loss", "grad_norm", "tokens_per_second")
                },
            }
        curve: dict[str, Any] = {"step": [int(self.steps[at]) for at in kept]}
        for key, column in self.columns.items():
            curve[key] = [None if math.isnan(column[at]) else column[at] for at in kept]
        return curve | more

    def _extremes(self) -> set[int]:
        count = len(self.steps)
        kept = {0, count - 1}
        for column in self.columns.values():
            holes = [at for at, value in enumerate(column) if math.isnan(value)]
            kept.update(holes[:SLICES])
            for part in range(SLICES):
                slice_ = range(part * count // SLICES, (part + 1) * count // SLICES)
                known = [at for at in slice_ if not math.isnan(column[at])]
                if known:
                    kept |= {min(known, key=column.__getitem__), max(known, key=column.__getitem__)}
        return kept

    def _smoothed(self, key: str, kept: Sequence[int]) -> list[float | None]:
        column = self.columns[key]
        points = [(float(at), value) for at, value in enumerate(column) if not math.isnan(value)]
        found = dict(smoothed(points))
        return [found.get(float(at)) for at in kept]


class Reader:
    """Follows metrics.jsonl: each ``read`` takes only what was written since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._at = 0
        self.stages: dict[str, Curves] = {}

    def read(self) -> Mapping[str, Curves]:
        """By stage. A file that was replaced or cut is read from its beginning."""
        if not os.path.lexists(self._path):
            return self.stages
        try:
            opened = open_regular(self._path, follow=False)
        except OSError as error:
            raise DataError(f"{self._path}: {error.strerror or error}") from None
        with opened:
            found = _stat(opened.fileno())
            if found[2] > MAX_LINES_FILE:
                raise DataError(f"{self._path}: has {found[2]} bytes, more than any run writes")
            if found[:2] != self._file or found[2] < self._at:
                self._file, self._at, self.stages = found[:2], 0, {}
            opened.seek(self._at)
            while line := opened.readline(MAX_LINE):
                if not line.endswith(b"\n") and len(line) < MAX_LINE:
                    break  # it is being written
                self._at += len(line)
                self._take(line)
        return self.stages

    def _take(self, line: bytes) -> None:
        try:
            row = parse_json(line)
        except ValueError:
            return
        if isinstance(row, dict) and isinstance(row.get("stage"), str):
            self.stages.setdefault(row["stage"], Curves()).add(row)


def _stat(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.nan
    return found if math.isfinite(found) else math.nan
