"""The reference step: what a DPO stage's frozen parent gives to every answer, once for all epochs.

All processes take part, each with its share of the batches; where the model is too large for one
device, it is split over them as in training.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
from typing import Any

import torch

from samdan.lm.model import best_device, empty_model, load_model, to_best_device
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
    scorer = _parent(run, stage)
    capacity = max(8192, stage.max_length * 2)
    hands = sharding.hands(scorer)
    values = reference_log_probs(
        scorer, training_data(run, stage), capacity, run.poll_together, hands
    )
    del scorer
    if hands.split:
        gc.collect()  # its groups know one another, and would lie there while the stage trains
    if parallel.is_main():
        save_reference(run.ledger.reference(step.stage), values)
    facts = {"pairs": len(values), "shard": "full" if hands.split else "none"}
    return Result(hashlib.sha256(values.numpy().tobytes()).hexdigest(), facts)


def _parent(run: Run, stage: AnyStage) -> Scorer:
    """The stage's parent in every process, or split over all of them.

    With the stage's precision and copies: the first step's log-ratios are then zero but for noise.
    """
    path, revision = run.model_location(run.parent(stage.name))
    model: Any = load_model(path, revision) if parallel.is_main() else None
    chosen = "none" if model is None else choose_parent_shard(stage, model)
    split = parallel.share(chosen)[0] == "full"
    bf16 = parallel.share(resolve_precision(stage.precision))[0] == "bf16"
    if model is None:
        with torch.device("meta") if split else contextlib.nullcontext():
            model = empty_model(path, revision) if split else load_model(path, revision)
    if not split:
        model = to_best_device(model)
    if model.device.type != "meta":
        require_separate(model, path)
    scorer = Scorer(model, bf16, keep_copies=stage.keeps_copies)
    if split:
        sharding.shard(scorer, best_device(), bf16)
    return scorer
