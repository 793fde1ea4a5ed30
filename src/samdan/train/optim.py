"""The optimizer: parameter groups, the learning rate's course, where the states live."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from samdan.lm.model import head_and_embeddings
from samdan.recipe import CptStage, Stage
from samdan.records import EnvironmentFailure, RecipeError
from samdan.train import blocks
from samdan.train.blocks import Block, blocks_of, state_tensors
from samdan.unfreezing import NOT_GROWN, Growth

__all__ = [
    "OffloadedAdamW", "load_state_tensors", "make_optimizer", "parameter_groups", "set_rates",
    "state_tensors",
]  # fmt: skip


def parameter_groups(
    model: nn.Module, stage: Stage, from_scratch: bool, growth: Growth = NOT_GROWN
) -> list[dict[str, Any]]:
    """AdamW groups by rate and decay. The default tenth for embeddings and head is CPT's only.

    Tied, frozen and LoRA models and models from scratch skip the default, and so do new rows of a
    grown base; a pattern of ``lr_groups`` that matches no trained parameter is an error. The later
    of these decides: place in the model, new rows or layers, B matrices of LoRA+, patterns.
    """
    embeddings, head = head_and_embeddings(model)
    rates = _Rates(stage, growth, from_scratch, bool(embeddings & head))
    split = bool(getattr(stage, "unfreeze", None)) or rates.new_rows != rates.rows
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for block in blocks_of(model, growth, split):
        rate = rates.of(block)
        decay = stage.weight_decay if block.moved.ndim >= 2 else 0.0
        # Parts of split parameters are plain tensors: not in one list with whole ones.
        group = groups.setdefault(
            (rate, decay, block.rows is not None),
            {"params": [], "blocks": [], "names": [], "lr": rate, "base_lr": rate},
        )
        group |= {"weight_decay": decay}
        group["params"].append(block.moved)
        group["blocks"].append(block)
        group["names"].append(block.key)
    rates.require_effect(model)
    return list(groups.values())


class _Rates:
    """The rate of each block of a stage."""

    def __init__(self, stage: Stage, growth: Growth, from_scratch: bool, tied: bool) -> None:
        self.stage, self.growth = stage, growth
        plain = isinstance(stage, CptStage) and not (from_scratch or tied or stage.lora)
        default = stage.learning_rate / 10 if plain else stage.learning_rate
        self.rows = {
            "input": default if stage.embedding_lr is None else stage.embedding_lr,
            "output": default if stage.lm_head_lr is None else stage.lm_head_lr,
        }
        own = {"input": stage.embedding_lr, "output": stage.lm_head_lr}
        self.new_rows = dict(self.rows)
        if growth.new_rows is not None:
            for place, rate in own.items():
                fresh = stage.learning_rate if rate is None else rate
                self.new_rows[place] = fresh if stage.new_rows_lr is None else stage.new_rows_lr
        self._matched: set[str] = set()

    def of(self, block: Block) -> float:
        stage = self.stage
        rate = stage.learning_rate
        for place in ("output", "input"):  # a tied one is an embedding
            if place in block.places:
                rate = (self.new_rows if block.new else self.rows)[place]
        if block.new and "layers" in block.places and stage.new_layers_lr is not None:
            rate = stage.new_layers_lr
        if stage.lora is not None and _is_fast_in_lora_plus(block):
            rate *= stage.lora.lora_plus_ratio
        for pattern, value in stage.lr_groups.items():
            if re.search(pattern, block.name):
                self._matched.add(pattern)
                rate = value
        return rate

    def require_effect(self, model: nn.Module) -> None:
        """Raises RecipeError where a rate of the recipe is nobody's."""
        stage = self.stage
        unmatched = [pattern for pattern in stage.lr_groups if pattern not in self._matched]
        if unmatched:
            raise RecipeError(
                f"stages.{stage.name}.lr_groups: '{unmatched[0]}' matches no trained parameter; "
                f"names look like '{next(iter(dict(model.named_parameters())))}'"
            )
        for key, what, there in (
            ("new_rows_lr", "rows", self.growth.new_rows is not None),
            ("new_layers_lr", "layers", bool(self.growth.new_layers)),
        ):
            if getattr(stage, key) is not None and not there:
                raise RecipeError(
                    f"stages.{stage.name}.{key}: the model that the stage starts from has no new "
                    f"{what} (no growth.json beside it names any); grow the base, or leave it out"
                )


def _is_fast_in_lora_plus(block: Block) -> bool:
    """B matrices and vectors, as in peft's optimizer for LoRA+."""
    return "lora_" in block.name and ("lora_B" in block.name or block.moved.ndim == 1)


def make_optimizer(
    model: nn.Module, stage: Stage, from_scratch: bool, growth: Growth = NOT_GROWN
) -> torch.optim.Optimizer:
    groups = parameter_groups(model, stage, from_scratch, growth)
    options: dict[str, Any] = {
        "lr": stage.learning_rate,
        "betas": (stage.adam_beta1, stage.adam_beta2),
        "eps": stage.adam_epsilon,
    }
    if stage.optim == "adamw_8bit":
        if any(block.rows for group in groups for block in group["blocks"]):
            raise RecipeError(
                f"stages.{stage.name}.optim: 'adamw_8bit' keeps states in blocks over rows, and "
                f"new rows learn at a rate of their own; use 'adamw' or 'adamw_offload', or set "
                f"new_rows_lr, embedding_lr and lm_head_lr to one value"
            )
        try:
            import bitsandbytes  # type: ignore[import-not-found]
        except ImportError:
            raise EnvironmentFailure(
                f"stages.{stage.name}.optim: 'adamw_8bit' needs bitsandbytes: "
                f"pip install 'samdan[quant]'"
            ) from None
        optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(groups, **options)
        return optimizer
    if stage.optim == "adamw_offload":
        return OffloadedAdamW(groups, **options)
    return torch.optim.AdamW(groups, fused=True, **options)


class OffloadedAdamW(torch.optim.Optimizer):
    """AdamW whose states stay in the host's memory: 8 bytes a parameter less on the device.

    Gradients travel to the host, the update is computed there, and the new weights travel back. On
    CPU it is the same computation as AdamW.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], **options: Any) -> None:
        groups = [dict(group) for group in groups]
        super().__init__(groups, {"lr": options["lr"]})
        self._host = [
            {**g, "params": [nn.Parameter(p.detach().to("cpu", copy=True)) for p in g["params"]]}
            for g in groups
        ]
        self._inner = torch.optim.AdamW(self._host, fused=True, **options)
        for own, inner in zip(self.param_groups, self._inner.param_groups, strict=True):
            for parameter, twin in zip(own["params"], inner["params"], strict=True):
                self.state[parameter] = self._inner.state[twin]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for own, inner in zip(self.param_groups, self._inner.param_groups, strict=True):
            inner["lr"] = own["lr"]
            for parameter, twin in zip(own["params"], inner["params"], strict=True):
                twin.copy_(parameter)
                twin.grad = None if parameter.grad is None else parameter.grad.to("cpu")
                self._inner.state[twin].update(self.state[parameter])
        self._inner.step()
        for own, inner in zip(self.param_groups, self._inner.param_groups, strict=True):
            for parameter, twin in zip(own["params"], inner["params"], strict=True):
                parameter.copy_(twin)
                self.state[parameter] = self._inner.state[twin]


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scales every group's base rate; returns the largest."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return max(group["lr"] for group in optimizer.param_groups)


def load_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts states by name, as ``blocks.state_tensors`` gives them, into an optimizer."""
    blocks.load_state_tensors(optimizer, tensors, isinstance(optimizer, OffloadedAdamW))
