"""Old tokens that a new one is used like, found in the text itself, after FOCUS (2305.14481).

FOCUS trains fastText vectors on the target text and combines the old rows of the most similar
tokens by sparsemax. Here a token's vector is what stands to its left and right: sums of random
vectors of the neighbours' old pieces, rare ones counting more. Old tokens are looked at in the text
as the old tokenizer splits it, new ones as the new does, so both have their usual neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from samdan.grow.rows import NewTokens, Similar
from samdan.grow.words import batched

WIDTH = 256  # of a token's vector: half for the left, half for the right
WINDOW = 2  # tokens on either side
RARELY = 10  # a token that occurs less often has no vector to speak of
NEAREST = 16  # old tokens that are looked at for one new token
SAMPLE_CHARS = 8_000_000
Float = NDArray[np.float32]
Int = NDArray[np.int64]


def similar_tokens(
    texts: Iterable[str],
    encoder: Tokenizer,
    new: NewTokens,
    seed: int,
    poll: Callable[[], None] = lambda: None,
) -> tuple[Similar, ...]:
    """Per new token the old ones it is used like; the mean of its pieces where it is too rare.

    ``encoder``: with the new tokens.
    """
    size = max(new.ids) + 1
    pieces = dict(zip(new.ids, new.pieces, strict=True))
    vectors = np.random.default_rng(seed).standard_normal((size, WIDTH // 2)).astype(np.float32)
    for number, parts in pieces.items():
        vectors[number] = vectors[list(parts)].mean(0)
    ours, theirs = _Contexts(size, vectors), _Contexts(size, vectors)
    chars = 0
    for batch in batched(texts):
        poll()
        for encoding in encoder.encode_batch_fast(batch, add_special_tokens=False):
            ids = encoding.ids
            ours.add(ids)
            theirs.add([old for token in ids for old in pieces.get(token, (token,))])
        chars += sum(map(len, batch))
        if chars > SAMPLE_CHARS:
            break
    old = np.asarray([n for n in theirs.common() if n not in pieces], np.int64)
    if not len(old):
        return tuple(_mean(parts) for parts in new.pieces)
    mine = ours.unit(np.asarray(new.ids, np.int64))
    likeness = mine @ theirs.unit(old).T
    seen = ours.counts[list(new.ids)] >= RARELY
    return tuple(
        _combined(old, likeness[row]) if seen[row] else _mean(parts)
        for row, parts in enumerate(new.pieces)
    )


def _mean(parts: Sequence[int]) -> Similar:
    return Similar(tuple(parts), (1 / len(parts),) * len(parts))


def _combined(old: Int, likeness: Float) -> Similar:
    nearest = np.argsort(-likeness, kind="stable")[:NEAREST]
    weights = sparsemax(likeness[nearest])
    kept = weights > 0
    return Similar(tuple(old[nearest][kept].tolist()), tuple(weights[kept].tolist()))


def sparsemax(scores: Float) -> Float:
    """The point of the simplex nearest to ``scores``, which are in falling order.

    Martins and Astudillo 2016 (1602.02068).
    """
    sums = np.cumsum(scores)
    count = np.arange(1, len(scores) + 1)
    support = count[1 + count * scores > sums][-1]
    threshold = (sums[support - 1] - 1) / support
    found: Float = np.maximum(scores - threshold, 0).astype(np.float32)
    return found


class _Contexts:
    """Sums of what stands beside each token."""

    def __init__(self, size: int, vectors: Float) -> None:
        self._vectors = vectors
        self.counts: Int = np.zeros(size, np.int64)
        self._sums: Float = np.zeros((size, 2 * vectors.shape[1]), np.float32)
        self._waiting: list[Int] = []

    def add(self, ids: Sequence[int]) -> None:
        self._waiting.append(np.asarray(ids, np.int64))
        if sum(map(len, self._waiting)) > 100_000:
            self._flush()

    def _flush(self) -> None:
        for ids in self._waiting:
            np.add.at(self.counts, ids, 1)
        waiting, self._waiting = self._waiting, []
        half = self._vectors.shape[1]
        for ids in waiting:
            # A neighbour counts less the more often it occurs.
            weighed = self._vectors[ids] / np.sqrt(self.counts[ids])[:, None]
            order = np.argsort(ids, kind="stable")
            distinct, first = np.unique(ids[order], return_index=True)
            around = np.zeros((len(ids), 2 * half), np.float32)
            for step in range(1, WINDOW + 1):
                around[step:, :half] += weighed[:-step]
                around[:-step, half:] += weighed[step:]
            if len(ids):
                self._sums[distinct] += np.add.reduceat(around[order], first)

    def common(self) -> list[int]:
        self._flush()
        found: list[int] = np.flatnonzero(self.counts >= RARELY).tolist()
        return found

    def unit(self, numbers: Int) -> Float:
        """Vectors of length 1, without what all tokens have in common."""
        self._flush()
        found = self._sums[numbers] / np.maximum(self.counts[numbers], 1)[:, None]
        found = found - found.mean(0)
        unit: Float = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
        return unit


