"""The page of a run that is going on, in blocks that are drawn again when they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from samdan.report.bounds import LEVELS, bounded
from samdan.report.evidence import curves, evidence
from samdan.report.first import first_screen
from samdan.report.live import memory_of
from samdan.report.markup import NOTHING, Html, bdi, figure, join, one_line, prose, tag, text
from samdan.report.numbers import amount, duration, fixed, mapping, number, places, sequence, whole
from samdan.report.overview import hue, spell, status, tiers, tools
from samdan.report.page import events
from samdan.report.reading import Report, stages
from samdan.report.words import say, spoken

Now = Mapping[str, Any]
BLOCKS = ("top", "now", "rules", "verdict", "curves", "tiers", "evidence", "events")


def blocks(report: Report, now: Now, current: object) -> dict[str, Html]:
    """Block by name, empty where there is nothing to show.

    ``now``: of now.json while a stage trains, else empty. ``current``: the step that is going on.
    """
    going = report.get("status") == "running"
    report, _, _ = bounded(report, LEVELS[0])
    return {
        "top": _top(report, current if going else None),
        "now": _now(report, now) if going and now else NOTHING,
        "rules": _rules(now) if going and now else NOTHING,
        "verdict": NOTHING if going else first_screen(report),
        "tiers": tiers(report),
        "curves": curves(report),
        "evidence": evidence(report),
        "events": events(report),
    }


def title(report: Report, now: Now) -> str:
    """What a tab that is not looked at says."""
    step, of = number(now.get("step")), number(now.get("of"))
    share = f"{step / of:.0%} {now.get('stage')} \u00b7 " if step and of else ""
    return one_line(f"{share}{report.get('name')} \u00b7 samdan")


def frame(name: str, lang: Literal["en", "ko"] | None, style: str, script: str) -> Html:
    """The document that the blocks are put into."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", text(name), text(" \u00b7 samdan")),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(style)),
    )
    heading = tag("h1", bdi(name))
    lost = tag("p", say("watch.lost"), cls="lost-contact care", role="alert", hidden=True)
    places_ = (tag("div", data_block=block) for block in BLOCKS)
    body = tag(
        "body",
        tag("header", heading, tag("span", data_block="status"), tools()),
        tag("main", lost, *places_),
        tag("footer", say("watch.by")),
        tag("script", Html(script)),
    )
    root = tag("html", head, body, lang=lang or "en", data_auto=lang is None)
    return Html(f"<!DOCTYPE html>\n{root}\n")


def pill(report: Report) -> Html:
    return status(report.get("status"))


def _top(report: Report, current: object) -> Html:
    said = prose(report["message"]) if report.get("message") else NOTHING
    if not current:
        return tag("p", said, cls="soft") if said else NOTHING
    doing = join((say("watch.now"), text(" "), tag("b", bdi(current))))
    return tag("p", doing, cls="soft doing")


def _now(report: Report, now: Now) -> Html:
    step, of = number(now.get("step")), number(now.get("of"))
    kind = next((hue(s) for s in stages(report) if s.get("name") == now.get("stage")), "other")
    head = tag(
        "p",
        tag("bdi", text(now.get("stage")), cls="kind"),
        text(" "),
        say("watch.step", step=text(whole(step)), of=text(whole(of))),
        tag("b", text(f"{step / of:.0%}"), cls="share") if step and of else NOTHING,
        cls="title",
    )
    done = _meter(step / of if step and of else 0.0, spoken("watch.progress"))
    cells = tag("dl", *_cells(now), cls="kpis")
    return tag("section", head, done, cells, cls=f"now {kind}")


def _cells(now: Now) -> Iterator[Html]:
    loss = number(now.get("loss"))
    left = duration(number(now.get("seconds_left")))
    shown = [
        ("watch.left", spell(left)),
        ("loss", figure(fixed(loss, places([loss])))),
        ("rate", spell(amount(number(now.get("tokens_per_second"))))),
        ("watch.memory", text(memory_of(now, "device") or memory_of(now, "host") or "\u2013")),
    ]
    for key, value in shown:
        yield tag("div", tag("dt", say(key)), tag("dd", value))
    for name, curve in mapping(now.get("heldout")).items():
        values = [number(value) for value in sequence(mapping(curve).get("value"))]
        known = [value for value in values if value is not None]
        if known:
            trend = f"{fixed(known[0], places(known))} \u2192 {fixed(known[-1], places(known))}"
            label = say("heldout", name=bdi(name))
            yield tag("div", tag("dt", label), tag("dd", figure(trend)))


def _rules(now: Now) -> Html:
    rules = [mapping(rule) for rule in sequence(now.get("rules"))]
    if not rules:
        return NOTHING
    how = tag("p", say("watch.rules.how"), cls="soft small")
    listed = tag("ul", *map(_rule, _nearest_first(rules)), cls="near card")
    return tag("section", tag("h2", say("watch.rules")), how, listed)


def _nearest_first(rules: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    def nearness(rule: Mapping[str, Any]) -> float:
        near = number(rule.get("near"))
        return 2.0 if rule.get("fired") is True else -1.0 if near is None else near

    return sorted(rules, key=nearness, reverse=True)


def _rule(rule: Mapping[str, Any]) -> Html:
    near = number(rule.get("near"))
    fired = rule.get("fired") is True
    looks = "bad" if fired else "care" if near is not None and near >= 0.75 else "good"
    if fired:
        told = tag("span", text("! "), say("fired"), cls="pill bad")
    elif near is None:
        told = tag("span", say("watch.early"), cls="soft small")
    else:
        told = tag("span", text(f"{near:.0%}"))
    name = str(rule.get("rule"))
    drawn = _meter(0.0 if near is None else near, name, looks)
    seen = "" if near is None and not fired else rule.get("message") or ""
    said = tag("span", prose(seen, 400), cls="soft small said")
    return tag("li", tag("bdi", text(name), cls="mono"), drawn, told, said)


def _meter(share: float, label: str, cls: str = "") -> Html:
    """A bar as a drawing: the policy of the page allows no style of a single element."""
    width = round(100 * max(0.0, min(1.0, share)), 1)
    return tag(
        "svg",
        tag("title", text(f"{label}: {share:.0%}")),
        tag("path", d="M0 0H100V8H0z", cls="whole"),
        tag("path", d=f"M0 0H{width}V8H0z", cls="part"),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        role="img",
        cls=f"meter {cls}".strip(),
    )
