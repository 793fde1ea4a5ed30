"""How often monitors cry wolf: on ordinary runs, and on histories resampled from them.

A history is made per stage: the trend of one ordinary run (a running median) and blocks of its own
deviations from it in a new order (a moving-block bootstrap; loss, gradient norm, speed and what DPO
logs from the same steps), so that noise keeps its size and its short memory. Held-out measurements
are few: their shape is the median over all ordinary runs of the stage, each divided by its own mean
(every seed holds other records out, so that levels differ), and blocks of deviations from it are
drawn from any of the runs.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samdan.records import Metrics
from samdan.rules import (
    Displacing,
    Diverging,
    Forgetting,
    LossSpike,
    NonFinite,
    Rebound,
    SkipSpikes,
    Slow,
    Unstable,
)
from samdan.run.ledger import Ledger

MONITORS = (
    NonFinite(), LossSpike(), Unstable(), Rebound(), Forgetting(), Displacing(), Diverging(),
    Slow(),
)  # fmt: skip
SCALED = ("loss", "grad_norm", "tokens_per_second")  # deviations are ratios
SHIFTED = ("rewards/margin", "chosen_logp_change_per_token", "logp_shift_per_token")  # differences
HELD = ("target/bpb", "replay/bpb")
WINDOW, BLOCK, HELD_BLOCK, SHORTEST = 51, 20, 3, 60
LOOKBACK = 1024  # what a run keeps for its monitors


@dataclass(frozen=True)
class Curve:
    """One stage of one run."""

    run: str
    stage: str
    rows: tuple[Metrics, ...]

    @property
    def name(self) -> str:
        return f"{self.run}/{self.stage}"


def read(run: Path) -> Iterator[Curve]:
    """The stages of a run, what was measured before the first step in front."""
    ledger = Ledger(run)
    by_stage: dict[str, list[Metrics]] = {}
    for row in ledger.metrics():
        values = {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
        by_stage.setdefault(row["stage"], []).append(Metrics(row["step"], row["tokens"], values))
    for stage, rows in by_stage.items():
        start = ledger.measured_before(stage)
        before = [Metrics(0, 0, start)] if start else []
        yield Curve(run.name, stage, (*before, *rows))


def fires(rule: object, rows: Sequence[Metrics]) -> bool:
    """Whether the monitor would have fired at any step; it sees what a run keeps for it."""
    assert callable(rule)
    return any(rule(_kept(rows, end)).fired for end in range(1, len(rows) + 1))


def _kept(rows: Sequence[Metrics], end: int) -> Sequence[Metrics]:
    if end <= LOOKBACK:
        return rows[:end]
    old = [row for row in rows[: end - LOOKBACK] if any(name in row.values for name in HELD)]
    return [*old, *rows[end - LOOKBACK : end]]


def applies(rule: object, rows: Sequence[Metrics]) -> bool:
    """Whether the stage has what the monitor reads."""
    needs: Mapping[type, str] = {
        Rebound: "target/bpb", Forgetting: "replay/bpb",
        Displacing: "chosen_logp_change_per_token", Diverging: "logp_shift_per_token",
    }  # fmt: skip
    name = needs.get(type(rule), "loss")
    return any(name in row.values for row in rows)


def skipped(rows: Sequence[Metrics]) -> int:
    """Updates that the default would have left out."""
    rule = SkipSpikes()
    return sum(
        rule(rows[max(0, at - rule.window) : at], row.values["loss"], row.values["grad_norm"])
        for at, row in enumerate(rows)
        if "loss" in row.values
    )


def resampled(curve: Curve, alike: Sequence[Curve], rng: random.Random) -> list[Metrics]:
    """A history with the curve's trend and noise in another order. ``alike``: the same stage of all
    ordinary runs, the curve's own among them."""
    rows = [row for row in curve.rows if "loss" in row.values]
    names = [name for name in (*SCALED, *SHIFTED) if name in rows[0].values]
    values = {name: [row.values[name] for row in rows] for name in names}
    trends = {name: trend(values[name]) for name in names}
    order = blocks(len(rows), BLOCK, rng)
    held = _held(curve, alike, rng)
    made = [
        Metrics(
            number + 1,
            0,
            {n: _moved(n, trends[n][number], values[n][at], trends[n][at]) for n in names}
            | held.get(rows[number].step, {}),
        )
        for number, at in enumerate(order)
    ]
    return [Metrics(0, 0, held[0]), *made] if 0 in held else made


