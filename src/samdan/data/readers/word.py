"""DOCX: headings, lists, tables, text boxes and notes in the order of the text.

Tracked changes are read as accepted. Running heads and comments are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from samdan.data.readers.file import File, Row, document
from samdan.data.readers.markdown import Cell, heading, is_frame, item, joined, table
from samdan.data.readers.ooxml import Package, child, local, package, value
from samdan.records import Drop

# Holds what its children are; everything else that is not named here says nothing.
_AROUND: Final = frozenset(
    (
        *("body", "sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo", "hyperlink"),
        *("fldSimple", "r", "ruby", "rubyBase", "oMath", "oMathPara", "footnote", "endnote"),
        *("txbxContent", "bdo", "dir"),
    )
)
_MARKS: Final = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": "\t"}
_MAX_CHAIN: Final = 20  # styles that are based on each other


@dataclass(frozen=True, slots=True)
class _Style:
    """What a paragraph style makes of a paragraph: a heading of a level from 1, or an item."""

    level: int = 0
    listed: bool = False


def docx_rows(file: File) -> Iterator[Row | Drop]:
    with package(file) as parts:
        main = parts.main()
        styles = _styles(parts, main)
        blocks = list(_blocks(parts.xml(main), styles))
        for kind, mark in (("footnotes", "^"), ("endnotes", "^e")):
            blocks += _notes(parts, main, kind, mark, styles)
        yield document(file, joined(blocks), *parts.properties())


def _part(parts: Package, main: str, kind: str) -> Any:
    path = next((path for name, path in parts.targets(main).values() if name == kind), "")
    return parts.xml(path) if path in parts.names else ()


def _styles(parts: Package, main: str) -> dict[str, _Style]:
    found = {value(s, "styleId"): s for s in _part(parts, main, "styles") if local(s) == "style"}
    return {name: _style(name, found) for name in found}


def _style(name: str, styles: Mapping[str, Any]) -> _Style:
    listed = False
    for _ in range(_MAX_CHAIN):
        style = styles.get(name)
        if style is None:
            break
        called = value(child(style, "name")).lower()
        listed = listed or child(style, "pPr", "numPr") is not None
        level = _outline(style)
        if called == "title":
            return _Style(1)
        if called.startswith("heading ") and called[8:].isdigit():
            return _Style(int(called[8:]))
        if level:
            return _Style(level)
        name = value(child(style, "basedOn"))
    return _Style(listed=listed)


def _notes(
    parts: Package, main: str, kind: str, mark: str, styles: Mapping[str, _Style]
) -> Iterator[str]:
    for note in _part(parts, main, kind):
        # Those with a type are the lines that part notes from the text.
        if local(note) == kind[:-1] and not value(note, "type"):
            text = " ".join(joined(_blocks(note, styles)).split())
            if text:
                yield f"[{mark}{value(note, 'id')}]: {text}"


def _blocks(node: Any, styles: Mapping[str, _Style], inside: bool = False) -> Iterator[str]:
    for inner in node:
        name = local(inner)
        if name == "p":
            yield from _paragraph(inner, styles)
        elif name == "tbl":
            yield _table(inner, styles, inside)
        elif name == "AlternateContent":
            yield from _blocks(_choice(inner), styles, inside)
        elif name in _AROUND:
            yield from _blocks(inner, styles, inside)


def _choice(node: Any) -> Any:
    """The same content stands in it once for new programs and once for old ones."""
    chosen = child(node, "Choice")
    return () if chosen is None else chosen


def _paragraph(node: Any, styles: Mapping[str, _Style]) -> Iterator[str]:
    boxes: list[Any] = []
    text = "".join(_inline(node, boxes)).strip()
    style, level = _style_of(node, styles)
    if style.level:
        yield heading(style.level, text)
    else:
        yield item(text, level) if style.listed else text
    for box in boxes:
        yield from _blocks(box, styles)


def _style_of(node: Any, styles: Mapping[str, _Style]) -> tuple[_Style, int]:
    """The style, and how deep an item lies."""
    style = styles.get(value(child(node, "pPr", "pStyle")), _Style())
    numbered = child(node, "pPr", "numPr")
    if level := _outline(node):
        return _Style(level), 0
    if numbered is None:
        return style, 0
    listed = value(child(numbered, "numId")) != "0"  # 0 takes the number of a style away
    depth = value(child(numbered, "ilvl"))
    return _Style(style.level, listed), int(depth) if depth.isdecimal() else 0


def _outline(node: Any) -> int:
    """The level in the outline, from 1; 0 for body text."""
    level = value(child(node, "pPr", "outlineLvl"))
    return int(level) + 1 if level in tuple("012345678") else 0


def _inline(node: Any, boxes: list[Any]) -> Iterator[str]:
    for inner in node:
        name = local(inner)
        if name == "t":
            yield inner.text or ""
        elif name in _MARKS:
            yield _MARKS[name]
        elif name in ("footnoteReference", "endnoteReference"):
            yield f"[{'^' if name[0] == 'f' else '^e'}{value(inner, 'id')}]"
        elif name == "AlternateContent":
            yield from _inline(_choice(inner), boxes)
        elif name in ("drawing", "pict", "object"):
            boxes += [box for box in inner.iter() if local(box) == "txbxContent"]
        elif name in _AROUND or _is_math(inner):
            yield from _inline(inner, boxes)


def _is_math(node: Any) -> bool:
    return isinstance(node.tag, str) and "/math}" in node.tag and not local(node).endswith("Pr")


def _table(node: Any, styles: Mapping[str, _Style], inside: bool) -> str:
    rows = [
        [cell for cell in _held(row, "tc") if not _is_covered(cell)] for row in _held(node, "tr")
    ]
    bars = inside or not is_frame([len(row) for row in rows])
    return table(
        (
            [Cell(joined(_blocks(cell, styles, bars)), _span(cell)) for cell in _held(row, "tc")]
            for row in _held(node, "tr")
        ),
        inside,
    )


def _held(node: Any, name: str) -> Iterator[Any]:
    """The rows of a table or the cells of a row, also in a content control or a tracked change."""
    for inner in node:
        if local(inner) == name:
            yield inner
        elif local(inner) in _AROUND:
            yield from _held(inner, name)


def _is_covered(cell: Any) -> bool:
    merged = child(cell, "tcPr", "vMerge")
    return merged is not None and value(merged) != "restart"


def _span(cell: Any) -> int:
    span = value(child(cell, "tcPr", "gridSpan"))
    return int(span) if span.isdecimal() else 1
