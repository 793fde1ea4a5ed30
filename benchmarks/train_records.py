"""The records of a training benchmark, read without samdan: numpy and the standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CHECKED = 4  # records whose loss is compared before anything is timed
SEED = 11
UNTRAINED = -100  # the label of a token that is not learned from
Row = tuple[list[int], list[int]]  # token ids, and labels under their own token: trainers shift


@dataclass(frozen=True)
class Record:
    """Token ids and which are learned from; of a pair ``[prompt, chosen | rejected]``.

    ``prefix``: the prompt's length, ``span``: that of prompt and chosen answer, which is everything
    where there is no pair.
    """

    tokens: NDArray[np.uint32]
    trained: NDArray[np.bool_]
    prefix: int
    span: int

    def __len__(self) -> int:
        return len(self.tokens)

    def row(self) -> Row:
        """Of a document or conversation."""
        return self._row(np.arange(len(self)))

    def answers(self) -> tuple[Row, Row]:
        """Of a pair: the prompt with the chosen answer, and with the rejected one."""
        prompt = np.arange(self.prefix)
        parts = (np.arange(self.prefix, self.span), np.arange(self.span, len(self)))
        chosen, rejected = (self._row(np.concatenate([prompt, part])) for part in parts)
        return chosen, rejected

    def _row(self, places: NDArray[np.int64]) -> Row:
        tokens = self.tokens[places].astype(np.int64)
        labels = np.where(self.trained[places], tokens, UNTRAINED)
        labels[:1] = UNTRAINED  # predicted from nothing, so by no side
        return tokens.tolist(), labels.tolist()


def spread_evenly(records: Sequence[Record], rows: int) -> list[list[Record]]:
    """The records in so many rows of nearly equal length; none is empty if they suffice."""
    filled: list[list[Record]] = [[] for _ in range(rows)]
    for record in sorted(records, key=len, reverse=True):
        min(filled, key=lambda row: sum(map(len, row))).append(record)
    return filled


class Paired(Protocol):
    """What the made-up reference needs of a pair: `Record` and samdan's `Encoded` have it."""

    @property
    def prefix(self) -> int: ...
    @property
    def span(self) -> int: ...
    def __len__(self) -> int: ...


def read(folder: Path) -> list[Record]:
    """The records that `benchmarks.train_work.save` wrote, in training order."""
    return list(_read(folder / "shard", folder / "index"))


def _read(shard: Path, index: Path) -> Iterator[Record]:
    tokens = np.fromfile(shard / "tokens.bin", np.uint32)
    trained = np.fromfile(shard / "trained.bin", np.uint8).astype(np.bool_)
    offsets = np.load(shard / "offsets.npy", allow_pickle=False)
    splits = np.load(shard / "splits.npy", allow_pickle=False)
    for number, record, start, length in np.load(index / "pieces.npy", allow_pickle=False).tolist():
        if (number, start, length) != (0, 0, int(offsets[record + 1] - offsets[record])):
            raise ValueError(
                f"{index}: a piece is {length} tokens from {start} of record {record} of shard "
                f"{number}; expected whole records of shard 0, as `benchmarks.train_work.save` "
                f"writes them"
            )
        place = slice(int(offsets[record]), int(offsets[record + 1]))
        prefix, span = (int(x) for x in splits[record])
        yield Record(tokens[place], trained[place], prefix, span)


def check_reference(records: Sequence[Paired], vocab: int) -> NDArray[np.float32]:
    """Made-up reference log-probabilities [pairs, 2], near those of random weights.

    With a model's own, the loss at the first step is log 2 whatever the model computes.
    """
    noise = np.random.default_rng(SEED).normal(0, 3, (len(records), 2))
    counts = [(r.span - r.prefix, len(r) - r.span) for r in records]
    return (noise - np.log(vocab) * np.asarray(counts)).astype(np.float32)
