"""Weights in tokens to the order of training: which piece of which source comes when.

The order is a pure function of (seed, epoch, position). An epoch is one pass over the target
sources; a source whose share is larger than itself is repeated, one whose share is smaller is read
further in the next epoch. Everything is counted: in + repeated = trained + masked + dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdan.budget import shares
from samdan.lm.shards import Index, Int, Shard
from samdan.packing import best_fit_in_order, interleave, pieces_of
from samdan.recipe import CptStage, Source, Stage


@dataclass(frozen=True)
class Mixed:
    index: Index
    accounts: dict[str, dict[str, Any]]  # by source


def mix(stage: Stage, shards: Mapping[str, Shard], seed: int, world_size: int = 1) -> Mixed:
    """The index of a stage's training units and its token accounts."""
    labels = [source.label for source in stage.data]
    tables = [_pieces(stage, shards[label]) for label in labels]
    base = np.concatenate([[0], np.cumsum([len(table) for table in tables])])
    pieces = np.concatenate(
        [np.column_stack([np.full(len(t), s), t]) for s, t in enumerate(tables)]
    ).astype(np.int64)
    budget = shares(
        stage, {label: int(t[:, 2].sum()) for label, t in zip(labels, tables, strict=True)}
    )
    streams = [
        _Stream(table[:, 2], seed, number) for number, table in enumerate(tables)
    ]
    starts = [int(start) for start in base[:-1]]
    most = None if stage.max_steps is None else stage.max_steps * stage.units_per_step * world_size
    end = stage.anneal.share if stage.anneal else 0.0
    per_epoch = [budget[label] for label in labels]
    units = _blended(stage, streams, starts, per_epoch, stage.num_train_epochs * (1 - end))
    if most is not None:
        units = units[: round(most * (1 - end))]
    if stage.anneal:
        weights = [stage.anneal.weights.get(label, 0.0) for label in labels]
        best = [sum(per_epoch) * weight / sum(weights) for weight in weights]
        units += _blended(stage, streams, starts, best, stage.num_train_epochs * end)
        units = units if most is None else units[:most]
    index = _index(pieces, units)
    return Mixed(index, _accounts(stage.data, shards, index))


def _blended(
    stage: Stage,
    streams: Sequence[_Stream],
    starts: Sequence[int],
    per_epoch: Sequence[float],
    epochs: float,
) -> list[list[int]]:
    """Units of so many epochs, every prefix of an epoch holding each source in proportion.

    ``per_epoch``: tokens by source. ``starts``: the number of each source's first piece.
    """
    units: list[list[int]] = []
    whole, rest = divmod(epochs, 1)
    for share in [1.0] * int(whole) + ([rest] if rest > 1e-9 else []):
        by_source = [
            [[start + piece for piece in unit] for unit in _units(stage, stream, share * tokens)]
            for stream, start, tokens in zip(streams, starts, per_epoch, strict=True)
        ]
        cursors = [iter(source_units) for source_units in by_source]
        units += [next(cursors[s]) for s in interleave([len(u) for u in by_source])]
    return units


class _Stream:
    """A source's pieces, pass after pass, each pass in an order of its own."""

    def __init__(self, lengths: Int, seed: int, source: int) -> None:
        self.lengths = lengths
        self._key = (seed, source)
        self._order: list[int] = []
        self._pass = 0
        self._taken = 0
        self._owed = 0.0

    def take(self, tokens: float) -> list[int]:
        """Pieces of the next so many tokens, to within half a piece over the whole run."""
        self._owed += tokens
        taken: list[int] = []
        while len(self.lengths):
            if not self._order:
                rng = np.random.default_rng([*self._key, self._pass])
                self._order = rng.permutation(len(self.lengths)).tolist()[::-1]
                self._pass += 1
            length = int(self.lengths[self._order[-1]])
            if self._taken + length / 2 > self._owed:
                break
            taken.append(self._order.pop())
            self._taken += length
        return taken


def _pieces(stage: Stage, shard: Shard) -> Int:
    """[pieces, 3]: record, start, length. Documents are cut at max_length, answers never."""
    lengths = shard.lengths
    if not isinstance(stage, CptStage):
        count = len(lengths)
        return np.column_stack([np.arange(count), np.zeros(count, np.int64), lengths]).astype(
            np.int64
        )
    rows = [
        (record, start, length)
        for record, whole in enumerate(lengths.tolist())
        for start, length in pieces_of(whole, stage.max_length)
    ]
    return np.asarray(rows, np.int64).reshape(-1, 3)


def _units(stage: Stage, stream: _Stream, tokens: float) -> list[list[int]]:
    """So many tokens of one source: blocks of up to max_length tokens, or single records."""
    taken = stream.take(tokens)
    if not isinstance(stage, CptStage):
        return [[piece] for piece in taken]
    bins = best_fit_in_order([int(stream.lengths[piece]) for piece in taken], stage.max_length)
    return [[taken[i] for i in block] for block in bins]


def _index(pieces: Int, units: Sequence[Sequence[int]]) -> Index:
    flat = np.asarray([piece for unit in units for piece in unit], np.int64)
    sizes = np.asarray([len(unit) for unit in units], np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    lengths = pieces[flat, 3] if len(flat) else np.empty(0, np.int64)
    cumulative = np.concatenate([[0], np.cumsum(lengths)])
    return Index(pieces, offsets, flat, np.diff(cumulative[offsets]))


def _accounts(
    data: Sequence[Source], shards: Mapping[str, Shard], index: Index
) -> dict[str, dict[str, Any]]:
    """Tokens by source over the whole stage."""
    accounts = {}
    seen = np.bincount(index.unit_pieces, minlength=len(index.pieces))
    for number, source in enumerate(data):
        shard = shards[source.label]
        mine = index.pieces[:, 0] == number
        lengths, times = index.pieces[mine, 3], seen[mine]
        predicted = _predicted(shard, index.pieces[mine])
        trained = int((predicted * times).sum())
        presented = int((lengths * times).sum())
        accounts[source.label] = {
            "role": source.role,
            "in": int(lengths.sum()),
            "repeated": int((lengths * np.maximum(times - 1, 0)).sum()),
            "trained": trained,
            "masked": presented - trained,
            "dropped": _nonzero({"not_reached": int(lengths[times == 0].sum())}),
        }
    return accounts


def _predicted(shard: Shard, pieces: Int) -> NDArray[np.int64]:
    """Predicted tokens per piece: the shard's counts, or all but the first of a cut document."""
    record, length = pieces[:, 1], pieces[:, 3]
    whole = length == shard.lengths[record]
    return np.where(whole, shard.predicted[record], length - 1)


def _nonzero(counts: dict[str, int]) -> dict[str, int]:
    return {reason: number for reason, number in counts.items() if number}


def check_accounts(accounts: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises AssertionError unless in + repeated = trained + masked + dropped for every source."""
    for label, row in accounts.items():
        given = row["in"] + row["repeated"]
        used = row["trained"] + row["masked"] + sum(row["dropped"].values())
        assert given == used, f"{label}: {given} tokens came in and {used} are accounted for"
