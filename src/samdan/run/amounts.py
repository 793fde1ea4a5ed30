"""Tokens of a stage: counted on prepared data, else estimated from a look at its files.

The look reads whole small sources and a part of large ones, without torch: a plan comes in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from samdan.budget import Amounts, SourceAmounts, estimated
from samdan.data.formats import records
from samdan.data.sources import files_of
from samdan.recipe import AnyStage, Recipe, ScratchBase, Source
from samdan.records import Conversation, Document, Drop, PreferencePair, Record
from samdan.run.ledger import Ledger, read_json

# Bytes of UTF-8 a token: Korean in Qwen2.5's vocabulary has 0.73 tokens a character of 3 bytes, and
# English about 4.2 bytes a token. A smaller vocabulary cuts finer (`bytes_per_token`).
BYTES_PER_TOKEN = 3.6
TOKENIZED = 300_000  # characters that a local tokenizer is asked about
TEMPLATE = 5  # tokens that a chat template puts around a message
SECONDS = 4.0  # a source that takes longer to read is extrapolated from what was read
PACKED = 4.0  # text in a compressed file, over its size


@dataclass
class Look:
    """What was read of a source: bytes of text, by what becomes of it."""

    records: int = 0
    bytes: int = 0
    trained: int = 0
    messages: int = 0
    squares: float = 0.0  # of a record's bytes, cut at the stage's max_length
    cut: float = 0.0
    whole: float = 1.0  # all of the source, over what was read

    def add(self, record: Record, most: float) -> None:
        parts = list(_parts(record))
        size = sum(length for length, _ in parts)
        self.records += 1
        self.bytes += size
        self.trained += sum(length for length, trained in parts if trained)
        self.messages += 0 if isinstance(record, Document) else len(parts)
        seen = size
        if isinstance(record, PreferencePair):  # a token sees the prompt and one of the answers
            answers = [length for length, trained in parts if trained]
            seen = size - min(answers, default=0)
        pieces, rest = divmod(seen, most)
        self.squares += pieces * most**2 + rest**2
        self.cut += seen


def _texts(record: Record) -> Iterator[str]:
    if isinstance(record, Document):
        yield record.text
    elif isinstance(record, Conversation):
        yield from (message.content for message in record.messages)
    else:
        for side in (record.prompt, record.chosen, record.rejected):
            yield from (message.content for message in side)


def _parts(record: Record) -> Iterator[tuple[int, bool]]:
    """Bytes of each text of a record, and whether it is trained."""
    if isinstance(record, Document):
        yield len(record.text.encode()), True
    elif isinstance(record, Conversation):
        for message in record.messages:
            yield len(message.content.encode()), message.role == "assistant"
    else:
        yield sum(len(message.content.encode()) for message in record.prompt), False
        for side in (record.chosen, record.rejected):
            yield sum(len(message.content.encode()) for message in side), True


def amounts_of(
    stage: AnyStage, ledger: Ledger | None, per_token: float, processes: int = 1
) -> Amounts | None:
    """None where a source lies on the Hub: a plan reads no network.

    Raises DataError where a path leads to nothing that can be read.
    """
    prepared = _prepared(stage, ledger) if ledger is not None else None
    if prepared is not None:
        return prepared
    if any(source.hub is not None for source in stage.data):
        return None
    looks = {source.label: look_at(stage, source, per_token) for source in stage.data}
    held = {
        label: (round(_tokens(look, per_token)), round(look.records * look.whole))
        for label, look in looks.items()
    }
    size = sum(look.bytes for look in looks.values()) or 1
    squares, cut = (sum(getattr(look, name) for look in looks.values()) for name in
                    ("squares", "cut"))  # fmt: skip
    length = min(stage.max_length, squares / cut / per_token) if cut else stage.max_length
    trained = sum(look.trained for look in looks.values()) / size
    return estimated(stage, held, length, trained, processes)


def _tokens(look: Look, per_token: float) -> float:
    return (look.bytes / per_token + TEMPLATE * look.messages) * look.whole


def look_at(stage: AnyStage, source: Source, per_token: float) -> Look:
    """Reads for ``SECONDS`` at most; the rest is taken to be like what was read."""
    found = Look()
    files = files_of(source)
    sizes = [file.stat().st_size * _packed(file) for file in files]
    begun, whole_files, here = time.monotonic(), 0.0, 0
    most = stage.max_length * per_token
    for number, size in enumerate(sizes):
        before = found.bytes
        for record in records(stage.kind, source, files=[number]):
            if not isinstance(record, Drop):
                found.add(record, most)
            if time.monotonic() - begun > SECONDS:
                here = found.bytes - before
                read = whole_files + min(size, max(1, here))
                found.whole = max(1.0, sum(sizes) / read)
                return found
        whole_files += size
    return found


def _packed(file: Path) -> float:
    return PACKED if file.suffix in (".gz", ".parquet", ".zip", ".zst", ".bz2", ".xz") else 1.0


def bytes_per_token(recipe: Recipe) -> float:
    """Asked of the base's tokenizer on the first texts, where its tokenizer.json lies here."""
    spec, base = recipe.base.tokenizer, recipe.base
    if spec is not None and spec.vocab_size is not None:
        return _of_new_vocabulary(spec.vocab_size)
    place = spec.path if spec is not None and spec.path else getattr(base, "path", "")
    file = Path(place) / "tokenizer.json"
    if isinstance(base, ScratchBase) and not file.is_file():
        return BYTES_PER_TOKEN
    return (_asked(file, recipe) if file.is_file() else None) or BYTES_PER_TOKEN


