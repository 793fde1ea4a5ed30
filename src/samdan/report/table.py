"""Tables that become cards on a phone: every cell carries its heading in both languages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from samdan.report.markup import NOTHING, Html, tag, text
from samdan.report.numbers import Both
from samdan.report.words import WORDS, both


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and the classes that its cells get: ``head``, ``num``, ``wide`` and so on."""

    heading: Both
    cls: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    content: Html
    cls: str = ""


def column(key: str, cls: str = "") -> Column:
    return Column(WORDS[key], cls)


def table(caption: Html, columns: Sequence[Column], rows: Iterable[Sequence[Html | Cell]]) -> Html:
    """Rows of cells; roles keep a table a table where CSS lays it out as cards."""
    heads = (
        tag("th", _heading(one), scope="col", role="columnheader", cls=one.cls or None)
        for one in columns
    )
    body = (
        tag("tr", *(_cell(*pair) for pair in zip(columns, row, strict=True)), role="row")
        for row in rows
    )
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, cls="hide"),
            tag("thead", tag("tr", *heads, role="row"), role="rowgroup"),
            tag("tbody", *body, role="rowgroup"),
            role="table",
        ),
        cls="table",
    )


def _cell(of: Column, content: Html | Cell) -> Html:
    cell = content if isinstance(content, Cell) else Cell(content)
    looks = f"{of.cls} {cell.cls}".strip() or None
    if "head" in of.cls:
        return tag("th", cell.content, scope="row", role="rowheader", cls=looks)
    english, korean = of.heading
    return tag("td", cell.content, role="cell", cls=looks, data_e=english, data_k=korean)


def _heading(of: Column) -> Html:
    english, korean = of.heading
    return both(text(english), text(korean)) if english else NOTHING
