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
from samdan.train import parallel, sharding


def reference_log_probs(
    scorer: Scorer, data: TrainingData, capacity: int, poll: Callable[[], None] = lambda: None
) -> Tensor:
    """Log-probabilities [pieces, 2] of chosen and rejected, in the order of the index's pieces.

    Batches hold up to ``capacity`` tokens and are dealt over the processes, of which each has all
    results in the end. ``poll`` is called before every batch, as often in every process.
    """
    pieces = data.index.pieces
    out = torch.zeros(len(pieces), 2)
    lengths = [int(length) for length in pieces[:, 3]]
    batches = best_fit_decreasing(lengths, capacity)
    scorer.eval()
    split = sharding.is_sharded(scorer)
    # FSDP's gathering does not go with inference mode.
    with scorer.computing(), torch.no_grad() if split else torch.inference_mode():
        for begin in range(0, len(batches), parallel.world_size()):
            poll()
            mine = begin + parallel.rank()
            if mine < len(batches) or split:  # the others gather weights with this process
                numbers = batches[min(mine, len(batches) - 1)]
                batch = collate([data.piece(number) for number in numbers], numbers)
                sums_S, _ = sum_by_sequence(scorer(batch), batch)
                if mine < len(batches):
                    out[numbers] = sums_S.view(-1, 2).float().cpu()
    if split:
        sharding.reshard(scorer)
    parallel.add_tensor(out)  # zero but for one process's: their sum is exact
    return out


def save_reference(path: Path, values: Tensor) -> None:
    np.save(path, values.numpy())


def load_reference(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))
