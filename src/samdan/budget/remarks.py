"""What looks wrong with a plan: sentences that name the number, the limit and what to change.

A limit is one that published work or an experiment of samdan's own gives; its source stands beside
it. A remark refuses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from samdan.averaging import Last
from samdan.budget.tokens import Amounts
from samdan.schedule import warmup_length
from samdan.stages import CptStage, DpoStage, SftStage, Stage, gates_of

ORDER = {"cpt": 0, "sft": 1, "dpo": 2}
FEWEST_STEPS = 100
# Where published recipes lie: Zephyr, Tulu 3 and SimPO's grid for DPO (1e-5 gave incoherent text),
# Tulu 3 and Zephyr for SFT, a tenth to a thirtieth of the pre-training peak for CPT below 5 billion
# tokens (TiC-LM, ChipNeMo, EntiGraph). Adapters take about ten times as much.
HIGHEST_RATE = {"cpt": 1e-4, "sft": 1e-4, "dpo": 5e-6}
LOWEST_RATE = {"cpt": 1e-6, "sft": 1e-6, "dpo": 5e-8}
SMALL_BUDGET = 5_000_000_000  # CPT tokens below which a tenth of the pre-training peak is the most
SMALL_BUDGET_RATE = 3e-5
FEWEST_RECORDS = {"sft": 200, "dpo": 500}
FEWEST_TOKENS = 1_000_000  # EntiGraph: 1.3M tokens of raw text alone changed nothing
MOST_PASSES = {"cpt": 4.0, "sft": 5.0, "dpo": 3.0}  # CPT: Muennighoff et al. 2305.16264
# A weight of a trained model is about 0.02; AdamW moves it by at most the rate in a step.
TYPICAL_WEIGHT = 0.02
LEAST_MOVE = 0.001  # of a typical weight, over the stage
_INSTRUCT = re.compile(r"(?i)(?:^|[-_/ .])(instruct|chat|it|sft|dpo|rlhf|assistant)(?:$|[-_/ .])")


@dataclass(frozen=True)
class Context:
    """What a stage is part of: the kinds of the stages before it, and the base.

    ``base``: path of an existing base, None for one from random weights.
    """

    before: Sequence[str] = ()
    base: str | None = None
    allow_instruct: bool = False


def remarks(
    stage: Stage, steps: int | None, amounts: Amounts | None, context: Context = Context()
) -> list[str]:
    """Everything that looks wrong with a stage of so many steps; ``None``: not known."""
    found = [*_order(stage, context), *_base(stage, context), *_rate(stage, amounts)]
    if steps is not None:
        found += _steps(stage, steps)
    if context.base is not None:
        found += _replay(stage)
    if amounts is not None:
        found += _amount(stage, amounts)
    return found


def _steps(stage: Stage, steps: int) -> Iterator[str]:
    asked = stage.warmup_steps if stage.warmup_steps >= 1 else stage.warmup_steps * steps
    real = warmup_length(stage, steps)
    if asked > real + 1:
        yield f"warm-up cut from {asked:.0f} to {real} steps, a tenth of the run"
    if steps < FEWEST_STEPS:
        yield (
            f"only {steps} optimizer steps: {stage.units_per_step} records a step "
            f"(per_device_train_batch_size {stage.per_device_train_batch_size} x "
            f"gradient_accumulation_steps {stage.gradient_accumulation_steps}) "
            f"is much for this data"
        )
    yield from _phases_and_points(stage, steps)
    moved = stage.learning_rate * steps / 2 / TYPICAL_WEIGHT
    if not isinstance(stage, DpoStage) and stage.lora is None and moved < LEAST_MOVE:
        yield (
            f"{steps} steps at {stage.learning_rate:g} move a weight by at most {moved:.2%} of a "
            f"typical one; raise learning_rate, or take smaller batches"
        )
    if stage.eval_steps >= steps and not isinstance(stage, DpoStage):
        yield (
            f"eval_steps {stage.eval_steps} is not reached in {steps} steps: rules that watch "
            f"held-out text see nothing while the stage trains"
        )


def _phases_and_points(stage: Stage, steps: int) -> Iterator[str]:
    phases = len(stage.unfreeze or ()) if isinstance(stage, CptStage) else 0
    if steps < phases:
        yield f"{steps} optimizer steps for {phases} phases: the last never come"
    if isinstance(stage.average, Last):
        points = stage.average.steps(steps, stage.save_steps)
        if len(points) < stage.average.k:
            yield (
                f"the average is of {len(points)} points, not {stage.average.k}: a checkpoint is "
                f"written every {stage.save_steps} of {steps} steps (save_steps)"
            )
        yield f"the disk keeps {len(points) - 1} checkpoints more until the stage ends"


def _rate(stage: Stage, amounts: Amounts | None) -> Iterator[str]:
    factor = 10.0 if stage.lora else 1.0
    rate, highest = stage.learning_rate, HIGHEST_RATE[_kind(stage)] * factor
    if isinstance(stage, CptStage) and stage.name == "base":
        return  # from random weights rates are a hundred times as high
    if rate > highest:
        yield (
            f"learning_rate {rate:g} is above {highest:g}, the highest that published work uses "
            f"for {_kind(stage)}{' with adapters' if stage.lora else ''}"
        )
    elif rate < LOWEST_RATE[_kind(stage)] * factor:
        yield (
            f"learning_rate {rate:g} is below {LOWEST_RATE[_kind(stage)] * factor:g}: little will "
            f"change{'; adapters learn at about ten times the full rate' if stage.lora else ''}"
        )
    elif (
        isinstance(stage, CptStage)
        and amounts is not None
        and amounts.tokens < SMALL_BUDGET
        and rate > SMALL_BUDGET_RATE * factor
    ):
        yield (
            f"learning_rate {rate:g} for {amounts.tokens / 1e6:,.1f}M tokens: below 5 billion "
            f"tokens 1e-5 to {SMALL_BUDGET_RATE:g} keep more of what the base knows"
        )


def _order(stage: Stage, context: Context) -> Iterator[str]:
    later = [kind for kind in context.before if ORDER[kind] > ORDER[_kind(stage)]]
    if later:
        yield f"a {_kind(stage)} stage after {later[-1]} undoes part of it; put it before"
    unknown = isinstance(stage, DpoStage) and context.base and not _instructed(context.base)
    if unknown and "sft" not in context.before:
        yield (
            "dpo without an sft stage before it: a base model's answers are far from both sides "
            "of a pair (Zephyr: 4.8 instead of 7.0 on MT-Bench)"
        )


def _base(stage: Stage, context: Context) -> Iterator[str]:
    reads_text = isinstance(stage, CptStage) and context.base is not None
    if reads_text and not context.allow_instruct and (name := _instructed(context.base or "")):
        yield (
            f"the base looks instruction-tuned (its name contains '{name}'), and continued "
            f"pre-training would undo that; take the base model"
        )


def _instructed(base: str) -> str:
    match = _INSTRUCT.search(base)
    return match.group(1) if match else ""


def _replay(stage: Stage) -> Iterator[str]:
    if not isinstance(stage, CptStage):
        return
    if not any(source.role == "replay" for source in stage.data):
        yield (
            f"no source has role 'replay': without general text the base forgets (5% of the "
            f"tokens avoid about 70% of that, Ibrahim et al. 2403.08763); add one, "
            f"{stage.replay:.0%} is the default for '{stage.adapts_to}'"
        )


def _amount(stage: Stage, amounts: Amounts) -> Iterator[str]:
    targets = [row for row in amounts.sources.values() if row.role != "replay"]
    records = sum(row.records for row in targets)
    fewest = FEWEST_RECORDS.get(_kind(stage), 0)
    if not isinstance(stage, CptStage) and records < fewest:
        what = "pairs" if isinstance(stage, DpoStage) else "conversations"
        yield (
            f"{records:,} {what} are few (below {fewest}): gains will be within the intervals "
            f"of what is measured"
        )
    held = sum(row.held for row in targets)
    if isinstance(stage, CptStage) and stage.name != "base" and held < FEWEST_TOKENS:
        yield (
            f"{held:,} tokens of target text are little for continued pre-training: raw "
            f"text of this size alone taught a model nothing (EntiGraph, 2409.07431); "
            f"`samdan synthesize` writes more about the same facts"
        )
    gated = {metric.partition("/")[0] for gate in gates_of(stage) for metric in gate.measures}
    for label, row in amounts.sources.items():
        expected = row.records * stage.heldout.share
        if label in gated and row.records and expected < 2:
            yield (
                f"'{label}' holds out about {expected:.1f} of {row.records} records, and a gate on "
                f"it needs two for an interval; set heldout: {{share: "
                f"{min(0.5, 5 / row.records):.2g}}}"
            )
        if row.passes > MOST_PASSES[_kind(stage)] + 0.5:
            yield (
                f"source '{label}' is passed {row.passes:.1f} times; beyond "
                f"{MOST_PASSES[_kind(stage)]:g} repetition teaches little that is new"
            )


def _kind(stage: Stage) -> str:
    if isinstance(stage, DpoStage):
        return "dpo"
    return "sft" if isinstance(stage, SftStage) else "cpt"
