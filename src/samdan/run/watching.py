"""A stage while it trains: its parts, its history, and the rules that watch it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from samdan.evals.score import Subject, score_heldout, score_task
from samdan.lm.chat import ChatFormat
from samdan.lm.scoring import Scorer
from samdan.recipe import AnyStage, CptStage
from samdan.records import EnvironmentFailure, Metrics, TrainError, Verdict
from samdan.rules import measured
from samdan.run.choices import tell_out_of_memory
from samdan.run.context import Run
from samdan.run.responding import RuleFired, answer
from samdan.run.verdicts import verdict_row
from samdan.schedule import warmup_length
from samdan.train import parallel, sharding
from samdan.train.averaging import Averaging
from samdan.train.batches import Steps, extend_chain
from samdan.train.loop import Cursor, Hooks, Learning, train_steps
from samdan.train.objectives import objective_for
from samdan.train.reference import load_reference
from samdan.train.room import missing, require_room
from samdan.train.state import Beside, Progress, save_checkpoint
from samdan.train.unfreezing import Unfreezing
from samdan.train.writer import Writer
from samdan.unfreezing import Place, last_step, place_at, rewarming

KEPT = "keep_best"  # the signed metric of that name, by which the best epoch is found
HISTORY = 1024  # metrics that monitors can look back on
LOOK = 5  # steps after which the disk is looked at again


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
    history: list[Metrics] = field(default_factory=list)  # what rules look at
    writer: Writer | None = None  # writes checkpoints beside the training
    unfreezing: Unfreezing | None = None
    average: Averaging | None = None
    told: set[str] = field(default_factory=set)  # what is said once
    standing: dict[str, dict[str, Any]] = field(default_factory=dict)  # each monitor's last verdict

    def save(self) -> None:
        """A checkpoint of this moment: by the main process, or by all where the model is split."""
        self.saved()
        if parallel.is_main() or self.progress.chosen["shard"] == "full":
            folder = self.run.ledger.checkpoints(self.stage.name)
            with self._explained():
                if parallel.is_main():
                    require_room(folder, self.scorer.model)
                save_checkpoint(
                    folder,
                    self.scorer.model,
                    self.optimizer,
                    self.progress,
                    self.stage.save_total_limit,
                    self.run.injected,
                    Beside(best_step(self.history), self.average),
                    self.writer,
                )
        parallel.barrier()

    def saved(self) -> None:
        """Returns when no checkpoint is being written any more."""
        if self.writer is not None:
            with self._explained():
                self.writer.wait()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EnvironmentFailure(
                f"a checkpoint could not be written at step {self.progress.step} "
                f"({error.strerror}); the last good one is kept. Free some space and run again."
            ) from None

    def look_for_room(self) -> None:
        """Says once that the disk is filling, while somebody can still do something about it."""
        if not parallel.is_main() or "room" in self.told:
            return
        folder = self.run.ledger.checkpoints(self.stage.name)
        if not (found := missing(folder, self.scorer.model)):
            return
        self.told.add("room")
        text = f"{self.stage.name}: no room for the next checkpoint in {folder}: {found}"
        self.run.ledger.record("disk_filling", stage=self.stage.name, text=text)
        self.run.say(f"{text}; training goes on until it is due (every {self.stage.save_steps})")


def watched(training: Training, verdicts: dict[str, Verdict]) -> Iterator[Metrics]:
    """The loop's metrics, logged, judged by the monitors, with held-out text measured when due."""
    run, stage = training.run, training.stage
    total = len(training.steps)
    # Of a grown model, so that its healing has a beginning.
    asked = run.recipe.grow is not None or any(rule.needs_start for rule in stage.rules)
    if training.progress.step == 0 and asked:
        start = _heldout(training)
        run.ledger.record("measured_before", stage=stage.name, values=start)
        training.history.insert(0, Metrics(0, 0, start))
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
        Hooks(
            run.injected,
            partial(_skips, training),
            partial(_learning, training),
            training.average.update if training.average is not None else lambda: None,
        ),
    )
    for metrics in loop:
        chain = extend_chain(training.progress.chain, training.steps, metrics.step)
        chosen = training.progress.chosen | {
            "micro_batch_tokens": int(metrics.values["micro_batch_tokens"])
        }
        tell_out_of_memory(run, stage, training.progress.chosen, chosen, metrics.step)
        training.progress = replace(
            training.progress, step=metrics.step, tokens=metrics.tokens, chain=chain, chosen=chosen,
            updates=training.average.updates if training.average is not None else 0,
        )  # fmt: skip
        if metrics.step % stage.eval_steps == 0 and metrics.step < total:
            metrics = replace(metrics, values={**metrics.values, **_heldout(training)})
        ends = stage.keep_best is not None and _ends_epoch(training, metrics.step)
        if ends:
            metrics = replace(metrics, values={**metrics.values, **_task_score(training)})
        # Clocks and a task's score are every process's own until here.
        metrics = replace(metrics, values=parallel.mean_over_ranks(metrics.values))
        _remember(training, metrics)
        if metrics.step % LOOK == 0:
            training.look_for_room()
        if ends:
            training.save()
        if parallel.is_main():
            run.progress({"stage": stage.name, "step": metrics.step, "of": total,
                          "tokens": metrics.tokens, "logging_steps": stage.logging_steps,
                          "rules": list(training.standing.values()), **metrics.values})  # fmt: skip
        _judge(training, verdicts)
        yield metrics


