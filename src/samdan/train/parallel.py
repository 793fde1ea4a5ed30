"""Processes: who am I, sums over all of them, and the main process doing things once.

The environment is torchrun's (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), which Slurm
and other launchers can set too. With one process every function is a no-op.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start(timeout_seconds: float = 1800) -> None:
    """Joins the other processes, if the environment says that there are any."""
    if world_size() > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    return rank() == 0


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def add_over_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """The sum over all processes of each value; every process must bring the same keys."""
    if not dist.is_initialized():
        return dict(values)
    names = sorted(values)
    summed = torch.tensor([values[name] for name in names], dtype=torch.float64)
    dist.all_reduce(summed)
    return dict(zip(names, summed.tolist(), strict=True))


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sums gradients over all processes, in buckets of equal type. Missing ones count as zero."""
    if not dist.is_initialized():
        return
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        by_kind.setdefault((parameter.grad.dtype, parameter.grad.device), []).append(parameter.grad)
    for gradients in by_kind.values():
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def any_rank(flag: bool) -> bool:
    """True when it is true on one process: so that all of them stop together."""
    return add_over_ranks({"flag": float(flag)})["flag"] > 0
