"""The gate that asks people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from samdan.records import Comparison, Verdict
from samdan.responses import Rule
from samdan.spec import Count, Share


def votes_on(over: str) -> str:
    """The name of a comparison made from people's votes: ``votes/over_before``."""
    return f"votes/over_{over}"


class Preferred(Rule):
    """People prefer the stage's answers to those of its parent, or of the base.

    Reads votes of people cast with ``samdan judge serve``. Several votes on a pair of answers are
    one verdict; pairs that were judged equal decide nothing. Fires as long as fewer than
    ``min_pairs`` are judged: no votes is no consent.
    """

    kind: Literal["preferred"] = "preferred"
    over: Literal["before", "base"] = "before"
    at_least: Share = 0.5
    """Share of the decided pairs in which the stage's answer is preferred."""
    certain: bool = False
    """Asks it of the lower end of the exact 95% interval, not of the share."""
    min_pairs: Count = 20
    """Pairs that have to be judged, undecided ones among them."""

    def __call__(self, results: Mapping[str, Comparison]) -> Verdict:
        name = f"preferred(over {self.over})"
        found = results.get(votes_on(self.over))
        judged = 0 if found is None else found.n
        if found is None or judged < self.min_pairs:
            have = f"only {judged} pairs of answers are" if judged else "no pair of answers is"
            message = (
                f"{have} judged by people, {self.min_pairs} are needed: vote with 'samdan judge "
                f"serve RUN' (RUN: this run's folder), then give the same command again"
            )
            return Verdict(name, True, float(judged), float(self.min_pairs), message)
        if math.isnan(found.after):
            message = f"all {judged} judged pairs are undecided: people see no difference"
            return Verdict(name, True, found.after, self.at_least, message)
        low, high = found.after_ci
        value = low if self.certain else found.after
        message = (
            f"people prefer it to {self.over} in {found.after:.1%} of the decided pairs (95% "
            f"interval {low:.1%} to {high:.1%}, {judged} judged), at least {self.at_least:.1%} "
            + ("of the lower end is asked" if self.certain else "is asked")
        )
        return Verdict(name, not value >= self.at_least, value, self.at_least, message)
