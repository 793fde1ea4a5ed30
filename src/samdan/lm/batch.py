"""Records of token ids to one packed row, with the rows that predict and what they should predict.

Shape letters: T tokens of the packed row, N predictions. There is one row per forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samdan.lm.attention import Branch, Layout, Span


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record as token ids: ``[span | branch]``, where the branch sees only the span's prefix.

    A document or conversation is all span. A preference pair is ``[prompt, chosen | rejected]``
    with ``prefix`` the prompt's length and ``span`` the length of prompt and chosen answer.
    """

    tokens: NDArray[np.uint32]
    trained: NDArray[np.bool_]  # is this token something to predict?
    prefix: int = 0
    span: int = -1  # -1: everything

    def __post_init__(self) -> None:
        if self.span < 0:
            object.__setattr__(self, "span", len(self.tokens))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def has_branch(self) -> bool:
        return self.span < len(self.tokens)


@dataclass(frozen=True, slots=True)
class Batch:
    """One packed row. Predictions are ordered by record, and by sequence inside a record."""

    tokens_T: Tensor  # long
    positions_T: Tensor  # restart with every record; a branch continues its prefix
    layout: Layout
    rows_N: Tensor  # the hidden state at this position ...
    targets_N: Tensor  # ... predicts this token
    sequence_N: Tensor  # which sequence the prediction belongs to: 2 per pair, else 1 per record
    keys_T: Tensor  # identifies the record of each token, for dropout
    records: int
    sequences: int
    record_ids: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        return len(self.tokens_T)

    @property
    def num_targets(self) -> int:
        return len(self.targets_N)


def collate(records: Sequence[Encoded], ids: Sequence[int] | None = None) -> Batch:
    """Packs records one after another."""
    ids = tuple(ids) if ids is not None else tuple(range(len(records)))
    spans: list[Span] = []
    branches: list[Branch] = []
    parts: dict[str, list[NDArray[np.int64]]] = {
        k: [] for k in ("positions", "rows", "targets", "seq")
    }
    start = sequence = 0
    for record in records:
        spans.append(Span(start, record.span))
        positions = np.arange(len(record))
        tokens = record.tokens.astype(np.int64)
        # A token is predicted from the one before it; the first of a record from nothing.
        trained = np.flatnonzero(record.trained[: record.span])
        trained = trained[trained > 0]
        _add(parts, trained - 1 + start, tokens[trained], sequence)
        sequence += 1
        if record.has_branch:
            length = len(record) - record.span
            branches.append(Branch(start + record.span, length, start, record.prefix))
            positions[record.span :] = np.arange(record.prefix, record.prefix + length)
            # The last prompt token predicts the first token of both answers.
            trained = np.flatnonzero(record.trained[record.span :]) + record.span
            rows = np.where(trained == record.span, record.prefix - 1, trained - 1)
            _add(parts, rows + start, tokens[trained], sequence)
            sequence += 1
        parts["positions"].append(positions)
        start += len(record)

    def join(arrays: Sequence[NDArray[np.int64]]) -> Tensor:
        return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *arrays]))

    keys = [np.full(len(record), key, np.int64) for record, key in zip(records, ids, strict=True)]
    return Batch(
        tokens_T=join([record.tokens.astype(np.int64) for record in records]),
        positions_T=join(parts["positions"]),
        layout=Layout(spans, branches),
        rows_N=join(parts["rows"]),
        targets_N=join(parts["targets"]),
        sequence_N=join(parts["seq"]),
        keys_T=join(keys),
        records=len(records),
        sequences=sequence,
        record_ids=ids,
    )


def _add(
    parts: dict[str, list[NDArray[np.int64]]],
    rows: NDArray[np.int64],
    targets: NDArray[np.int64],
    sequence: int,
) -> None:
    parts["rows"].append(rows)
    parts["targets"].append(targets)
    parts["seq"].append(np.full(len(rows), sequence, np.int64))


def num_predictions(record: Encoded) -> int:
    """How many tokens of the record are predicted: the weight it brings to a mean over tokens."""
    first = int(record.trained[0]) if len(record) and record.span else 0
    return int(record.trained.sum()) - first
