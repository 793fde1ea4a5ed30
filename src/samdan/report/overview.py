"""The pyramid: the stages as tiers that rise from the base, each with its gain and its cost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from samdan.report.markup import NOTHING, Html, bdi, figure, join, prose, tag, text
from samdan.report.numbers import Both, amount, duration, fixed, mapping, number, sequence, whole
from samdan.report.reading import (
    BASE,
    Change,
    Reason,
    Report,
    Stage,
    base,
    changes,
    fired,
    gate_failed,
    risen,
    strongest,
    telling,
    tokens_seen,
    verdicts,
)
from samdan.report.words import both, known, say

LOOKS = {"done": "good", "failed": "bad", "stopped": "bad", "running": "open", "preempted": "care"}
MARKS = {"good": "\u2713", "care": "!", "bad": "\u2717", "open": "\u2026"}
KINDS = ("cpt", "sft", "dpo")
LONGEST = 24  # of a status that has no words here


def header(report: Report) -> Html:
    name = tag("h1", bdi(report.get("name")))
    facts = [status(report.get("status"))]
    if number(report.get("seed")) is not None:
        facts.append(tag("span", say("seed", n=text(report["seed"])), cls="soft small"))
    if day := _day(report):
        facts.append(tag("time", text(day), datetime=day, cls="soft small"))
    return tag("header", name, *facts, tools())


def _day(report: Report) -> str:
    """The day of the last event: a page that hangs on a wall tells how old it is."""
    last = [mapping(event).get("time") for event in sequence(report.get("events"))[-1:]]
    found = re.match(r"\d{4}-\d\d-\d\d(?=T)", str(last[0])) if last else None
    return found[0] if found else ""


def tools() -> Html:
    return tag(
        "div",
        tag("button", say("language"), type="button", data_do="language"),
        tag("button", say("theme"), type="button", data_do="theme"),
        cls="tools",
    )


def status(value: object) -> Html:
    word = known("status", str(value)[:LONGEST])
    return tag("span", word, cls=f"pill {LOOKS.get(str(value), '')}".strip())


def sentence(reason: Reason) -> Html:
    return say(reason.key, **{name: text(value) for name, value in reason.values.items()})


def tiers(report: Report) -> Html:
    """The stages as a stair that rises from the base model."""
    every = risen(report)
    shape = f"n{len(every)}" if len(every) <= 4 else "flat"
    stair = tag("ol", *(tier(n, stage) for n, stage in enumerate(every, 1)), cls=f"stair {shape}")
    heading = tag("h2", say("tiers"), cls="hide")
    return tag("section", heading, stair, ground(report), id="tiers")


def tier(index: int, stage: Stage) -> Html:
    kind = hue(stage)
    meaning = say(f"tier.{kind}") if kind in KINDS else text(stage.get("kind"))
    head = tag(
        "div",
        tag("span", text(index), cls="kind"),
        tag("bdi", text(stage.get("name")), cls="name"),
        tag("span", meaning, cls="kind"),
        status(stage.get("status")),
        gate(stage),
        cls="head",
    )
    long = tag("p", known("kind", stage.get("kind")), cls="soft small")
    return tag("li", tag("div", head, long), *findings(stage), foot(stage), cls=f"card tier {kind}")


def hue(stage: Stage) -> str:
    kind = str(stage.get("kind"))
    return kind if kind in KINDS and stage.get("name") != BASE else "other"


def gate(stage: Stage) -> Html:
    if gate_failed(stage):
        return tag("span", text(MARKS["bad"] + " "), say("gate"), cls="pill bad")
    if stage.get("gate") == "passed" and stage.get("gates") != []:
        return tag("span", text(MARKS["good"] + " "), say("gate"), cls="pill good")
    unguarded = stage.get("gate") in ("none", "passed") and stage.get("status") == "done"
    return tag("span", say("gate.missing"), cls="pill") if unguarded else NOTHING


def findings(stage: Stage) -> Iterator[Html]:
    """The strongest gain and the largest cost, each a sentence with its interval."""
    found = telling(changes(stage))
    if not found:
        key = "unmeasured" if stage.get("status") == "done" else "not.yet"
        yield tag("p", say(key), cls="soft")
        yield from progress(stage)
        return
    count = say("among", n=text(len(found)))
    for direction, looks, some, none in (
        ("better", "good", "gain.best", "gain.none"),
        ("worse", "bad", "cost.worst", "cost.none"),
    ):
        best = strongest(found, "better" if direction == "better" else "worse")
        if best:
            yield tag("p", finding(best[0], some, looks), cls="line")
        else:
            yield tag("p", say(none), text(" "), count, cls="soft")


def progress(stage: Stage) -> Iterator[Html]:
    """Where a stage without results is: its last recorded step."""
    curve = mapping(stage.get("curve"))
    steps, losses = sequence(curve.get("step")), sequence(curve.get("loss"))
    if steps and losses:
        step, loss = text(whole(number(steps[-1]))), figure(fixed(number(losses[-1]), 3))
        yield tag("p", say("at.step", step=step, loss=loss))


def finding(change: Change, key: str, looks: str) -> Html:
    places = change.decimals
    symbol = "\u25b2" if looks == "good" else "\u25bc"
    return join(
        (
            tag("span", text(symbol + " "), say(key), cls=f"{looks} small"),
            tag("br"),
            tag("b", bdi(change.metric)),
            text(" "),
            tag("span", figure(fixed(change.old, places)), text(" \u2192 "), cls="nowrap"),
            tag("span", figure(fixed(change.new, places)), cls="nowrap"),
            text(" "),
            tag("b", figure(change.shown), cls=looks),
            text(" "),
            tag("span", figure(change.interval), cls="soft nowrap"),
        )
    )


def foot(stage: Stage) -> Html:
    parts = [tag("span", part) for part in spent(stage)]
    return tag("p", *parts, cls="foot dots") if parts else NOTHING


def spent(stage: Stage) -> list[Html]:
    """What a stage cost."""
    parts = []
    if number(stage.get("seconds")) is not None:
        parts.append(spell(duration(number(stage["seconds"]))))
    if tokens_seen(stage):
        parts.append(say("n.tokens", n=spell(amount(tokens_seen(stage)))))
    if number(stage.get("tokens_per_second")) is not None:
        parts.append(say("per.second", n=spell(amount(number(stage["tokens_per_second"])))))
    if (number(stage.get("attempts")) or 0) > 1:
        parts.append(say("tried", n=text(stage["attempts"])))
    alarms = len(fired(verdicts(stage, "rules")))
    if alarms:
        parts.append(tag("span", say("monitors", n=text(alarms)), cls="care"))
    return parts


def ground(report: Report) -> Html:
    model = mapping(report.get("model"))
    if not model:
        return NOTHING
    origin = model.get("origin")
    shown = say("scratch") if origin == "scratch" else bdi(origin or "?")
    parts = [tag("b", shown)]
    if number(model.get("parameters")) is not None:
        parts.append(say("parameters", n=spell(amount(number(model["parameters"])))))
    for key in ("layers", "hidden_size", "vocab_size"):
        if number(model.get(key)) is not None:
            parts.append(say(key, n=text(f"{model[key]:,}")))
    parts += [status(base(report).get("status")), *spent(base(report))] if base(report) else []
    facts = tag("span", *(tag("span", part) for part in parts), cls="dots")
    return tag("p", say("from"), text(" "), facts, cls="card ground")


def notes(report: Report) -> Html:
    found: Sequence[object] = sequence(report.get("notes"))
    if not found:
        return NOTHING
    listed = tag("ul", *(tag("li", prose(note), dir="auto") for note in found))
    return tag("div", tag("b", say("notes")), listed, cls="card notes")


def spell(value: Both) -> Html:
    return both(text(value[0]), text(value[1]))
