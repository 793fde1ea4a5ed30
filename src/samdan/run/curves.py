"""The curves of a run: read once, column by column, and thinned where a run is very long."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from pydantic_core import from_json

from samdan.lm.files import MAX_LINE, open_regular, parse_json
from samdan.records import DataError
from samdan.report.charts import reach_of
from samdan.run.ledger import MAX_LINES_FILE

CURVE = ("loss", "lr", "grad_norm", "tokens_per_second")
MOST_ROWS, SLICES = 20_000, 500
BLOCK = 1 << 20  # bytes of lines that are parsed at once
_HELDOUT = "heldout/"


class Curves:
    """The metrics of one stage: 40 bytes a step, so that a million of them are a small matter."""

    def __init__(self) -> None:
        self.steps = array("d")
        self.columns = {key: array("d") for key in CURVE}
        self.heldout: dict[str, dict[str, list[Any]]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """A row without a step was damaged, and is passed over."""
        self.add_all([row])

    def add_all(self, rows: Sequence[Mapping[str, Any]], heldout: bool = True) -> None:
        """Column by column, since a million calls per value are seconds.

        ``heldout``: whether any of the rows may hold a measurement.
        """
        steps = [_number(row.get("step")) for row in rows]
        if any(step != step for step in steps):
            rows = [row for row, step in zip(rows, steps, strict=True) if step == step]
            steps = [step for step in steps if step == step]
        self.steps.extend(steps)
        for key, column in self.columns.items():
            column.extend([_number(row.get(key)) for row in rows])
        for row in rows if heldout else ():
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
            holes = [at for at, value in enumerate(column) if value != value]
            kept.update(holes[:SLICES])
            for part in range(SLICES):
                start, end = part * count // SLICES, (part + 1) * count // SLICES
                values: Sequence[float] = column[start:end]
                if holes:
                    values = [value for value in values if value == value]
                if values:
                    kept |= {column.index(find(values), start, end) for find in (min, max)}
        return kept

    def _smoothed(self, key: str, kept: Sequence[int]) -> list[float | None]:
        """``charts.smoothed`` of all finite values, at the places that are kept."""
        column = self.columns[key]
        known = [value for value in column if value == value]
        sums = array("d", accumulate(known, initial=0.0))
        reach = reach_of(len(known))
        whole = len(known) == len(column)
        places: Mapping[int, int] = {}
        if not whole:
            finite = (at for at, value in enumerate(column) if value == value)
            places = {at: place for place, at in enumerate(finite)}
        found: list[float | None] = []
        for at in kept:
            place = at if whole else places.get(at)
            if place is None:
                found.append(None)
            else:
                low, high = max(0, place - reach), min(len(known), place + reach + 1)
                found.append((sums[high] - sums[low]) / (high - low))
        return found


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
            for lines in _blocks(opened):
                self._at += sum(map(len, lines))
                self._take(lines)
        return self.stages

    def _take(self, lines: Sequence[bytes]) -> None:
        """Many lines are parsed at once, and one by one where one of them is damaged."""
        block = b",".join(lines)
        try:
            rows = from_json(b"[%b]" % block)  # three times as fast as json.loads
        except ValueError:
            rows = [row for line in lines if (row := _parsed(line)) is not None]
        known = [row for row in rows if isinstance(row, dict) and isinstance(row.get("stage"), str)]
        heldout = b'"heldout/' in block
        for stage, mine in groupby(known, key=itemgetter("stage")):
            self.stages.setdefault(stage, Curves()).add_all(list(mine), heldout)


def _blocks(opened: IO[bytes]) -> Iterator[list[bytes]]:
    """Lines of about ``BLOCK`` bytes; one that is being written ends it, a huge one is cut."""
    lines: list[bytes] = []
    size = 0
    while line := opened.readline(MAX_LINE):
        if not line.endswith(b"\n") and len(line) < MAX_LINE:
            break
        lines.append(line)
        size += len(line)
        if size >= BLOCK:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _parsed(line: bytes) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _stat(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size


def _number(value: object) -> float:
    if type(value) is float:
        return value if value - value == 0.0 else math.nan  # no infinity
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.nan
    return found if math.isfinite(found) else math.nan
