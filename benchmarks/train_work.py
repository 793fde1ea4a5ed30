"""What the training benchmarks train on: records of real or drawn lengths, fixed by a seed.

A unit is a document, a conversation or a pair; a step holds equally many units for every side. Real
records are those of ``../shared/data``; their token ids are taken modulo the shape's vocabulary, as
the weights are random anyway.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.corpus import originals
from benchmarks.gpu import Work, training_data
from benchmarks.shapes import blocks, conversations, pairs
from benchmarks.train_records import SEED
from samdan.lm.batch import Encoded
from samdan.lm.shards import Index, TrainingData
from samdan.packing import pieces_of

FALLBACK_SHARE = 0.2  # of the prompt, where no real pairs are at hand: near that of the real ones
WARM_TOKENS = 64  # of a part of a record that is cut short for a warm-up


def documents(count: int, longest: int, vocab: int, data: Path | None) -> tuple[list[Encoded], str]:
    """CPT: pieces of documents, and where their lengths come from."""
    if data is None:
        drawn = blocks(-(-count * 8 // longest) + count, longest, vocab, SEED)
        return [record for block in drawn for record in block][:count], "drawn lengths"
    from samdan.lm.model import load_chat

    texts = _texts(data)
    chosen = random.Random(SEED).sample(texts, min(count, len(texts)))
    encoded = load_chat(str(data / "tokenizers" / "qwen2.5")).documents(chosen)
    pieces = [
        Encoded(record.tokens[at : at + size] % vocab, record.trained[at : at + size])
        for record in encoded
        for at, size in pieces_of(len(record), longest)
        if size > 1
    ]
    random.Random(SEED).shuffle(pieces)
    return pieces[:count], "real documents"


@cache  # asked for the mean length, then for the records
def _texts(data: Path) -> list[str]:
    return originals(data)


def talks(count: int, longest: int, vocab: int) -> tuple[list[Encoded], str]:
    """SFT: conversations of drawn lengths, 40% of their tokens supervised."""
    return [unit[0] for unit in conversations(count, longest, vocab, SEED)], "drawn lengths"


def preferences(
    count: int, longest: int, vocab: int, data: Path | None, share: float | None
) -> tuple[list[Encoded], str]:
    """DPO: real pairs of at most ``longest`` tokens; with ``share``, drawn ones."""
    if share is not None or data is None:
        given = FALLBACK_SHARE if share is None else share
        made = pairs(count, longest, vocab, given, SEED)
        return [unit[0] for unit in made], f"drawn lengths, prompt share {given}"
    found = [record for record in _real_pairs(data) if len(record) <= longest]
    random.Random(SEED).shuffle(found)
    many = [found[number % len(found)] for number in range(count)]
    return [replace(record, tokens=record.tokens % vocab) for record in many], "real pairs"


@cache
def _real_pairs(data: Path) -> list[Encoded]:
    from samdan.data.formats import records
    from samdan.lm.model import load_chat
    from samdan.recipe import Source
    from samdan.records import PreferencePair

    chat = load_chat(str(data / "tokenizers" / "qwen2.5"))
    found = []
    for path in sorted((data / "preference").glob("*-train.jsonl.gz")):
        for record in records("dpo", Source(path=str(path))):  # type: ignore[call-arg]
            encoded = chat.pair(record) if isinstance(record, PreferencePair) else None
            if isinstance(encoded, Encoded):
                found.append(encoded)
    return found


def prompt_share(records: Sequence[Encoded]) -> float | None:
    """Of prompt and one answer, over all pairs; None where there are no pairs."""
    prompts = sum(record.prefix for record in records if record.has_branch)
    answers = sum(len(record) - record.prefix for record in records if record.has_branch)
    return round(prompts / (prompts + answers / 2), 3) if prompts else None


def cut_short(record: Encoded, most: int = WARM_TOKENS) -> Encoded:
    """The record with at most ``most`` tokens of every part, of a conversation the last ones."""
    if not record.has_branch:
        return Encoded(record.tokens[-most:], record.trained[-most:])
    starts = (0, record.prefix, record.span, len(record))
    kept = [range(a, min(b, a + most)) for a, b in pairwise(starts)]
    places = np.concatenate([np.asarray(part, np.int64) for part in kept])
    prefix, span = len(kept[0]), len(kept[0]) + len(kept[1])
    return Encoded(record.tokens[places], record.trained[places], prefix, span)


# --- on disk, for the processes -------------------------------------------------------------------


def save(folder: Path, records: Sequence[Encoded], per_step: int) -> None:
    """The records as prepared data, every one a unit."""
    data = training_data(folder / "shard", Work([[record] for record in records], per_step))
    data.index.save(folder / "index")


def load(folder: Path) -> TrainingData:
    return TrainingData([folder / "shard"], Index.load(folder / "index"))


def records_of(data: TrainingData) -> list[Encoded]:
    return [data.piece(number) for number in range(len(data.index.pieces))]
