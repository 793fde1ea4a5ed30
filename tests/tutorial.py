"""The folder that docs/tutorial.md begins with: a made-up company's documents, as they lie about.

    python tests/tutorial.py company

writes PDF, HWP and DOCX files about the companies of ``samdan demo``, general text, questions with
answers, pairs and closed-book questions. All of it is generated; none of it is anybody's.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import documents
from samdan.demo.world import world_files

FILES = 20
TEXTS = 60  # a file
LINE, LINES = 34, 40  # characters, lines a page


def files(texts: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Most are PDF, every fifth is DOCX and every fifth HWP."""
    for number in range(min(FILES, -(-len(texts) // TEXTS))):
        part = texts[number * TEXTS : (number + 1) * TEXTS]
        make, ending = _MAKERS[number % 5]
        yield f"{number + 1:02d}.{ending}", make(part, f"회사 자료 {number + 1}")


def _pdf(texts: Sequence[str], title: str) -> bytes:
    lines = [line for text in texts for line in [*_lines(text), ""]]
    return documents.pdf([lines[at : at + LINES] for at in range(0, len(lines), LINES)], title)


def _docx(texts: Sequence[str], title: str) -> bytes:
    def build(document: Any) -> None:
        document.core_properties.title = title
        for text in texts:
            document.add_paragraph(text.replace("\n", " "))

    return documents.docx(build)


def _hwp(texts: Sequence[str], title: str) -> bytes:
    return documents.hwp([line for text in texts for line in text.split("\n")])


_MAKERS: tuple[tuple[Callable[[Sequence[str], str], bytes], str], ...] = (
    (_pdf, "pdf"), (_pdf, "pdf"), (_pdf, "pdf"), (_docx, "docx"), (_hwp, "hwp"),
)  # fmt: skip


def _lines(text: str) -> Iterator[str]:
    """At white space, as a word processor breaks Korean text."""
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > LINE:
                yield line
                line = ""
            line = f"{line} {word}" if line else word
        yield line


def write(folder: Path, seed: int = 42) -> None:
    """Everything that the tutorial reads, without a model."""
    world = world_files(seed)
    (folder / "documents").mkdir(parents=True, exist_ok=True)
    for name, content in files([str(one["text"]) for one in world["company.jsonl"]]):
        (folder / "documents" / name).write_bytes(content)
    for name, source, most in (
        ("general.jsonl", "general.jsonl", 2000),
        ("qa.jsonl", "sft.jsonl", 800),
        ("pairs.jsonl", "dpo.jsonl", 400),
        ("exam.jsonl", "eval/knowledge.jsonl", 144),
    ):
        rows: list[Mapping[str, Any]] = list(world[source])
        random.Random(seed).shuffle(rows)
        lines = (json.dumps(row, ensure_ascii=False) for row in rows[:most])
        (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
