"""The train step: model, optimizer, data and objective put together, resumed, watched, exported."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samdan.evals.score import Subject, score_heldout
from samdan.lm.chat import ChatFormat
from samdan.lm.dropout import add_residual_dropout, replace_lora_dropout
from samdan.lm.model import (
    add_lora,
    best_device,
    empty_model,
    fit_embeddings,
    load_model,
    merged,
    save_model,
    scratch_model,
    weights_hash,
)
from samdan.lm.scoring import Scorer
from samdan.plan import Step, components, identity, parent_stage
from samdan.recipe import AnyStage, ScratchBase
from samdan.records import EnvironmentFailure, Metrics, TrainError, Verdict
from samdan.run.card import model_card
from samdan.run.choices import choose, micro_batch
from samdan.run.context import Run
from samdan.run.evaluation import verdict_row
from samdan.run.steps import Result, new_tokens, training_data
from samdan.train import parallel, sharding
from samdan.train.batches import Steps, extend_chain
from samdan.train.loop import Cursor, train_steps
from samdan.train.objectives import objective_for
from samdan.train.optim import make_optimizer
from samdan.train.reference import load_reference
from samdan.train.state import (
    Progress,
    latest_checkpoint,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)

HISTORY = 1024  # metrics that monitors can look back on


@dataclass
class Training:
    """A stage in training: the parts and how far they are."""

    run: Run
    stage: AnyStage
    chat: ChatFormat
    scorer: Scorer
    optimizer: Any
    steps: Steps
    progress: Progress

    def save(self) -> None:
        """A checkpoint of this moment: by the main process, or by all where the model is split."""
        if parallel.is_main() or self.progress.chosen["shard"] == "full":
            folder = self.run.ledger.checkpoints(self.stage.name)
            try:
                save_checkpoint(
                    folder,
                    self.scorer.model,
                    self.optimizer,
                    self.progress,
                    self.stage.save_total_limit,
                    self.run.injected,
                )
            except OSError as error:
                raise EnvironmentFailure(
                    f"a checkpoint could not be written at step {self.progress.step} "
                    f"({error.strerror}); the last good one is kept. Free some space and run again."
                ) from None
        parallel.barrier()


def train(run: Run, step: Step) -> Result:
    """Trains the stage from its parent's model, or goes on from the last good checkpoint."""
    stage = run.stage(step.stage)
    outputs = run.ledger.outputs()
    training = _assemble(run, stage, identity(components(step, outputs, run.recipe.seed)))
    verdicts: dict[str, Verdict] = {}
    for metrics in _watched(training, verdicts):
        asked_to_stop = parallel.any_rank(bool(run.signals.received))
        if asked_to_stop or metrics.step % stage.save_steps == 0:
            training.save()
        if asked_to_stop:
            run.ledger.record("preempted", step=step.name, at=metrics.step)
            run.signals.receive_too()
            run.signals.poll()
    output = _export(training)
    return Result(output, _facts(training, verdicts))


def _assemble(run: Run, stage: AnyStage, step_identity: str) -> Training:
    chat = run.chat()
    found = _last_checkpoint(run, stage, step_identity)
    saved = read_progress(found) if found is not None else None
    model = _model(run, stage, chat) if parallel.is_main() else None
    chosen = choose(run, stage, saved.chosen if saved else None, model)
    split = chosen["shard"] == "full"
    if model is None:  # the main process's weights are handed on where the model is split
        with torch.device("meta") if split else contextlib.nullcontext():
            model = _model(run, stage, chat, empty=split)
    scorer = Scorer(model, bf16=chosen["precision"] == "bf16")
    if stage.dropout:
        add_residual_dropout(model, stage.dropout, scorer.dropout)
    replace_lora_dropout(model, scorer.dropout)
    if stage.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if split:
        sharding.shard(scorer, best_device(), scorer.bf16)
    else:
        scorer.to(best_device())
    optimizer = make_optimizer(model, stage, run.is_scratch(stage.name))
    progress = Progress(0, 0, "", step_identity, {})
    if found is not None:
        progress = load_checkpoint(found, model, optimizer)
        run.say(f"{stage.name}: goes on after step {progress.step} ({found.name})")
    progress = replace(progress, chosen=micro_batch(stage, chosen, model.config))
    run.ledger.cut_metrics(stage.name, progress.step)
    parallel.barrier()  # every process reads the same history
    run.ledger.record("chosen", step=f"{stage.name}/train", **progress.chosen)
    steps = Steps(
        training_data(run, stage),
        int(progress.chosen["units_per_step"]),
        int(progress.chosen["micro_batch_tokens"]),
        parallel.rank(),
        parallel.world_size(),
    )
    return Training(run, stage, chat, scorer, optimizer, steps, progress)


def _last_checkpoint(run: Run, stage: AnyStage, step_identity: str) -> Path | None:
    """The one to go on from; the main process verifies it for all."""
    folder = run.ledger.checkpoints(stage.name)
    found: Path | None = None
    if parallel.is_main():
        found, problems = latest_checkpoint(folder, step_identity)
        for problem in problems:
            run.say(f"passed over a damaged checkpoint: {problem}")
            run.ledger.record("checkpoint_damaged", step=f"{stage.name}/train", text=problem)
    name = parallel.share(found.name if found else "")[0]
    return folder / name if name else None


