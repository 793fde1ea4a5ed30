"""Intervals: the bootstrap over items, paired where two models answered the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from samdan.records import Comparison, EvalResult, Interval

DRAWS = 2000
NO_INTERVAL: Interval = (float("nan"), float("nan"))


def compare(base: EvalResult, before: EvalResult, after: EvalResult, seed: int) -> Comparison:
    """A metric of three models on the same items; 95% intervals of ``after`` and its changes."""
    weights = _resamples(len(after.numerators), seed)
    return Comparison(
        name=after.name,
        base=base.value,
        before=before.value,
        after=after.value,
        n=len(after.numerators),
        after_ci=interval(after, weights),
        vs_before_ci=_difference(after, before, weights),
        vs_base_ci=_difference(after, base, weights),
        higher_is_better=after.higher_is_better,
        p_before=mcnemar(before, after),
        p_base=mcnemar(base, after),
    )


def deciles(values: Sequence[float]) -> list[float]:
    """The first, the fifth and the ninth: what 10%, half and 90% of the values do not exceed."""
    return [float(value) for value in np.quantile(values, (0.1, 0.5, 0.9), method="inverted_cdf")]


def mcnemar(a: EvalResult, b: EvalResult) -> float:
    """Two-sided p of McNemar's exact test: as many items lost as won? NaN unless yes or no."""
    if not (_yes_no(a) and _yes_no(b)) or len(a.numerators) != len(b.numerators):
        return math.nan
    pairs = list(zip(a.numerators, b.numerators, strict=True))
    won, lost = sum(y > x for x, y in pairs), sum(y < x for x, y in pairs)
    n = won + lost
    # Binomial with p = 1/2, in logarithms: 2^-n is 0 for more than a thousand items.
    tail = math.fsum(
        math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        )
        for k in range(min(won, lost) + 1)
    )
    return min(1.0, 2 * tail)


def _yes_no(result: EvalResult) -> bool:
    return set(result.denominators) == {1.0} and set(result.numerators) <= {0.0, 1.0}


def interval(
    result: EvalResult, weights: NDArray[np.float64] | None = None, seed: int = 0
) -> Interval:
    """95% interval of a metric. For a share of yes and no: Wilson's, which holds at 0 and 1 too."""
    n = len(result.numerators)
    if n < 2:
        return NO_INTERVAL
    if _yes_no(result):
        return wilson(sum(result.numerators), n)
    drawn = _resamples(n, seed) if weights is None else weights
    return _quantiles(_ratios(result, drawn))


def wilson(successes: float, n: int, z: float = 1.959964) -> Interval:
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (max(0.0, center - half), min(1.0, center + half))


def _resamples(n: int, seed: int) -> NDArray[np.float64]:
    """[draws, n]: how often each item is drawn."""
    rng = np.random.default_rng([seed, n])
    draws = max(200, min(DRAWS, 20_000_000 // max(1, n)))
    return (
        rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
        if n
        else np.empty((0, 0))
    )


def _ratios(result: EvalResult, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    top = weights @ np.asarray(result.numerators)
    bottom = weights @ np.asarray(result.denominators)
    ratios = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)
    return np.exp(np.minimum(ratios, 700.0)) if result.exponential else ratios


def _difference(a: EvalResult, b: EvalResult, weights: NDArray[np.float64]) -> Interval:
    if len(a.numerators) != len(b.numerators) or len(a.numerators) < 2:
        return NO_INTERVAL
    return _quantiles(_ratios(a, weights) - _ratios(b, weights))


def _quantiles(values: NDArray[np.float64]) -> Interval:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return NO_INTERVAL
    low, high = np.quantile(finite, [0.025, 0.975])
    return (float(low), float(high))