def _skips(training: Training, loss: float, norm: float) -> bool:
    """Judged by steps of the same phase: where other parameters learn, norms are others."""
    rule = training.stage.skip_spikes
    if rule is None:
        return False
    began = training.progress.phase_began
    return rule([row for row in training.history if row.step > began], loss, norm)


@contextmanager
def _learning(training: Training, step: int) -> Iterator[Learning]:
    """The phase of a step, which begins where the one before has had its steps or stands still."""
    stage, unfreezing = training.stage, training.unfreezing
    if unfreezing is None or not isinstance(stage, CptStage) or stage.unfreeze is None:
        yield Learning()
        return
    before = Place(training.progress.phase, training.progress.phase_began)
    total = len(training.steps)
    losses = [
        row.values["loss"]
        for row in training.history
        if row.step > before.began and "loss" in row.values
    ]
    place = place_at(stage.unfreeze, before, total, step, losses)
    training.progress = replace(
        training.progress, phase=place.phase, phase_began=place.began
    )
    last = last_step(stage.unfreeze, place, total)
    if place != before or step == 1:
        name = stage.unfreeze[place.phase].name
        training.run.ledger.record(
            "phase", step=f"{stage.name}/train", at=step, phase=place.phase + 1, text=name
        )
        if parallel.is_main():
            training.run.say(
                f"{stage.name}: phase {place.phase + 1} of {len(stage.unfreeze)} at step {step}: "
                f"{name} ({unfreezing.shares[place.phase]:.1%} of the weights)"
            )
    with unfreezing.during(place.phase):
        yield Learning(
            rewarming(place, last, warmup_length(stage, total), step),
            {"phase": place.phase + 1, "trained_share": unfreezing.shares[place.phase]},
        )


def _remember(training: Training, metrics: Metrics) -> None:
    """Into the history, which holds the last steps and every measurement, and into the ledger."""
    stage = training.stage.name
    training.history.append(metrics)
    if len(training.history) > 2 * HISTORY:
        old, new = training.history[:-HISTORY], training.history[-HISTORY:]
        training.history[:] = [*(row for row in old if _is_measured(row)), *new]
    training.run.ledger.add_metrics(f"{stage}/train", stage, metrics)


def _is_measured(metrics: Metrics) -> bool:
    return KEPT in metrics.values or any(name.startswith("heldout/") for name in metrics.values)


def history_of(run: Run, stage: AnyStage, step: int) -> list[Metrics]:
    """What was measured of the stage up to ``step``, as it lies in the run directory."""
    rows = run.ledger.metrics(stage.name)
    whole = [Metrics(row["step"], row["tokens"], _numbers(row)) for row in rows]
    start = run.ledger.measured_before(stage.name) if step else {}
    first = [Metrics(0, 0, start)] if start else []
    return [*first, *(row for row in whole[:-HISTORY] if _is_measured(row)), *whole[-HISTORY:]]


def best_step(history: Sequence[Metrics]) -> int | None:
    """The step that was best so far: by ``keep_best``, else by held-out targets."""
    if rows := measured(history, KEPT):
        return max(rows, key=lambda row: row.values[KEPT]).step
    rows = measured(history, "target/bpb")
    return min(rows, key=lambda row: row.values["target/bpb"]).step if rows else None


