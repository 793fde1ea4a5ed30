"""A model that only measures or writes, with the weights that bf16 computes with and no others.

A model that learns needs its fp32 masters beside the copies (`samdan.lm.copies`): 6 bytes a
parameter. One that does not can lie in bf16 alone, at 2. Where copies are kept anyway its
log-probabilities are the same to the bit: what is rounded here is what would have been copied, or
cast at its use. The last norm and scaled embeddings (Gemma's) stay fp32, as they do there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from samdan.lm.copies import Copies, is_lookup, masters_of
from samdan.lm.elementwise import restore
from samdan.lm.layers import layers_of
from samdan.lm.model import to_best_device


def to_measure(model: Any, bf16: bool) -> Any:
    """Moves a model that does not learn to the best device, in bf16 with its weights rounded."""
    restore(model)  # another device computes with other functions
    if bf16:
        round_weights(model)
    return to_best_device(model)


@torch.no_grad()
def round_weights(model: Any) -> None:
    """Layers, embeddings and head to bf16, in place; tied ones stay tied. Nothing learns then."""
    for value in _rounded(model):
        value.requires_grad_(False)
        value.data = value.data.to(torch.bfloat16)


def rounded_bytes(model: Any) -> int:
    """What the model's parameters take when they are rounded."""
    rounded = sum(parameter.numel() for parameter in _rounded(model))
    return sum(p.numel() * p.element_size() for p in model.parameters()) - 2 * rounded


def _rounded(model: Any) -> set[nn.Parameter]:
    """The fp32 parameters that are rounded."""
    inside = [module for layer in layers_of(model) for module in layer.modules()]
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    head = model.get_output_embeddings()
    modules = (*inside, *tables, *([] if head is None else [head]))
    scaled = [table for table in tables if not is_lookup(table)]
    return {parameter for _, _, parameter in masters_of(modules, scaled)}


def is_rounded(model: nn.Module) -> bool:
    return any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())


@contextlib.contextmanager
def matching(model: nn.Module) -> Iterator[None]:
    """Around the forwards of a model that may be rounded: what is not meets it in bf16.

    As `samdan.lm.scoring.Scorer.precision`, for models without a scorer.
    """
    if not is_rounded(model):
        yield
        return
    device = next(model.parameters()).device.type
    with Copies(model, keep=False).in_place(), torch.autocast(device, dtype=torch.bfloat16):
        yield
