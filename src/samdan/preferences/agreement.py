"""Whether raters agree beyond chance, and what else than quality they follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from samdan.preferences.intervals import exact
from samdan.preferences.votes import Pair, Vote
from samdan.records import Interval

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``n`` with the exact 95% interval."""

    count: int
    n: int

    @property
    def value(self) -> float:
        return self.count / self.n if self.n else NAN

    @property
    def ci95(self) -> Interval:
        return exact(self.count, self.n)


def alpha(units: Iterable[Sequence[str]]) -> float:
    """Krippendorff's alpha for names of categories; a unit is what its raters said.

    1 is perfect, 0 is what chance would give. Any number of raters, who need not have seen the same
    units; units with one rater do not count. NaN where nothing can be said: no unit with two
    raters, or a single category in all of them. (Krippendorff 2011, Computing alpha-reliability.)
    """
    coincidences: Counter[tuple[str, str]] = Counter()
    weights: dict[tuple[str, str], float] = {}
    for unit in units:
        if len(unit) < 2:
            continue
        coincidences.clear()
        for i, j in combinations(range(len(unit)), 2):
            coincidences[unit[i], unit[j]] += 1
            coincidences[unit[j], unit[i]] += 1
        for both, count in coincidences.items():
            weights[both] = weights.get(both, 0.0) + count / (len(unit) - 1)
    totals: dict[str, float] = {}
    for (said, _), weight in weights.items():
        totals[said] = totals.get(said, 0.0) + weight
    n = sum(totals.values())
    expected = n * n - sum(total * total for total in totals.values())
    if not expected:
        return NAN
    observed = sum(weight for (said, other), weight in weights.items() if said != other)
    return 1 - (n - 1) * observed / expected


def kappa(said: Sequence[tuple[str, str]]) -> float:
    """Cohen's kappa of two raters, of whom both judged every item; NaN where chance explains all.

    Cohen 1960, A coefficient of agreement for nominal scales.
    """
    n = len(said)
    first, second = Counter(a for a, _ in said), Counter(b for _, b in said)
    chance = sum(first[name] * second[name] for name in first) / n**2 if n else 1.0
    same = sum(a == b for a, b in said) / n if n else NAN
    return (same - chance) / (1 - chance) if chance < 1 else NAN


def same(units: Iterable[Sequence[str]]) -> Share:
    """Of all couples of votes on one pair, how many are alike."""
    couples = [a == b for unit in units for a, b in combinations(unit, 2)]
    return Share(sum(couples), len(couples))


def left_won(votes: Iterable[Vote]) -> Share:
    """Of the votes that prefer an answer, how many prefer the one on the left: half without bias.

    Sides are drawn by chance, so quality cannot explain a difference.
    """
    decided = [vote for vote in votes if vote.choice in ("a", "b")]
    return Share(sum(vote.choice == vote.left for vote in decided), len(decided))


def longer_won(votes: Iterable[Vote], pairs: Mapping[str, Pair]) -> Share:
    """Of the votes that prefer one of two answers of different length, how many the longer one.

    A longer answer may be better: this is a reason to look, not a proof.
    """
    won = []
    for vote in votes:
        pair = pairs.get(vote.pair)
        if pair is None or vote.choice not in ("a", "b"):
            continue
        difference = len(pair.answer_b.strip()) - len(pair.answer_a.strip())
        if difference:
            won.append((difference > 0) == (vote.choice == "b"))
    return Share(sum(won), len(won))
