"""What the program chooses by itself for a stage: once, for all processes, kept in checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from samdan.budget import micro_batch_tokens
from samdan.lm.compiled import missing_compiler
from samdan.lm.machine import free_memory, host_memory
from samdan.lm.model import best_device
from samdan.lm.rounding import rounded_bytes
from samdan.recipe import AnyStage
from samdan.records import EnvironmentFailure
from samdan.run.context import Run, resolve_precision
from samdan.train import parallel

# Weights, gradients and states that take more than this share of the memory are split.
FULL = 0.5
NEARLY = 0.8  # the same without gradients and states


def choose(
    run: Run, stage: AnyStage, before: Mapping[str, Any] | None, model: Any
) -> dict[str, Any]:
    """Precision, processes, records of a step, and whether the model is split over the processes.

    ``before``: what the checkpoint says that is gone on from. ``model``: None in all processes but
    the main one, which decides for all.
    """
    chosen: dict[str, Any] = {}
    if model is not None:
        chosen = dict(before) if before else {"precision": resolve_precision(stage.precision)}
        world = parallel.world_size()
        same = before is not None and int(before.get("world_size", 1)) == world
        chosen.setdefault("compile", before is None and choose_compile(stage))
        if before is None or not same or "shard" not in before:
            chosen["shard"] = choose_shard(stage, model)
            if stage.shard == "full" and world == 1:
                run.say(
                    f"stages.{stage.name}.shard: 'full' has no effect with one process; start "
                    f"several: torchrun --nproc-per-node N -m samdan run ..."
                )
        chosen["units_per_step"] = _units_per_step(run, stage, before)
        if before is not None and not same:
            _say_change(run, stage, int(before.get("world_size", 1)), chosen["units_per_step"])
        chosen["world_size"] = world
    agreed: dict[str, Any] = json.loads(parallel.share(json.dumps(chosen))[0])
    return agreed


def _units_per_step(run: Run, stage: AnyStage, before: Mapping[str, Any] | None) -> int:
    """Records of an optimizer step over all processes. What was begun keeps its number."""
    if before is not None:
        begun = int(before.get("world_size", 1))
        return int(before.get("units_per_step", stage.units_per_step * begun))
    processes = parallel.world_size()
    if stage.max_steps is not None:  # the index was cut to so many steps of so many processes
        mixed = run.ledger.done().get(f"{stage.name}/mix")
        processes = int(mixed.facts.get("processes", 1)) if mixed else processes
        if processes != parallel.world_size():
            run.say(
                f"{stage.name}: a step has {stage.units_per_step * processes} records, as its "
                f"data were mixed for {processes} processes and max_steps"
            )
    return stage.units_per_step * processes


def _say_change(run: Run, stage: AnyStage, begun: int, units: int) -> None:
    processes = f"{begun} process{'' if begun == 1 else 'es'}"
    run.say(
        f"{stage.name}: was begun with {processes} and goes on with {parallel.world_size()}. A "
        f"step keeps its {units} records, so every sample is still seen once; sums round in "
        f"another order"
    )


def choose_compile(stage: AnyStage) -> bool:
    """Whether the decoder layers are compiled. Raises EnvironmentFailure where they cannot be.

    ``auto`` leaves the CPU out: there it gave nothing that compiling would not cost
    (docs/performance.md).
    """
    if stage.compile == "never":
        return False
    device = best_device()
    missing = missing_compiler(device)
    if stage.compile == "auto":
        return device.type == "cuda" and not missing and not stage.drops
    if missing:
        raise EnvironmentFailure(
            f"stages.{stage.name}.compile: 'always' was asked for, but {missing}; install it, or "
            f"set compile to 'auto'"
        )
    return True


def choose_shard(stage: AnyStage, model: Any) -> str:
    """``full`` or ``none``: what the recipe asks for, where there are several processes."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # On a GPU every process has a card of its own; in the host they share the memory.
    sharing = 1 if _on_gpu() else parallel.local_world_size()
    return _shard(stage, _size(model) + 12 * trained <= FULL * free_memory() / sharing)


def choose_parent_shard(stage: AnyStage, model: Any, rounded: bool) -> str:
    """The same for the stage's frozen parent: whole where every process has room for it.

    ``alone``: neither that, nor can the stage be split.
    """
    fits = has_room_for_all(model, rounded)
    chosen = _shard(stage, fits)
    return chosen if fits or chosen == "full" or parallel.world_size() == 1 else "alone"


def has_room_for_all(model: Any, rounded: bool) -> bool:
    """Whether every process of this machine can hold a model that does not learn.

    Each loads it from its file in fp32, through the memory of the host; this one has done so.
    ``rounded``: to bf16 then, else there may be copies beside it.
    """
    size, processes = _size(model), parallel.local_world_size()
    numbers = sum(p.numel() for p in model.parameters())
    loaded, there = 4 * numbers, rounded_bytes(model) if rounded else size + 2 * numbers
    in_host = model.device.type == "cpu"
    host = host_memory() + (size if in_host else 0)
    if not _on_gpu():
        return processes * max(loaded, there) <= NEARLY * host
    card = free_memory() + (0 if in_host else size)
    return processes * loaded <= NEARLY * host and there <= NEARLY * card


def _shard(stage: AnyStage, fits: bool) -> str:
    if parallel.world_size() == 1:
        return "none"
    if stage.shard != "auto":
        return stage.shard
    return "none" if fits or not stage.can_shard else "full"


def _size(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def micro_batch(
    run: Run, stage: AnyStage, chosen: Mapping[str, Any], config: Any
) -> dict[str, Any]:
    """``chosen`` with the tokens of a micro-batch, the smallest that any process can take.

    Where the stage ran out of memory before, no more than what then went well: a checkpoint may be
    older than that.
    """
    known = [
        int(event["tokens"])
        for event in run.ledger.events()
        if event.get("event") == "out_of_memory" and event.get("stage") == stage.name
    ]
    if "micro_batch_tokens" in chosen:
        own = int(chosen["micro_batch_tokens"])
    else:
        width = config.hidden_size * config.num_hidden_layers
        own = choose_micro_batch(stage, config.vocab_size, width)
    smallest = min(int(text) for text in parallel.share(str(min([own, *known]))))
    # Processes with different sizes would take different numbers of steps, and wait for ever.
    return {**chosen, "micro_batch_tokens": smallest}


def tell_out_of_memory(
    run: Run, stage: AnyStage, before: Mapping[str, Any], now: Mapping[str, Any], step: int
) -> None:
    """Says, and writes down for a resume, that micro-batches became smaller in a step."""
    old, new = int(before["micro_batch_tokens"]), int(now["micro_batch_tokens"])
    if new >= old:
        return
    run.ledger.record("out_of_memory", stage=stage.name, at=step, before=old, tokens=new)
    if parallel.is_main():
        run.say(
            f"{stage.name}: out of memory at step {step} with {old:,} tokens at a time; goes on "
            f"with {new:,}. A step keeps its {now['units_per_step']} records, so the gradient is "
            f"the same"
        )


def choose_micro_batch(stage: AnyStage, vocab_size: int, width: int) -> int:
    """`samdan.budget.micro_batch_tokens` with the memory that is free now."""
    return micro_batch_tokens(stage, vocab_size, width, free_memory())


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
