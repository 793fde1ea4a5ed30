"""The exact interval of a share."""

from __future__ import annotations

import math
from collections.abc import Callable

from samdan.records import Interval

STEPS = 60  # halvings: the bounds are right to 1e-18


def exact(successes: int, n: int, level: float = 0.95) -> Interval:
    """Clopper and Pearson's interval (1934): covers the true share in at least ``level`` of cases.

    Raises ValueError when there are more successes than trials. (NaN, NaN) without a trial.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if not n:
        return (float("nan"), float("nan"))
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else _crossing(lambda p: at_least(successes, n, p) - tail)
    high = 1.0 if successes == n else _crossing(lambda p: tail - at_most(successes, n, p))
    return (low, high)


def at_least(k: int, n: int, p: float) -> float:
    """Probability of ``k`` or more successes in ``n`` trials."""
    return math.fsum(_binomial(i, n, p) for i in range(k, n + 1))


def at_most(k: int, n: int, p: float) -> float:
    """Probability of ``k`` or fewer successes in ``n`` trials."""
    return math.fsum(_binomial(i, n, p) for i in range(k + 1))


def _binomial(k: int, n: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(k == n * p)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


def _crossing(rising: Callable[[float], float]) -> float:
    """Where a function that rises on [0, 1] crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
