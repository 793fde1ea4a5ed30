"""From numbers per document to the documents that are kept, and why the others are not.

Hard sampling takes documents by score until their tokens reach the budget. Soft sampling draws them
without replacement with chances in proportion to their weights w: the largest ``u ** (1 / w)`` are
kept (Efraimidis and Spirakis 2006). Here their double logarithm is sorted, ``ln w - ln(-ln u)``,
which orders the same and does not underflow; ``-ln(-ln u)`` is Gumbel noise, so that with
``ln w`` an importance weight this is DSIR's Gumbel top-k too. u is a hash of (seed, document):
nothing depends on the order of the documents or on who measured them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samdan.data.selection.dates import UNDATED
from samdan.data.selection.features import Features
from samdan.data.selection.hashing import Float, uniform
from samdan.records import DataError
from samdan.selecting import Dsir, Eta, Ets, EtsCom, Quality, Random, Recency, Select, is_soft

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

# Why a document is not kept; the number is what ``Chosen.reason`` holds.
REASONS: Final = (
    "",
    "below_threshold",
    "over_quota",
    "too_few_tokens",
    "perplexity_tail",
    "undated",
    "before_cutoff",
    "after_cutoff",
    "no_score",
)


@dataclass(frozen=True)
class Limit:
    """A line that documents fall on one side of."""

    name: str
    values: Float  # [n], nan for documents that were not compared with it
    limit: float
    kept: Bool  # [n] on the right side of it


@dataclass(frozen=True)
class Chosen:
    """The choice, in the order of the documents."""

    mask: Bool  # [n] kept
    score: Float  # [n], nan for documents that were left out before scoring
    key: Float  # [n] what was sorted by: the score, or with soft sampling the drawn key
    threshold: float  # the smallest key that was kept
    reason: NDArray[np.uint8]  # [n] number in REASONS
    limits: tuple[Limit, ...]  # the budget's last, in which ``values`` is ``key``
    budget: float  # tokens asked for
    tokens: int  # tokens kept

    def reasons(self) -> dict[str, int]:
        """How many documents are left out, by reason."""
        counts = np.bincount(self.reason, minlength=len(REASONS)).tolist()
        return {name: n for name, n in zip(REASONS, counts, strict=True) if name and n}


class _Sieve:
    """Who is still in, why others are not, and the lines that were drawn."""

    def __init__(self, count: int) -> None:
        self.reason = np.zeros(count, np.uint8)
        self.limits: list[Limit] = []

    @property
    def inside(self) -> Bool:
        return self.reason == 0

    def drop(self, where: Bool, reason: str) -> None:
        self.reason[where & self.inside] = REASONS.index(reason)

    def limit(self, name: str, reason: str, values: Float, limit: float, above: bool) -> None:
        """Drops what lies on the wrong side; what lies on the line stays."""
        compared = np.where(self.inside, values, np.nan)
        wrong = compared < limit if above else compared > limit
        self.limits.append(Limit(name, compared, limit, ~wrong & ~np.isnan(compared)))
        self.drop(wrong, reason)


@dataclass(frozen=True)
class _Scores:
    score: Float  # [n]
    log_weight: Float  # [n] natural logarithm of the weight for soft sampling


def choose(
    spec: Select,
    features: Features,
    tokens: Int,
    keys: Sequence[str] | None,
    dates: Int,
    seed: int,
) -> Chosen:
    """``tokens`` [n], ``keys``: the quota's values, ``dates`` [n]: day numbers, 0 for none.

    The budget is exceeded by less than the last document taken. A document that would exceed its
    key's quota is passed over. Raises DataError when no document can be kept.
    """
    sieve = _Sieve(len(features))
    sieve.drop(tokens < 1, "too_few_tokens")
    if spec.min_tokens > 1:
        sizes = tokens.astype(np.float64)
        sieve.limit("min_tokens", "too_few_tokens", sizes, spec.min_tokens, above=True)
    found = SCORES[type(spec)](spec, features, dates, sieve)
    draw = uniform(features.ids, seed)
    if found is None:
        found = _Scores(draw, np.zeros(len(draw)))
    sieve.drop(np.isnan(found.score), "no_score")
    key = found.log_weight - np.log(-np.log(draw)) if is_soft(spec) else found.score
    budget = spec.budget(int(tokens.sum()))
    candidates = np.flatnonzero(sieve.inside)
    if not len(candidates):
        counts = np.bincount(sieve.reason, minlength=len(REASONS)).tolist()
        why = ", ".join(f"{r} {n}" for r, n in zip(REASONS, counts, strict=True) if n)
        raise DataError(
            f"none of {len(features)} documents can be kept ({why or 'there are none'})"
        )
    # Equal keys go by the draw, and then by the document itself.
    order = candidates[np.lexsort((features.ids[candidates], draw[candidates], -key[candidates]))]
    if spec.quota is None or keys is None:
        before = np.cumsum(tokens[order]) - tokens[order]
        taken = order[before < budget]
        passed_over = np.empty(0, np.int64)
    else:
        most = spec.quota.at_most * budget
        taken, passed_over = _within_quota(order, tokens, keys, budget, most)
    return _chosen(sieve, found, key, taken, passed_over, tokens, budget)


def _chosen(
    sieve: _Sieve,
    found: _Scores,
    key: Float,
    taken: Int,
    passed_over: Int,
    tokens: Int,
    budget: float,
) -> Chosen:
    inside = sieve.inside
    mask = np.zeros(len(inside), np.bool_)
    mask[taken] = True
    sieve.reason[passed_over] = REASONS.index("over_quota")
    sieve.drop(~mask, "below_threshold")
    threshold = float(key[taken].min()) if len(taken) else float("inf")
    compared = np.where(inside, key, np.nan)
    compared[passed_over] = np.nan
    limits = (*sieve.limits, Limit("budget", compared, threshold, mask))
    score = np.where(inside, found.score, np.nan)
    return Chosen(
        mask, score, key, threshold, sieve.reason, limits, budget, int(tokens[taken].sum())
    )


def _within_quota(
    order: Int, tokens: Int, keys: Sequence[str], budget: float, most: float
) -> tuple[Int, Int]:
    """Documents taken, and documents passed over because their key would have too many tokens."""
    used: dict[str, int] = defaultdict(int)
    taken, passed_over, total = [], [], 0
    for index in order.tolist():
        if total >= budget:
            break
        size = int(tokens[index])
        if used[keys[index]] + size > most:
            passed_over.append(index)
            continue
        used[keys[index]] += size
        total += size
        taken.append(index)
    return np.asarray(taken, np.int64), np.asarray(passed_over, np.int64)


def percentile_ranks(values: Float, inside: Bool) -> Float:
    """``(below + half of the equal ones) / n`` among the documents inside; nan for the others."""
    ranks = np.full(len(values), np.nan)
    compared = inside & ~np.isnan(values)
    mine = values[compared]
    ordered = np.sort(mine)
    below = np.searchsorted(ordered, mine, side="left")
    at_most = np.searchsorted(ordered, mine, side="right")
    ranks[compared] = (below + at_most) / (2 * max(1, len(mine)))
    return ranks


def scaled(values: Float, inside: Bool) -> Float:
    """``(x - min) / (max - min)`` among the documents inside; ones when all are equal."""
    mine = values[inside & ~np.isnan(values)]
    if not len(mine) or mine.max() == mine.min():
        return np.where(np.isnan(values), np.nan, 1.0)
    return np.clip((values - mine.min()) / (mine.max() - mine.min()), 0.0, 1.0)


def _log(weights: Float) -> Float:
    with np.errstate(divide="ignore"):
        return np.log(weights)


def _by_similarity(spec: Ets, features: Features, dates: Int, sieve: _Sieve) -> _Scores:
    score = features.values["similarity"]
    return _Scores(score, _log(scaled(score, sieve.inside)))


def _by_novelty(spec: Eta, features: Features, dates: Int, sieve: _Sieve) -> _Scores:
    names = {"ppl": "perplexity", "ent": "entropy"}
    columns = [features.values[names[name]] for name in spec.use]
    _only_known(columns, sieve)
    if "ppl" in spec.use:
        _trim(spec.trim, features.values["perplexity"], sieve)
    if len(columns) == 1:
        return _Scores(columns[0], _log(scaled(columns[0], sieve.inside)))
    score = np.mean([percentile_ranks(column, sieve.inside) for column in columns], axis=0)
    return _Scores(score, _log(scaled(score, sieve.inside)))


def _by_all_three(spec: EtsCom, features: Features, dates: Int, sieve: _Sieve) -> _Scores:
    columns = [features.values[name] for name in ("similarity", "perplexity", "entropy")]
    _only_known(columns, sieve)
    _trim(spec.trim, features.values["perplexity"], sieve)
    score = np.mean([percentile_ranks(column, sieve.inside) for column in columns], axis=0)
    return _Scores(score, _log(scaled(score, sieve.inside)))


def _only_known(columns: Sequence[Float], sieve: _Sieve) -> None:
    for column in columns:
        sieve.drop(np.isnan(column), "no_score")


def _trim(trim: tuple[float, float], perplexity: Float, sieve: _Sieve) -> None:
    """Drops both tails, by percentile rank; the lines are drawn at the outermost that stay."""
    ranks = percentile_ranks(perplexity, sieve.inside)
    stays = perplexity[(ranks >= trim[0]) & (ranks <= trim[1])]
    if not len(stays):
        sieve.drop(sieve.inside, "perplexity_tail")
        return
    sieve.limit("trim_low", "perplexity_tail", perplexity, float(stays.min()), above=True)
    sieve.limit("trim_high", "perplexity_tail", perplexity, float(stays.max()), above=False)


def _by_importance(spec: Dsir, features: Features, dates: Int, sieve: _Sieve) -> _Scores:
    weight = features.values["log_weight"]
    return _Scores(weight, weight)


def _by_date(spec: Recency, features: Features, dates: Int, sieve: _Sieve) -> _Scores:
    """The score is the weight's logarithm to base 2: half-lives, negative."""
    days = np.where(dates == UNDATED, np.nan, dates.astype(np.float64))
    if spec.undated == "drop":
        sieve.drop(np.isnan(days), "undated")
    elif not np.isnan(days).all():
        known = days[~np.isnan(days)]
        stand_in = known.min() if spec.undated == "oldest" else np.median(known)
        days = np.where(np.isnan(days), stand_in, days)
    if spec.not_before:
        sieve.limit("not_before", "before_cutoff", days, spec.not_before.toordinal(), above=True)
    if spec.not_after:
        sieve.limit("not_after", "after_cutoff", days, spec.not_after.toordinal(), above=False)
    inside = days[sieve.inside & ~np.isnan(days)]
    newest = inside.max() if len(inside) else 0.0
    origin = spec.as_of.toordinal() if spec.as_of else newest
    score = -np.maximum(0.0, origin - days) / spec.half_life_days
    return _Scores(score, score * np.log(2))


def _by_quality(spec: Quality, features: Features, dates: Int, sieve: _Sieve) -> _Scores:
    probability = features.values["quality"]
    return _Scores(probability, _log(probability))


def _by_chance(spec: Random, features: Features, dates: Int, sieve: _Sieve) -> None:
    """Every weight is one, and the draw is all there is."""
    return None


SCORES: Mapping[type, Callable[[Any, Features, Int, _Sieve], _Scores | None]] = {
    Ets: _by_similarity,
    Eta: _by_novelty,
    EtsCom: _by_all_three,
    Dsir: _by_importance,
    Recency: _by_date,
    Quality: _by_quality,
    Random: _by_chance,
}
