"""Weights, gradients and optimizer states split over the processes: FSDP2 (``fully_shard``).

Each decoder layer is a group of its own; embeddings, last norm and head belong to the root, whose
forward holds the loss. Gradients are summed, not averaged: the loop has divided already. Masters,
gradients and states are fp32; with bf16 the layers are gathered in bf16 and their gradients are
reduced in fp32, while the root stays fp32, as the head chooses its precisions itself.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from samdan.lm.batch import Encoded, collate
from samdan.lm.layers import layers_of
from samdan.lm.passes import Hands
from samdan.lm.scoring import Scorer
from samdan.train import parallel


def shard(scorer: Scorer, device: torch.device, bf16: bool) -> None:
    """Splits the model over all processes, in place.

    The main process brings the weights in host memory; the others bring a model on the meta device
    and receive their part, one tensor at a time.
    """
    given = dict(_tensors(scorer)) if parallel.is_main() else {}
    mesh = init_device_mesh(device.type, (parallel.world_size(),))
    policy = MixedPrecisionPolicy()
    if bf16:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for layer in layers_of(scorer):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    root: Any = fully_shard(scorer, mesh=mesh)
    for module in _sharded_modules(root):
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
    if not parallel.is_main():
        scorer.to_empty(device=device)
    for name, tensor in _tensors(scorer):
        _receive(tensor, given.pop(name, None), device)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in module.named_parameters():
        yield name, parameter.detach()
    yield from module.named_buffers()


@torch.no_grad()
def _receive(tensor: Tensor, given: Tensor | None, device: torch.device) -> None:
    """The main process's ``given``, whole, to this process's part of ``tensor``."""
    if given is None:
        whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    else:
        whole = given.to(device)
    dist.broadcast(whole, 0)
    first, last = own_rows(tensor)
    local_part(tensor).copy_(whole[first:last] if isinstance(tensor, DTensor) else whole)


def is_sharded(module: nn.Module) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def local_part(tensor: Tensor) -> Tensor:
    """This process's rows, sharing memory; a tensor that is not split is its own part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def row_limits(rows: int, parts: int) -> list[int]:
    """Where each of ``parts`` begins and the last one ends, as ``torch.chunk`` cuts."""
    size = -(-rows // parts)
    return [min(part * size, rows) for part in range(parts + 1)]


def own_rows(tensor: Tensor) -> tuple[int, int]:
    """First row of this process's part, and the one behind its last."""
    if not isinstance(tensor, DTensor):
        return 0, len(tensor) if tensor.ndim else 1
    limits = row_limits(tensor.shape[0], parallel.world_size())
    return limits[parallel.rank()], limits[parallel.rank() + 1]


def take_part(scorer: Scorer) -> None:
    """Forward and backward that change nothing, for a process without a micro-batch of its own.

    The others gather weights and sum gradients with this one; without it they would wait for ever.
    """
    two = Encoded(np.zeros(2, np.uint32), np.ones(2, np.bool_))
    batch = collate([two])
    scorer.dropout.set(0, 0, batch.keys_T, batch.positions_T)
    (scorer(batch, total=True) * 0).backward()


def hands(scorer: Scorer) -> Hands:
    """All processes, for a pass that they share; they `reshard` after it."""
    return Hands(
        parallel.rank(), parallel.world_size(), parallel.add_tensor, is_sharded(scorer)
    )


def reshard(module: nn.Module) -> None:
    """Splits again what a forward without a backward has left whole."""
    for part in _sharded_modules(module):
        part.reshard()


def let_go() -> None:
    """Frees what a split model leaves behind: its groups know one another, and Python finds such
    circles late. The device then has room for whatever comes next."""
    if parallel.world_size() == 1:
        return
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def whole_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The trained parameters, whole and in host memory, on the main process; elsewhere nothing."""
    found = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        tensor = parameter.detach()
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if parallel.is_main():
            found[name] = tensor.cpu()
    return found


def _sharded_modules(module: nn.Module) -> list[FSDPModule]:
    return [part for part in module.modules() if isinstance(part, FSDPModule)]
