"""The reference step: what a DPO stage's frozen parent gives to every answer, once for all epochs.

All processes take part, each with its share of the batches; where the model is too large for one
device, it is split over them as in training.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

import torch

from samdan.lm.model import best_device, empty_model, load_model
from samdan.lm.passes import ALONE
from samdan.lm.rounding import to_measure
from samdan.lm.scoring import Scorer
from samdan.lm.separate import require_separate
from samdan.plan import Step
from samdan.recipe import AnyStage
from samdan.run.choices import choose_parent_shard
from samdan.run.context import Run, resolve_precision
from samdan.run.steps import Result, training_data
from samdan.train import parallel, sharding
from samdan.train.reference import reference_log_probs, save_reference


def reference(run: Run, step: Step) -> Result:
    """The frozen parent's log-probabilities of every answer; once, before the stage trains."""
    stage = run.stage(step.stage)
    scorer, shard = _parent(run, stage)
    if scorer is None:
        return Result("")
    hands, poll = sharding.hands(scorer), run.poll_together
    if shard == "alone":
        hands, poll = ALONE, run.poll
    capacity = max(8192, stage.max_length * 2)
    values = reference_log_probs(scorer, training_data(run, stage), capacity, poll, hands)
    if parallel.is_main():
        save_reference(run.ledger.reference(step.stage), values)
    facts = {"pairs": len(values), "shard": shard}
    return Result(hashlib.sha256(values.numpy().tobytes()).hexdigest(), facts)


def _parent(run: Run, stage: AnyStage) -> tuple[Scorer | None, str]:
    """The stage's parent, and how it lies: whole in every process, split over all of them, or in
    the main process alone.

    With the stage's precision and copies: the first step's log-ratios are then zero but for noise.
    """
    path, revision = run.model_location(run.parent(stage.name))
    model: Any = load_model(path, revision) if parallel.is_main() else None
    chosen = [resolve_precision(stage.precision)]
    if model is not None:
        rounded = chosen[0] == "bf16" and stage.keeps_copies
        chosen.append(choose_parent_shard(stage, model, rounded))
    precision, shard = json.loads(parallel.share(json.dumps(chosen))[0])
    bf16, split = precision == "bf16", shard == "full"
    if model is None and shard != "alone":
        with torch.device("meta") if split else contextlib.nullcontext():
            model = empty_model(path, revision) if split else load_model(path, revision)
    parallel.barrier()  # not in the first sum, which does not wait for hours
    if model is None:
        return None, shard
    if model.device.type != "meta":
        require_separate(model, path)
    if not split:
        # Where the stage casts at each use, so does its parent: what is not cast stays fp32.
        model = to_measure(model, bf16 and stage.keeps_copies)
    scorer = Scorer(model, bf16, keep_copies=stage.keeps_copies)
    if split:
        sharding.shard(scorer, best_device(), bf16)
    return scorer, shard