def _ends_epoch(training: Training, step: int) -> bool:
    total, epochs = len(training.steps), training.stage.num_train_epochs
    return step == total or step in (round(total * k / epochs) for k in range(1, int(epochs) + 1))


def _task_score(training: Training) -> dict[str, float]:
    """The metric of ``keep_best`` on the model as it is now; under ``KEPT``, more is better."""
    run, metric = training.run, training.stage.keep_best or ""
    task = next(task for task in run.recipe.evaluate if task.name == metric.rpartition("/")[0])
    subject = Subject(training.scorer, training.chat, poll=run.signals.poll)
    results = score_task(task, subject).results
    found = next((result for result in results if result.name == metric), None)
    if found is None:
        raise TrainError(
            f"stages.{training.stage.name}.keep_best: '{metric}' is not measured; the task gives "
            f"{', '.join(result.name for result in results)}"
        )
    return {metric: found.value, KEPT: found.value if found.higher_is_better else -found.value}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    named = row.keys() - {"step", "tokens"}  # Metrics has them beside the values
    return {k: float(row[k]) for k in row if k in named and isinstance(row[k], int | float)}


def _judge(training: Training, verdicts: dict[str, Verdict]) -> None:
    """Every monitor on the history. Raises RuleFired where the stage cannot or need not go on."""
    run, stage = training.run, training.stage
    for rule in stage.rules:
        verdict = rule(training.history)
        near = {"near": rule.nearness(verdict)}
        training.standing[rule.kind] = verdict_row(verdict) | near
        worst = verdicts.get(rule.kind)
        if worst is not None and worst.fired:
            continue  # it was told, and training went on
        if worst is None or verdict.fired or verdict.value > worst.value:
            verdicts[rule.kind] = verdict
        if not verdict.fired:
            continue
        at = training.history[-1].step
        step = f"{stage.name}/train"
        run.ledger.record("rule_fired", step=step, at=at, **verdict_row(verdict))
        text = f"{step}: rule {verdict.rule} fired at step {at}: {verdict.message}"
        tried = rule.stops != "never" and bool(answer(run, stage, [(rule, verdict)]))
        if rule.stops == "always" or (tried and not run.dry_responses):
            raise RuleFired(stage.name, [(rule, verdict)], TrainError(text))
        if parallel.is_main():
            run.say(f"{text}; training goes on")


def measured_now(training: Training) -> dict[str, float]:
    """The stage's held-out records under the weights as they are; of pairs the accuracy."""
    if training.stage.kind != "dpo":
        values = _heldout(training)
        return {name: value for name, value in values.items() if name.startswith("heldout/")}
    subject = _subject(training)
    values = {}
    for source in training.stage.data:
        folder = training.run.ledger.source(training.stage.name, source.label) / "heldout"
        most = training.stage.heldout.max_records
        scored = score_heldout(source.label, folder, "dpo", most, subject)
        values |= {f"heldout/{result.name}": result.value for result in scored.results}
    sharding.reshard(training.scorer)
    return values


def _subject(training: Training) -> Subject:
    """The model as it is, for all processes to measure together."""
    return Subject(
        training.scorer, training.chat, max_length=training.stage.max_length,
        hands=sharding.hands(training.scorer),
    )  # fmt: skip


def _heldout(training: Training) -> dict[str, float]:
    """Bits per byte of the stage's own held-out text, in the middle of training."""
    stage = training.stage
    if stage.kind == "dpo":
        return {}
    values = {}
    subject = _subject(training)
    for source in stage.data:
        folder = training.run.ledger.source(stage.name, source.label) / "heldout"
        most = stage.heldout.max_records
        scored = score_heldout(source.label, folder, stage.kind, most, subject)
        values[f"heldout/{source.label}/bpb"] = scored.results[0].value
    sharding.reshard(training.scorer)
    for role, name in (("target", "target/bpb"), ("replay", "replay/bpb")):
        mine = [values.get(f"heldout/{s.label}/bpb") for s in stage.data if s.role == role]
        known = [value for value in mine if value is not None]
        if known:
            values[name] = sum(known) / len(known)
    values["progress"] = training.progress.step / len(training.steps)
    return values
