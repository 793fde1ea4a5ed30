"""`samdan plan`: the steps, what would be done again and why, and what every stage will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from samdan.advice import advise
from samdan.budget import (
    DEVICES,
    GIB,
    KNOWN_SHAPES,
    Amounts,
    Context,
    Disk,
    Memory,
    Setting,
    Shape,
    device_named,
    disk_of,
    memory,
    micro_batch_tokens,
    position_remarks,
    range_on,
    remarks,
    seconds_of,
    shape_from_config,
    steps_of,
    ways_that_fit,
)
from samdan.budget.seconds import Seconds
from samdan.lm.machine import host_memory
from samdan.plan import Step, components, why_stale
from samdan.printing import json_text
from samdan.recipe import AnyStage, CptStage, Recipe, ScratchBase
from samdan.records import DataError
from samdan.run import machine
from samdan.run.amounts import BYTES_PER_TOKEN, amounts_of, bytes_per_token
from samdan.run.growth_plan import grown, remark, sizes
from samdan.run.ledger import Ledger, read_json
from samdan.schedule import warmup_length
from samdan.unfreezing import course

HERE = "here"  # the device of this machine
CARDS = ("rtx4090", "l40s", "h100", "h200")  # whose memory is told beside any plan


@dataclass(frozen=True)
class Target:
    """Where the run will be: ``bytes`` of memory of a device, ``kind`` cpu or cuda.

    ``name``: of the table, or ``here``. ``price``: of an hour of one device. ``calibrate``: measure
    here what was not measured before.
    """

    name: str
    title: str
    kind: str
    bytes: float
    bf16: bool
    processes: int = 1
    price: float | None = None
    calibrate: bool = False


@dataclass
class StagePlan:
    """What is known of a stage before it runs; ``None`` where it cannot be known from here.

    ``seconds``: fewest and most, equal where they follow from a measurement. ``cost`` the same.
    """

    name: str
    kind: str
    amounts: Amounts | None = None
    steps: int | None = None
    warmup: int | None = None
    epochs: float = 0.0
    micro_batch_tokens: int | None = None
    memory: Memory | None = None
    fits: dict[str, list[str]] = field(default_factory=dict)
    disk: Disk | None = None
    seconds: tuple[Seconds, Seconds] | None = None
    cost: tuple[float, float] | None = None
    remarks: list[str] = field(default_factory=list)
    missing: str | None = None
    advice: list[str] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tokens(self) -> int | None:
        return self.amounts.tokens if self.amounts is not None else None


def target_of(
    device: str, processes: int = 1, price: float | None = None, calibrate: bool = False
) -> Target:
    """Raises RecipeError for a device that the table does not know."""
    if device != HERE:
        card = device_named(device)
        return Target(device, card.title, "cuda", card.memory * GIB, True, processes, price)
    gpus = machine.gpu_names()
    if gpus:
        import torch

        if torch.cuda.is_available():
            total = float(torch.cuda.mem_get_info()[1])
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
            return Target(HERE, gpus[0], "cuda", total, fast, processes, price, calibrate)
    found = machine.processor()
    title = f"{found.name}, {found.cores} cores"
    free = float(host_memory())
    bf16 = found.has_bf16
    if calibrate:
        from samdan.lm.machine import bf16_is_fast

        bf16 = bf16_is_fast("cpu")
    return Target(HERE, title, "cpu", free, bf16, processes, price, calibrate)


def step_states(
    planned: tuple[Step, ...], ledger: Ledger, seed: int
) -> list[tuple[Step, str | None]]:
    """Every step and why it has to be done; None when it is done."""
    done = ledger.done()
    outputs = ledger.outputs()
    stale: set[str] = set()
    states: list[tuple[Step, str | None]] = []
    for step in planned:
        waiting = [name for name in step.reads if name in stale or name not in outputs]
        before = done.get(step.name)
        if before is None:
            reason: str | None = "not done yet"
        elif waiting:
            reason = f"{waiting[0]} is done again"
        else:
            reason = why_stale(components(step, outputs, seed), before.components)
        if reason is not None:
            stale.add(step.name)
        states.append((step, reason))
    return states


def stage_plans(recipe: Recipe, ledger: Ledger | None, target: Target) -> list[StagePlan]:
    """Tokens, steps, memory, disk, seconds and cost by stage, and what looks wrong."""
    came = model_shape(recipe)
    shape = grown(came, recipe.grow) if came is not None else None
    positions = position_remarks(recipe.stages, _known_positions(recipe))
    per_token = _bytes_per_token(recipe)
    plans = []
    for number, stage in enumerate(recipe.all_stages()):
        plan = StagePlan(stage.name, stage.kind, epochs=stage.num_train_epochs)
        try:
            plan.amounts = amounts_of(stage, ledger, per_token, target.processes)
        except DataError as error:
            plan.missing = f"stages.{stage.name}.data: {error}"
        if plan.amounts is not None:
            plan.steps = steps_of(stage, plan.amounts.units, target.processes)
            plan.warmup = warmup_length(stage, plan.steps)
            plan.phases = _phases(stage, plan.steps)
            plan.advice = _advice(recipe, stage, plan, shape)
        elif plan.missing is None:
            plan.remarks.append("tokens and steps are not known: a source is on the Hub")
        context = _context(recipe, number)
        plan.remarks += remarks(stage, plan.steps, plan.amounts, context)
        plan.remarks += positions.get(stage.name, [])
        if shape is not None:
            _take(plan, stage, shape, target)
        plans.append(plan)
    cpt = {plan.name: plan.tokens for plan in plans if plan.kind == "cpt" and plan.name != "base"}
    if said := remark(recipe, shape, cpt):
        plans[0].remarks.append(said)
    return plans


def _phases(stage: AnyStage, steps: int) -> list[dict[str, Any]]:
    if not isinstance(stage, CptStage) or stage.unfreeze is None:
        return []
    return [
        {"train": phase.name, "steps": length, "until": phase.until is not None}
        for phase, length in course(stage.unfreeze, steps)
    ]


def _bytes_per_token(recipe: Recipe) -> float:
    try:
        return bytes_per_token(recipe)
    except DataError:  # a source that is not there: it is told where its stage is planned
        return BYTES_PER_TOKEN


def _take(plan: StagePlan, stage: AnyStage, shape: Shape, target: Target) -> None:
    """Memory, disk, seconds and cost of a stage whose model is known."""
    setting = setting_of(stage, shape, plan.amounts, target)
    plan.micro_batch_tokens = setting.tokens
    plan.memory = memory(shape, stage, setting)
    plan.fits = {
        DEVICES[name].title: ways_that_fit(
            shape, stage, DEVICES[name].memory * GIB, target.processes
        )
        for name in CARDS
    }
    plan.disk = disk_of(shape, stage, plan.steps, plan.amounts.tokens if plan.amounts else None)
    if plan.memory.peak > target.bytes:
        plan.remarks.append(
            f"{plan.memory.peak / GIB:.1f} GiB are more than the {target.bytes / GIB:.1f} GiB of "
            f"{target.title}; set gradient_checkpointing, optim: adamw_8bit or adamw_offload, "
            f"lora, or take several devices with shard: full"
        )
    if plan.amounts is None or plan.steps is None:
        return
    if target.name != HERE:
        card = DEVICES[target.name]
        plan.seconds = range_on(card, shape, stage, plan.amounts, plan.steps, target.processes)
    elif target.calibrate:
        from samdan.run.calibrating import calibrate

        rates = calibrate(shape, stage, plan.amounts, setting).wall
        took = seconds_of(rates, shape, stage, plan.amounts, plan.steps, target.processes)
        plan.seconds = (took, took)
    if plan.seconds is not None and target.price is not None:
        fewest, most = (part.total / 3600 * target.price for part in plan.seconds)
        plan.cost = (fewest * target.processes, most * target.processes)


def setting_of(
    stage: AnyStage, shape: Shape, amounts: Amounts | None, target: Target
) -> Setting:
    """How the run will go: precision and micro-batch as it would choose them on the target."""
    bf16 = target.bf16 if stage.precision == "auto" else stage.precision == "bf16"
    empty = memory(shape, stage, Setting(0, precision="fp32", device=target.kind))
    free = target.bytes - empty.parts["process"] - empty.parts["weights"]
    width = shape.hidden_size * shape.num_hidden_layers
    tokens = micro_batch_tokens(stage, shape.vocab_size, width, max(0.0, free))
    micro = 2
    if amounts is not None:
        step = _largest_step(stage, amounts)
        micro = max(1, -(-int(step) // tokens))
        tokens = min(tokens, max(1, int(step)))
    return Setting(
        tokens, micro, amounts.predicted if amounts else 1.0, "bf16" if bf16 else "fp32",
        target.kind, target.processes,
    )  # fmt: skip


def _largest_step(stage: AnyStage, amounts: Amounts) -> float:
    """Tokens of a large optimizer step of one process, as the peak is that of the largest.

    Blocks of text are full but for the last ones. Lengths of conversations and pairs have a
    standard deviation of about half their mean, so a sum of n is seldom above 1 + 1/sqrt(n) of it.
    """
    units = stage.units_per_step
    if stage.kind == "cpt":
        return float(units * stage.max_length)
    return min(amounts.tokens_per_unit * (units + units**0.5), float(amounts.tokens))


def _context(recipe: Recipe, number: int) -> Context:
    stages: Sequence[AnyStage] = recipe.all_stages()
    base = recipe.base
    if isinstance(base, ScratchBase):
        # What the run trains itself has nothing to forget before its own pre-training is done.
        own = None if number == 0 else "base"
        return Context([s.kind for s in stages[1:number]], own, True)
    return Context([s.kind for s in stages[:number]], base.path, base.allow_instruct)


def _advice(
    recipe: Recipe, stage: AnyStage, plan: StagePlan, shape: Shape | None
) -> list[str]:
    if not isinstance(stage, CptStage) or stage.name == "base" or not plan.tokens:
        return []
    base = recipe.base
    known = base.train.learning_rate if isinstance(base, ScratchBase) else None
    return advise(stage, plan.tokens, plan.steps or 1, shape.parameters if shape else None, known)


def _known_positions(recipe: Recipe) -> int | None:
    """How many positions the base was made for, where it can be told from here."""
    if isinstance(recipe.base, ScratchBase):
        return recipe.base.scratch.max_position_embeddings
    found = read_json(Path(recipe.base.path) / "config.json").get("max_position_embeddings")
    return found if isinstance(found, int) else None


def model_shape(recipe: Recipe) -> Shape | None:
    """From the scratch description, a local config.json, or the table of known models."""
    base = recipe.base
    if isinstance(base, ScratchBase):
        spec = base.scratch
        return Shape(
            spec.hidden_size,
            spec.num_hidden_layers,
            spec.intermediate_size or spec.hidden_size * 8 // 3 // 16 * 16,
            base.tokenizer.vocab_size or 151_646,
            spec.num_attention_heads,
            spec.num_key_value_heads or spec.num_attention_heads,
            spec.tie_word_embeddings,
        )
    return KNOWN_SHAPES.get(base.path) or shape_from_config(
        read_json(Path(base.path) / "config.json")
    )


def as_json(
    recipe: Recipe,
    states: list[tuple[Step, str | None]],
    plans: list[StagePlan],
    target: Target,
) -> str:
    """Everything that the text shows, in numbers; bytes and seconds, nothing rounded."""
    value: dict[str, Any] = {
        "model": sizes(model_shape(recipe), recipe.grow),
        "device": asdict(target),
        "steps": [{"step": step.name, "do": why is not None, "why": why} for step, why in states],
        "stages": [_row(plan) for plan in plans],
        "total": totals(plans),
    }
    return json_text(value)


def _row(plan: StagePlan) -> dict[str, Any]:
    row = asdict(plan)
    amounts = plan.amounts
    row["tokens"] = plan.tokens
    row["exact"] = bool(amounts and amounts.exact)
    row["sources"] = (row.pop("amounts") or {}).get("sources", {})
    for label, source in amounts.sources.items() if amounts else ():
        row["sources"][label]["passes"] = source.passes
    if plan.seconds is not None:
        row["seconds"] = {
            "fewest": asdict(plan.seconds[0]) | {"total": plan.seconds[0].total},
            "most": asdict(plan.seconds[1]) | {"total": plan.seconds[1].total},
        }
    return row


def totals(plans: Sequence[StagePlan]) -> dict[str, Any]:
    """Over the stages; None where one of them is not known."""
    seconds = [plan.seconds for plan in plans]
    costs = [plan.cost for plan in plans]
    disks = [plan.disk for plan in plans]
    peaks = [plan.memory.peak for plan in plans if plan.memory]
    # Models and data of all stages stay; checkpoints are removed when a stage is exported.
    kept = sum(d.model + d.data for d in disks if d)
    return {
        "seconds": [sum(pair[i].total for pair in seconds if pair) for i in (0, 1)]
        if all(seconds)
        else None,
        "cost": [sum(pair[i] for pair in costs if pair) for i in (0, 1)] if all(costs) else None,
        "memory": max(peaks) if peaks else None,
        "disk": kept + max(d.checkpoints for d in disks if d) if all(disks) else None,
    }
