"""A source's ``select``: measures its documents, keeps the best, writes down what was chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from samdan.data import korean
from samdan.data.engine import Engine, mapping
from samdan.data.selection.choosing import REASONS
from samdan.data.selection.markdown import rendered
from samdan.data.selection.pipeline import select_documents
from samdan.data.selection.report import selection_report
from samdan.data.selection.tools import load_tools
from samdan.lm.chat import ChatFormat
from samdan.lm.files import write_json, write_text
from samdan.lm.model import load_chat
from samdan.records import Document, EnvironmentFailure
from samdan.selecting import Select

REPORT, READABLE = "selection.json", "selection.md"


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens as they will be trained; each process loads the tokenizer once."""

    tokenizer: str

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in _chat(self.tokenizer).encode_texts(texts)]


@lru_cache(maxsize=1)
def _chat(path: str) -> ChatFormat:
    return load_chat(path)


def choose_documents(
    spec: Select,
    read: Callable[[], Iterable[Document]],
    tokenizer: Path,
    seed: int,
    where: str,
    folder: Path,
    engine: Engine | None = None,
    poll: Callable[[], None] = lambda: None,
) -> tuple[Sequence[str], dict[str, Any]]:
    """Per document why it is not selected, an empty string for those that are; and the sizes.

    ``read`` gives the same documents at every call. Writes ``selection.json`` and ``.md``.
    """
    tagged = korean.tagged if _has_morphemes() else None
    tools = load_tools(spec, tagged, where, poll)
    # A model uses the cores, or the GPU, by itself and cannot travel to other processes.
    alone = tools.embed is not None or tools.log_probs is not None
    with mapping(Engine(workers=1) if alone else engine, poll) as apply:
        count = TokenCounter(str(tokenizer))
        selected = select_documents(spec, read, count, tools, seed, where, apply)

    def fetch(places: Sequence[int]) -> list[Document]:
        return _at(read(), places)

    report = selection_report(selected, fetch, tagged)
    write_json(folder / REPORT, report)
    write_text(folder / READABLE, rendered(report))
    reasons = [
        "" if kept else f"{spec.kind}: {REASONS[reason].replace('_', ' ')}"
        for kept, reason in zip(selected.chosen.mask, selected.chosen.reason, strict=True)
    ]
    return reasons, {key: report[key] for key in ("method", "before", "after")}


def _has_morphemes() -> bool:
    try:
        korean.analyser()
    except EnvironmentFailure:
        return False
    return True


def _at(documents: Iterable[Document], places: Sequence[int]) -> list[Document]:
    """The documents at these places, in the order asked for; the corpus is read once."""
    wanted, found = set(places), {}
    stop = max(wanted, default=-1) + 1
    for place, document in enumerate(islice(documents, stop)):
        if place in wanted:
            found[place] = document
    return [found[place] for place in places]
