"""Phases of a stage: in each, some blocks of the model learn and the others stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from samdan.recipe import CptStage
from samdan.records import RecipeError
from samdan.train.blocks import Block, blocks_of
from samdan.unfreezing import Growth, Phase


class Unfreezing:
    """Lets the blocks of an optimizer learn by phase.

    What learns is switched for the time of a step only. Between steps every parameter that some
    phase trains counts as trained, so that checkpoints and exports hold all of them.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, stage: CptStage) -> None:
        self._phases = stage.unfreeze or ()
        self._blocks: list[Block] = [
            block for group in optimizer.param_groups for block in group["blocks"]
        ]
        total = sum(parameter.numel() for parameter in model.parameters())
        self.shares = tuple(self._size(phase) / total for phase in self._phases)

    def _size(self, phase: Phase) -> int:
        return sum(block.size for block in self._blocks if _in(block, phase))

    @contextmanager
    def during(self, phase: int) -> Iterator[None]:
        """Within it the parameters that the phase trains need gradients, and no others."""
        before: list[tuple[Any, bool]] = []
        try:
            owners: dict[int, tuple[nn.Parameter, bool]] = {}
            for block in self._blocks:
                learns = _in(block, self._phases[phase])
                if block.rows is not None:
                    before.append((block.moved, block.moved.requires_grad))
                    block.moved.requires_grad_(learns)
                _, others = owners.get(id(block.parameter), (block.parameter, False))
                owners[id(block.parameter)] = (block.parameter, learns or others)
            for parameter, learns in owners.values():
                before.append((parameter, parameter.requires_grad))
                parameter.requires_grad_(learns)
            yield
        finally:
            for parameter, needed in before:
                parameter.requires_grad_(needed)


def freeze_for_phases(model: nn.Module, stage: CptStage, growth: Growth) -> None:
    """Leaves trainable what some phase trains.

    Raises RecipeError for a phase that trains nothing.
    """
    blocks = blocks_of(model, growth, split=True)
    phases = stage.unfreeze or ()
    for number, phase in enumerate(phases):
        if not any(_in(block, phase) for block in blocks):
            raise RecipeError(_nothing(stage.name, number, phase, growth))
    trained = {block.name for block in blocks for phase in phases if _in(block, phase)}
    for block in blocks:
        block.parameter.requires_grad_(block.name in trained)


def _in(block: Block, phase: Phase) -> bool:
    return any((place, block.new) in phase.places for place in block.places)


def _nothing(stage: str, number: int, phase: Phase, growth: Growth) -> str:
    why = "those parts are frozen, or the model has none"
    if growth.new_rows is None and not growth.new_layers:
        why = (
            "the model that the stage starts from was not grown (no growth.json beside it), so it "
            "has no new rows or layers"
        )
    return f"stages.{stage}.unfreeze[{number}]: '{phase.name}' trains nothing: {why}"
