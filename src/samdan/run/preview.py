"""`samdan preview`: a sample of every source as it would be prepared, for a person to read.

The first rows are read, cleaned, masked and filtered exactly as a run does it; copies,
contamination and selection need the whole corpus and are left to the run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from samdan.data.clean import Screen, Wash
from samdan.data.formats import records
from samdan.data.store import texts_of
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat, show_labels
from samdan.lm.model import load_chat
from samdan.recipe import AnyStage, Recipe, Source
from samdan.records import Document, Drop, Record

LOOKED_AT = 500
EXCERPT = 300
MASK = re.compile("⟨[^⟨⟩]{1,20}⟩")
AROUND = 40
LABELLED = 160  # tokens of a record whose loss mask is shown


@dataclass
class Look:
    """What became of the first rows of a source."""

    where: str
    rows: int = 0
    kept: list[Record] = field(default_factory=list)
    dropped: list[tuple[Drop, str]] = field(default_factory=list)  # with an excerpt
    cleaned: Counter[str] = field(default_factory=Counter)
    personal: Counter[str] = field(default_factory=Counter)


def look(stage: AnyStage, source: Source) -> Look:
    """Reads, cleans, masks and filters the first rows."""
    found = Look(f"stages.{stage.name}.data.{source.label}")
    wash, screen = Wash(source), Screen(source)
    for record in islice(records(stage.kind, source), LOOKED_AT):
        found.rows += 1
        washed = record if isinstance(record, Drop) else wash(record)
        screened = washed if isinstance(washed, Drop) else screen(washed)
        if isinstance(screened, Drop):
            said = "" if isinstance(record, Drop) else _excerpt(record)
            found.dropped.append((screened, said))
        else:
            found.kept.append(screened)
    found.cleaned = wash.counts
    found.personal = screen.personal
    return found


def shown(recipe: Recipe, chat: ChatFormat | None, samples: int, only: str | None) -> Iterator[str]:
    """The preview as lines of text. ``only``: one stage. ``chat``: None shows no loss masks."""
    for stage, source in recipe.sources():
        if only is None or stage.name == only:
            yield from _lines(look(stage, source), stage, chat, samples)
            yield ""


def tokenizer_of(recipe: Recipe) -> ChatFormat | None:
    """The tokenizer, where it lies on this machine: a preview needs no network."""
    spec = recipe.base.tokenizer
    named = spec.path if spec is not None else None
    path = named or getattr(recipe.base, "path", None)
    if path is None or not Path(path).is_dir() or (spec is not None and spec.vocab_size):
        return None
    return load_chat(path)


def _lines(found: Look, stage: AnyStage, chat: ChatFormat | None, samples: int) -> Iterator[str]:
    yield f"== {found.where}: the first {found.rows} rows, {len(found.kept)} kept"
    reasons = Counter(drop.reason for drop, _ in found.dropped)
    for name, counts in (
        ("dropped", reasons),
        ("cleaned", found.cleaned),
        ("personal data masked", found.personal),
    ):
        if counts:
            yield f"{name}: " + ", ".join(f"{key} {n}" for key, n in counts.most_common())
    for record in _spread(found.kept, samples):
        yield f"-- kept: {record.origin}"
        yield _labelled(record, chat) if chat else _excerpt(record)
        yield from _masks(record)
    for drop, said in _by_reason(found.dropped, samples):
        yield f"-- dropped by {drop.reason}: {drop.detail or 'no more to say'} ({drop.origin})"
        if said:
            yield said


def _spread(kept: Sequence[Record], samples: int) -> list[Record]:
    """Evenly spread; records with masked personal data first, since masks are to be looked at."""
    masked = [record for record in kept if any(MASK.search(text) for text in texts_of(record))]
    chosen = masked[: (samples + 1) // 2]
    rest = [record for record in kept if record not in chosen]
    step = max(1, len(rest) // max(1, samples - len(chosen)))
    return [*chosen, *rest[::step]][:samples]


def _by_reason(dropped: Sequence[tuple[Drop, str]], samples: int) -> list[tuple[Drop, str]]:
    """Some of every reason."""
    taken: Counter[str] = Counter()
    shown_drops = []
    for drop, said in dropped:
        if taken[drop.reason] < samples:
            taken[drop.reason] += 1
            shown_drops.append((drop, said))
    return sorted(shown_drops, key=lambda pair: pair[0].reason)


def _labelled(record: Record, chat: ChatFormat) -> str:
    """The record as tokens, what is trained between ⟦ and ⟧."""
    if isinstance(record, Document):
        encoded: Encoded | Drop = chat.documents([record.text[:20_000]])[0]
    else:
        encoded = chat.encode(record)
    if isinstance(encoded, Drop):
        return f"cannot be rendered: {encoded.detail}"
    return show_labels(encoded, chat.tokenizer, LABELLED)


def _masks(record: Record) -> Iterator[str]:
    """What stands around the masks of personal data."""
    text = "\n".join(texts_of(record))
    for found in islice(MASK.finditer(text), 3):
        around = text[max(0, found.start() - AROUND) : found.end() + AROUND]
        yield "   masked: … " + " ".join(around.split()) + " …"


def _excerpt(record: Record) -> str:
    text = "\n".join(texts_of(record))
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]} … (+{len(text) - EXCERPT:,})"
