"""The train step: model, optimizer, data and objective put together, resumed, watched, exported."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
    to_best_device,
    weights_hash,
)
from samdan.lm.rope import stretched
from samdan.lm.scoring import Scorer
from samdan.lm.separate import require_separate
from samdan.lm.skips import checkpoint_layers
from samdan.plan import Step, components, identity
from samdan.recipe import AnyStage, ScratchBase
from samdan.records import EnvironmentFailure, Verdict
from samdan.redaction import redacted, secrets_of
from samdan.run.card import model_card
from samdan.run.choices import choose, micro_batch
from samdan.run.context import Run
from samdan.run.learning import average_of, freeze, growth_of, put_average_in, unfreezing_of
from samdan.run.peak import Peak
from samdan.run.steps import Result, new_tokens, training_data
from samdan.run.verdicts import verdict_row
from samdan.run.watchdog import Watchdog
from samdan.run.watching import Training, best_step, history_of, watched
from samdan.train import parallel, sharding
from samdan.train.batches import Steps
from samdan.train.optim import make_optimizer
from samdan.train.room import require_room_for_all
from samdan.train.state import (
    Progress,
    checkpoint_at,
    latest_checkpoint,
    load_checkpoint,
    read_progress,
    verify,
)
from samdan.train.writer import Writer


def train(run: Run, step: Step) -> Result:
    """Trains the stage from its parent's model, or goes on from the last good checkpoint."""
    stage = run.stage(step.stage)
    outputs = run.ledger.outputs()
    training = _assemble(run, stage, identity(components(step, outputs, run.recipe.seed)))
    verdicts: dict[str, Verdict] = {}
    peak = Peak()
    try:
        _to_the_end(training, verdicts)
    finally:
        training.saved()
    most = peak.bytes()
    _go_to_best(training)
    averaged = put_average_in(training)
    output = _export(training)
    return Result(output, _facts(training, verdicts) | averaged | {"peak_memory": most})


def _to_the_end(training: Training, verdicts: dict[str, Verdict]) -> None:
    """All steps, with checkpoints; the state is saved before a signal stops it."""
    run, stage = training.run, training.stage
    stacks = run.ledger.model(stage.name).parent / f"hang-{parallel.rank()}.txt"
    with Watchdog(stacks, f"{stage.name}/train") as watchdog:
        for metrics in watched(training, verdicts):
            watchdog.alive()
            asked_to_stop = parallel.any_rank(bool(run.signals.received))
            if asked_to_stop or metrics.step % stage.save_steps == 0:
                training.save()
            if asked_to_stop:
                training.saved()
                run.ledger.record("preempted", step=f"{stage.name}/train", at=metrics.step)
                run.signals.receive_too()
                run.signals.poll()


