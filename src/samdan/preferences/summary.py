"""Everything that the votes say, as plain values for JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from samdan.preferences.agreement import Share, alpha, kappa, left_won, longer_won, same
from samdan.preferences.intervals import exact
from samdan.preferences.length import Controlled, at_equal_length
from samdan.preferences.strength import strengths
from samdan.preferences.votes import Match, Pair, Vote, by_pair, matches, verdicts
from samdan.records import Comparison


def summarise(
    pairs: Mapping[str, Pair], votes: Sequence[Vote], models: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """What people and every judging model say on the pairs. NaN is None.

    ``votes``: those that count; one on a pair that is not among ``pairs`` is counted in ``other``.
    """
    known = [vote for vote in votes if vote.pair in pairs]
    people = [vote for vote in known if vote.by == "person"]
    judges = sorted({vote.rater for vote in known if vote.by == "model"})
    own = {name: [vote for vote in known if vote.rater == name] for name in judges}
    return {
        "people": {
            "raters": dict(sorted(Counter(vote.rater for vote in people).items())),
            "agreement": _agreement(people),
            **_part(pairs, people, models, seed),
        },
        "judges": {
            name: {**_judge(cast, people), **_part(pairs, cast, models, seed)}
            for name, cast in own.items()
        },
        "other": len(votes) - len(known),
    }


def _part(
    pairs: Mapping[str, Pair], votes: Sequence[Vote], models: Sequence[str], seed: int
) -> dict[str, Any]:
    judged = verdicts(votes)
    return {
        "votes": len(votes),
        "pairs": len(judged),
        "matches": [match_row(match) for match in matches(pairs, judged)],
        "at_equal_length": [
            controlled_row(found) for found in at_equal_length(pairs, judged, seed)
        ],
        "strengths": [
            {"model": s.model, "points": _number(s.points), "ci95": [_number(v) for v in s.ci95]}
            for s in strengths(pairs, judged, models, seed)
        ],
        "left_won": share_row(left_won(votes)),
        "longer_won": share_row(longer_won(votes, pairs)),
    }


def _agreement(votes: Sequence[Vote]) -> dict[str, Any]:
    units = [[vote.choice for vote in cast] for cast in by_pair(votes).values()]
    several = [unit for unit in units if len(unit) > 1]
    alike = share_row(same(several))
    # Couples of votes on one pair are not independent: an exact interval would claim too much.
    del alike["ci95"]
    return {"pairs": len(several), "alpha": _number(alpha(several)), "same": alike}


def _judge(votes: Sequence[Vote], people: Sequence[Vote]) -> dict[str, Any]:
    """A judging model: also whether it holds to its verdict when the sides are exchanged."""
    both = [cast for cast in by_pair(votes).values() if len({vote.left for vote in cast}) == 2]
    differ = [cast for cast in both if len({vote.choice for vote in cast}) > 1]
    turned = [cast for cast in differ if {vote.choice for vote in cast} == {"a", "b"}]
    own, theirs = verdicts(votes), verdicts(people)
    shared = [(own[key].choice, theirs[key].choice) for key in own if key in theirs]
    alike = Share(sum(a == b for a, b in shared), len(shared))
    return {
        "both_orders": len(both),
        "inconsistent": len(differ),
        "turned_around": len(turned),
        "with_people": {
            "pairs": len(shared),
            "kappa": _number(kappa(shared)),
            "same": share_row(alike),
        },
    }


def match_row(match: Match) -> dict[str, Any]:
    return {
        "a": match.a,
        "b": match.b,
        "pairs": match.pairs,
        "wins_a": match.wins_a,
        "wins_b": match.wins_b,
        "ties": match.ties,
        "bad": match.bad,
        "share_b": _number(match.share),
        "ci95": [_number(bound) for bound in exact(match.wins_b, match.decided)],
        "rate_b": _number(match.rate),
    }


def controlled_row(found: Controlled) -> dict[str, Any]:
    return {
        "a": found.a,
        "b": found.b,
        "rate_b": _number(found.rate),
        "ci95": [_number(bound) for bound in found.ci95],
        "effect": _number(found.effect),
        "n": found.n,
    }


def share_row(share: Share) -> dict[str, Any]:
    return {
        "count": share.count,
        "n": share.n,
        "share": _number(share.value),
        "ci95": [_number(bound) for bound in share.ci95],
    }


def comparison(name: str, match: Match) -> Comparison:
    """The later model's share of the decided pairs, as a gate reads it; 0.5 is no preference.

    ``n`` counts all judged pairs, also the undecided ones.
    """
    low, high = exact(match.wins_b, match.decided)
    change = (low - 0.5, high - 0.5)
    return Comparison(name, 0.5, 0.5, match.share, match.pairs, (low, high), change, change, True)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
