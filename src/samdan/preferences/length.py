"""The win rate at equal length: how often the later model would win if its answers were no longer.

A logistic regression of the verdicts on the difference in length, with the tanh of the difference
in standard deviations, as AlpacaEval 2 has it (Dubois et al. 2404.04475); the win rate at a
difference of zero is its intercept. Theirs has terms for the model and the prompt too, for which
the votes of one run are too few.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samdan.preferences.votes import Pair, Verdict
from samdan.records import Interval

RIDGE = 0.05  # a wide normal prior on both: finite where every longer answer won
ITERATIONS = 25
DRAWS = 400
FEWEST = 8  # decided pairs of different length, below which nothing is said
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Controlled:
    """``rate``: of ``b`` at equal length, with its 95% interval; ``effect``: log-odds of ``b`` per
    tanh of the difference, above zero where longer answers win; ``n`` decided pairs."""

    a: str
    b: str
    rate: float
    ci95: Interval
    effect: float
    n: int


def at_equal_length(
    pairs: Mapping[str, Pair], judged: Mapping[str, Verdict], seed: int = 0
) -> list[Controlled]:
    """Two models at a time, in the order in which the pairs come. NaN where there are too few."""
    games: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for name, pair in pairs.items():
        if name in judged and judged[name].choice in ("a", "b"):
            longer = len(pair.answer_b.strip()) - len(pair.answer_a.strip())
            won = float(judged[name].choice == "b")
            games.setdefault(pair.models, []).append((float(longer), won))
    return [_controlled(a, b, found, seed) for (a, b), found in games.items()]


def _controlled(a: str, b: str, games: Sequence[tuple[float, float]], seed: int) -> Controlled:
    spread = math.sqrt(math.fsum(longer**2 for longer, _ in games) / len(games))
    if len(games) < FEWEST or len({longer for longer, _ in games}) < 2:
        return Controlled(a, b, NAN, (NAN, NAN), NAN, len(games))
    rows = [(math.tanh(longer / spread), won) for longer, won in games]
    start, effect = _fit(rows)
    rng = random.Random(seed)
    drawn = sorted(_share(_fit(rng.choices(rows, k=len(rows)))[0]) for _ in range(DRAWS))
    last = len(drawn) - 1
    bounds = (drawn[round(0.025 * last)], drawn[round(0.975 * last)])
    return Controlled(a, b, _share(start), bounds, effect, len(games))


def _fit(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope of the ridge logistic regression, by Newton's steps."""
    start = slope = 0.0
    for _ in range(ITERATIONS):
        g0, g1 = -RIDGE * start, -RIDGE * slope
        h00 = h11 = RIDGE
        h01 = 0.0
        for x, won in rows:
            share = _share(start + slope * x)
            weight = share * (1 - share)
            g0, g1 = g0 + won - share, g1 + (won - share) * x
            h00, h01, h11 = h00 + weight, h01 + weight * x, h11 + weight * x * x
        determinant = h00 * h11 - h01 * h01
        move0 = (h11 * g0 - h01 * g1) / determinant
        move1 = (h00 * g1 - h01 * g0) / determinant
        start, slope = start + move0, slope + move1
        if abs(move0) + abs(move1) < 1e-9:
            break
    return start, slope


def _share(odds: float) -> float:
    return 1 / (1 + math.exp(-max(-40.0, min(40.0, odds))))
