"""What people and judging models prefer: win rates, strengths, agreement, and biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from samdan.report.evidence import section
from samdan.report.markup import NOTHING, Html, bdi, figure, join, prose, tag, text
from samdan.report.numbers import DASH, mapping, number, sequence
from samdan.report.reading import Report
from samdan.report.table import Cell, column, table
from samdan.report.words import say

Part = Mapping[str, Any]


def votes(report: Report) -> Html:
    """Empty where nobody voted."""
    found = mapping(report.get("votes"))
    if not found:
        return NOTHING
    if found.get("unknown"):
        return section("votes", tag("p", prose(found["unknown"]), cls="soft"))
    how = tag("p", say("votes.how"), cls="soft small")
    people = mapping(found.get("people"))
    judges = mapping(found.get("judges"))
    parts = [_people(people), *(_judge(str(n), mapping(judge)) for n, judge in judges.items())]
    return section("votes", how, *parts, *_left_out(found))


def _people(people: Part) -> Html:
    raters = ", ".join(f"{name} {_count(n)}" for name, n in mapping(people.get("raters")).items())
    counted = say("votes.people", votes=_n(people.get("votes")), pairs=_n(people.get("pairs")))
    heading = tag("h3", counted, tag("span", bdi(raters), cls="small"))
    agreed = mapping(people.get("agreement"))
    if number(agreed.get("pairs")):
        same = mapping(agreed.get("same"))
        agreement = say(
            "votes.agreement",
            share=figure(_percent(same.get("share"))),
            pairs=_n(agreed.get("pairs")),
            alpha=figure(_plain(agreed.get("alpha"))),
        )
    else:
        agreement = say("votes.one_rater")
    return join((heading, *_part(people), _list([*_biases(people), agreement])))


def _judge(name: str, judge: Part) -> Html:
    counted = say("votes.judge", votes=_n(judge.get("votes")), pairs=_n(judge.get("pairs")))
    heading = tag("h3", bdi(name), tag("span", counted, cls="small"))
    orders = say(
        "votes.orders",
        n=_n(judge.get("both_orders")),
        differ=_n(judge.get("inconsistent")),
        turned=_n(judge.get("turned_around")),
    )
    people = mapping(judge.get("with_people"))
    if number(people.get("pairs")):
        same = mapping(people.get("same"))
        alike = say(
            "votes.with_people",
            share=_share(same),
            pairs=_n(people.get("pairs")),
            kappa=figure(_plain(people.get("kappa"))),
        )
    else:
        alike = say("votes.alone")
    return join((heading, *_part(judge), _list([*_biases(judge), orders, alike])))


def _part(part: Part) -> Iterator[Html]:
    """Win rates of every two models; strengths where there are more than two."""
    controlled = {
        (row.get("a"), row.get("b")): row
        for row in map(mapping, sequence(part.get("at_equal_length")))
        if isinstance(row.get("a"), str) and isinstance(row.get("b"), str)
    }
    rows = [
        _match(match, controlled.get((str(match.get("a")), str(match.get("b"))), {}))
        for match in map(mapping, sequence(part.get("matches")))
    ]
    if rows:
        columns = (
            column("votes.match", "head"),
            column("votes.share", "num two"),
            column("votes.won", "num"),
            column("votes.lost", "num"),
            column("votes.ties", "num"),
            column("votes.bad", "num"),
            column("votes.rate", "num"),
            column("votes.equal_length", "num two"),
        )
        yield table(say("votes"), columns, rows)
    strengths = [mapping(row) for row in sequence(part.get("strengths"))]
    if len(strengths) > 2:
        ranked = sorted(strengths, key=lambda row: -(number(row.get("points")) or 0.0))
        ranking = (column("votes.model", "head"), column("votes.points", "num two"))
        yield table(say("votes.points"), ranking, (_strength(row) for row in ranked))


def _match(match: Part, controlled: Part) -> list[Html | Cell]:
    who = say(
        "votes.over", b=bdi(match.get("b")), a=bdi(match.get("a"))
    )
    shown = tag("b", figure(_percent(match.get("share_b"))))
    return [
        who,
        join((shown, _small(_bounds(match.get("ci95"), _percent)))),
        *(_n(match.get(key)) for key in ("wins_b", "wins_a", "ties", "bad")),
        figure(_percent(match.get("rate_b"))),
        _at_equal_length(controlled),
    ]


def _at_equal_length(row: Part) -> Html:
    if number(row.get("rate_b")) is None:
        return text(DASH)
    shown = figure(_percent(row.get("rate_b")))
    return join((shown, _small(_bounds(row.get("ci95"), _percent))))


def _strength(row: Part) -> list[Html | Cell]:
    shown = tag("b", figure(_points(row.get("points"))))
    return [
        bdi(row.get("model")),
        join((shown, _small(_bounds(row.get("ci95"), _points)))),
    ]


def _biases(part: Part) -> Iterator[Html]:
    for key in ("left_won", "longer_won"):
        share = mapping(part.get(key))
        if number(share.get("n")):
            yield say(f"votes.{key}", share=_share(share), n=_n(share.get("n")))


def _left_out(found: Part) -> Iterator[Html]:
    said = [
        say(
            "votes.identical",
            a=bdi(row.get("a")),
            b=bdi(row.get("b")),
            n=_n(row.get("prompts")),
        )
        for row in map(mapping, sequence(found.get("identical")))
    ]
    if number(found.get("other")):
        said.append(say("votes.other", n=_n(found.get("other"))))
    if said:
        yield _list(said)


def _list(said: Sequence[Html]) -> Html:
    return tag("ul", *(tag("li", one) for one in said)) if said else NOTHING


def _share(share: Part) -> Html:
    bounds = _bounds(share.get("ci95"), _percent)
    return join((figure(_percent(share.get("share"))), figure(f" {bounds}" if bounds else "")))


def _bounds(value: object, shown: Any) -> str:
    ends = sequence(value)
    return f"[{shown(ends[0])}, {shown(ends[1])}]" if len(ends) == 2 else ""


def _small(shown: str) -> Html:
    return tag("span", figure(shown), cls="small nowrap") if shown else NOTHING


def _shown(spec: str, value: object) -> str:
    found = number(value)
    return DASH if found is None else format(found, spec)


_percent = partial(_shown, ".1%")
_points = partial(_shown, "+.0f")
_plain = partial(_shown, ".2f")
_count = partial(_shown, ",.0f")


def _n(value: object) -> Html:
    return figure(_count(value))