def blocks(length: int, size: int, rng: random.Random) -> list[int]:
    """Positions in blocks of consecutive ones that begin anywhere."""
    order: list[int] = []
    while len(order) < length:
        start = rng.randrange(max(1, length - size + 1))
        order += range(start, min(length, start + size))
    return order[:length]


def _moved(name: str, to: float, value: float, trend_there: float) -> float:
    if name in SHIFTED:
        return to + value - trend_there
    return to * value / trend_there


def _held(
    curve: Curve, alike: Sequence[Curve], rng: random.Random
) -> dict[int, dict[str, float]]:
    """By step, held-out measurements with deviations of any of the runs, in blocks."""
    mine = _measured(curve)
    others = [found for found in map(_measured, alike) if len(found) >= len(mine)]
    made: dict[int, dict[str, float]] = {}
    for name in HELD:
        if not mine or name not in mine[0][1]:
            continue
        points = range(len(mine))
        shapes = [_by_its_mean([other[k][1][name] for k in points]) for other in others]
        middle = [statistics.median(shape[k] for shape in shapes) for k in points]
        ratios = [[shape[k] / middle[k] for k in points] for shape in shapes]
        own = statistics.fmean(values[name] for _, values in mine)
        deviations: list[float] = []
        while len(deviations) < len(mine):
            start = len(deviations)
            deviations += rng.choice(ratios)[start : start + HELD_BLOCK]
        for (step, values), level, ratio in zip(mine, middle, deviations, strict=True):
            row = made.setdefault(step, {"progress": values.get("progress", 0.0)})
            row[name] = own * level * ratio
    return made


def _by_its_mean(values: Sequence[float]) -> list[float]:
    mean = statistics.fmean(values)
    return [value / mean for value in values]


def _measured(curve: Curve) -> list[tuple[int, Mapping[str, float]]]:
    return [(row.step, row.values) for row in curve.rows if any(n in row.values for n in HELD)]


def trend(values: Sequence[float]) -> list[float]:
    """A running median, away from zero where ratios are taken."""
    half = WINDOW // 2
    found = [
        statistics.median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))
    ]
    return [value if abs(value) > 1e-9 else 1e-9 for value in found]


def alarms(curves: Sequence[Curve], histories: int, seed: int = 0) -> dict[str, object]:
    """Per monitor, in how many ordinary stages and resampled histories it fired."""
    rng = random.Random(seed)
    long = [curve for curve in curves if len(curve.rows) >= SHORTEST]
    made = []
    for _ in range(histories):
        curve = rng.choice(long)
        alike = [other for other in long if other.stage == curve.stage]
        made.append(resampled(curve, alike, rng))
    rows = []
    for rule in MONITORS:
        over = [curve for curve in curves if applies(rule, curve.rows)]
        among = [history for history in made if applies(rule, history)]
        rows.append({
            "rule": rule.kind,
            "stages": len(over),
            "fired_in": [curve.name for curve in over if fires(rule, curve.rows)],
            "histories": len(among),
            "fired_histories": sum(fires(rule, history) for history in among),
        })  # fmt: skip
    return {
        "stages": len(curves),
        "steps": sum(len(curve.rows) for curve in curves),
        "histories": len(made),
        "history_steps": sum(map(len, made)),
        "monitors": rows,
        "skips": {
            "updates": sum(len(curve.rows) for curve in curves),
            "skipped": sum(skipped(curve.rows) for curve in curves),
            "history_updates": sum(map(len, made)),
            "history_skipped": sum(map(skipped, made)),
        },
    }
