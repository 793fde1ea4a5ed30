"""Files that exist only in a test, and what reading them gives."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import partial
from typing import Any

from samdan.data.readers import rows_of
from samdan.data.readers.file import File, Row
from samdan.data.readers.worker import Worker
from samdan.records import Drop, Origin


def given_file(name: str, content: bytes, columns: tuple[str, ...] = ()) -> File:
    opened = partial(io.BytesIO, content)
    return File(name, Origin(name), len(content), opened, frozenset(columns))


def read(worker: Worker, name: str, content: bytes | str, *columns: str) -> list[Row | Drop]:
    data = content.encode() if isinstance(content, str) else content
    return list(rows_of(given_file(name, data, columns), worker))


def one(worker: Worker, name: str, content: bytes | str) -> dict[str, Any]:
    [row] = read(worker, name, content)
    assert isinstance(row, Row), row
    return dict(row.values)


def reasons(rows: Iterable[Row | Drop]) -> list[str]:
    """Of drops; "" for a row."""
    return [row.reason if isinstance(row, Drop) else "" for row in rows]
