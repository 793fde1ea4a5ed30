"""What a teacher works from: documents, cut where they are long, or the facts on one subject."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from samdan.data.formats import records
from samdan.data.synthesis.graph import Graph
from samdan.data.synthesis.pen import Index
from samdan.data.synthesis.templates import Templates
from samdan.data.synthesis.values import Language
from samdan.recipe import Source
from samdan.records import Document, Drop


@dataclass(frozen=True, slots=True)
class Passage:
    """A text for the teacher, and the ids of the documents or triples that it was made of."""

    text: str
    ids: tuple[str, ...]
    entities: tuple[str, ...] = ()  # what it is about, where that is known beforehand


def of_documents(path: Path, max_chars: int, left_out: Counter[str]) -> list[Passage]:
    """The documents of a file, a folder or a glob; unreadable rows are counted by reason."""
    passages = []
    for record in records("cpt", Source(path=str(path))):
        if isinstance(record, Drop):
            left_out[record.reason] += 1
        elif isinstance(record, Document):
            name = Path(record.origin.path).name
            name += f":{record.origin.line}" if record.origin.line else ""
            parts = list(cut(record.text, max_chars))
            for number, part in enumerate(parts, 1):
                passages.append(Passage(part, (f"{name}#{number}" if len(parts) > 1 else name,)))
    return passages


def of_graph(graph: Graph, language: Language, max_chars: int) -> list[Passage]:
    """The facts on every subject as a list, with the names that occur in it."""
    index = Index(graph, Templates(language))
    passages = []
    for subject, facts in index.facts.items():
        lines, entities = [index.name(subject)], [index.name(subject)]
        for fact in facts:
            objects = [ways[0] for ways in index.ways(fact)]
            lines.append(f"- {index.wording(fact.relation).noun}: {', '.join(objects)}")
            entities += objects if fact.is_name else []
        ids = tuple(graph.triples[n].id for fact in facts for n in fact.triples)
        text = "\n".join(lines)
        for part in cut(text, max_chars):
            named = tuple(dict.fromkeys(name for name in entities if name in part))
            passages.append(Passage(part, ids, named))
    return passages


def cut(text: str, max_chars: int) -> Iterator[str]:
    """The text in parts of at most ``max_chars``: between paragraphs, lines, sentences or words."""
    text = text.strip()
    while len(text) > max_chars:
        window = text[:max_chars]
        ends = [
            found[-1]
            for pattern in (r"\n\s*\n", r"\n", r"(?<=[.!?。])\s", r"\s")
            if (found := [m.start() for m in re.finditer(pattern, window)])
            and found[-1] > max_chars // 3
        ]
        end = ends[0] if ends else max_chars
        yield text[:end].strip()
        text = text[end:].strip()
    if text:
        yield text
