"""The first screen: did it work, what did it cost, can I ship it."""

from __future__ import annotations

from collections.abc import Iterator

from samdan.report.charts import bars
from samdan.report.markup import NOTHING, Html, bdi, figure, join, one_line, prose, tag, text
from samdan.report.numbers import amount, duration, fixed, mapping, number, whole
from samdan.report.overview import MARKS, hue, sentence, spell
from samdan.report.reading import (
    Change,
    Report,
    all_tokens,
    changes,
    fired,
    overall,
    risen,
    stages,
    strongest,
    telling,
    throughput,
    verdicts,
)
from samdan.report.words import say, spoken

MOST = 3  # changes that are named


def first_screen(report: Report) -> Html:
    cards = (_worked(report), _cost(report), _ship(report))
    return tag("div", *cards, cls="asks")


def against_base(report: Report) -> list[Change]:
    """Every metric as it was last measured, against the base."""
    last = {c.metric: c for stage in risen(report) for c in changes(stage, "base")}
    return telling(last.values())


def worked(report: Report) -> str:
    """``yes``, ``partly``, ``no`` or ``open``: by gates, and by what is clearly better or worse."""
    level, found = overall(report).level, against_base(report)
    better, worse = strongest(found, "better"), strongest(found, "worse")
    if level == "bad":
        return "no"
    if level == "open" or not found:
        return "open"
    if not better:
        return "no"
    return "partly" if len(worse) > len(better) else "yes"


def _card(key: str, level: str, answer: Html, *content: Html) -> Html:
    heading = tag("h2", say(key), cls="ask")
    told = tag("p", answer, cls=f"answer {level}".strip())
    return tag("div", heading, told, *content, cls="card ask-card")


def _marked(level: str, said: Html) -> Html:
    return join((tag("span", text(MARKS[level]), cls="mark", aria_hidden="true"), said))


def _worked(report: Report) -> Html:
    answer = worked(report)
    level = {"yes": "good", "partly": "care", "no": "bad", "open": "open"}[answer]
    found = against_base(report)
    better, worse = strongest(found, "better"), strongest(found, "worse")
    counts = {"better": len(better), "worse": len(worse), "all": len(found)}
    said = (
        say("worked.from.base", **{name: text(count) for name, count in counts.items()})
        if found
        else say("worked.unmeasured")
    )
    every = risen(report)
    done = sum(stage.get("status") == "done" for stage in every)
    progress = say("worked.stages", done=text(done), all=text(len(every)))
    listed = tag("ul", *map(_change, [*better[:MOST], *worse[:1]]), cls="changes moves")
    told = tag("p", progress, text(". "), said, cls="soft small")
    return _card("ask.worked", level, _marked(level, say(f"worked.{answer}")), listed, told)


def _change(change: Change) -> Html:
    good = change.direction == "better"
    mark = tag("span", text("\u25b2 " if good else "\u25bc "), cls="good" if good else "bad")
    old, new = fixed(change.old, change.decimals), fixed(change.new, change.decimals)
    values = join((figure(old), text(" \u2192 "), tag("b", figure(new))))
    return tag("li", mark, bdi(change.metric), text(" "), tag("span", values, cls="nowrap"))


def _cost(report: Report) -> Html:
    wall = number(report.get("wall_seconds"))
    facts = [tag("li", fact) for fact in _cost_facts(report, wall)]
    listed = tag("ul", *facts, cls="changes")
    return _card("ask.cost", "", spell(duration(wall)), listed, _time(report, wall or 0.0))


def _time(report: Report, wall: float) -> Html:
    """What the time went to: a part for every training, and the rest."""
    spent = [
        (str(stage.get("name")), hue(stage), number(stage.get("seconds")) or 0.0)
        for stage in stages(report)
    ]
    training = sum(seconds for _, _, seconds in spent)
    rest = wall - training
    if not training or rest < 0:  # a run that goes on, or one of which steps were reused
        return NOTHING
    told = ", ".join(f"{one_line(name)} {duration(seconds)[0]}" for name, _, seconds in spent)
    parts = [(f"t-{kind}", seconds) for _, kind, seconds in spent]
    drawn = bars(f"{spoken('wall')}: {told}", [[*parts, ("t-rest", rest)]], wall, 12)
    said = [
        say("cost.training", n=spell(duration(training))),
        say("cost.rest", n=spell(duration(rest))),
    ]
    return tag("div", drawn, tag("p", *(tag("span", s) for s in said), cls="dots"), cls="time")


def _cost_facts(report: Report, wall: float | None) -> Iterator[Html]:
    machine = mapping(report.get("machine"))
    device, count = machine.get("device"), number(machine.get("processes")) or 1.0
    cores = number(machine.get("cores"))
    if device == "cpu" and cores:
        yield say("cost.cpu", n=text(whole(cores)))
    elif device:
        yield say("cost.devices", n=text(whole(count)), device=text(device))
    if device and device != "cpu" and wall:
        yield say("cost.gpu.hours", n=text(f"{wall * count / 3600:,.1f}"))
    if all_tokens(report) is not None:
        yield say("cost.tokens", n=spell(amount(all_tokens(report))))
    if throughput(report) is not None:
        yield say("cost.rate", n=spell(amount(throughput(report))))
    retries = sum(max(0.0, (number(s.get("attempts")) or 1) - 1) for s in stages(report))
    if retries:
        yield say("cost.retries", n=text(whole(retries)))


def _ship(report: Report) -> Html:
    found = overall(report)
    gates = [gate for stage in stages(report) for gate in verdicts(stage, "gates")]
    passed = len(gates) - len(fired(gates))
    counted = say("ship.gates", passed=text(passed), all=text(len(gates)))
    facts = [*map(sentence, found.reasons), *([counted] if passed < len(gates) else [])]
    model = next((s.get("model") for s in reversed(risen(report)) if s.get("model")), None)
    if model and found.level in ("good", "care"):
        facts.append(say("ship.model", path=tag("code", text(model))))
    listed = tag("ul", *(tag("li", fact) for fact in facts), cls="changes")
    message = report.get("message")
    said = tag("p", prose(message), cls="said", dir="auto") if message else NOTHING
    answer = _marked(found.level, say(found.title))
    card = _card("ask.ship", found.level, answer, listed, said)
    return tag("div", card, role="status", cls=f"ship {found.level}")