def _go_to_best(training: Training) -> None:
    """The weights of the best epoch, where the stage asks for it and the last was not the best."""
    best = best_step(training.history)
    if training.stage.keep_best is None or best in (None, training.progress.step):
        return
    folder = training.run.ledger.checkpoints(training.stage.name)
    found = checkpoint_at(folder, best or 0)
    if found is None:
        raise EnvironmentFailure(
            f"{training.stage.name}: the best epoch's checkpoint (step {best}) is not in {folder}"
        )
    load_checkpoint(found, training.scorer.model, training.optimizer)
    if parallel.is_main():
        training.run.say(
            f"{training.stage.name}: {training.stage.keep_best} was best at step {best}; that "
            f"model is kept"
        )


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
    if not split:
        to_best_device(model)
    quantized = stage.lora is not None and stage.lora.quantize != "none"  # rounds too much
    scratch = run.is_scratch(stage.name)
    if model.device.type != "meta" and not (quantized or scratch):
        require_separate(model, run.model_location(run.parent(stage.name))[0])
    scorer = Scorer(
        model, chosen["precision"] == "bf16", chosen["compile"], stage.keeps_copies
    )
    if stage.dropout:
        add_residual_dropout(model, stage.dropout, scorer.dropout)
    replace_lora_dropout(model, scorer.dropout)
    if stage.gradient_checkpointing:
        checkpoint_layers(model)
    if split:
        sharding.shard(scorer, best_device(), scorer.bf16)
    if parallel.is_main():
        _require_room(run, stage, model)
    optimizer = make_optimizer(model, stage, scratch, growth_of(run, stage))
    data = training_data(run, stage)
    total = -(-data.index.num_units // int(chosen["units_per_step"]))
    average = average_of(stage, model, total)
    progress = Progress(0, 0, "", step_identity, {})
    if found is not None:
        loaded = load_checkpoint(found, model, optimizer, average)
        progress = replace(loaded, identity=step_identity)
        run.say(f"{stage.name}: goes on after step {progress.step} ({found.name})")
    progress = replace(progress, chosen=micro_batch(run, stage, chosen, model.config))
    run.ledger.cut_metrics(stage.name, progress.step)
    parallel.barrier()  # every process reads the same history
    run.ledger.record("chosen", step=f"{stage.name}/train", **progress.chosen)
    steps = Steps(
        data,
        int(progress.chosen["units_per_step"]),
        int(progress.chosen["micro_batch_tokens"]),
        parallel.rank(),
        parallel.world_size(),
    )
    history = history_of(run, stage, progress.step)
    writer = Writer() if best_device().type == "cuda" else None
    return Training(
        run, stage, chat, scorer, optimizer, steps, progress, history, writer,
        unfreezing_of(stage, model, optimizer), average,
    )  # fmt: skip


def _require_room(run: Run, stage: AnyStage, model: Any) -> None:
    """Hours of training are not begun whose checkpoints the disk cannot hold."""
    states = 2 if stage.optim == "adamw_8bit" else 8
    averages = 0 if stage.average is None else 4
    try:
        require_room_for_all(
            run.ledger.checkpoints(stage.name), model, 4 + states + averages, stage.save_total_limit
        )
    except OSError as error:
        raise EnvironmentFailure(
            f"stages.{stage.name}: its checkpoints do not fit the disk: {error.strerror}. Free "
            f"some space, choose another --out, or keep fewer (save_total_limit)"
        ) from None


def _checkpoint_of_response(run: Run, stage: AnyStage) -> Path | None:
    """Where the last response wants to go on from; it was verified when it was chosen."""
    responses = run.responses.get(stage.name, ())
    place = responses[-1].checkpoint if responses else None
    path = run.ledger.folder / place if place else None
    return path if path and verify(path) is None else None


def _last_checkpoint(run: Run, stage: AnyStage, step_identity: str) -> Path | None:
    """The one to go on from; the main process verifies it for all."""
    folder = run.ledger.checkpoints(stage.name)
    found: Path | None = None
    if parallel.is_main():
        found, problems = latest_checkpoint(folder, step_identity)
        for problem in problems:
            run.say(f"passed over a damaged checkpoint: {problem}")
            run.ledger.record("checkpoint_damaged", step=f"{stage.name}/train", text=problem)
        found = found or _checkpoint_of_response(run, stage)
    path = parallel.share(str(found or ""))[0]
    return Path(path) if path else None


def _model(run: Run, stage: AnyStage, chat: ChatFormat, empty: bool = False) -> Any:
    """What the stage starts from. ``empty``: its shape only, on the meta device."""
    if run.is_scratch(stage.name):
        assert isinstance(run.recipe.base, ScratchBase)
        model = scratch_model(run.recipe.base.scratch, chat.tokenizer, run.recipe.seed)
        freeze(run, stage, model)
        return model
    path, revision = run.model_location(run.parent(stage.name))
    quantize = stage.lora.quantize if stage.lora else "none"
    change = stretched(stage)
    if empty:
        model = empty_model(path, revision, change)
    else:
        model = load_model(path, revision, quantize, change)
    fit_embeddings(model, chat.tokenizer, run.recipe.seed)
    if stage.lora is not None:
        model = add_lora(model, stage.lora, new_tokens(run), run.recipe.seed)
    freeze(run, stage, model)
    return model


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
        card = redacted(model_card(run, stage), secrets_of(os.environ))
        save_model(model, training.chat, staging, card, after_chat)
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


def _trained_share(training: Training) -> float:
    """Of all numbers of the model, those that the stage trains at some time."""
    every = list(training.scorer.model.parameters())
    trained = sum(p.numel() for p in every if p.requires_grad)
    return trained / sum(p.numel() for p in every)


def _facts(training: Training, verdicts: dict[str, Verdict]) -> dict[str, Any]:
    return {
        "steps": training.progress.step,
        "tokens": training.progress.tokens,
        "samples": training.progress.chain,
        "trained_share": _trained_share(training),
        "kept_step": best_step(training.history) if training.stage.keep_best else None,
        "rules": [verdict_row(verdict) for verdict in verdicts.values()],
        **training.progress.chosen,
    }
