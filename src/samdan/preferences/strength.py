"""How strong each of several models is, from comparisons two by two."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samdan.preferences.votes import Pair, Verdict
from samdan.records import Interval

PRIOR = 1.0
TOLERANCE = 1e-9
MOST_ITERATIONS = 10_000
DRAWS = 400
POINTS = 400.0  # as in chess: 400 points are odds of ten to one


@dataclass(frozen=True, slots=True)
class Strength:
    """A model's points (mean of all models: 0) with their 95% interval."""

    model: str
    points: float
    ci95: Interval


Wins = list[list[float]]


def bradley_terry(wins: Sequence[Sequence[float]], prior: float = PRIOR) -> list[float]:
    """Log-strengths with mean 0, where ``wins[i][j]`` is how often i beat j (a tie is half each).

    Maximised by minorisation (Hunter 2004, MM algorithms for generalized Bradley-Terry models).
    ``prior``: games, half of them won, that every model is thought to have played against one of
    strength 1. It keeps the strength of a model that never lost finite, and that of models which
    were never compared comparable; 0 leaves it out.
    """
    n = len(wins)
    strength = [1.0] * n
    won = [math.fsum(wins[i]) + prior / 2 for i in range(n)]
    for _ in range(MOST_ITERATIONS):
        updated = []
        for i in range(n):
            played = [
                (wins[i][j] + wins[j][i]) / (strength[i] + strength[j]) for j in range(n) if j != i
            ]
            against = math.fsum(played) + prior / (strength[i] + 1.0)
            updated.append(won[i] / against if against else 1.0)
        moved = max(abs(u - s) / s if s else abs(u) for u, s in zip(updated, strength, strict=True))
        strength = updated
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
    points = _fitted(prompts, len(known))
    rng = random.Random(seed)
    draws = DRAWS if len(prompts) > 1 else 0
    drawn = [_fitted(rng.choices(prompts, k=len(prompts)), len(known)) for _ in range(draws)]
    return [
        Strength(name, points[i], _quantiles([draw[i] for draw in drawn]))
        for i, name in enumerate(known)
    ]


def _table(prompts: Sequence[Sequence[tuple[int, int, float]]], n: int) -> Wins:
    wins: Wins = [[0.0] * n for _ in range(n)]
    for prompt in prompts:
        for a, b, share in prompt:
            wins[a][b] += share
            wins[b][a] += 1.0 - share
    return wins


def _fitted(prompts: Sequence[Sequence[tuple[int, int, float]]], n: int) -> list[float]:
    return [POINTS * value / math.log(10) for value in bradley_terry(_table(prompts, n))]


def _quantiles(values: Sequence[float]) -> Interval:
    if not values:
        return (float("nan"), float("nan"))
    ordered = sorted(values)
    last = len(ordered) - 1
    return (ordered[round(0.025 * last)], ordered[round(0.975 * last)])
