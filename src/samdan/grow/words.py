"""Text to the distinct words that byte-pair encoding sees, as old token ids, with counts.

A word is what the tokenizer's own splitting never merges across. The encoding is the tokenizer's
own, in its threads; distinct words are found by a 64-bit hash of their ids, array by array, so
nothing is done once per occurrence in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from samdan.grow.tokens import Pieces

TOGETHER_CHARS = 2_000_000  # of text that is encoded in one call
CHUNK_CHARS = 20_000  # a longer text is cut at a line's end: no word crosses one
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """Distinct words: ids back to back, where each begins (and the end), how often each occurs."""

    ids: Int
    starts: Int
    counts: Int
    chars: int

    def __len__(self) -> int:
        return len(self.counts)


def count_words(
    texts: Iterable[str],
    encoder: Tokenizer,
    pieces: Pieces,
    poll: Callable[[], None] = lambda: None,
) -> Words:
    """Every distinct word of the texts that has more than one token. Order does not matter."""
    begins = np.zeros(pieces.first_new, bool)  # SentencePiece: a token that begins a word
    mergeable = np.zeros(pieces.first_new, bool)
    mergeable[list(pieces.bytes_of)] = True
    if pieces.kind == "sentencepiece":
        begins[[i for i, token in pieces.bytes_of.items() if token.startswith(b" ")]] = True
    found: dict[int, Words] = {}
    chars = 0
    for number, batch in enumerate(batched(texts)):
        poll()
        chars += sum(map(len, batch))
        found[number] = distinct(*_cut(batch, encoder, begins, mergeable))
        if number % 8 == 7:
            found = {number: _joined(list(found.values()))}
    joined = _joined(list(found.values()))
    return Words(joined.ids, joined.starts, joined.counts, chars)


def batched(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, long ones in pieces, in lists of about the same number of characters."""
    batch: list[str] = []
    size = 0
    for text in texts:
        for chunk in chunks(text):
            batch.append(chunk)
            size += len(chunk)
            if size >= TOGETHER_CHARS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def chunks(text: str, size: int = CHUNK_CHARS) -> Iterator[str]:
    """The text in pieces, cut behind line ends."""
    start = 0
    while len(text) - start > size:
        end = text.rfind("\n", start + 1, start + size) + 1 or start + size
        yield text[start:end]
        start = end
    yield text[start:]


def _cut(
    batch: list[str], encoder: Tokenizer, begins: NDArray[np.bool_], mergeable: NDArray[np.bool_]
) -> tuple[Int, Int]:
    """Ids of all texts back to back, and where a word begins; the end is the last of them."""
    encodings = encoder.encode_batch(batch, add_special_tokens=False)  # the fast one knows no words
    ids, edges = [], []
    offset = 0
    for encoding in encodings:
        own = np.asarray(encoding.ids, np.int64)
        word = np.asarray(encoding.word_ids, np.float64)  # None, of added tokens, is nan
        edge = np.ones(len(own), bool)
        edge[1:] = word[1:] != word[:-1]
        edge |= begins[own] | ~mergeable[own]
        edge[1:] |= ~mergeable[own[:-1]]
        ids.append(own)
        edges.append(np.flatnonzero(edge) + offset)
        offset += len(own)
    return np.concatenate([np.empty(0, np.int64), *ids]), np.concatenate(
        [np.empty(0, np.int64), *edges, [offset]]
    )


def distinct(ids: Int, starts: Int, counts: Int | None = None) -> Words:
    """Equal words as one; words of one token are left out, nothing can be merged in them."""
    lengths = np.diff(starts)
    counts = np.ones(len(lengths), np.int64) if counts is None else counts
    place = np.arange(len(ids)) - np.repeat(starts[:-1], lengths)
    with np.errstate(over="ignore"):
        mixed = _mixed(_mixed(ids.astype(np.uint64)) + place.astype(np.uint64))
        hashes = np.add.reduceat(mixed, starts[:-1]) if len(lengths) else mixed[:0]
    keep = np.flatnonzero(lengths > 1)
    _, first, inverse = np.unique(hashes[keep], return_index=True, return_inverse=True)
    total = np.bincount(inverse, counts[keep], len(first)).astype(np.int64)
    chosen = keep[first]
    return Words(*_taken(ids, starts, chosen), total, 0)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: every bit of the input moves half of the output's."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def _taken(ids: Int, starts: Int, chosen: Int) -> tuple[Int, Int]:
    lengths = np.diff(starts)[chosen]
    ends = np.cumsum(lengths)
    begin = np.repeat(starts[chosen] - (ends - lengths), lengths)
    return ids[begin + np.arange(len(begin))], np.concatenate([[0], ends])


def _joined(parts: list[Words]) -> Words:
    ids = np.concatenate([np.empty(0, np.int64), *(part.ids for part in parts)])
    offsets = np.cumsum([0, *(len(part.ids) for part in parts)])
    starts = [part.starts[:-1] + offset for part, offset in zip(parts, offsets, strict=False)]
    counts = np.concatenate([np.empty(0, np.int64), *(part.counts for part in parts)])
    return distinct(ids, np.concatenate([*starts, [len(ids)]]).astype(np.int64), counts)
