"""Pairs of answers, votes on them, and what the votes on one pair come to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["a", "b"]
Choice = Literal["a", "b", "tie", "bad"]
By = Literal["person", "model"]


@dataclass(frozen=True, slots=True)
class Pair:
    """The answers of two models to one prompt; ``a`` is the earlier model of the run."""

    prompt: str
    a: str
    b: str
    answer_a: str
    answer_b: str
    source: str = ""  # where the prompt is from: "samples", "task:polite", "prompts"

    @property
    def id(self) -> str:
        """By content, so that a vote counts only for the very answers it was cast on."""
        parts = [self.prompt, self.a, self.answer_a, self.b, self.answer_b]
        text = json.dumps(parts, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def models(self) -> tuple[str, str]:
        return (self.a, self.b)


@dataclass(frozen=True, slots=True)
class Vote:
    """``choice`` names a model, not a side; ``left`` is the model that stood on the left."""

    pair: str
    rater: str
    choice: Choice
    left: Side
    by: By = "person"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the votes on one pair come to."""

    choice: Choice
    votes: int
    agreed: bool  # all votes are alike


def by_pair(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.pair, []).append(vote)
    return found


def verdicts(votes: Iterable[Vote]) -> dict[str, Verdict]:
    """One verdict for each pair: several votes on a pair are not several independent findings.

    The model with more votes is preferred; with equally many neither is, and it is "both bad" where
    most say so. A judge that prefers whatever stands on the left has one vote for each order and
    so ends in a tie.
    """
    return {pair: _verdict([vote.choice for vote in cast]) for pair, cast in by_pair(votes).items()}


def _verdict(choices: Sequence[Choice]) -> Verdict:
    counts = Counter(choices)
    agreed = len(counts) == 1
    if counts["a"] != counts["b"]:
        return Verdict("a" if counts["a"] > counts["b"] else "b", len(choices), agreed)
    bad = 2 * counts["bad"] > len(choices)
    return Verdict("bad" if bad else "tie", len(choices), agreed)


@dataclass(frozen=True, slots=True)
class Match:
    """Two models: how many pairs were judged, and how they went."""

    a: str
    b: str
    wins_a: int
    wins_b: int
    ties: int
    bad: int

    @property
    def pairs(self) -> int:
        return self.wins_a + self.wins_b + self.ties + self.bad

    @property
    def decided(self) -> int:
        return self.wins_a + self.wins_b

    @property
    def share(self) -> float:
        """Share of the decided pairs that ``b`` won; NaN without one."""
        return self.wins_b / self.decided if self.decided else float("nan")

    @property
    def rate(self) -> float:
        """Win rate of ``b`` with every undecided pair as half a win; NaN without a pair."""
        undecided = self.ties + self.bad
        return (self.wins_b + undecided / 2) / self.pairs if self.pairs else float("nan")


def matches(pairs: Mapping[str, Pair], judged: Mapping[str, Verdict]) -> list[Match]:
    """The models that were compared, two by two, in the order in which the pairs come."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for name, pair in pairs.items():
        if name in judged:
            counts.setdefault(pair.models, Counter())[judged[name].choice] += 1
    return [
        Match(a, b, found["a"], found["b"], found["tie"], found["bad"])
        for (a, b), found in counts.items()
    ]
