"""A page of bounded size from a report of any: what is left out is counted, and in report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 1_450_000  # of the whole page
_WHOLE = ("samples", "recipe", "curve", "heldout_curve")  # bounded where they are drawn


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a page shows at most: stages in detail, rows of a table, characters of a text."""

    stages: int
    rows: int
    characters: int
    samples: int
    """Bytes of sample answers."""


LEVELS = (
    Bounds(12, 400, 4000, 600_000),
    Bounds(6, 100, 1000, 300_000),
    Bounds(2, 30, 300, 100_000),
)


def bounded(report: Mapping[str, Any], bounds: Bounds) -> tuple[dict[str, Any], int, int]:
    """The last stages with the last rows of their tables; how many stages and rows are left out."""
    left = _Left()
    stages = report.get("stages")
    shown = dict(report)
    if isinstance(stages, list) and len(stages) > bounds.stages:
        shown["stages"] = stages[-bounds.stages :]
        left.stages = len(stages) - bounds.stages
    kept = {key: _cut(value, bounds, left) for key, value in shown.items() if key not in _WHOLE}
    return shown | kept, left.stages, left.rows


@dataclass
class _Left:
    stages: int = 0
    rows: int = 0


def _cut(value: Any, bounds: Bounds, left: _Left) -> Any:
    if isinstance(value, str):
        over = len(value) - bounds.characters
        return f"{value[: bounds.characters]} \u2026 (+{over:,})" if over > 0 else value
    if isinstance(value, Mapping):
        names: Sequence[Any] = list(value)
        left.rows += max(0, len(names) - bounds.rows)
        return {
            _cut(name, bounds, left): value[name]
            if name in _WHOLE
            else _cut(value[name], bounds, left)
            for name in names[: bounds.rows]
        }
    if isinstance(value, list | tuple):
        left.rows += max(0, len(value) - bounds.rows)
        return [_cut(one, bounds, left) for one in value[-bounds.rows :]]
    return value
