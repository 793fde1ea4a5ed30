"""PPTX: slides in order, the title of each as a heading, its notes as a quotation behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from samdan.data.readers.file import File, Row, document
from samdan.data.readers.markdown import Cell, heading, item, joined, table
from samdan.data.readers.ooxml import Package, child, local, package, value
from samdan.records import Drop

_TITLES: Final = frozenset(("title", "ctrTitle"))
_RUNNING: Final = frozenset(("sldNum", "ftr", "dt", "hdr"))
_ITEMIZED: Final = frozenset(("", "body", "obj", "subTitle"))


def pptx_rows(file: File) -> Iterator[Row | Drop]:
    with package(file) as parts:
        main = parts.main()
        slides = parts.targets(main)
        order = child(parts.xml(main), "sldIdLst")
        blocks: list[str] = []
        for slide in () if order is None else order:
            kind, path = slides.get(_relation(slide), ("", ""))
            if kind == "slide" and path in parts.names:
                blocks += _slide(parts, path)
        yield document(file, joined(blocks), *parts.properties())


def _relation(slide: Any) -> str:
    """Of the two attributes called id, the one with a namespace."""
    return next((text for key, text in slide.attrib.items() if key.endswith("}id")), "")


def _slide(parts: Package, path: str) -> Iterator[str]:
    yield from _shapes(child(parts.xml(path), "cSld", "spTree"))
    for kind, notes in parts.targets(path).values():
        if kind == "notesSlide" and notes in parts.names:
            said = joined(_shapes(child(parts.xml(notes), "cSld", "spTree"), notes=True))
            yield "\n".join(f"> {line}" for line in said.splitlines() if line)


def _shapes(tree: Any, notes: bool = False) -> Iterator[str]:
    """Of a page of notes only what was written: the rest shows the slide again."""
    for shape in () if tree is None else tree:
        name = local(shape)
        kind = _placeholder(shape)
        if name == "grpSp":
            yield from _shapes(shape, notes)
        elif name == "AlternateContent":
            yield from _shapes(child(shape, "Choice"), notes)
        elif name == "graphicFrame" and not notes:
            yield from (_table(node) for node in shape.iter() if local(node) == "tbl")
        elif name in ("sp", "cxnSp") and kind not in _RUNNING and (not notes or kind == "body"):
            yield from _text(child(shape, "txBody"), kind, notes)


def _placeholder(shape: Any) -> str | None:
    """What a shape stands for on its slide; "" for content, None for a shape drawn freely."""
    marks = child(shape, "nvSpPr", "nvPr", "ph")
    return None if marks is None else value(marks, "type")


def _text(body: Any, kind: str | None, notes: bool) -> Iterator[str]:
    paragraphs = [p for p in (() if body is None else body) if local(p) == "p"]
    texts = [_paragraph(paragraph) for paragraph in paragraphs]
    if kind in _TITLES:
        yield heading(2, " ".join(texts))
        return
    for paragraph, text in zip(paragraphs, texts, strict=True):
        properties = child(paragraph, "pPr")
        depth = "" if properties is None else value(properties, "lvl")
        level = int(depth) if depth.isdigit() else 0
        itemized = kind in _ITEMIZED and not notes and child(properties, "buNone") is None
        yield item(text, level) if itemized else text


def _paragraph(node: Any) -> str:
    parts = []
    for inner in node:
        if local(inner) in ("r", "fld"):
            text = child(inner, "t")
            parts.append("" if text is None else text.text or "")
        elif local(inner) == "br":
            parts.append("\n")
    return "".join(parts).strip()


def _table(node: Any) -> str:
    rows = [[cell for cell in row if local(cell) == "tc"] for row in node if local(row) == "tr"]
    # A cell that another one covers is there, and empty.
    return table([[Cell(joined(_text(child(c, "txBody"), None, False))) for c in r] for r in rows])
