"""Averages of the weights over a stage: moved along with training, or made of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from samdan.averaging import Average, Ema, Last
from samdan.train import pieces
from samdan.train.sharding import local_part


class Averaging:
    """The average of the trained weights of a model, as far as a stage has come.

    ``tensors``: the moving average by parameter name, fp32, split as the parameters are; empty
    where the average is made of checkpoints. ``needs``: the steps whose checkpoints have to stay.
    """

    def __init__(self, model: nn.Module, spec: Average, total: int, save_steps: int) -> None:
        self.spec = spec
        self.updates = 0
        self.tensors: dict[str, Tensor] = {}
        self.needs: frozenset[int] = frozenset()
        self._trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if isinstance(spec, Ema):
            self.tensors = {n: torch.zeros_like(p.detach()) for n, p in self._trained.items()}
        else:
            self.needs = frozenset(spec.steps(total, save_steps))

    @torch.no_grad()
    def update(self) -> None:
        """After an update of the weights."""
        self.updates += 1
        if isinstance(self.spec, Ema):
            weight = self.spec.weight(self.updates)
            for name, average in self.tensors.items():
                local_part(average).lerp_(local_part(self._trained[name].detach()), weight)

    def load(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """What a checkpoint holds. Raises ValueError when it holds an average of other weights."""
        if set(tensors) != set(self.tensors):
            raise ValueError("the checkpoint holds an average of other parameters than are trained")
        for name, tensor in tensors.items():
            local_part(self.tensors[name]).copy_(local_part(tensor))
        self.updates = updates

    @torch.no_grad()
    def put_in(self, checkpoints: Mapping[int, Path], step: int) -> tuple[int, ...]:
        """Replaces the weights by their average; returns the steps that it was made of.

        ``checkpoints``: verified ones by step. ``step``: of the weights as they are, which count as
        the last point. A moving average is made of all steps, so of the last one's it tells.
        """
        if isinstance(self.spec, Last):
            return self._mean(checkpoints, step)
        for name, average in self.tensors.items():
            if self.updates:
                local_part(self._trained[name].detach()).copy_(local_part(average))
        return (step,)

    def _mean(self, checkpoints: Mapping[int, Path], step: int) -> tuple[int, ...]:
        used = sorted(s for s in checkpoints if s in self.needs and s < step)
        saved = [pieces.Saved(checkpoints[s], "model") for s in used]
        for name, parameter in self._trained.items():
            own = local_part(parameter.detach())
            total = own.double()
            for point in saved:
                total += point.like(name, parameter).to(own.device)
            own.copy_(total / (len(saved) + 1))
        return (*used, step)
