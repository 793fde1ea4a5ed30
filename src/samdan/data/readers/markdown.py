"""The parts of a document as lines of Markdown, the same from every format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

MAX_CELL: Final = 1000  # characters; a longer cell is a column of a page, not of a table
MAX_SPAN: Final = 1000  # columns or rows of one cell; more is an attack or a mistake
_LINE_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# Controls, surrogates, and what an extractor puts for a character that it does not know.
_UNSEEN: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\ud800-\udfff\ufffe\uffff]")
_ITEM: Final = re.compile(r"\s*[-*+] ")


class Cell(NamedTuple):
    text: str
    columns: int = 1
    rows: int = 1


def heading(level: int, text: str) -> str:
    return f"{'#' * min(max(level, 1), 6)} {one_line(text)}" if text.strip() else ""


def item(text: str, level: int = 0) -> str:
    return f"{'  ' * min(level, 6)}- {one_line(text)}" if text.strip() else ""


def one_line(text: str) -> str:
    return " ".join(text.split())


def table(rows: Iterable[Sequence[Cell]], inside: bool = False) -> str:
    """A line for each row; a table that only frames its text, of one column or row or with whole
    texts in cells, loses the bars. What a merged cell covers is empty. ``inside`` another table's
    cell there are none: they would be read as that table's.
    """
    grid = [row for row in _grid(rows) if any(row)]
    width = max((len(row) for row in grid), default=0)
    used = [at for at in range(width) if any(at < len(row) and row[at] for row in grid)]
    grid = [[row[at] if at < len(row) else "" for at in used] for row in grid]
    long = any(len(text) > MAX_CELL for row in grid for text in row)
    if long or is_frame([len(row) for row in grid]):
        return joined(text for row in grid for text in row)
    if inside:
        return "\n".join(" / ".join(filter(None, row)) for row in grid)
    lines = [bar_line(row) for row in grid]
    return "\n".join([lines[0], rule(len(used)), *lines[1:]])


def is_frame(widths: Sequence[int]) -> bool:
    """Whether a table with so many cells in its rows is there for the look of the page only."""
    return len(widths) < 2 or max(widths) == 1


def bar_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(one_line(text).replace('|', chr(92) + '|') for text in cells)} |"


def rule(width: int) -> str:
    return f"|{' --- |' * width}"


def _grid(rows: Iterable[Sequence[Cell]]) -> Iterable[list[str]]:
    covered: dict[int, int] = {}  # column -> rows below that a cell covers
    for row in rows:
        line: list[str] = []
        below: dict[int, int] = {}
        for cell in row:
            while covered.get(len(line)):
                line.append("")
            columns = min(max(cell.columns, 1), MAX_SPAN)
            if cell.rows > 1:
                reach = range(len(line), len(line) + columns)
                below |= dict.fromkeys(reach, min(cell.rows, MAX_SPAN))
            line += [cell.text.strip(), *[""] * (columns - 1)]
        covered = {at: left - 1 for at, left in {**covered, **below}.items() if left > 1}
        yield line


def joined(blocks: Iterable[str]) -> str:
    """Blocks apart by an empty line, the items of a list by none."""
    parts: list[str] = []
    before = False
    for block in blocks:
        if block.strip():
            is_item = _ITEM.match(block) is not None
            parts += ["\n" if before and is_item else "\n\n"] if parts else []
            parts.append(block.rstrip())
            before = is_item
    return "".join(parts)


def tidy(text: str) -> str:
    """One kind of line end, nothing unseen, no space at line ends, one empty line at most."""
    text = _UNSEEN.sub("", _LINE_ENDS.sub("\n", text))
    text = "\n".join(line.rstrip(" \t\u00a0\u3000") for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")
