"""The texts that a selection method is given: of the task, good samples, bad samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from unicodedata import normalize

from samdan.data.formats import is_blank
from samdan.data.sources import Row, read_rows
from samdan.recipe import Source
from samdan.records import DataError, Drop
from samdan.selecting import TextFile

MAX_DEPTH = 8


def read_texts(files: Sequence[TextFile], where: str) -> list[str]:
    """All texts of the files, NFC. ``where`` is their key in the recipe, for errors.

    Raises DataError for a row that cannot be read or has no text, and for files without a text.
    """
    texts = []
    for number, file in enumerate(files):
        key = f"{where}[{number}]"
        found = list(_texts_of(file, key))
        if not found:
            raise DataError(f"{key}.path: {file.path} holds no text")
        texts += found
    return texts


def _texts_of(file: TextFile, key: str) -> Iterator[str]:
    try:
        for row in read_rows(Source(path=file.path)):
            if isinstance(row, Drop):
                if row.reason == "empty_file":
                    continue
                raise DataError(f"{row.origin}: {row.reason} {row.detail}".rstrip())
            text = "\n".join(_strings(_wanted(row, file, key), 0))
            if not is_blank(text):
                yield normalize("NFC", text)
    except DataError as error:
        raise DataError(f"{key}.path: {error}") from None


def _wanted(row: Row, file: TextFile, key: str) -> list[Any]:
    missing = [name for name in file.columns if name not in row.values]
    if missing:
        found = ", ".join(map(str, row.values)) or "none"
        raise DataError(f"{row.origin}: no column '{missing[0]}'; found {found}")
    if file.columns:
        return [row.values[name] for name in file.columns]
    return [row.values["text"]] if "text" in row.values else list(row.values.values())


def _strings(value: Any, depth: int) -> Iterator[str]:
    """Every string in a value, such as the contents of messages or a list of choices."""
    if isinstance(value, str):
        yield value.encode(errors="ignore").decode()  # without lone surrogates
    elif depth < MAX_DEPTH:
        # The names of roles say nothing about a text.
        inner = [v for k, v in value.items() if k != "role"] if isinstance(value, dict) else value
        for item in inner if isinstance(inner, list) else ():
            yield from _strings(item, depth + 1)
