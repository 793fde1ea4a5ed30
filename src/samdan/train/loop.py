"""The training loop. There is one.

It is a generator of metrics: whoever iterates logs, judges, saves and stops. Loss weights are
summed over micro-batches and processes first, and the loss is divided once.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch

from samdan.lm.batch import Batch
from samdan.lm.scoring import Scorer
from samdan.recipe import Stage
from samdan.records import EnvironmentFailure, Metrics, TrainError
from samdan.schedule import rate_factor
from samdan.train import parallel, sharding
from samdan.train.batches import Steps
from samdan.train.blocks import clear_rows, update
from samdan.train.objectives import Objective
from samdan.train.optim import set_rates


@dataclass(frozen=True)
class Cursor:
    """How far a stage is: optimizer steps done, tokens seen."""

    step: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Learning:
    """Of one step: what its rate is multiplied with, and what its metrics say of what learns."""

    factor: float = 1.0
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Hooks:
    """What happens inside a step.

    ``injected`` is the one place where tests break things; ``skips`` says from the loss and the
    gradient norm whether the update is left out; within ``learning`` exactly the parameters that
    learn in a step need gradients; ``updated`` follows an update that was not left out.
    """

    injected: Callable[[str, int], None] = lambda where, step: None
    skips: Callable[[float, float], bool] = lambda loss, norm: False
    learning: Callable[[int], AbstractContextManager[Learning]] = lambda step: nullcontext(
        Learning()
    )
    updated: Callable[[], None] = lambda: None


def train_steps(
    scorer: Scorer,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    steps: Steps,
    stage: Stage,
    seed: int,
    cursor: Cursor = Cursor(),
    hooks: Hooks = Hooks(),
) -> Iterator[Metrics]:
    """Optimizer steps ``cursor.step + 1`` to the last; yields after each.

    Raises TrainError before the update when the loss or the gradient is not finite.
    """
    tokens = cursor.tokens
    for step in range(cursor.step + 1, len(steps) + 1):
        started = time.perf_counter()
        with hooks.learning(step) as learning:
            parameters = [p for p in scorer.parameters() if p.requires_grad]
            factor = rate_factor(stage, step, len(steps)) * learning.factor
            rate = set_rates(optimizer, factor)
            scorer.zero_grad(set_to_none=True)
            steps, micro, values = _with_less_memory(scorer, objective, steps, seed, step)
            hooks.injected("gradients", step)
            parallel.add_gradients(parameters)
            clear_rows(optimizer)
            norm = parallel.clip_gradients(parameters, stage.max_grad_norm)
            _require_finite(values["loss"], norm, step, micro)
            if hooks.skips(values["loss"], norm):
                values["skipped"] = 1.0
            else:
                update(optimizer)
                hooks.updated()
        hooks.injected("updated", step)
        tokens += (seen := steps.tokens(step))
        seconds = time.perf_counter() - started
        values |= {
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_second": seen / seconds,
            "micro_batch_tokens": steps.micro_batch_tokens,
            **learning.values,
        }
        yield Metrics(step, tokens, values)


class _TooLarge(Exception):
    """A micro-batch did not fit, on this process or another one."""


def _with_less_memory(
    scorer: Scorer, objective: Objective, steps: Steps, seed: int, step: int
) -> tuple[Steps, list[Batch], dict[str, float]]:
    """The step's gradients; after running out of memory, with micro-batches half as large.

    The effective batch, and so the gradient, stays the same. Several processes take the smaller
    size together; where they split the model they gather weights inside the forward, and one that
    ran out of memory there has left the others waiting: the error is passed on.
    """
    while True:
        micro = steps.micro_batches(step)
        with contextlib.suppress(_TooLarge), scorer.computing():
            return steps, micro, _accumulate(scorer, objective, micro, seed, step)
        steps = _halved(scorer, steps)


def _halved(scorer: Scorer, steps: Steps) -> Steps:
    """Micro-batches half as large, and nothing left of the gradients that were begun."""
    fewest = max(int(steps.data.index.unit_tokens.max()), 1)
    if steps.micro_batch_tokens <= fewest:
        raise EnvironmentFailure(
            f"out of memory with {steps.micro_batch_tokens} tokens at a time, and a record of "
            f"{fewest} cannot be split. Set gradient_checkpointing: true, a lower max_length, "
            f"optim: adamw_8bit or adamw_offload, or lora; `samdan plan` tells what fits"
        )
    for parameter in scorer.parameters():
        parameter.grad = None
    if scorer.device.type == "cuda":
        torch.cuda.empty_cache()
    return replace(steps, micro_batch_tokens=max(fewest, steps.micro_batch_tokens // 2))


def is_out_of_memory(error: BaseException) -> bool:
    """Of a device, or of the host: there torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def _accumulate(
    scorer: Scorer, objective: Objective, micro: Sequence[Batch], seed: int, step: int
) -> dict[str, float]:
    """Gradients of the step's mean loss into ``.grad``; returns the loss and what was logged.

    Raises _TooLarge on all processes where one of them ran out of memory.
    """
    scorer.train()
    terms = objective.coefficients()
    weights = dict.fromkeys(terms, 0.0)
    for batch in micro:
        for term, weight in objective.weights(batch).items():
            weights[term] += weight
    weights = parallel.add_over_ranks(weights)
    if not all(weights.values()):
        raise TrainError(f"step {step} has nothing to learn from: no trained token in its batch")
    device = scorer.device
    totals = {term: torch.zeros((), device=device) for term in terms}
    logged = {name: torch.zeros((), device=device) for name in objective.logged}
    sharded, fits = sharding.is_sharded(scorer), True
    try:
        for batch in micro:
            if not batch.num_targets:
                if sharded:
                    sharding.take_part(scorer)
                continue
            scorer.dropout.set(seed, step, batch.keys_T, batch.positions_T)
            sums = objective.loss_sums(scorer, batch)
            scaled = [terms[t] / weights[t] * loss for t, loss in sums.losses.items()]
            torch.stack(scaled).sum().backward()
            for term, loss in sums.losses.items():
                totals[term] += loss.detach()
            for name, value in sums.logged.items():
                logged[name] += value
    except RuntimeError as error:
        if sharded or not is_out_of_memory(error):
            raise
        fits = False
    return _means(terms, weights, totals, logged, fits)


