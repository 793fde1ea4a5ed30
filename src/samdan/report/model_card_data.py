"""What of a model card is about data: sources, licences, what was left out, languages, names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from samdan.report.markup import markdown_text
from samdan.report.numbers import mapping, number, sequence, whole
from samdan.report.reading import Report, Stage, stages

Facts = Mapping[str, Any]
Say = Callable[..., str]
_NAME: Final = re.compile(r"[\w./@+-]{1,200}")
UNKNOWN: Final = "unknown"
_CONTAMINATION: Final = "Evaluation items and held-out records"  # a note that points to a file
# A script's share of all letters from which a language is named; what Latin letters are is a guess.
LEAST: Final = 0.05
LANGUAGES: Final[Mapping[str, str]] = {"hangul": "ko", "latin": "en", "kana": "ja"}


def languages(every: Sequence[Stage]) -> list[str]:
    """Codes of the languages whose script makes up a share of what the stages trained on."""
    letters: Counter[str] = Counter()
    for stage in every:
        for source in mapping(stage.get("data")).values():
            for script, count in mapping(mapping(source).get("script")).items():
                letters[str(script)] += int(number(count) or 0)
    total = sum(letters.values())
    return [c for s, c in LANGUAGES.items() if total and letters[s] / total >= LEAST]


def so_far(facts: Facts, report: Report) -> list[Stage]:
    """All that the exported model has learned from; what came later is not its business."""
    every = list(stages(report))
    names = [stage.get("name") for stage in every]
    chosen = facts.get("stage")
    return every[: names.index(chosen) + 1] if chosen in names else every


def sources_of(facts: Facts) -> Mapping[str, Any]:
    return mapping(facts.get("sources"))


def code(value: object) -> str:
    """A name in code type, if it is one; else as text that says just this."""
    shown = str(value)
    return f"`{shown}`" if _NAME.fullmatch(shown) else markdown_text(value)


def data_lines(facts: Facts, report: Report, say: Say) -> Iterator[str]:
    rows = list(_data_rows(facts, report, say))
    if not rows:
        yield say("data.none")
        return
    yield say("data.head")
    yield "|---|---|---|---|---|---:|---:|---:|"
    yield from rows
    yield ""
    yield say("data.how")
    found: Counter[str] = Counter()
    for stage in so_far(facts, report):
        for label, source in mapping(stage.get("data")).items():
            for kind, count in mapping(mapping(source).get("personal")).items():
                found[str(kind)] += int(number(count) or 0)
            name = f"{code(stage.get('name'))}/{code(label)}"
            if n := number(mapping(mapping(source).get("dropped")).get("contaminated")):
                yield "- " + say("data.items", n=whole(n), source=name)
            for note in sequence(mapping(source).get("notes")):
                if not str(note).startswith(_CONTAMINATION):
                    yield f"- {name}: {markdown_text(note)}"
    if found:
        shown = ", ".join(f"{markdown_text(kind)} {whole(n)}" for kind, n in found.most_common())
        yield f"- {say('data.personal', shown=shown)}"


def _data_rows(facts: Facts, report: Report, say: Say) -> Iterator[str]:
    for stage in so_far(facts, report):
        name = str(stage.get("name"))
        for label, given in mapping(stage.get("data")).items():
            source = mapping(given)
            where = mapping(sources_of(facts).get(f"{name}/{label}"))
            place = say("data.local")
            if where.get("hub"):
                at = f"@{where['revision']}" if where.get("revision") else ""
                place = code(f"{where['hub']}{at}")
            cells = (
                code(name), markdown_text(label), markdown_text(source.get("role")), place,
                _licences(mapping(source.get("license")), say),
                whole(number(source.get("trained"))), whole(number(source.get("tokens"))),
                _dropped(mapping(source.get("dropped"))),
            )  # fmt: skip
            yield f"| {' | '.join(cells)} |"


def _dropped(reasons: Mapping[str, Any]) -> str:
    """How many, and why, the most frequent reasons first."""
    counts = {str(name): number(n) or 0.0 for name, n in reasons.items()}
    if not sum(counts.values()):
        return "0"
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    named = ", ".join(f"{markdown_text(name)} {whole(n)}" for name, n in ordered if n)
    return f"{whole(sum(counts.values()))} ({named})"


def _licences(counts: Mapping[str, Any], say: Say) -> str:
    numbers = {str(name): number(n) or 0.0 for name, n in counts.items()}
    if not numbers or set(numbers) == {UNKNOWN}:
        return f"**{say('data.unknown')}**"
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{say('data.unknown') if name == UNKNOWN else markdown_text(name)} ({whole(count)})"
        for name, count in ordered
    )
