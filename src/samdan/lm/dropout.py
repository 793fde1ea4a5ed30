"""Dropout that is a function of (seed, step, record, position, channel), not of global state.

The same record drops the same channels however the batch is split, packed or resumed. A counter is
hashed instead of a generator being advanced (the idea of Salmon et al., SC 2011).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samdan.lm.varlen import to_device


class DropoutContext:
    """What the present forward pass draws from; set by the loop before each micro-batch."""

    def __init__(self) -> None:
        self.keys_T: Tensor | None = None  # one 64-bit key per token

    def set(self, seed: int, step: int, records_T: Tensor, positions_T: Tensor) -> None:
        key = _mix(records_T + _mix(torch.tensor(seed * 1_000_003 + step)))
        self.keys_T = _mix(key + positions_T)

    def keys_on(self, device: torch.device) -> Tensor | None:
        """The keys there: moved once, for all layers."""
        if self.keys_T is not None:
            self.keys_T = to_device(self.keys_T, device)
        return self.keys_T


class CounterDropout(nn.Module):
    """Zeroes channels with probability ``p`` and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float, site: int, context: DropoutContext) -> None:
        super().__init__()
        self.p, self.site, self.context = p, site, context

    def forward(self, x: Tensor) -> Tensor:
        """x [..., T, D] with the T of the context."""
        if not self.training or self.p == 0:
            return x
        keys_T = self.context.keys_on(x.device)
        if keys_T is None:
            return x
        channel = torch.arange(x.shape[-1], device=x.device)
        drawn = _mix(keys_T[:, None] + _mix(channel + self.site * 1_000_033))
        keep = (drawn & 0xFFFFFF) >= int(self.p * 0x1000000)  # 24 bits of the hash
        return x * keep / (1 - self.p)


def _mix(x: Tensor) -> Tensor:
    """A 64-bit finalizer: neighbouring integers come out unrelated. Wraps around on overflow."""
    x = x.to(torch.int64)
    for multiplier in (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15):
        x = x ^ ((x >> 30) & 0x3FFFFFFFF)
        x = x * multiplier
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def add_residual_dropout(model: nn.Module, p: float, context: DropoutContext) -> None:
    """Drops on what each attention and MLP block adds to the residual stream."""
    sites = [
        module
        for name, module in model.named_modules()
        if name.endswith((".self_attn", ".mlp")) and not name.endswith(".self_attn.mlp")
    ]
    if not sites:
        raise ValueError("dropout: the model has no blocks called self_attn or mlp")
    for number, module in enumerate(sites):
        module.register_forward_hook(_after(CounterDropout(p, number, context), module))


def _after(dropout: CounterDropout, owner: nn.Module) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        dropout.train(owner.training)
        if isinstance(output, tuple):
            return (dropout(output[0]), *output[1:])
        return dropout(output)

    return hook


def replace_lora_dropout(model: nn.Module, context: DropoutContext) -> int:
    """Replaces peft's dropout modules, which draw from global state. Returns how many it found."""
    found = 0
    for name, module in model.named_modules():
        if not name.endswith("lora_dropout"):
            continue
        for key, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(module, key, CounterDropout(child.p, 10_000 + found, context))
                module[key] = getattr(module, key)  # type: ignore[index]
                found += 1
    return found
