"""HWPX and HWP 5: headings, lists, tables, boxes and notes in the order of the text.

python-hwpx opens both as the same elements. Running heads, comments that are hidden and text that
a tracked change deletes are left out; so are automatic numbers, which are not in the file's text.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final

from samdan.data.readers.file import File, Refused, Row, document, iso_date
from samdan.data.readers.markdown import Cell, heading, is_frame, item, joined, table
from samdan.data.readers.ooxml import child, local, refuse_locked, value
from samdan.records import Drop

HEADING_LEVELS: Final = 3
HEADING_CHARS: Final = 80  # offices number whole sentences by the outline; those are items
_LOCKED: Final = ("hwp5-password", "hwp5-distribution", "hwp5-drm")
_FOREIGN: Final = ("hwp5-not-hwp5", "hwp5-version-unsupported")
# Holds text among other things: shapes, their captions, groups of them.
_SHAPES: Final = frozenset(
    (
        *("rect", "ellipse", "polygon", "curve", "line", "connectLine", "arc", "container", "pic"),
        *("ole", "drawText", "caption", "subList", "case", "default", "chart", "video", "equation"),
        "textart",
    )
)
_MARKS: Final = {"tab": "\t", "lineBreak": "\n", "nbSpace": " ", "fwSpace": " ", "hyphen": "-"}


def hwp_rows(file: File) -> Iterator[Row | Drop]:
    from hwpx import HwpxDocument
    from hwpx.errors import Hwp5Error, HwpxError
    from hwpx.opc.package import HwpxPackageError
    from hwpx.opc.security import HwpxSecurityError

    content = file.read()
    refuse_locked(content)
    if content.startswith(b"HWP Document File V"):
        raise Refused("unsupported_file", "HWP 3; save it as HWPX")
    if b"encryption-data" in _manifest(content):
        raise Refused("encrypted_file", "it has a password")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about master pages and drawings, which hold no text
            opened = HwpxDocument.open(content)
    except Hwp5Error as error:
        code = str(error.code)
        reason = "encrypted_file" if code in _LOCKED else f"broken_{file.suffix}"
        reason = "unsupported_file" if code in _FOREIGN else reason
        raise Refused("reader_limit" if "limit" in code else reason, str(error)) from None
    except HwpxSecurityError as error:
        raise Refused("reader_limit", str(error)) from None
    except (HwpxError, HwpxPackageError) as error:
        raise Refused(f"broken_{file.suffix}", str(error)) from None
    kinds = _kinds(opened.headers[0].element) if opened.headers else {}
    blocks = [b for section in opened.sections for b in _blocks(section.element, kinds)]
    yield document(file, joined(blocks), *_properties(opened.oxml.manifest))


def _manifest(content: bytes) -> bytes:
    """Where an HWPX file says that it is encrypted."""
    import io
    import zipfile

    if not content.startswith(b"PK"):
        return b""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if "META-INF/manifest.xml" not in archive.namelist():
            return b""
        with archive.open("META-INF/manifest.xml") as stream:
            return stream.read(1_000_000)


def _properties(manifest: Any) -> tuple[str, str]:
    found = {value(n, "name") or local(n): n.text or "" for n in manifest.iter() if local(n)}
    dates = (found.get(name, "") for name in ("ModifiedDate", "CreatedDate"))
    return found.get("title", ""), next(filter(None, map(iso_date, dates)), "")


def _kinds(head: Any) -> dict[str, tuple[str, int]]:
    """What the paragraph properties of an id make of a paragraph: NONE, OUTLINE, NUMBER, BULLET."""
    found = {}
    for node in head.iter():
        if local(node) == "paraPr":
            mark = child(node, "heading")
            level = value(mark, "level")
            found[value(node, "id")] = (value(mark, "type"), int(level) if level.isdecimal() else 0)
    return found


def _blocks(
    node: Any, kinds: Mapping[str, tuple[str, int]], inside: bool = False
) -> Iterator[str]:
    for inner in node:
        if local(inner) == "p":
            yield from _paragraph(inner, kinds, inside)
        elif local(inner) == "switch":  # the same content for newer and for older programs
            yield from _blocks(inner[:1], kinds, inside)
        elif local(inner) in _SHAPES:
            yield from _blocks(inner, kinds, inside)


def _paragraph(
    node: Any, kinds: Mapping[str, tuple[str, int]], inside: bool
) -> Iterator[str]:
    text = ""
    behind: list[str] = []
    for run in node:
        for part in run if local(run) == "run" else ():
            name = local(part)
            if name == "t":
                text += _text(part)
            elif name == "tbl":
                behind.append(_table(part, kinds, inside))
            elif name in ("compose", "dutmal", "equation"):
                text += _beside(part)
            elif name == "ctrl":
                notes = [note for note in part if local(note) in ("footNote", "endNote")]
                behind += (f"({said})" for note in notes if (said := _note(note, kinds)))
            elif name in _SHAPES or name == "switch":
                behind += _blocks([part], kinds, inside)
    yield _shaped(text.strip(), *kinds.get(value(node, "paraPrIDRef"), ("", 0)))
    yield from behind


def _shaped(text: str, kind: str, level: int) -> str:
    if kind == "OUTLINE" and level < HEADING_LEVELS and len(text) <= HEADING_CHARS:
        return heading(level + 1, text)
    return item(text, level) if kind in ("OUTLINE", "NUMBER", "BULLET") else text


def _text(node: Any) -> str:
    parts = [node.text or ""]
    deleted = False
    for inner in node:
        name = local(inner)
        if name in ("deleteBegin", "deleteEnd"):
            deleted = name == "deleteBegin"
        elif not deleted:
            parts.append(_MARKS.get(name, ""))
        if not deleted:
            parts.append(inner.tail or "")
    return "".join(parts)


def _beside(node: Any) -> str:
    """Characters over each other, a word with its reading above, a formula."""
    if local(node) == "compose":
        return value(node, "composeText")
    main = child(node, "mainText") if local(node) == "dutmal" else child(node, "script")
    return "" if main is None else main.text or ""


def _note(node: Any, kinds: Mapping[str, tuple[str, int]]) -> str:
    return " ".join(joined(_blocks(node, kinds)).split())


def _table(node: Any, kinds: Mapping[str, tuple[str, int]], inside: bool) -> str:
    rows = [[cell for cell in row if local(cell) == "tc"] for row in node if local(row) == "tr"]
    bars = inside or not is_frame([len(row) for row in rows])
    cells = (
        [Cell(joined(_blocks(cell, kinds, bars)), *_span(child(cell, "cellSpan"))) for cell in row]
        for row in rows
    )
    captions = [inner for inner in node if local(inner) == "caption"]
    return joined([table(cells, inside), *_blocks(captions, kinds, inside)])


def _span(span: Any) -> tuple[int, int]:
    columns, rows = value(span, "colSpan"), value(span, "rowSpan")
    return int(columns) if columns.isdecimal() else 1, int(rows) if rows.isdecimal() else 1
