"""What the votes say, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What ``samdan judge report`` prints."""
    people = found["people"]
    raters = ", ".join(f"{name} {n}" for name, n in people["raters"].items())
    yield f"people: {people['votes']} votes on {people['pairs']} pairs ({raters or 'nobody yet'})"
    yield from _part(people)
    agreed = people["agreement"]
    if agreed["pairs"]:
        alpha = "-" if agreed["alpha"] is None else f"{agreed['alpha']:.2f}"
        yield (
            f"  agreement between raters: {_percent(agreed['same']['share'])} of couples of votes "
            f"alike on {agreed['pairs']} pairs, Krippendorff's alpha {alpha}"
        )
    elif people["votes"]:
        yield "  agreement between raters: unknown, no pair has two raters"
    for name, judge in found["judges"].items():
        yield from judge_lines(name, judge)
    for row in found["identical"]:
        yield f"{row['a']} and {row['b']}: {row['prompts']} prompts have identical answers"
    if found["other"]:
        yield f"votes on earlier answers or other models, not counted here: {found['other']}"


def judge_lines(name: str, judge: Mapping[str, Any]) -> Iterator[str]:
    """What a judging model said, and how far it can be relied on."""
    yield f"{name}: {judge['votes']} verdicts on {judge['pairs']} pairs"
    yield from _part(judge)
    both = judge["both_orders"]
    yield (
        f"  in both orders {both} pairs: {judge['inconsistent']} verdicts differ, "
        f"{judge['turned_around']} of them prefer the other answer"
    )
    people = judge["with_people"]
    if people["pairs"]:
        kappa = "-" if people["kappa"] is None else f"{people['kappa']:.2f}"
        yield (
            f"  with people: {_share(people['same'])} of {people['pairs']} verdicts alike, "
            f"Cohen's kappa {kappa}"
        )
    else:
        yield "  with people: unknown, no pair was judged by both"


def _part(part: Mapping[str, Any]) -> Iterator[str]:
    for m in part["matches"]:
        yield (
            f"  {m['b']} over {m['a']}: {_percent(m['share_b'])} of decided pairs "
            f"{_interval(m['ci95'])}; {m['wins_b']} won, {m['wins_a']} lost, {m['ties']} equal, "
            f"{m['bad']} both bad; win rate with these as halves {_percent(m['rate_b'])}"
        )
    for row in part["at_equal_length"]:
        if row["rate_b"] is not None:
            yield (
                f"  {row['b']} over {row['a']} at equal length: {_percent(row['rate_b'])} "
                f"{_interval(row['ci95'])}"
            )
    if len(part["strengths"]) > 2:
        ranked = sorted(part["strengths"], key=lambda row: -row["points"])
        shown = [
            f"{row['model']} {row['points']:+.0f} [{_points(row['ci95'])}]" for row in ranked
        ]
        yield f"  strength (Bradley-Terry points, mean 0): {', '.join(shown)}"
    if part["left_won"]["n"]:
        yield f"  the left answer won {_share(part['left_won'])} of decided votes (50%: no bias)"
    if part["longer_won"]["n"]:
        yield f"  the longer answer won {_share(part['longer_won'])} of decided votes"


def _share(row: Mapping[str, Any]) -> str:
    return f"{_percent(row['share'])} {_interval(row['ci95'])}"


def _interval(bounds: list[float | None]) -> str:
    return f"[{_percent(bounds[0])}, {_percent(bounds[1])}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _points(bounds: list[float | None]) -> str:
    return ", ".join("-" if value is None else f"{value:+.0f}" for value in bounds)
