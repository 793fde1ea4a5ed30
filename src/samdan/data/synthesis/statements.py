"""A line of a graph file, whatever its format: what it states, or what is wrong with it.

To add a format: a generator of ``Statement | Problem`` over lines, named in ``graph.READERS``.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from samdan.records import DataError, EnvironmentFailure, Origin
from samdan.spec import nearest_key

MAX_LINE_BYTES: Final = 1_000_000
MAX_CHARS: Final = 2000  # of one name or value
BOM: Final = b"\xef\xbb\xbf"
REQUIRED: Final = ("subject", "relation", "object")
OPTIONAL: Final = (
    *("subject_ko", "subject_en", "relation_ko", "relation_en", "object_ko", "object_en"),
    *("subject_type", "object_type", "unit"),
)
OTHER_COLUMNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("head", "s", "주어", "개체"), "subject"),
    **dict.fromkeys(("predicate", "property", "p", "관계", "속성"), "relation"),
    **dict.fromkeys(("tail", "value", "o", "목적어", "값"), "object"),
    "단위": "unit",
}
TYPE_RELATIONS: Final = frozenset(
    {"type", "rdf:type", "a", "is a", "is_a", "instance of", "instance_of", "종류", "유형", "분류"}
)
# What object_type can say besides the name of a type of entities.
KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("date", "year", "날짜", "연도"), "date"),
    **dict.fromkeys(("number", "integer", "decimal", "숫자", "수"), "number"),
    **dict.fromkeys(("text", "string", "literal", "글", "문자열"), "text"),
    **dict.fromkeys(("boolean", "참거짓"), "boolean"),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """Subject, relation and object; ``kind`` is empty where the file does not say it.

    ``relation`` is "" in a statement that only gives labels or types. ``labels`` are (key,
    language, label), ``types`` are (key, type).
    """

    origin: Origin
    subject: str
    relation: str
    object: str
    kind: str = ""
    unit: str = ""
    language: str = ""
    labels: tuple[tuple[str, str, str], ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    left_out: str = ""  # why nothing can be made of it
    iris: tuple[str, ...] = ()  # which of the three are IRIs and not names


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a line."""

    origin: Origin
    message: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.message}"


def text_lines(path: Path) -> Iterator[tuple[Origin, str] | Problem]:
    """The lines of a file with their numbers; what is too long or no UTF-8 is a Problem."""
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                origin = Origin(str(path), number)
                if len(line) > MAX_LINE_BYTES:
                    yield Problem(origin, f"the line is longer than {MAX_LINE_BYTES} bytes")
                    return
                try:
                    text = line.removeprefix(BOM if number == 1 else b"").decode()
                except UnicodeDecodeError as error:
                    detail = f"byte {error.start + 1} is no UTF-8; save the file as UTF-8"
                    yield Problem(origin, detail)
                    continue
                yield origin, text
    except OSError as error:
        raise EnvironmentFailure(f"{path}: cannot be read: {error.strerror}") from None


def csv_statements(path: Path) -> Iterator[Statement | Problem]:
    """A header names the columns; every row has as many fields as the header."""
    faults: list[Problem] = []
    last = Origin(str(path), 0)

    def lines() -> Iterator[str]:
        nonlocal last
        for line in text_lines(path):
            if isinstance(line, Problem):
                faults.append(line)
                yield "\n"
            else:
                last = line[0]
                yield line[1]

    reader = csv.reader(lines(), strict=True)
    try:
        header = next(reader, [])
        yield from faults
        faults.clear()
        columns = _columns(header, last)
        if isinstance(columns, Problem):
            yield columns
            return
        start = last.line + 1
        for fields in reader:
            yield from faults
            faults.clear()
            origin, start = Origin(str(path), start), last.line + 1
            if not any(value.strip() for value in fields):
                continue
            if len(fields) != len(header):
                found = f"found {len(fields)} fields, expected {len(header)}"
                yield Problem(origin, f"{found}: {','.join(header)}; quote a value with a comma")
                continue
            yield _statement({ours: fields[i] for ours, i in columns.items()}, origin)
        yield from faults
    except csv.Error as error:
        yield Problem(last, f"not valid CSV: {error}")


