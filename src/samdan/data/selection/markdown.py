"""A selection report as Markdown, for a person to read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from samdan.data.selection.report import QUANTILES
from samdan.records import Json

TABLES = (("by_source", "Source"), ("by_year", "Year"), ("by_length", "Length in tokens"))


def rendered(report: Mapping[str, Json]) -> str:
    """The report of ``selection_report`` as Markdown."""
    before, after = report["before"], report["after"]
    share = after["tokens"] / before["tokens"] if before["tokens"] else 0.0
    lines = [
        f"# Selection by `{report['method']}`",
        "",
        f"{after['documents']:,} of {before['documents']:,} documents are kept, "
        f"{after['tokens']:,} of {before['tokens']:,} tokens ({share:.1%}); the budget was "
        f"{report['budget_tokens']:,.0f} tokens. Seed {report['seed']}.",
    ]
    if report["short_of_budget"]:
        lines += ["", "There are not enough documents for the budget."]
    lines += [f"- {_words(key)}: {_value(value)}" for key, value in report["notes"].items()]
    if report["left_out"]:
        lines += ["", "## Left out", ""]
        rows = [(_words(k), v["documents"], v["tokens"]) for k, v in report["left_out"].items()]
        lines += _table(("reason", "documents", "tokens"), rows)
    lines += ["", "## What was measured", ""]
    lines += _table(
        ("value", "of", *(f"{q:.0%}" for q in QUANTILES)),
        [
            (_words(name), side, *found[side])
            for name, found in report["values"].items()
            for side in ("before", "after")
        ],
    )
    for key, title in TABLES:
        lines += ["", f"## {title}", "", *_counts(report[key], title)]
    lines += _topics(report["topics"]) + _thresholds(report["thresholds"])
    return "\n".join(lines) + "\n"


def _counts(rows: Sequence[Mapping[str, Json]], title: str) -> list[str]:
    head = (title.lower(), "documents", "kept", "tokens", "kept", "share kept")
    return _table(
        head,
        [
            (
                row["name"],
                row["documents_before"],
                row["documents_after"],
                row["tokens_before"],
                row["tokens_after"],
                f"{row['tokens_after'] / max(1, row['tokens_before']):.1%}",
            )
            for row in rows
        ],
    )


def _topics(topics: Mapping[str, Json]) -> list[str]:
    rows = [
        (", ".join(c["terms"]), f"{c['share_before']:.1%}", f"{c['share_after']:.1%}")
        for c in topics["clusters"]
    ]
    found = f"Of a sample of {topics['sampled']:,} of {topics['documents']:,} documents."
    head = ("terms", "tokens before", "tokens after")
    return ["", "## Topics", "", found, "", *_table(head, rows)]


def _thresholds(lines: Sequence[Mapping[str, Json]]) -> list[str]:
    shown = []
    for line in lines:
        shown += ["", f"## At the line `{line['name']}` = {_value(line['limit'])}"]
        for side in ("just_kept", "just_left_out"):
            shown += ["", f"{_words(side).capitalize()}:", ""]
            shown += [
                f"- {_value(s['value'])} · {s['tokens']} tokens · {_plain(s['origin'])}: "
                f"{_plain(s['excerpt'])}"
                for s in line[side]
            ] or ["- none"]
    return shown


def _table(head: Sequence[str], rows: Sequence[Sequence[Json]]) -> list[str]:
    cells = [[_plain(_value(value)) for value in row] for row in rows]
    return [f"| {' | '.join(line)} |" for line in ([*head], ["---"] * len(head), *cells)]


def _value(value: Json) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(text: str) -> str:
    """Text of the corpus must not become a table's edge, a heading or a tag."""
    text = re.sub(r"\s+", " ", text)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
