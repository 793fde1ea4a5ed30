"""The data card: what a stage's sources are made of, as Markdown and as a section of the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from samdan.report.evidence import stage_heading
from samdan.report.markup import NOTHING, Html, bdi, figure, join, markdown_text, tag, text
from samdan.report.numbers import DASH, mapping, number, sequence, whole
from samdan.report.reading import Report, stages
from samdan.report.table import Cell, column, table
from samdan.report.words import WORDS, say

RECORDS = ("records_in", "trained", "heldout", "tokens")
# The lists are counted at different steps of preparation.
COUNTED = (
    "Licences, letters and years are of the records that passed the filters, also those that "
    "are held out or dropped later; cleaning and personal data of all that were read; lengths of "
    "what is trained on."
)
MOST = 6  # values of a list that are shown; the rest is added up
LEAST = 0.0005  # a share that would be shown as 0.0%
# What a card lists besides records; ``WORDS`` holds a heading for each.
LISTS = ("dropped", "license", "script", "year", "lengths", "cleaned", "personal")


def markdown(name: str, stage: str, sources: Mapping[str, Mapping[str, Any]]) -> str:
    """The data card of one stage. ``sources``: facts by source, as in report.json."""
    lines = [f"# Data of {markdown_text(name)}, stage {markdown_text(stage)}", ""]
    lines += ["| source | role | records in | trained on | held out | tokens | dropped |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for label, facts in sources.items():
        counts = (whole(number(facts.get(key)) or 0) for key in RECORDS)
        lost = whole(sum(_numbers(facts.get("dropped")).values()))
        name = markdown_text(label)
        lines.append(f"| {name} | {facts.get('role', '')} | {' | '.join(counts)} | {lost} |")
    lines += ["", "Records in = trained on + held out + dropped, for every source.", "", COUNTED]
    for label, facts in sources.items():
        lines += ["", f"## {markdown_text(label)}", ""]
        listed = ((WORDS[f"card.{key}"][0], markdown_text(shown)) for key, shown in _listed(facts))
        lines += [f"- {heading} {shown}" for heading, shown in listed]
        lines += [f"- {markdown_text(note)}" for note in sequence(facts.get("notes"))]
    return "\n".join(lines) + "\n"


def cards(report: Report) -> Html:
    """A table per stage: each source, and what it is made of."""
    shown = [card for stage in stages(report) if (card := _stage_card(stage))]
    return join((tag("h3", say("card")), *shown)) if shown else NOTHING


def _stage_card(stage: Mapping[str, Any]) -> Html:
    sources = mapping(stage.get("data"))
    if not sources:
        return NOTHING
    columns = (
        column("source", "head"),
        column("card.records_in", "num"),
        column("card.trained", "num"),
        column("card.heldout", "num"),
        column("card.tokens", "num"),
        column("dropped", "num lost"),
        column("card.made", "text wide"),
    )
    rows = [_row(str(label), mapping(facts)) for label, facts in sources.items()]
    return join((stage_heading(stage), table(say("card"), columns, rows)))


def _row(label: str, facts: Mapping[str, Any]) -> list[Html | Cell]:
    made = [
        tag("div", tag("b", say(f"card.{key}")), text(f" {shown}"), cls="small")
        for key, shown in _listed(facts)
    ]
    notes = (tag("div", text(note), cls="small") for note in sequence(facts.get("notes")))
    return [
        bdi(label),
        *(_count(facts, key) for key in RECORDS),
        figure(whole(sum(_numbers(facts.get("dropped")).values()))),
        join((*made, *notes)),
    ]


def _count(facts: Mapping[str, Any], key: str) -> Html:
    value = number(facts.get(key))
    return text(DASH) if value is None else figure(whole(value))


def _listed(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every list of the card that says something, the largest values first."""
    for key in LISTS:
        counts = _numbers(facts.get(key))
        if not counts or set(counts) == {"unknown"}:
            continue
        if key == "year" and len(counts) > MOST:
            counts = _decades(counts)
        largest_first = [name for name, _ in Counter(counts).most_common()]
        order = sorted(counts, key=_leading) if key in ("year", "lengths") else largest_first
        yield key, ", ".join(_values(key, order, counts))


def _values(key: str, order: Sequence[str], counts: Mapping[str, float]) -> Iterator[str]:
    total = sum(counts.values())
    most = MOST if key in ("license", "script", "cleaned") else len(order)
    for name in order[:most]:
        if key == "script":
            if counts[name] / total >= LEAST:
                yield f"{name} {counts[name] / total:.1%}"
        elif key == "lengths":
            yield f"{name}+ {whole(counts[name])}"
        else:
            yield f"{name} {whole(counts[name])}"
    if rest := sum(counts[name] for name in order[most:]):
        yield f"other {rest / total:.1%}" if key == "script" else f"other {whole(rest)}"


def _decades(years: Mapping[str, float]) -> dict[str, float]:
    found: Counter[str] = Counter()
    for year, count in years.items():
        found[f"{year[:3]}0s" if year.isdigit() else year] += int(count)
    return {name: float(count) for name, count in found.items()}


def _leading(name: str) -> float:
    digits = name.removesuffix("s")
    return float(digits) if digits.isdigit() else math.inf


def _numbers(counts: object) -> dict[str, float]:
    return {str(name): value for name, given in mapping(counts).items() if (value := number(given))}
