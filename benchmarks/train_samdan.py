"""samdan's side of a training benchmark: the product's own loop, objectives and reference pass."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpu import make_stage
from benchmarks.shapes import backbone_parameters, build
from benchmarks.train_pipe import Turns
from benchmarks.train_records import check_reference
from benchmarks.train_side import Spec
from benchmarks.watch import timed
from samdan.lm.batch import Encoded, collate
from samdan.lm.machine import keep_freed_memory
from samdan.lm.scoring import Scorer
from samdan.train.batches import Steps
from samdan.train.loop import train_steps
from samdan.train.objectives import objective_for
from samdan.train.optim import make_optimizer
from samdan.train.reference import reference_log_probs


def stage_of(job: str) -> Any:
    """The job's stage at its default rate, held constant; every side takes its numbers from it."""
    return make_stage(argparse.Namespace(job=job, lora=False, offload=False))


class Side:
    """Nothing to choose: what the product does by itself. Its micro-batch is the spec's."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        keep_freed_memory()
        self.model = build(spec.sizes, torch.device("cpu"), torch.float32)
        self.scorer = Scorer(self.model, spec.bf16, spec.options.get("compile", False))
        self.data = spec.data()
        self.stage = stage_of(spec.job)
        self.reference: torch.Tensor | None = None

    def about(self) -> dict[str, Any]:
        return {"backbone": backbone_parameters(self.model), "threads": torch.get_num_threads()}

    def begin(self) -> dict[str, Any]:
        """The loss of the check, and for dpo the reference pass, timed."""
        loss = self._loss(self.spec.checked())
        if self.spec.job != "dpo":
            return {"checked_loss": loss}
        self.reference, took = timed(
            lambda: reference_log_probs(self.scorer, self.data, self.spec.micro_batch_tokens)
        )
        return {"checked_loss": loss, "reference": took}

    def train(self, turns: Turns) -> None:
        steps = Steps(self.data, self.spec.per_step, self.spec.micro_batch_tokens)
        optimizer = make_optimizer(self.model, self.stage, from_scratch=False)
        objective = objective_for(self.stage, self.reference)
        loop = train_steps(self.scorer, optimizer, objective, steps, self.stage, seed=0)
        for _ in range(self.spec.steps):
            turns.wait()
            turns.done(loss=float(next(loop).values["loss"]))

    @torch.no_grad()
    def _loss(self, records: Sequence[Encoded]) -> float:
        reference = torch.from_numpy(check_reference(records, self.spec.sizes.vocab))
        objective = objective_for(self.stage, reference)
        batch = collate(records)
        (loss,) = objective.loss_sums(self.scorer, batch).losses.values()
        (weight,) = objective.weights(batch).values()
        return float(loss) / weight
