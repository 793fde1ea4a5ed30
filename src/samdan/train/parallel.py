"""Processes: who am I, sums over all of them, and waiting for one another.

The environment is torchrun's (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); where it is
absent, Slurm's is read. With one process every function is a no-op.

Collectives add up numbers and are short: a process that does not come is an error after minutes.
Waiting for the main process, which may prepare data for hours, goes through the store and has no
limit: every process gives signs of life, and one that gives none any more is lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor

from samdan.records import EnvironmentFailure, Preempted, first_line
from samdan.train import slurm
from samdan.train.meeting import Meeting

_meeting: Meeting | None = None
_starts = 0


def start(timeout_seconds: float = 600) -> None:
    """Joins the other processes, if the environment says that there are any.

    ``timeout_seconds``: how long a collective waits for a process. Raises EnvironmentFailure when
    the others cannot be reached.
    """
    global _meeting, _starts
    os.environ.update(slurm.variables(os.environ))
    if world_size() == 1 or dist.is_initialized():
        return
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % gpus)
    limit = timedelta(seconds=timeout_seconds)
    try:
        store, _, _ = next(rendezvous("env://", timeout=limit))
        _starts += 1  # a launcher's store outlives a run
        store = dist.PrefixStore(f"samdan-{_starts}", store)
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(
            backend, store=store, rank=rank(), world_size=world_size(), timeout=limit
        )
    except (RuntimeError, ValueError) as error:
        raise EnvironmentFailure(
            f"process {rank()} of {world_size()} could not reach the others at "
            f"MASTER_ADDR={os.environ.get('MASTER_ADDR')} "
            f"MASTER_PORT={os.environ.get('MASTER_PORT')}: {first_line(error)}"
        ) from None
    _meeting = Meeting(store, rank(), world_size())


def stop() -> None:
    """Leaves the other processes. The one that keeps the store goes last."""
    global _meeting
    if dist.is_initialized():
        dist.destroy_process_group()
    if _meeting is not None:
        _meeting.end()
        _meeting = None


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """Processes on this machine, as far as the launcher says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "0")) or world_size()


def is_main() -> bool:
    return rank() == 0


# -- waiting ---------------------------------------------------------------------------------------


def barrier() -> None:
    """Waits until every process is here, for hours if need be.

    Raises EnvironmentFailure when a process failed or gives no sign of life.
    """
    if _meeting is not None:
        _meeting.meet()


def share(text: str) -> list[str]:
    """What every process says, in the order of their numbers. All of them must call it."""
    return [text] if _meeting is None else _meeting.share(text)


def dealt(count: int) -> Iterator[int]:
    """Numbers below ``count``, each to the process that asks first; all, where there is only one.

    Between two of them processes must meet.
    """
    if _meeting is None:
        yield from range(count)
        return
    while (number := _meeting.ticket()) < count:
        yield number


def listen(signal: Callable[[], int]) -> None:
    """A process that received a signal (0: none) while it waits goes after a short time."""
    if _meeting is not None:
        _meeting.signal = signal


def told_to_stop() -> int:
    """The signal that another process was stopped by; 0 while none was."""
    return 0 if _meeting is None else _meeting.told_to_stop()


@contextmanager
def leaving_together() -> Iterator[None]:
    """When this process fails or stops, the others are told; when another is lost, the error says
    so."""
    try:
        yield
    except BaseException as error:
        if _meeting is None:
            raise
        if isinstance(error, Preempted):
            _meeting.tell_stop(error.signal_number)
            raise
        lost = _is_loss(error)
        if lost and (number := _stopped()):
            raise Preempted(number, "another process was asked to stop") from None
        _meeting.tell_failure(f"{type(error).__name__}: {error}")
        if lost:
            raise EnvironmentFailure(
                "another process of this run was lost; run the same command again to go on "
                f"from the last checkpoint ({first_line(error)[:200]})"
            ) from None
        raise


def _stopped() -> int:
    """`told_to_stop`; 0 too where the process that keeps the store is gone."""
    with contextlib.suppress(EnvironmentFailure):
        return told_to_stop()
    return 0


def _is_loss(error: BaseException) -> bool:
    """Whether a collective failed because of another process: gloo has no type of its own."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)


# -- sums ------------------------------------------------------------------------------------------


def add_over_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """The sum over all processes of each value; every process must bring the same keys."""
    if not dist.is_initialized():
        return dict(values)
    names = sorted(values)
    summed = torch.tensor([values[name] for name in names], dtype=torch.float64)
    dist.all_reduce(summed)
    return dict(zip(names, summed.tolist(), strict=True))


def add_tensor(tensor: Tensor) -> None:
    """Adds up a tensor in host memory over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)


def mean_over_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """The mean over all processes of each value: what they all judge by is one number."""
    summed = add_over_ranks(values)
    return {name: summed[name] / world_size() for name in values}


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sums gradients over all processes, in buckets of equal type. Missing ones count as zero.

    Those of sharded parameters were summed in the backward.
    """
    if not dist.is_initialized():
        return
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for parameter in parameters:
        if not parameter.requires_grad or isinstance(parameter, DTensor):
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


def clip_gradients(parameters: list[nn.Parameter], most: float) -> float:
    """Scales the gradients to a norm of at most ``most``; returns the norm over all processes."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):  # of this process's part
        norm = norm.full_tensor()
    found = float(norm)
    if not found <= most:  # else a pass over all gradients that multiplies them by one
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return found


def any_rank(flag: bool) -> bool:
    """True when it is true on one process: so that all of them stop together."""
    return add_over_ranks({"flag": float(flag)})["flag"] > 0
