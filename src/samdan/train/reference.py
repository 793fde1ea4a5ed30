"""Reference log-probabilities: what the frozen parent gives to every answer, computed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samdan.lm.passes import ALONE, Hands, sequence_sums
from samdan.lm.scoring import Scorer
from samdan.lm.shards import TrainingData


def reference_log_probs(
    scorer: Scorer,
    data: TrainingData,
    capacity: int,
    poll: Callable[[], None] = lambda: None,
    hands: Hands = ALONE,
) -> Tensor:
    """Log-probabilities [pieces, 2] of chosen and rejected, in the order of the index's pieces.

    ``capacity``, ``poll`` and ``hands``: of `sequence_sums`.
    """
    lengths = [int(length) for length in data.index.pieces[:, 3]]
    two = [2] * len(lengths)
    sums_S2 = sequence_sums(scorer, data.piece, lengths, two, capacity, poll, hands)
    return sums_S2[:, 0].view(-1, 2).float()


def save_reference(path: Path, values: Tensor) -> None:
    np.save(path, values.numpy())


def load_reference(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))
