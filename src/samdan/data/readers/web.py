"""HTML: the main text with headings, lists and tables; no scripts, menus or hidden parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from samdan.data.readers.encodings import decode
from samdan.data.readers.file import File, Refused, Row, document, iso_date
from samdan.data.readers.markdown import Cell, heading, is_frame, item, joined, table
from samdan.records import Drop

_NO_DISPLAY: Final = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SPACES: Final = re.compile(r"\s+")
_CHARSET: Final = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_DATES: Final = (
    *("article:modified_time", "og:updated_time", "datemodified", "dcterms.modified"),
    *("last-modified", "article:published_time", "datepublished", "dcterms.created"),
    *("dcterms.date", "dc.date", "date", "pubdate"),
)
_NOT_READ: Final = frozenset(
    (
        *("script", "style", "noscript", "template", "nav", "iframe", "object", "embed", "svg"),
        *("math", "canvas", "audio", "video", "button", "select", "datalist", "textarea", "input"),
        *("head", "dialog", "menu"),
    )
)
_BESIDE: Final = frozenset(("header", "footer", "aside"))  # of a page; in its main text, a part
_ROLES: Final = frozenset(("navigation", "banner", "contentinfo", "search", "menu", "dialog"))
_BREAKS: Final = frozenset(
    (
        *("p", "div", "section", "article", "main", "body", "html", "blockquote", "figure"),
        *("figcaption", "ul", "ol", "dl", "dt", "dd", "li", "address", "hr", "form", "fieldset"),
        *("details", "summary", "header", "footer", "aside", "center", "caption", "legend"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "table", "tr", "td", "th", "pre"),
    )
)
_HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")


def html_rows(file: File) -> Iterator[Row | Drop]:
    from lxml import etree

    content = file.read()
    charset = _CHARSET.search(content[:4096])
    text, notes = decode(content, charset[1].decode() if charset else "")
    # Huge: 2048 elements deep instead of 256. The parser drops in silence what lies deeper.
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, remove_comments=True, huge_tree=True
    )
    # Bytes again: of a string the parser would believe no encoding, and XHTML names one.
    tree = etree.fromstring(text.encode(errors="replace"), parser) if text.strip() else None
    if tree is None:
        raise Refused("no_text", "an empty page")
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise Refused("reader_limit", "its elements lie too deep in each other")
    title, date = _about(tree)
    yield document(file, _rendered(tree), title, date, notes)


def _about(tree: Any) -> tuple[str, str]:
    found: dict[str, str] = {}
    for node in tree.iter("meta"):
        for key in ("property", "name", "itemprop", "http-equiv"):
            if name := node.get(key):
                found.setdefault(name.lower(), node.get("content") or "")
    title = " ".join("".join(tree.findtext(".//title") or "").split())
    dates = (iso_date(found.get(name)) for name in _DATES)
    return title or found.get("og:title", ""), next(filter(None, dates), "")


def _rendered(tree: Any) -> str:
    """The one main or article element where it holds text, else the page less its frame."""
    for kind in ("main", "article"):
        nodes = list(tree.iter(kind))
        if len(nodes) == 1 and (text := _Page().render(nodes[0], _NOT_READ)):
            return text
    return _Page().render(tree, _NOT_READ | _BESIDE)


def _is_hidden(node: Any, skipped: frozenset[str]) -> bool:
    if node.tag in skipped:
        return True
    about = dict(node.items())
    return bool(about) and (
        about.get("role") in _ROLES
        or "hidden" in about
        or about.get("aria-hidden") == "true"
        or ("style" in about and _NO_DISPLAY.search(about["style"]) is not None)
    )


@dataclass(slots=True)
class _Flow:
    """Blocks so far and the line that is being read, of the page or of a cell of a table."""

    span: tuple[int, int] = (1, 1)
    bars: bool = False  # whether the cell stands between bars
    blocks: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    item: int | None = None  # depth of the item that begins here

    def flush(self, level: int = 0) -> None:
        lines = (" ".join(line.split()) for line in "".join(self.line).split("\n"))
        text = "\n".join(filter(None, lines))
        self.line.clear()
        if level:
            self.blocks.append(heading(level, text))
        elif text:
            self.blocks.append(text if self.item is None else item(text, self.item))
            self.item = None


@dataclass(slots=True)
class _Page:
    """What is open while the tree is walked: pages nest deeper than functions can."""

    flows: list[_Flow] = field(default_factory=lambda: [_Flow()])
    tables: list[list[list[Cell]]] = field(default_factory=list)
    bars: list[bool] = field(default_factory=list)  # of each open table
    lists: int = 0
    raw: int = 0  # pre elements

    def render(self, root: Any, skipped: frozenset[str]) -> str:
        from lxml import etree

        walk = etree.iterwalk(root, events=("start", "end"))
        for event, node in walk:
            hidden = not isinstance(node.tag, str) or _is_hidden(node, skipped)
            if event == "start" and hidden:
                walk.skip_subtree()
            elif event == "start":
                self.open(node)
                self.say(node.text)
            else:
                if not hidden:
                    self.close(node.tag)
                if node is not root:
                    self.say(node.tail)
        self.flows[0].flush()
        return joined(self.flows[0].blocks)

    def say(self, text: str | None) -> None:
        if text:
            self.flows[-1].line.append(text if self.raw else _SPACES.sub(" ", text))

    def open(self, node: Any) -> None:
        flow, tag = self.flows[-1], node.tag
        if tag == "br":
            flow.line.append("\n")
        elif tag in ("td", "th") and self.tables:
            spans = (node.get("colspan", ""), node.get("rowspan", ""))
            columns, rows = (int(s) if re.fullmatch("[0-9]{1,4}", s) else 1 for s in spans)
            self.flows.append(_Flow((columns, rows), flow.bars or self.bars[-1]))
        elif tag in _BREAKS:
            flow.flush()
            if tag == "table":
                self.tables.append([])
                self.bars.append(not is_frame(_widths(node)))
            elif tag == "tr" and self.tables:
                self.tables[-1].append([])
            elif tag == "li":
                flow.item = max(self.lists - 1, 0)
            self.lists += tag in ("ul", "ol")
            self.raw += tag == "pre"

    def close(self, tag: str) -> None:
        flow = self.flows[-1]
        if tag in _HEADINGS:
            flow.flush(_HEADINGS.index(tag) + 1)
        elif tag == "pre":
            self.raw -= 1
            code = "".join(flow.line).strip("\n")
            flow.blocks += [f"```\n{code}\n```"] if code.strip() else []
            flow.line.clear()
        elif tag in ("td", "th") and self.tables:
            flow.flush()
            self.flows.pop()
            if not self.tables[-1]:
                self.tables[-1].append([])
            self.tables[-1][-1].append(Cell(joined(flow.blocks), *flow.span))
        elif tag in _BREAKS:
            flow.flush()
            self.lists -= tag in ("ul", "ol")
            if tag == "table":
                self.bars.pop()
                flow.blocks.append(table(self.tables.pop(), flow.bars))


def _widths(node: Any) -> list[int]:
    parts = [part for child in node for part in ([child] if child.tag == "tr" else child)]
    return [sum(cell.tag in ("td", "th") for cell in row) for row in parts if row.tag == "tr"]