def _model(run: Run, stage: AnyStage, chat: ChatFormat, empty: bool = False) -> Any:
    """What the stage starts from. ``empty``: its shape only, on the meta device."""
    if run.is_scratch(stage.name):
        assert isinstance(run.recipe.base, ScratchBase)
        return scratch_model(run.recipe.base.scratch, chat.tokenizer, run.recipe.seed)
    path, revision = run.model_location(parent_stage(run.recipe, stage.name))
    quantize = stage.lora.quantize if stage.lora else "none"
    model = empty_model(path, revision) if empty else load_model(path, revision, quantize)
    fit_embeddings(model, chat.tokenizer, run.recipe.seed)
    return add_lora(model, stage.lora, new_tokens(run), run.recipe.seed) if stage.lora else model


def _watched(training: Training, verdicts: dict[str, Verdict]) -> Iterator[Metrics]:
    """The loop's metrics, logged, judged by the monitors, with held-out text measured when due."""
    run, stage = training.run, training.stage
    rows = run.ledger.metrics(stage.name)
    history = [Metrics(row["step"], row["tokens"], _numbers(row)) for row in rows][-HISTORY:]
    reference = None
    if stage.kind == "dpo":
        reference = load_reference(run.ledger.reference(stage.name))
    loop = train_steps(
        training.scorer,
        training.optimizer,
        objective_for(stage, reference),
        training.steps,
        stage,
        run.recipe.seed,
        Cursor(training.progress.step, training.progress.tokens),
        run.injected,
    )
    total = len(training.steps)
    for metrics in loop:
        chain = extend_chain(training.progress.chain, training.steps, metrics.step)
        chosen = training.progress.chosen | {
            "micro_batch_tokens": int(metrics.values["micro_batch_tokens"])
        }
        training.progress = replace(
            training.progress, step=metrics.step, tokens=metrics.tokens, chain=chain, chosen=chosen
        )
        if metrics.step % stage.eval_steps == 0 and metrics.step < total:
            metrics = replace(metrics, values={**metrics.values, **_heldout(training)})
        history = [*history[1 - HISTORY :], metrics]
        if parallel.is_main():
            run.ledger.add_metrics(f"{stage.name}/train", stage.name, metrics)
            run.progress({"stage": stage.name, "step": metrics.step, "of": total,
                          "tokens": metrics.tokens, "logging_steps": stage.logging_steps,
                          **metrics.values})  # fmt: skip
        _judge(training, history, verdicts)
        yield metrics


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if isinstance(v, int | float)}


def _judge(training: Training, history: Sequence[Metrics], verdicts: dict[str, Verdict]) -> None:
    for rule in training.stage.rules:
        verdict = rule(history)
        worst = verdicts.get(rule.kind)
        if worst is None or verdict.fired or verdict.value > worst.value:
            verdicts[rule.kind] = verdict
        if verdict.fired:
            step = f"{training.stage.name}/train"
            training.run.ledger.record("rule_fired", step=step, **verdict_row(verdict))
            raise TrainError(
                f"{step}: rule {verdict.rule} fired at step {history[-1].step}: {verdict.message}"
            )


def _heldout(training: Training) -> dict[str, float]:
    """Bits per byte of the stage's own held-out text, in the middle of training."""
    stage = training.stage
    if stage.kind == "dpo":
        return {}
    values = {}
    subject = Subject(training.scorer, training.chat, max_length=stage.max_length)
    for source in stage.data:
        folder = training.run.ledger.source(stage.name, source.label) / "heldout"
        most = stage.heldout.max_records
        scored = score_heldout(source.label, folder, stage.kind, most, subject)
        values[f"heldout/{source.label}/bpb"] = scored.results[0].value
    sharding.reshard(training.scorer)
    return values


def _export(training: Training) -> str:
    """The finished model in Hugging Face layout; it appears whole."""
    run, stage = training.run, training.stage
    final = run.ledger.model(stage.name)
    split = training.progress.chosen["shard"] == "full"
    trained = sharding.whole_tensors(training.scorer.model) if split else {}
    if parallel.is_main():
        staging = final.with_name(f".model.{os.getpid()}.tmp")
        for old in final.parent.glob(".model.*.tmp"):
            shutil.rmtree(old)
        model = _whole_model(training, trained) if split else training.scorer.model
        model = merged(model)
        after_chat = stage.kind != "cpt" or _stopped_at_turn(run, stage)
        save_model(model, training.chat, staging, model_card(run, stage), after_chat)
        if final.exists():
            shutil.rmtree(final)
        staging.rename(final)
        run.injected("exported", training.progress.step)
    parallel.barrier()
    return weights_hash(final)


def _whole_model(training: Training, trained: Mapping[str, Tensor]) -> Any:
    """The stage's model in host memory: what it started from, with the trained tensors put in."""
    model = _model(training.run, training.stage, training.chat)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in trained.items():
            own[name].copy_(tensor)
    return model


def _stopped_at_turn(run: Run, stage: AnyStage) -> bool:
    """Whether an earlier stage already taught the model to close its turns."""
    if run.is_scratch(stage.name):
        return False
    names = [s.name for s in run.recipe.stages]
    return any(s.kind != "cpt" for s in run.recipe.stages[: names.index(stage.name)])


def _facts(training: Training, verdicts: dict[str, Verdict]) -> dict[str, Any]:
    return {
        "steps": training.progress.step,
        "tokens": training.progress.tokens,
        "samples": training.progress.chain,
        "rules": [verdict_row(verdict) for verdict in verdicts.values()],
        **training.progress.chosen,
    }