def _asked(file: Path, recipe: Recipe) -> float | None:
    from tokenizers import Tokenizer

    texts: list[str] = []
    for stage, source in recipe.sources():
        if source.hub is not None or not files_of(source):
            continue
        left = TOKENIZED
        for record in records(stage.kind, source):
            for text in () if isinstance(record, Drop) else _texts(record):
                texts.append(text[:left])
                left -= len(texts[-1])
            if left <= 0:
                break
    if not texts:
        return None
    tokenizer = Tokenizer.from_file(str(file))
    count = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    return sum(len(text.encode()) for text in texts) / count if count else None


def _of_new_vocabulary(size: int) -> float:
    """Of a byte-level BPE trained on the text itself: measured on Korean documentation."""
    known = ((300, 1.24), (400, 1.56), (1000, 2.65), (4000, 4.7), (16_000, 6.0), (64_000, 6.3))
    for (low, few), (high, many) in pairwise(known):
        if size <= high:
            return few + (many - few) * max(0.0, (size - low) / (high - low))
    return known[-1][1]


# --- prepared -------------------------------------------------------------------------------------


def _prepared(stage: AnyStage, ledger: Ledger) -> Amounts | None:
    """From the index and the accounts that the mix step has written."""
    done = ledger.done().get(f"{stage.name}/mix")
    manifest = read_json(ledger.manifest(stage.name))
    if done is None or not manifest:
        return None
    rows: Mapping[str, Any] = manifest["by_source"]
    sources = {
        label: SourceAmounts(
            row["role"], row["in"], row.get("records_in", 0), row["repeated"], row["trained"],
            row["masked"], row["dropped"],
        )
        for label, row in rows.items()
    }  # fmt: skip
    trained, masked = (sum(row[name] for row in rows.values()) for name in ("trained", "masked"))
    total = trained + masked
    length = _length(ledger, stage)
    return Amounts(
        total, int(done.facts["units"]), length, trained / total if total else 1.0, sources, True
    )


def _length(ledger: Ledger, stage: AnyStage) -> float:
    """Tokens of a record, as a mean over its tokens; of a pair, of its prompt and first answer."""
    import numpy as np

    try:
        if stage.kind == "dpo":
            splits = [
                np.load(ledger.source(stage.name, source.label) / "splits.npy", allow_pickle=False)
                for source in stage.data
            ]
            lengths = np.concatenate(splits)[:, 1].astype(np.float64)
        else:
            pieces = np.load(ledger.index(stage.name) / "pieces.npy", allow_pickle=False)
            lengths = pieces[:, 3].astype(np.float64)
    except OSError:  # the facts are there, the files are gone
        return float(stage.max_length)
    whole = float(lengths.sum())
    return float((lengths**2).sum()) / whole if whole else float(stage.max_length)
