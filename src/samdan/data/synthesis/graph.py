"""A knowledge graph in memory: facts with their lines, labels in two languages, types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from samdan.data.synthesis.ntriples import local_name, ntriples_statements, spaced
from samdan.data.synthesis.statements import (
    Problem,
    Statement,
    csv_statements,
    ignored_columns,
    jsonl_statements,
    raise_problems,
)
from samdan.data.synthesis.values import Language, fault_of, kind_of
from samdan.records import DataError, Origin

MAX_TRIPLES: Final = 1_000_000
MAX_VALUE_CHARS: Final = 300  # a longer literal is a document, not a fact to state in a sentence
MAX_PROBLEMS: Final = 10
READERS: Final[Mapping[str, Callable[[Path], Iterator[Statement | Problem]]]] = {
    ".csv": csv_statements,
    ".jsonl": jsonl_statements,
    ".nt": ntriples_statements,
}


@dataclass(frozen=True, slots=True)
class Triple:
    """A fact of the file. ``kind``: name, text, date, number or boolean."""

    subject: str
    relation: str
    object: str
    kind: str
    unit: str
    language: str  # of a text that is in one language only
    origin: Origin

    @property
    def id(self) -> str:
        """File name and line, as it stands in the lineage of a text."""
        return f"{Path(self.origin.path).name}:{self.origin.line}"


@dataclass
class Graph:
    """Facts in the order of the file, and what is known about names."""

    triples: list[Triple] = field(default_factory=list)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    iris: set[str] = field(default_factory=set)  # keys that are IRIs and not names
    counts: Counter[str] = field(default_factory=Counter)  # what became of every statement
    ignored: list[str] = field(default_factory=list)

    def label(self, key: str, language: Language, words: bool = False) -> str:
        """What a key is called: its label, one in no language, the key itself, another's label."""
        known = self.labels.get(key, {})
        if found := known.get(language) or known.get(""):
            return found
        if key in self.iris:
            return next(iter(known.values()), "") or local_name(key, words)
        return spaced(key) if words else key


def read_graph(path: Path) -> Graph:
    """Reads a CSV, JSONL or N-Triples file.

    Raises DataError with one line for each of the first ten problems, EnvironmentFailure when the
    file cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; expected one of {', '.join(READERS)}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: found '{path.suffix}', expected one of {', '.join(READERS)}")
    graph, problems = Graph(), []
    waiting: list[Statement] = []
    for statement in reader(path):
        if isinstance(statement, Problem):
            problems.append(statement)
            if len(problems) == MAX_PROBLEMS:
                break
        elif statement.left_out:
            graph.counts[statement.left_out] += 1
        else:
            _note_names(graph, statement)
            waiting.append(statement)
            if len(waiting) > MAX_TRIPLES:
                problems.append(Problem(statement.origin, f"more than {MAX_TRIPLES} triples"))
                break
    problems += _add_facts(graph, waiting)[: MAX_PROBLEMS - len(problems)]
    raise_problems(problems)
    if not graph.triples:
        raise DataError(f"{path}: no fact found; counted: {dict(graph.counts) or 'nothing'}")
    if reader in (csv_statements, jsonl_statements):
        graph.ignored = ignored_columns(path)
    return graph


def _note_names(graph: Graph, statement: Statement) -> None:
    """Labels and types; the first one of a key stands, others are counted."""
    graph.iris.update(statement.iris)
    for key, language, label in statement.labels:
        known = graph.labels.setdefault(key, {})
        if known.setdefault(language, label) != label:
            graph.counts["label_ignored"] += 1
    for key, type_ in statement.types:
        if graph.types.setdefault(key, type_) != type_:
            graph.counts["type_ignored"] += 1
    if not statement.relation:
        graph.counts["type" if statement.types else "label"] += 1


def _add_facts(graph: Graph, statements: list[Statement]) -> list[Problem]:
    problems = []
    subjects = {statement.subject for statement in statements if statement.relation}
    seen: set[tuple[str, str, str, str]] = set()
    for statement in statements:
        if not statement.relation:
            continue
        triple = _fact(statement, subjects, graph)
        if isinstance(triple, Problem):
            problems.append(triple)
            continue
        key = (triple.subject, triple.relation, triple.object, triple.unit)
        if len(triple.object) > MAX_VALUE_CHARS:
            graph.counts["value_too_long"] += 1
        elif key in seen:
            graph.counts["duplicate"] += 1
        elif triple.subject == triple.object:
            graph.counts["about_itself"] += 1
        else:
            seen.add(key)
            graph.counts["fact"] += 1
            graph.triples.append(triple)
    return problems


def _fact(statement: Statement, subjects: set[str], graph: Graph) -> Triple | Problem:
    kind, value, unit = statement.kind, statement.object, statement.unit
    if kind and (fault := fault_of(value, kind)):
        return Problem(statement.origin, fault)
    if not kind:
        known = value in subjects or value in graph.types
        kind, value, found = ("name", value, "") if known else kind_of(value)
        unit = unit or found
    if unit and kind != "number":
        if fault := fault_of(value, "number"):
            return Problem(statement.origin, f"unit '{unit}': {fault}")
        kind = "number"
    return Triple(
        statement.subject, statement.relation, value, kind, unit, statement.language,
        statement.origin,
    )  # fmt: skip