def _columns(header: Sequence[str], origin: Origin) -> dict[str, int] | Problem:
    names = [name.strip().lower() for name in header]
    ours = [OTHER_COLUMNS.get(name, name) for name in names]
    if fault := _misnamed(ours, header):
        return Problem(origin, fault)
    return {name: ours.index(name) for name in (*REQUIRED, *OPTIONAL) if name in ours}


def _misnamed(ours: Sequence[str], shown: Sequence[str]) -> str:
    """What is wrong with column names; a column that only resembles one of ours is a slip."""
    known = {*REQUIRED, *OPTIONAL}
    for name in REQUIRED:
        if name not in ours:
            return f"column '{name}' is missing; found {', '.join(shown) or 'nothing'}"
    for name in ours:
        if name in known and ours.count(name) > 1:
            return f"column '{name}' is there twice"
        if name not in known and "did you mean" in (hint := nearest_key(name, known)):
            return f"'{name}': {hint}"
    return ""


def ignored_columns(path: Path) -> list[str]:
    """Names in the first line of a CSV or JSONL file that mean nothing here."""
    for line in text_lines(path):
        if isinstance(line, Problem):
            return []
        if not line[1].strip():
            continue
        is_csv = path.suffix.lower() == ".csv"
        header = next(csv.reader([line[1]]), []) if is_csv else list(json.loads(line[1]))
        known = {*REQUIRED, *OPTIONAL, *OTHER_COLUMNS}
        return [name for name in header if name.strip().lower() not in known]
    return []


def jsonl_statements(path: Path) -> Iterator[Statement | Problem]:
    """One object a line, with the columns of the CSV as keys; numbers and booleans stay such."""
    for line in text_lines(path):
        if isinstance(line, Problem):
            yield line
        elif line[1].strip():
            yield _json_statement(line[1], line[0])


def _json_statement(text: str, origin: Origin) -> Statement | Problem:
    try:
        value = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        return Problem(origin, f"not valid JSON: {error}")
    if not isinstance(value, dict):
        return Problem(origin, f"found {type(value).__name__}, expected an object")
    names = [OTHER_COLUMNS.get(key.lower(), key.lower()) for key in value]
    if fault := _misnamed(names, list(value)):
        return Problem(origin, fault)
    row = dict(zip(names, value.values(), strict=True))
    found = row["object"]
    if isinstance(found, bool):
        row |= {"object": str(found).lower(), "object_type": row.get("object_type") or "boolean"}
    elif isinstance(found, int | Decimal):
        row |= {"object": str(found), "object_type": row.get("object_type") or "number"}
    known = {name: row[name] for name in (*REQUIRED, *OPTIONAL) if row.get(name) is not None}
    for name, item in known.items():
        if not isinstance(item, str):
            return Problem(origin, f"'{name}' is {type(item).__name__}, expected a string")
    return _statement(known, origin)


def _statement(row: Mapping[str, Any], origin: Origin) -> Statement | Problem:
    """A row under our column names, cleaned, as a statement."""
    values: dict[str, str] = {}
    for name, raw in row.items():
        text = tidy(raw)
        if fault := faulty(text):
            return Problem(origin, f"'{name}' {fault}")
        values[name] = text
    for name in REQUIRED:
        if not values.get(name):
            return Problem(origin, f"'{name}' is empty")
    subject, relation, object_ = (values[name] for name in REQUIRED)
    labels = tuple(
        (values[name], language, label)
        for name in REQUIRED
        for language in ("ko", "en")
        if (label := values.get(f"{name}_{language}"))
    )
    declared = values.get("object_type", "")
    kind = KINDS.get(declared.lower(), "name" if declared else "")
    types = [(subject, values["subject_type"])] if values.get("subject_type") else []
    if kind == "name":
        types.append((object_, declared))
    if relation.lower() in TYPE_RELATIONS:
        types.append((subject, object_))
        relation = ""
    return Statement(
        origin, subject, relation, object_, kind, values.get("unit", ""), "", labels, tuple(types)
    )


def tidy(text: str) -> str:
    """NFC, with every run of whitespace as one space."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


def faulty(text: str) -> str:
    """Why a text cannot be a name or a value; empty when it can."""
    if len(text) > MAX_CHARS:
        return f"has {len(text)} characters, at most {MAX_CHARS} are read"
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cs", "Co"):
            return f"holds the character U+{ord(char):04X}"
    return ""


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raises DataError with one line for every problem."""
    if problems:
        raise DataError("\n".join(map(str, problems)))
