"""The report as plain text for a terminal: the same findings, without colours."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from samdan.report.markup import one_line
from samdan.report.numbers import amount, duration, fixed, number
from samdan.report.reading import (
    Change,
    Report,
    Stage,
    changes,
    fired,
    gate_failed,
    off_balance,
    overall,
    stages,
    strongest,
    telling,
    tokens_seen,
    verdicts,
)
from samdan.report.words import WORDS, english

MOST = 3  # changes of each direction that are named


def summary(report: Report) -> str:
    """One block for the run and one per stage, each with its most important changes."""
    blocks = ["\n".join(_top(report))]
    blocks += ["\n".join(_block(stage)) for stage in stages(report)]
    return "\n\n".join(blocks) + "\n"


def _top(report: Report) -> Iterator[str]:
    found = overall(report)
    wall = duration(number(report.get("wall_seconds")))[0]
    yield f"{one_line(report.get('name'))}: {status_word(report.get('status'))}, {wall}"
    yield f"{english(found.title)}."
    for reason in found.reasons:
        values = {key: one_line(value) for key, value in reason.values.items()}
        yield f"  {english(reason.key, **values)}"
    if report.get("message"):
        yield f"  {one_line(report['message'])}"


def _block(stage: Stage) -> Iterator[str]:
    yield "  ".join(_facts(stage))
    found = telling(changes(stage))
    gains, losses = strongest(found, "better"), strongest(found, "worse")
    yield from _lines([("+", c) for c in gains[:MOST]] + [("-", c) for c in losses[:MOST]])
    yield from _rest(found, len(gains), len(losses))
    for kind, mark in (("gates", "FAILED"), ("rules", "fired")):
        for verdict in fired(verdicts(stage, "gates" if kind == "gates" else "rules")):
            said = one_line(verdict.get("message") or "")
            yield f"  ! {mark}: {one_line(verdict.get('rule'))}" + (f": {said}" if said else "")
    for source in off_balance({"stages": [stage]}):
        yield f"  ! tokens do not add up: {one_line(source)}"


def _facts(stage: Stage) -> Iterator[str]:
    name, kind = one_line(stage.get("name")), one_line(stage.get("kind"))
    yield name if name == kind else f"{name} ({kind})"
    yield status_word(stage.get("status"))
    gates = verdicts(stage, "gates")
    if gates:
        yield f"gates {len(gates) - len(fired(gates))}/{len(gates)}"
    elif gate_failed(stage):
        yield "gate failed"
    if number(stage.get("seconds")) is not None:
        yield duration(number(stage["seconds"]))[0]
    if tokens_seen(stage):
        yield f"{amount(tokens_seen(stage))[0]} tokens"
    if number(stage.get("tokens_per_second")) is not None:
        yield f"{amount(number(stage['tokens_per_second']))[0]} tokens/s"
    if (number(stage.get("attempts")) or 0) > 1:
        yield f"{one_line(stage['attempts'])} attempts"


def _rest(found: Sequence[Change], gains: int, losses: int) -> Iterator[str]:
    """How many metrics are not named above, and why."""
    counts = [
        (max(0, gains - MOST), "more better"),
        (max(0, losses - MOST), "more worse"),
        (sum(c.direction == "unclear" for c in found), "without a clear change"),
        (sum(c.direction == "unknown" for c in found), "that cannot be judged"),
    ]
    named = [f"{count} {what}" for count, what in counts if count]
    if named:
        yield f"  ~ {', '.join(named)}"


def _lines(found: Sequence[tuple[str, Change]]) -> Iterator[str]:
    rows = [
        (
            one_line(c.metric),
            f"{fixed(c.old, c.decimals)} -> {fixed(c.new, c.decimals)}",
            c.shown,
            c.interval,
        )
        for _, c in found
    ]
    for (mark, _), line in zip(found, aligned(rows), strict=True):
        yield f"  {mark} {line}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, their columns below each other also where letters are wide."""
    widths = [max(map(_width, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _width(shown: str) -> int:
    """Columns in a terminal: Hangul and Han take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in shown
    )


def status_word(value: object) -> str:
    key = f"status.{value}"
    return english(key) if key in WORDS else one_line(value)
