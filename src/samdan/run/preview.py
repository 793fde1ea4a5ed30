"""`samdan preview`: a sample of every source as it would be prepared, for a person to read.

The first rows are read, cleaned, masked and filtered exactly as a run does it; what needs the whole
corpus (frequent lines, copies, evaluation items, selection) is left to the run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path

from samdan.data.clean import Screen, Wash
from samdan.data.formats import records
from samdan.data.store import texts_of
from samdan.data.tokens import Encoder
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat, show_labels
from samdan.lm.infilling import add_tokens
from samdan.lm.tokenizer import load_tokenizer
from samdan.recipe import AnyStage, ExistingBase, Recipe, Source
from samdan.records import Conversation, Document, Drop, Message, Origin, PreferencePair, Record

LOOKED_AT = 500
EXCERPT = 300
MASK = re.compile("⟨[^⟨⟩]{1,20}⟩")
AROUND = 40
MASKS = 3  # of one record that are shown
LABELLED = 160  # tokens of a part of a record whose loss mask is shown
MARGIN = "  | "  # before every line that was written by the data
WHOLE = (
    "Looked at rows one by one. What needs the whole corpus comes with `samdan prepare`: frequent "
    "lines, copies, evaluation items, selection."
)


@dataclass
class Look:
    """What became of the first rows of a source."""

    where: str
    rows: int = 0
    kept: list[Record] = field(default_factory=list)
    dropped: list[tuple[Drop, Record | None]] = field(default_factory=list)  # masked as well
    cleaned: Counter[str] = field(default_factory=Counter)
    personal: Counter[str] = field(default_factory=Counter)


def look(stage: AnyStage, source: Source) -> Look:
    """Reads, cleans, masks and filters the first rows."""
    found = Look(f"stages.{stage.name}.data.{source.label}")
    wash, screen = Wash(source), Screen(source)
    for record in islice(records(stage.kind, source), LOOKED_AT):
        found.rows += 1
        washed = record if isinstance(record, Drop) else wash(record)
        if isinstance(washed, Drop):
            found.dropped.append((washed, None))
            continue
        screened, drop = screen(washed)
        if drop is not None:
            found.dropped.append((drop, screened))
        else:
            found.kept.append(screened)
    found.cleaned = wash.counts
    found.personal = screen.personal
    return found


def shown(recipe: Recipe, chat: ChatFormat | None, samples: int, only: str | None) -> Iterator[str]:
    """The preview as lines of text. ``only``: one stage. ``chat``: None shows no loss masks."""
    if chat is None:
        yield "The tokenizer is not on this machine yet: texts are shown without what is trained."
    else:
        yield "What is trained stands between ⟦ and ⟧."
    yield ""
    for stage, source in recipe.sources():
        if only is None or stage.name == only:
            encode = Encoder(stage, source, chat, recipe.seed) if chat is not None else None
            yield from _lines(look(stage, source), encode, samples)
            yield ""
    yield WHOLE


def tokenizer_of(recipe: Recipe) -> ChatFormat | None:
    """The tokenizer, where it lies on this machine: a preview needs no network."""
    base, spec = recipe.base, recipe.base.tokenizer
    path = spec.path if spec is not None else None
    if spec is None and isinstance(base, ExistingBase):
        path = base.path
    if path is None or not Path(path).is_dir():
        return None
    tokenizer = load_tokenizer(path)
    add_tokens(tokenizer, recipe.added_tokens())
    return ChatFormat(tokenizer)


def _lines(found: Look, encode: Encoder | None, samples: int) -> Iterator[str]:
    rows = f"the first {found.rows}" if found.rows == LOOKED_AT else f"{found.rows}"
    yield f"== {found.where}: {len(found.kept)} of {rows} rows kept"
    yield from _counts(found)
    for record in _spread(found.kept, samples):
        yield f"-- kept: {_where(record.origin)}"
        yield from _record(record, encode)
        yield from _masks(record)
    for drop, text in _by_reason(found.dropped, samples):
        why = drop.detail.removeprefix(f"{drop.reason} ")
        yield f"-- dropped: {drop.reason}{why and ' ' + why}: {_where(drop.origin)}"
        if text is not None:
            yield from _record(text, None)


def _counts(found: Look) -> Iterator[str]:
    """What was dropped, changed and masked, one below the other."""
    reasons = Counter(drop.reason for drop, _ in found.dropped)
    lists: Mapping[str, Counter[str]] = {
        "dropped": reasons, "cleaned": found.cleaned, "masked": found.personal
    }  # fmt: skip
    for name, counts in lists.items():
        if counts:
            yield f"   {name:8} " + ", ".join(f"{key} {n:,}" for key, n in counts.most_common())


def _spread(kept: Sequence[Record], samples: int) -> list[Record]:
    """Evenly spread, in order; half of them with masks where there are some: they need eyes."""
    masked: list[int] = []
    plain: list[int] = []
    for number, record in enumerate(kept):
        has_mask = any(MASK.search(text) for text in texts_of(record))
        (masked if has_mask else plain).append(number)
    chosen = _evenly(masked, max((samples + 1) // 2, samples - len(plain)))
    chosen += _evenly(plain, samples - len(chosen))
    return [kept[number] for number in sorted(chosen)]


def _evenly(numbers: Sequence[int], count: int) -> list[int]:
    """``count`` of them, each from the middle of as many equal parts."""
    count = min(count, len(numbers))
    return [numbers[(2 * part + 1) * len(numbers) // (2 * count)] for part in range(count)]


def _by_reason(
    dropped: Sequence[tuple[Drop, Record | None]], samples: int
) -> list[tuple[Drop, Record | None]]:
    """Some of every reason."""
    taken: Counter[str] = Counter()
    some = []
    for drop, record in dropped:
        if taken[drop.reason] < samples:
            taken[drop.reason] += 1
            some.append((drop, record))
    return sorted(some, key=lambda pair: pair[0].reason)


def _record(record: Record, encode: Encoder | None) -> Iterator[str]:
    """The record line by line: as tokens with what is trained, or as it stands in the data."""
    parts = _labelled(record, encode) if encode is not None else _plain(record)
    for title, text in parts:
        if title:
            yield f"  {title}:"
        yield from (f"{MARGIN}{line}".rstrip() for line in text.strip("\n").split("\n"))


def _plain(record: Record) -> Iterator[tuple[str, str]]:
    """Title and text of each part: roles of a dialogue, answers of a pair; a document has none."""
    if isinstance(record, Document):
        yield "", _excerpt(record.text)
    elif isinstance(record, Conversation):
        yield from ((message.role, _excerpt(message.content)) for message in record.messages)
    else:
        yield from ((f"prompt, {m.role}", _excerpt(m.content)) for m in record.prompt)
        yield "chosen", _excerpt(_said(record.chosen))
        yield "rejected", _excerpt(_said(record.rejected))


def _labelled(record: Record, encode: Encoder) -> Iterator[tuple[str, str]]:
    """The same as tokens, template and all, what is trained between ⟦ and ⟧."""
    short = replace(record, text=record.text[:20_000]) if isinstance(record, Document) else record
    encoded = encode([short])[0]
    if isinstance(encoded, Drop):
        yield "", f"cannot be rendered: {encoded.detail}"
        return
    parts = {"": (0, len(encoded))}
    if isinstance(record, PreferencePair):
        ends = (0, encoded.prefix, encoded.span, len(encoded))
        parts = dict(zip(("prompt", "chosen", "rejected"), pairwise(ends), strict=True))
    elif encode.infilling is not None and encode.infilling.middle in encoded.tokens:
        middle = encoded.tokens.tolist().index(encode.infilling.middle)
        parts = {"around the middle": (0, middle), "the middle": (middle, len(encoded))}
    for title, (start, end) in parts.items():
        part = Encoded(encoded.tokens[start:end], encoded.trained[start:end])
        yield title, show_labels(part, encode.chat.tokenizer, LABELLED)


def _masks(record: Record) -> Iterator[str]:
    """What stands around the masks of personal data."""
    text = "\n".join(texts_of(record))
    found = list(MASK.finditer(text))
    for mask in found[:MASKS]:
        around = text[max(0, mask.start() - AROUND) : mask.end() + AROUND]
        yield "  masked: … " + " ".join(around.split()) + " …"
    if len(found) > MASKS:
        yield f"  masked: {len(found) - MASKS:,} more"


def _where(origin: Origin) -> str:
    """The place, short: seen from here where it lies below, and without detours."""
    path = os.path.normpath(origin.path)
    here = os.path.relpath(path) if os.path.isabs(path) else path
    return str(Origin(path if here.startswith("..") else here, origin.line))


def _said(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _excerpt(text: str) -> str:
    left = len(text) - EXCERPT
    return text if left <= 0 else f"{text[:EXCERPT]} … ({left:,} more characters)"
