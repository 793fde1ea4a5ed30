"""How strong each of several models is, from comparisons two by two."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samdan.preferences.votes import Pair, Verdict
from samdan.records import Interval

PRIOR = 1.0
TOLERANCE = 1e-7
MOST_ITERATIONS = 10_000
DRAWS = 400
SCALE = 400 / math.log(10)  # points as in chess: 400 are odds of ten to one


@dataclass(frozen=True, slots=True)
class Strength:
    """A model's points (mean of all models: 0) with their 95% interval."""

    model: str
    points: float
    ci95: Interval


Wins = list[list[float]]


def bradley_terry(
    wins: Sequence[Sequence[float]], prior: float = PRIOR, start: Sequence[float] | None = None
) -> list[float]:
    """Log-strengths with mean 0, where ``wins[i][j]`` is how often i beat j (a tie is half each).

    The maximum of the likelihood by the iteration of Newman 2023 (Efficient computation of rankings
    from pairwise comparisons, JMLR 24): it has the fixed point of Zermelo's, which is minorisation
    (Hunter 2004), and reaches it in far fewer steps. ``prior``: games, half of them won, that every
    model is thought to have played against one of strength 1. It keeps the strength of a model that
    never lost finite, and that of models which were never compared comparable; 0 leaves it out.
    ``start``: log-strengths to begin with.
    """
    n = len(wins)
    strength = [1.0] * n if start is None else [math.exp(value) for value in start]
    for _ in range(MOST_ITERATIONS):
        moved = 0.0
        for i, own in enumerate(strength):
            won, lost = prior / 2 / (own + 1.0), prior / 2 / (own + 1.0)
            for j, other in enumerate(strength):
                if j != i:
                    won += wins[i][j] * other / (own + other)
                    lost += wins[j][i] / (own + other)
            if lost:
                moved = max(moved, abs(won / lost / own - 1.0) if own else 0.0)
                strength[i] = won / lost
        if moved < TOLERANCE:
            break
    logs = [math.log(max(value, 1e-300)) for value in strength]
    center = math.fsum(logs) / n if n else 0.0
    return [value - center for value in logs]


def strengths(
    pairs: Mapping[str, Pair], judged: Mapping[str, Verdict], models: Sequence[str], seed: int = 0
) -> list[Strength]:
    """Points of every model that was compared; intervals by resampling the prompts.

    Prompts, not pairs: pairs of one prompt share answers and are not independent.
    """
    compared = {name for key in judged if key in pairs for name in pairs[key].models}
    known = [name for name in models if name in compared]
    number = {name: position for position, name in enumerate(known)}
    games: dict[str, list[tuple[int, int, float]]] = {}
    for key, verdict in judged.items():
        if (pair := pairs.get(key)) is not None and set(pair.models) <= number.keys():
            share = {"a": 1.0, "b": 0.0}.get(verdict.choice, 0.5)
            games.setdefault(pair.prompt, []).append((number[pair.a], number[pair.b], share))
    if not games:
        return []
    prompts = list(games.values())
    n = len(known)
    fitted = bradley_terry(_table(prompts, n))
    rng = random.Random(seed)
    drawn = [
        bradley_terry(_table(rng.choices(prompts, k=len(prompts)), n), start=fitted)
        for _ in range(DRAWS if len(prompts) > 1 else 0)
    ]
    return [
        Strength(name, SCALE * fitted[i], _quantiles([SCALE * draw[i] for draw in drawn]))
        for i, name in enumerate(known)
    ]


def _table(prompts: Sequence[Sequence[tuple[int, int, float]]], n: int) -> Wins:
    wins: Wins = [[0.0] * n for _ in range(n)]
    for prompt in prompts:
        for a, b, share in prompt:
            wins[a][b] += share
            wins[b][a] += 1.0 - share
    return wins


def _quantiles(values: Sequence[float]) -> Interval:
    if not values:
        return (float("nan"), float("nan"))
    ordered = sorted(values)
    last = len(ordered) - 1
    return (ordered[round(0.025 * last)], ordered[round(0.975 * last)])
