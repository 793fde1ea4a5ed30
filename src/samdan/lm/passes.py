"""Passes over many records, by one process or several: the log-probability of each sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from samdan.lm.batch import Encoded, collate
from samdan.lm.scoring import Scorer, sum_by_sequence
from samdan.packing import best_fit_decreasing


@dataclass(frozen=True)
class Hands:
    """The processes that share a pass: this one's number, how many there are, and how they add up.

    ``add``: the sum over all of them, in place, of a tensor in host memory. ``split``: the model
    lies split over them, and a forward needs all of them.
    """

    rank: int = 0
    count: int = 1
    add: Callable[[Tensor], object] = lambda tensor: None
    split: bool = False


ALONE = Hands()


def sequence_sums(
    scorer: Scorer,
    record: Callable[[int], Encoded],
    lengths: Sequence[int],
    sequences: Sequence[int],
    capacity: int,
    poll: Callable[[], None] = lambda: None,
    hands: Hands = ALONE,
) -> Tensor:
    """Per sequence [S, 2], fp64: the sum of its log-probabilities, and of how many.

    ``record``: the one of a number; ``lengths`` and ``sequences``: its tokens, and how many
    sequences it has, whose rows follow one another. Batches of up to ``capacity`` tokens are dealt
    over the ``hands``, and all of them have all sums in the end: of a whole model those that one
    process has, to the bit. ``poll`` is called before every batch, as often in every process.
    """
    begins = list(accumulate(sequences, initial=0))
    out_S2 = torch.zeros(begins[-1], 2, dtype=torch.float64)
    batches = best_fit_decreasing(lengths, capacity)
    scorer.eval()
    # No inference mode: a split model gathers its weights here, and trains on with them.
    with scorer.computing(), torch.no_grad():
        for begin in range(0, len(batches), hands.count):
            poll()
            mine = begin + hands.rank
            if mine >= len(batches) and not hands.split:
                break
            numbers = batches[min(mine, len(batches) - 1)]
            batch = collate([record(number) for number in numbers], numbers)
            found_S2 = torch.stack(sum_by_sequence(scorer(batch), batch), 1)
            if mine < len(batches):  # else it was for the others, who gathered with this process
                rows = [row for n in numbers for row in range(begins[n], begins[n + 1])]
                out_S2[rows] = found_S2.double().cpu()
    hands.add(out_S2)  # zero but for one process's
    return out_S2
