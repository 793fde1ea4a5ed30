"""Prepared data to each optimizer step's micro-batches: a pure function of the step's number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from samdan.lm.batch import Batch, collate
from samdan.lm.shards import TrainingData
from samdan.packing import micro_batches


@dataclass(frozen=True)
class Steps:
    """The optimizer steps of a stage, as one process sees them."""

    data: TrainingData
    units_per_step: int  # over all processes
    micro_batch_tokens: int
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        return -(-self.data.index.num_units // self.units_per_step)

    def units(self, step: int) -> range:
        """Unit numbers of an optimizer step (the first step is 1); the last may be smaller."""
        first = (step - 1) * self.units_per_step
        return range(first, min(first + self.units_per_step, self.data.index.num_units))

    def micro_batches(self, step: int) -> list[Batch]:
        """This process's share of the step. Every process gets equally many; empty ones weigh 0."""
        units = self.units(step)
        lengths = [int(self.data.index.unit_tokens[unit]) for unit in units]
        mine = micro_batches(lengths, self.micro_batch_tokens, self.world_size)[self.rank]
        return [self._batch([units[i] for i in chosen]) for chosen in mine]

    def _batch(self, units: Sequence[int]) -> Batch:
        pieces = [piece for unit in units for piece in self.data.pieces_of_unit(unit)]
        return collate([self.data.piece(piece) for piece in pieces], pieces)

    def tokens(self, step: int) -> int:
        """Tokens of the step, all processes."""
        return int(sum(self.data.index.unit_tokens[unit] for unit in self.units(step)))


def extend_chain(chain: str, steps: Steps, step: int) -> str:
    """A hash over the ids of every sample seen so far, in order: proof of what was trained on."""
    pieces = [p for unit in steps.units(step) for p in steps.data.pieces_of_unit(unit)]
    return hashlib.sha256(f"{chain}:{pieces}".encode()).hexdigest()
