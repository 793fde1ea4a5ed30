"""Reference log-probabilities: what the frozen parent gives to every answer, computed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samdan.lm.batch import collate
from samdan.lm.scoring import Scorer, sum_by_sequence
from samdan.lm.shards import TrainingData
from samdan.packing import best_fit_decreasing


def reference_log_probs(
    scorer: Scorer, data: TrainingData, capacity: int, poll: Callable[[], None] = lambda: None
) -> Tensor:
    """Log-probabilities [pieces, 2] of chosen and rejected, in the order of the index's pieces."""
    pieces = data.index.pieces
    out = torch.zeros(len(pieces), 2)
    lengths = [int(length) for length in pieces[:, 3]]
    scorer.eval()
    with scorer.computing(), torch.inference_mode():
        for numbers in best_fit_decreasing(lengths, capacity):
            poll()
            batch = collate([data.piece(number) for number in numbers], numbers)
            sums_S, _ = sum_by_sequence(scorer(batch), batch)
            out[numbers] = sums_S.view(-1, 2).float().cpu()
    return out


def save_reference(path: Path, values: Tensor) -> None:
    np.save(path, values.numpy())


def load_reference(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))
