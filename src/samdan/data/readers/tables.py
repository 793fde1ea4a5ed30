"""Tables: rows under column names where these are a record's, whole pages of Markdown elsewhere.

A price list has no column that a stage could read, and a row of it says little without the others:
it becomes documents, of PAGE_ROWS rows each, with the names of the columns above.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

from samdan.data.readers.encodings import decode
from samdan.data.readers.file import MAX_FILE_BYTES, File, Row, described
from samdan.data.readers.markdown import bar_line, rule, tidy
from samdan.records import Drop, Origin

# A table whose header has all columns of one of these, or one that the recipe names, holds records.
RECORDS: Final = (
    *({"text"}, {"messages"}, {"conversations"}, {"prompt", "completion"}),
    *({"instruction", "output"}, {"chosen", "rejected"}),
)
HEADER_WITHIN: Final = 10  # titles and empty lines that may stand above the names of the columns
PAGE_ROWS: Final = 200
DELIMITERS: Final = ",;\t|"

Line = tuple[int, Sequence[Any]]  # number and cells


def csv_rows(file: File) -> Iterator[Row | Drop]:
    text, notes = decode(file.read())
    if text.strip():
        first = text[:10_000].strip().split("\n")[0]
        delimiter = "\t" if file.name.lower().endswith(".tsv") else _delimiter(first)
        yield from table_rows(file, _csv(text, delimiter, file), notes=notes)


def _delimiter(line: str) -> str:
    return max(DELIMITERS, key=lambda each: (line.count(each), -DELIMITERS.index(each)))


def _csv(text: str, delimiter: str, file: File) -> Iterator[Line | Drop]:
    csv.field_size_limit(MAX_FILE_BYTES)  # the module's own, of 128 KiB, is shorter than documents
    # Strict: a quote that is never closed would swallow the rest of the file as one cell.
    lines = io.StringIO(text, newline="")  # splitlines would break cells at more than line ends
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Drop("broken_csv", Origin(file.origin.path, number), str(error))


def table_rows(
    file: File, lines: Iterable[Line | Drop], title: str = "", notes: tuple[str, ...] = ()
) -> Iterator[Row | Drop]:
    """Rows or documents of a table; nothing of an empty one."""
    lines = iter(lines)
    start = list(islice(lines, HEADER_WITHIN))
    for at, line in enumerate(start):
        if not isinstance(line, Drop) and _names_records(line[1], file.columns):
            yield from (drop for drop in start[:at] if isinstance(drop, Drop))
            names = _names(line[1])
            yield from _records(file, names, chain(start[at + 1 :], lines), notes)
            return
    yield from _pages(file, chain(start, lines), title, notes)


def _names_records(cells: Sequence[Any], columns: frozenset[str]) -> bool:
    found = {str(cell).strip() for cell in cells}
    return bool(columns & found) or any(shape <= found for shape in RECORDS)


def _names(cells: Sequence[Any]) -> list[str]:
    """Empty names stay empty; a name that comes again gets its number."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for cell in cells:
        name = "" if cell is None else str(cell).strip()
        seen[name] += 1
        names.append(f"{name}.{seen[name]}" if name and seen[name] > 1 else name)
    return names


def _records(
    file: File, names: list[str], lines: Iterable[Line | Drop], notes: tuple[str, ...]
) -> Iterator[Row | Drop]:
    for line in lines:
        if isinstance(line, Drop):
            yield line
            continue
        origin = Origin(file.origin.path, line[0])
        cells = [None if cell == "" else cell for cell in line[1]]
        if not any(cell is not None for cell in cells):
            continue
        if any(cell is not None for cell in cells[len(names) :]):
            found = f"found {len(cells)} cells, expected the {len(names)} of the header"
            yield Drop("too_many_cells", origin, found)
            continue
        cells += [None] * (len(names) - len(cells))
        named = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        yield Row({**file.meta, "path": file.path, **named}, origin, notes)


def _pages(
    file: File, lines: Iterable[Line | Drop], title: str, notes: tuple[str, ...]
) -> Iterator[Row | Drop]:
    header: list[str] = []
    page: list[str] = []
    first = 0

    def finished() -> Row:
        body = tidy("\n".join([bar_line(header), rule(len(header)), *page] if page else header))
        # The table's own names, so that a stage that finds no record in it can show them.
        names = {name: None for name in header[:50] if name}
        values = names | described(file, body, title)
        return Row(values, Origin(file.origin.path, first), notes)

    for line in lines:
        if isinstance(line, Drop):
            yield line
            continue
        cells = ["" if cell is None else str(cell).strip() for cell in line[1]]
        if not any(cells):
            continue
        first = first or line[0]
        if not header:
            header = cells
            continue
        page.append(bar_line(cells))
        if len(page) == PAGE_ROWS:
            yield finished()
            page, first = [], 0
    if page or (header and first):
        yield finished()