def _means(
    terms: Mapping[str, float],
    weights: Mapping[str, float],
    totals: Mapping[str, torch.Tensor],
    logged: Mapping[str, torch.Tensor],
    fits: bool,
) -> dict[str, float]:
    found = {f"loss/{t}": v for t, v in totals.items()} | dict(logged)
    # The host waits once for all; where memory ran out, nothing more is asked of the device.
    values = torch.stack(list(found.values())).tolist() if fits else [0.0] * len(found)
    sums = parallel.add_over_ranks(
        dict(zip(found, values, strict=True)) | {"too_large": float(not fits)}
    )
    if sums["too_large"]:
        raise _TooLarge
    means = {f"loss/{t}": sums[f"loss/{t}"] / weights[t] for t in terms}
    loss = sum(terms[t] * means[f"loss/{t}"] for t in terms)
    pairs = weights.get("pair", 0.0)
    parts = means if len(terms) > 1 else {}
    return {"loss": loss} | parts | {name: sums[name] / pairs for name in logged if pairs}


def _require_finite(loss: float, norm: float, step: int, micro: Sequence[Batch]) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = "loss" if not math.isfinite(loss) else "gradient norm"
    ids = [i for batch in micro for i in batch.record_ids][:8]
    raise TrainError(
        f"the {what} is not finite at step {step} (loss {loss}, gradient norm {norm}); the update "
        f"was not applied. Lower learning_rate, or lengthen warmup_steps. Pieces in the batch "
        f"begin with {ids}."
    )
