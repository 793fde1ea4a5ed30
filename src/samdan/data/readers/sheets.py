"""XLSX: each sheet a table, its rows records or pages as in a CSV file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any, Final

from samdan.data.readers.file import File, Row
from samdan.data.readers.ooxml import package, plain_copy
from samdan.data.readers.tables import Line, table_rows
from samdan.records import Drop, Origin

ERRORS: Final = ("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!")


def xlsx_rows(file: File) -> Iterator[Row | Drop]:
    """A sheet is named like a member of the file: ``prices.xlsx!/2024``. Formulas give the value
    that the program last saved with them."""
    from openpyxl import load_workbook

    with package(file) as parts:
        title, day = parts.properties()
        book = load_workbook(plain_copy(parts), read_only=True, data_only=True)
        found = False
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # a file may claim a million columns
            place = f"!/{sheet.title}"
            inner = replace(
                file,
                path=file.path + place,
                origin=Origin(file.origin.path + place),
                meta={**file.meta, **({"date": day} if day else {})},
            )
            named = sheet.title if len(book.worksheets) > 1 else title or file.stem
            for row in table_rows(inner, _lines(sheet), named):
                found = True
                yield row
        if not found:
            yield Drop("no_text", file.origin, "its sheets are empty")


def _lines(sheet: Any) -> Iterator[Line]:
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        if any(cell is not None for cell in cells):
            last = max(at for at, cell in enumerate(cells) if cell is not None)
            yield number, [_plain(cell) for cell in cells[: last + 1]]


def _plain(cell: Any) -> str | None:
    """As a CSV file would have it. The name of an error says nothing."""
    if cell is None or cell in ERRORS:
        return None
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell).upper() if isinstance(cell, bool) else str(cell)
