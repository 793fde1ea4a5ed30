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

from samdan.lm.copies import is_plain
from samdan.lm.layers import layers_of


@torch.no_grad()
def round_weights(model: Any) -> None:
    """Layers, embeddings and head to bf16, in place; tied ones stay tied. Nothing learns then."""
    inside = [module for layer in layers_of(model) for module in layer.modules()]
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    kept = {id(p) for table in tables if not _is_lookup(table) for p in table.parameters()}
    head = model.get_output_embeddings()
    for module in (*inside, *tables, *([] if head is None else [head])):
        for value in module._parameters.values():
            if value is not None and is_plain(value) and id(value) not in kept:
                value.requires_grad_(False)
                value.data = value.data.to(torch.bfloat16)


def _is_lookup(table: nn.Embedding) -> bool:
    """Whether it gives its rows as they are: rounding before is then rounding after."""
    return type(table) is nn.Embedding and table.max_norm is None


def is_rounded(model: nn.Module) -> bool:
    return any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())


@contextlib.contextmanager
def matching(model: nn.Module) -> Iterator[None]:
    """Around a model's own forward: casts where what is rounded meets what is not."""
    if not is_rounded(model):
        yield
        return
    device = next(model.parameters()).device.type
    with torch.autocast(device, dtype=torch.bfloat16):
        yield
