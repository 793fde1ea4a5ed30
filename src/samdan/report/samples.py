"""Answers of all models to the same question, side by side, with a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from samdan.report.evidence import section
from samdan.report.markup import NOTHING, Html, bdi, join, prose, tag, text
from samdan.report.numbers import DASH, mapping, sequence
from samdan.report.overview import KINDS
from samdan.report.reading import Report, risen
from samdan.report.words import in_turn, say, spoken

OPEN_SAMPLES, MOST_SAMPLES = 4, 1000
PRINTED = 40  # of a page on paper; a search that was made is printed whole
MOST_BYTES = 600_000  # of the page; what is left out is counted, and is in report.json
MOST_ANSWER = 3000  # characters

Sample = Mapping[str, Any]


def samples(report: Report, most_bytes: int = MOST_BYTES) -> Html:
    every = [mapping(sample) for sample in sequence(report.get("samples"))]
    if not every:
        return section("samples", tag("p", say("samples.none"), cls="soft"))
    kinds = {str(stage.get("name")): str(stage.get("kind")) for stage in risen(report)}
    shown: list[Html] = []
    size = 0
    for sample in every[:MOST_SAMPLES]:
        card = _sample(sample, kinds, len(shown) >= PRINTED)
        size += len(card.encode("utf-8", "replace"))
        if shown and size > most_bytes:
            break
        shown.append(card)
    rest = shown[OPEN_SAMPLES:]
    unprinted = max(0, len(shown) - PRINTED)
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
        tag("p", say("samples.unprinted", n=text(unprinted)), cls="soft unprinted")
        if unprinted
        else NOTHING,
    )


def _search(judged: bool) -> Html:
    """Without script there is nothing to search with, and it is not shown."""
    field = tag("input", type="search", data_do="find", aria_label=spoken("samples.search"),
                placeholder=spoken("samples.search"), **in_turn("samples.search"))  # fmt: skip
    found = tag("span", say("samples.found", n=tag("b", cls="found")), cls="soft small",
                role="status")  # fmt: skip
    if not judged:
        return tag("div", field, found, cls="find")
    kinds = (tag("option", text(spoken(key)), value=kind, **in_turn(key)) for kind in
             ("all", "gained", "lost") if (key := f"samples.{kind}"))  # fmt: skip
    select = tag("select", *kinds, data_do="which", aria_label=spoken("samples.which"),
                 **in_turn("samples.which"))  # fmt: skip
    return tag("div", field, select, found, cls="find")


def _sample(sample: Sample, kinds: Mapping[str, str], late: bool) -> Html:
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
        cls="card sample late" if late else "card sample",
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
        heading = say("base") if name == "base" else bdi(name)
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
