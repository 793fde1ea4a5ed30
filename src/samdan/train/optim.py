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


def parameter_groups(model: nn.Module, stage: Stage, from_scratch: bool) -> list[dict[str, Any]]:
    """AdamW groups by rate and decay. The default tenth for embeddings and head is CPT's only.

    Tied, frozen and LoRA models and models from scratch skip the default; a pattern of
    ``lr_groups`` that matches no trained parameter is an error.
    """
    embeddings, head = head_and_embeddings(model)
    tied = bool(embeddings & head)
    plain = isinstance(stage, CptStage) and not (from_scratch or tied or stage.lora)
    default = stage.learning_rate / 10 if plain else stage.learning_rate
    embedding_lr = default if stage.embedding_lr is None else stage.embedding_lr
    head_lr = default if stage.lm_head_lr is None else stage.lm_head_lr
    matched: set[str] = set()
    groups: dict[tuple[float, float], list[Any]] = {}
    names: dict[tuple[float, float], list[str]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = stage.learning_rate
        if id(parameter) in embeddings:
            rate = embedding_lr
        elif id(parameter) in head:
            rate = head_lr
        for pattern, value in stage.lr_groups.items():
            if re.search(pattern, name):
                matched.add(pattern)
                rate = value
        decay = stage.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
        names.setdefault((rate, decay), []).append(name)
    unmatched = [pattern for pattern in stage.lr_groups if pattern not in matched]
    if unmatched:
        raise RecipeError(
            f"stages.{stage.name}.lr_groups: '{unmatched[0]}' matches no trained parameter; names "
            f"look like '{next(iter(dict(model.named_parameters())))}'"
        )
    return [
        {
            "params": parameters,
            "names": names[key],
            "lr": key[0],
            "base_lr": key[0],
            "weight_decay": key[1],
        }
        for key, parameters in groups.items()
    ]


def make_optimizer(model: nn.Module, stage: Stage, from_scratch: bool) -> torch.optim.Optimizer:
    groups = parameter_groups(model, stage, from_scratch)
    options: dict[str, Any] = {
        "lr": stage.learning_rate,
        "betas": (stage.adam_beta1, stage.adam_beta2),
        "eps": stage.adam_epsilon,
    }
    if stage.optim == "adamw_8bit":
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


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's states by parameter name, as they go into a checkpoint."""
    tensors = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{key}.{name}"] = value
    return tensors


def load_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The other way round. Tensors of the 'step' kind stay on the host as AdamW keeps them."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        key, _, name = full.partition(".")
        by_name.setdefault(name, {})[key] = value
    on_host = isinstance(optimizer, OffloadedAdamW)
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            state = by_name.get(name, {})
            device = torch.device("cpu") if on_host else parameter.device
            optimizer.state[parameter] = {k: v.to(device) for k, v in state.items()}
