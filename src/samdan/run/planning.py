"""`samdan plan`: the steps, what would be done again and why, and what it will take."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samdan.advice import advise
from samdan.budget import (
    GIB,
    KNOWN_SHAPES,
    Shape,
    memory_parts,
    position_remarks,
    remarks,
    shape_from_config,
    steps_of,
    ways_that_fit,
)
from samdan.data.sources import files_of
from samdan.plan import Step, components, why_stale
from samdan.recipe import AnyStage, CptStage, Recipe, ScratchBase, Source
from samdan.records import DataError
from samdan.run.growth_plan import grown, remark, sizes
from samdan.run.ledger import Ledger, read_json
from samdan.schedule import warmup_length
from samdan.unfreezing import course

# Bytes of file per token, before anything is prepared: Korean in Qwen2.5's vocabulary has 0.73
# tokens a character of 3 bytes; gzip shrinks text about fourfold.
BYTES_PER_TOKEN = 3.6
GZIP = 4.0
CARDS = {"24 GB card": 24, "48 GB card": 48, "80 GB card": 80, "141 GB card": 141}


@dataclass
class StagePlan:
    """What is known of a stage before it runs; ``None`` where it cannot be known from here."""

    name: str
    kind: str
    tokens: int | None = None
    steps: int | None = None
    warmup: int | None = None
    exact: bool = False
    memory: dict[str, float] = field(default_factory=dict)
    fits: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)


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


def stage_plans(recipe: Recipe, ledger: Ledger | None, processes: int = 1) -> list[StagePlan]:
    """Tokens, steps, warm-up and memory by stage: from prepared data, else from file sizes.

    ``processes``: that train together; memory is that of one of them.
    """
    came = model_shape(recipe)
    shape = grown(came, recipe.grow) if came is not None else None
    positions = position_remarks(recipe.stages, _known_positions(recipe))
    plans = []
    for stage in recipe.all_stages():
        plan = StagePlan(stage.name, stage.kind)
        units = _prepared_units(stage, ledger)
        if units is not None:
            plan.exact = True
            plan.steps = max(1, -(-units[0] // (stage.units_per_step * processes)))
            plan.tokens = units[1]
        else:
            _guess(stage, plan, processes)
        if plan.steps is not None:
            plan.warmup = warmup_length(stage, plan.steps)
            plan.remarks += remarks(stage, plan.steps)
            plan.advice = _advice(recipe, stage, plan, shape)
            if isinstance(stage, CptStage) and stage.unfreeze is not None:
                plan.phases = [
                    {"train": phase.name, "steps": steps, "until": phase.until is not None}
                    for phase, steps in course(stage.unfreeze, plan.steps)
                ]
        plan.remarks += positions.get(stage.name, [])
        if shape is not None:
            tokens = stage.micro_batch_tokens or stage.max_length
            plan.memory = memory_parts(shape, stage, tokens, processes)
            plan.fits = {
                name: ways_that_fit(shape, stage, size * GIB, processes)
                for name, size in CARDS.items()
            }
        plans.append(plan)
    cpt = {plan.name: plan.tokens for plan in plans if plan.kind == "cpt" and plan.name != "base"}
    if said := remark(recipe, shape, cpt):
        plans[0].remarks.append(said)
    return plans


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


def _prepared_units(stage: AnyStage, ledger: Ledger | None) -> tuple[int, int] | None:
    if ledger is None:
        return None
    done = ledger.done().get(f"{stage.name}/mix")
    return (int(done.facts["units"]), int(done.facts["tokens"])) if done else None


def _guess(stage: AnyStage, plan: StagePlan, processes: int) -> None:
    """From file sizes; records of conversations and pairs are counted as lines."""
    try:
        sizes = [_size(source) for source in stage.data]
    except DataError:
        sizes = [None]
    if any(size is None for size in sizes):
        plan.remarks.append("tokens and steps are not known: a source cannot be read from here")
        return
    tokens = sum(size or 0 for size in sizes) / BYTES_PER_TOKEN
    units = tokens / stage.max_length if stage.kind == "cpt" else sum(map(_lines, stage.data))
    plan.steps = steps_of(stage, units, processes)
    whole = units * stage.num_train_epochs
    reached = min(1.0, plan.steps * stage.units_per_step * processes / whole) if whole else 1.0
    plan.tokens = int(tokens * stage.num_train_epochs * reached)


def _size(source: Source) -> int | None:
    if source.hub is not None:
        return None
    return sum(
        int(file.stat().st_size * (GZIP if file.suffix in (".gz", ".parquet") else 1))
        for file in files_of(source)
    )


def _lines(source: Source) -> int:
    from samdan.data.sources import read_rows

    return sum(1 for _ in read_rows(source))


def as_json(
    recipe: Recipe, states: list[tuple[Step, str | None]], plans: list[StagePlan]
) -> str:
    value: dict[str, Any] = {
        "model": sizes(model_shape(recipe), recipe.grow),
        "steps": [{"step": step.name, "do": why is not None, "why": why} for step, why in states],
        "stages": [plan.__dict__ for plan in plans],
    }
    return json.dumps(value, ensure_ascii=False, indent=1)
