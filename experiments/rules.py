"""How often the monitors cry wolf: on ordinary runs, and on histories resampled from them.

python -m experiments.rules RUN [RUN ...] [--histories 300]

Every stage of every run is replayed step by step, as a monitor would have seen it. Then histories
are made: the trend of a stage (a running median) times blocks of its own residuals in a new order
(a moving-block bootstrap, loss, gradient norm and speed from the same steps), so that noise keeps
its size and its short memory. Give ordinary runs only: what fires here is a false alarm. Held-out
measurements are too few to be resampled; they are replayed only. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from samdan.preferences.intervals import exact
from samdan.records import Metrics
from samdan.rules import (
    Displacing,
    Forgetting,
    LossSpike,
    NonFinite,
    Rebound,
    SkipSpikes,
    Slow,
    Unstable,
)
from samdan.run.ledger import Ledger

RESAMPLED = ("loss", "grad_norm", "tokens_per_second")
STEPWISE = (NonFinite(), LossSpike(), Unstable(), Slow())
MEASURED = (Rebound(), Forgetting(), Displacing())
WINDOW, BLOCK, SHORTEST = 51, 20, 150


@dataclass(frozen=True)
class Curve:
    """One stage of one run."""

    name: str
    rows: tuple[Metrics, ...]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("runs", type=Path, nargs="+")
    arguments.add_argument("--histories", type=int, default=300)
    given = arguments.parse_args()
    curves = [curve for run in given.runs for curve in read(run)]
    steps = sum(len(curve.rows) for curve in curves)
    rng = random.Random(0)
    long = [curve for curve in curves if len(curve.rows) >= SHORTEST]
    made = [resampled(rng.choice(long), rng) for _ in range(given.histories)]
    print(f"{len(curves)} stages of {len(given.runs)} runs, {steps:,} steps; "
          f"{len(made)} resampled histories, {sum(map(len, made)):,} steps\n")  # fmt: skip
    print("| rule | stages in which it fired | resampled histories | 95% upper bound |")
    print("|---|---|---|---|")
    for rule in (*STEPWISE, *MEASURED):
        replayed = [curve.name for curve in curves if fires(rule, curve.rows)]
        cells = [f"`{rule.kind}`", f"{len(replayed)} of {len(curves)}"]
        if rule in STEPWISE:
            alarms = sum(fires(rule, history) for history in made)
            cells += [f"{alarms} of {len(made)}", f"{exact(alarms, len(made), 0.9)[1]:.1%}"]
        else:
            cells += ["-", "-"]
        print(f"| {' | '.join(cells)} |", *replayed)
    skips = sum(skipped(curve.rows) for curve in curves)
    print(f"| `skip_spikes` | {skips} of {steps:,} updates | "
          f"{sum(map(skipped, made))} of {sum(map(len, made)):,} updates | |")  # fmt: skip


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
        yield Curve(f"{run.name}/{stage}", (*before, *rows))


def fires(rule: object, rows: Sequence[Metrics]) -> bool:
    """Whether the monitor would have fired at any step; it sees what a run keeps for it."""
    assert callable(rule)
    return any(rule(rows[max(0, end - 1024) : end]).fired for end in range(1, len(rows) + 1))


def skipped(rows: Sequence[Metrics]) -> int:
    rule = SkipSpikes()
    return sum(
        rule(rows[max(0, at - rule.window) : at], row.values["loss"], row.values["grad_norm"])
        for at, row in enumerate(rows)
        if "loss" in row.values
    )


def resampled(curve: Curve, rng: random.Random) -> list[Metrics]:
    """A history with the curve's trend and its own noise in another order."""
    rows = [row for row in curve.rows if "loss" in row.values]
    trends = {name: trend([row.values[name] for row in rows]) for name in RESAMPLED}
    order: list[int] = []
    while len(order) < len(rows):
        start = rng.randrange(len(rows) - BLOCK)
        order += range(start, start + BLOCK)
    return [
        Metrics(
            number + 1,
            0,
            {
                name: trends[name][number] * rows[place].values[name] / trends[name][place]
                for name in RESAMPLED
            },
        )
        for number, place in enumerate(order[: len(rows)])
    ]


def trend(values: Sequence[float]) -> list[float]:
    """A running median, away from zero."""
    half = WINDOW // 2
    return [
        max(1e-9, statistics.median(values[max(0, at - half) : at + half + 1]))
        for at in range(len(values))
    ]


if __name__ == "__main__":
    main()
