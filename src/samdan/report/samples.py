"""Answers of all models to the same question, side by side, with a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from samdan.report.evidence import section
from samdan.report.markup import NOTHING, Html, join, prose, tag, text
from samdan.report.numbers import DASH, mapping, sequence
from samdan.report.overview import KINDS
from samdan.report.reading import Report, risen
from samdan.report.words import WORDS, say, spoken

OPEN_SAMPLES, MOST_SAMPLES = 4, 1000
MOST_BYTES = 600_000  # of the page; what is left out is counted, and is in report.json
MOST_ANSWER = 3000  # characters

Sample = Mapping[str, Any]


def samples(report: Report) -> Html:
    every = [mapping(sample) for sample in sequence(report.get("samples"))]
    if not every:
        return section("samples", tag("p", say("samples.none"), cls="soft"))
    kinds = {str(stage.get("name")): str(stage.get("kind")) for stage in risen(report)}
    shown: list[Html] = []
    size = 0
    for sample in every[:MOST_SAMPLES]:
        card = _sample(sample, kinds)
        size += len(card.encode("utf-8", "replace"))
        if shown and size > MOST_BYTES:
            break
        shown.append(card)
    rest = shown[OPEN_SAMPLES:]
    folded = tag("details", tag("summary", say("samples.more", n=text(len(rest)))), *rest)
    left = len(every) - len(shown)
    note = tag("p", say("samples.left", n=text(left)), cls="soft") if left else NOTHING
    how = tag("p", say("samples.how"), cls="soft small")
    return section(
        "samples",
        how,
        _search(any(sample.get("right") for sample in every)) if rest else NOTHING,
        *shown[:OPEN_SAMPLES],
        folded if rest else NOTHING,
        note,
    )


def _search(judged: bool) -> Html:
    """Without script there is nothing to search with, and it is not shown."""
    field = tag("input", type="search", data_do="find", aria_label=spoken("samples.search"),
                placeholder=" / ".join(WORDS["samples.search"]))  # fmt: skip
    found = tag("span", say("samples.found", n=tag("b", cls="found")), cls="soft small",
                role="status")  # fmt: skip
    if not judged:
        return tag("div", field, found, cls="find")
    kinds = (tag("option", text(spoken(f"samples.{kind}")), value=kind) for kind in
             ("all", "gained", "lost"))  # fmt: skip
    select = tag("select", *kinds, data_do="which", aria_label=spoken("samples.which"))
    return tag("div", field, select, found, cls="find")


def _sample(sample: Sample, kinds: Mapping[str, str]) -> Html:
    right = mapping(sample.get("right"))
    task = sample.get("task")
    label = join((say("prompt"), text(f" \u00b7 {task}") if task else NOTHING))
    expected = sample.get("expected")
    hint = (
        tag("p", say("expected"), text(": "), prose(expected, 300), cls="soft small")
        if expected
        else NOTHING
    )
    answers = tag(
        "dl", *_answers(mapping(sample.get("answers")), right, kinds), cls="answers"
    )
    return tag(
        "div",
        tag("span", label, cls="soft small"),
        tag("p", _written(sample.get("prompt")), cls="asked", dir="auto"),
        hint,
        answers,
        cls="card sample",
        data_turn=_turn(list(right.values())),
    )


def _turn(right: list[object]) -> str | None:
    """From the base to the last stage: was something learnt, or lost?"""
    if len(right) < 2 or right[0] == right[-1]:
        return None
    return "gained" if right[-1] is True else "lost" if right[0] is True else None


def _answers(
    answers: Mapping[str, Any], right: Mapping[str, Any], kinds: Mapping[str, str]
) -> Iterator[Html]:
    for name, answer in answers.items():
        heading = say("base") if name == "base" else tag("bdi", text(name))
        kind = kinds.get(str(name), "")
        yield tag(
            "div",
            tag("dt", heading, _mark(right.get(name))),
            tag("dd", _written(answer), dir="auto"),
            cls=kind if kind in KINDS else None,
        )


def _mark(right: object) -> Html:
    if not isinstance(right, bool):
        return NOTHING
    mark, key, looks = ("\u2713 ", "right", "good") if right else ("\u2717 ", "wrong", "bad")
    return join((text(" "), tag("span", text(mark), say(key), cls=f"{looks} small")))


def _written(value: object) -> Html:
    if value is None:
        return text(DASH)
    return prose(value, MOST_ANSWER) if str(value) else tag("span", say("empty"), cls="soft")
