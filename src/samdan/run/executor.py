"""Walks the plan: skips what is done, does what is new or stale and says why, stops at a gate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from samdan.data.engine import Engine
from samdan.plan import Step, components, identity, steps, why_stale
from samdan.recipe import Recipe
from samdan.records import GateFailed, Preempted, SamdanError
from samdan.run import evaluation, growing, healing, referencing, training
from samdan.run import steps as work
from samdan.run.accepted import accepted, effective, planned
from samdan.run.cache import load_cached_base, store_base
from samdan.run.context import Run, Say, Signals, process_info
from samdan.run.faults import from_environment
from samdan.run.fingerprints import fingerprints
from samdan.run.judging import vote_fingerprints
from samdan.run.ledger import Clock, Ledger, read_json
from samdan.run.reporting import write_report
from samdan.run.responding import RuleFired, keep_attempts, respond
from samdan.run.sinks import Sinks
from samdan.train import parallel, sharding
from samdan.train.state import of_others

STEPS: dict[str, work.StepFunction] = {
    "tokenizer": work.make_tokenizer,
    "load": work.load_base,
    "vocab": growing.learn_vocabulary,
    "grow": growing.grow_base,
    "clean": work.clean,
    "copies": work.copies,
    "protect": work.protect,
    "prepare": work.prepare,
    "mix": work.mix_sources,
    "reference": referencing.reference,
    "train": training.train,
    "evaluate": evaluation.evaluate,
    "healing": healing.measure_grown,
    "gate": evaluation.gate,
}
# What `samdan prepare` does: everything that reads data and nothing that needs the model.
PREPARING = frozenset({"clean", "copies", "protect", "tokenizer", "vocab", "prepare", "mix"})
TOLD = 240  # characters of a reason that the terminal shows
# Steps that every process takes part in; the others are the main process's.
TOGETHER = frozenset({"evaluate", "healing", "reference", "train"})


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    status: str  # "done" or "stopped"
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """``verbs``: only steps that do one of these. ``dry_responses``: what a rule that fires would
    change is said, and nothing is changed."""

    verbs: Set[str] = frozenset(STEPS)
    dry_responses: bool = False


def execute(
    recipe: Recipe,
    folder: Path,
    until: str | None = None,
    say: Say = print,
    progress: Callable[[Mapping[str, Any]], None] = lambda row: None,
    injected: Callable[[str, int], None] | None = None,
    engine: Engine | None = None,
    options: Options = Options(),
) -> Outcome:
    """Carries out the recipe in ``folder`` and returns how it ended.

    ``engine``: where data are prepared; every core of this machine when absent.
    Raises GateFailed, Preempted and other SamdanErrors; the report is written in every case.
    """
    parallel.start()
    if not parallel.is_main():
        say = _silent
    ledger = Ledger(folder, writes=parallel.is_main())
    sinks = Sinks(ledger, recipe.report_to if parallel.is_main() else (), say, progress)
    _claim(ledger)
    clock = Clock()
    status = "stopped"
    report: Mapping[str, Any] = {}
    try:
        with parallel.leaving_together(), Signals() as signals:
            parallel.listen(lambda: signals.received)
            faults = injected or from_environment()
            found = fingerprints(recipe) | vote_fingerprints(ledger, recipe)
            run = Run(
                recipe, ledger, signals, say, sinks.row, faults, found, engine or Engine(),
                options.dry_responses, measured=sinks.results,
            )  # fmt: skip
            _begin(run)
            sinks.begin(recipe.name)
            _walk(run, until, options.verbs)
            status = "done"
    except Preempted:
        status = "preempted"
        raise
    except SamdanError as error:
        _record(ledger, "failed", text=str(error))
        raise
    finally:
        sinks.end()
        _record(ledger, "ended", status=status, seconds=clock.seconds())
        if parallel.is_main():
            report = write_report(ledger, effective(recipe, accepted(ledger, recipe)))
            ledger.unlock()
        parallel.stop()
    return Outcome(folder, status, report)


def _claim(ledger: Ledger) -> None:
    """The directory for this run; where another one has it, all processes leave."""
    try:
        with parallel.leaving_together():
            if parallel.is_main():
                ledger.lock()
            parallel.barrier()
    except BaseException:
        parallel.stop()
        raise


def _silent(text: str) -> None:
    """What processes other than the main one have to say."""


def _walk(given: Run, until: str | None, verbs: Set[str]) -> None:
    """All steps in order; after a response once more, when only what it changed is done again."""
    told: set[str] = set()
    while True:
        responses = accepted(given.ledger, given.recipe)
        keep_attempts(given, responses)
        parallel.barrier()
        recipe = effective(given.recipe, responses)
        run = replace(given, recipe=recipe, given=given.recipe, responses=responses)
        try:
            for step in steps(recipe, run.fingerprints, until, planned(responses)):
                run.signals.poll()
                if step.verb in verbs:
                    _do(run, step, told)
            return
        except RuleFired as fired:
            if not respond(run, fired):
                raise fired.failure from None


def _begin(run: Run) -> None:
    if not parallel.is_main():
        return
    yaml = YAML()
    yaml.default_flow_style = False
    with run.ledger.recipe_file.open("w", encoding="utf-8") as opened:
        yaml.dump(run.recipe.model_dump(mode="json", exclude_unset=True), opened)
    run.ledger.record("begin", name=run.recipe.name, seed=run.recipe.seed, machine=process_info())


def _do(run: Run, step: Step, told: set[str]) -> None:
    """``told``: the steps of which this process has said that they are done."""
    done = run.ledger.done()
    parts = components(step, run.ledger.outputs(), run.recipe.seed)
    before = done.get(step.name)
    reason = why_stale(parts, before.components if before else None)
    if reason is None and before is not None and _is_there(run, step):
        if parallel.is_main() and step.name not in told:
            run.say(f"{step.name}: done before, skipped")
            run.ledger.record("step_skipped", step=step.name)
        told.add(step.name)
        _after_gate(run, step)
        return
    told.add(step.name)
    reason = reason or "its files are gone"
    if parallel.is_main():
        if before is not None and before.identity != identity(parts):
            _keep_earlier_attempt(run, step, reason)
        if (left := _left_behind(run, step, parts)) is not None:
            reason = left
        short = reason if len(reason) <= TOLD else f"{reason[:TOLD]} ... (whole in events.jsonl)"
        run.say(f"{step.name}: {short}" if before or left else step.name)
        begun = {"components": parts} if step.verb == "train" else {}
        run.ledger.record("step_begin", step=step.name, why=reason, **begun)
    run.injected(step.name, 0)
    clock = Clock()
    result = _work(run, step, identity(parts))
    if parallel.is_main():
        run.ledger.record(
            "step_done",
            step=step.name,
            identity=identity(parts),
            components=parts,
            output=result.output,
            seconds=round(clock.seconds(), 3),
            facts=result.facts,
        )
        if step.verb == "gate":
            write_report(run.ledger, run.recipe)
            run.measured(step.stage, read_json(run.ledger.gate(step.stage)).get("metrics", {}))
    if step.verb in TOGETHER:
        sharding.let_go()
    parallel.barrier()
    if step.verb == "train" and parallel.is_main():
        # Only now: a crash before the line above would need them.
        home = run.ledger.checkpoints(step.stage)
        for old in (home, *home.parent.glob("attempt-*/checkpoints")):
            shutil.rmtree(old, ignore_errors=True)
    _after_gate(run, step)


def _left_behind(run: Run, step: Step, parts: Mapping[str, Any]) -> str | None:
    """Why checkpoints of a training that began and did not end are no use to this one."""
    begun = run.ledger.begun(step.name) if step.verb == "train" else None
    responses = "recipe: responses"
    if begun is None or parts.get(responses) != begun.get(responses):
        return None  # a response says itself what it changed
    changed = why_stale(parts, begun)
    found = of_others(run.ledger.checkpoints(step.stage), identity(parts))
    if changed is None or not found:
        return None
    return (
        f"begins again, as what it depends on has changed since it was interrupted: {changed} "
        f"({found} checkpoint{'' if found == 1 else 's'} of before not used)"
    )


def _work(run: Run, step: Step, step_identity: str) -> work.Result:
    if step.verb not in TOGETHER:
        result = STEPS[step.verb](run, step) if parallel.is_main() else work.Result("", {})
        parallel.barrier()
        return result
    if step.name == "base/train":
        cached = load_cached_base(run, step_identity)
        if cached is not None:
            return cached
        result = STEPS[step.verb](run, step)
        if parallel.is_main():
            store_base(run, step_identity, result)
        return result
    return STEPS[step.verb](run, step)


def _after_gate(run: Run, step: Step) -> None:
    if step.verb != "gate" or _gate_passed(run, step):
        return
    why = "; ".join(json.loads(run.ledger.gate(step.stage).read_text("utf-8"))["why"])
    failure = GateFailed(
        f"the gate after stage '{step.stage}' failed: {why}. The model is kept in "
        f"{run.ledger.model(step.stage)}; the report says what was measured. Change the stage, or "
        f"its 'gates' if the limit is not meant."
    )
    raise RuleFired(step.stage, evaluation.fired(run, step.stage), failure)


def _gate_passed(run: Run, step: Step) -> bool:
    value = json.loads(run.ledger.gate(step.stage).read_text("utf-8"))
    return bool(value["gate"] == "passed")


def _is_there(run: Run, step: Step) -> bool:
    """Whether a finished step's files still exist."""
    ledger, stage = run.ledger, step.stage
    made = {
        "tokenizer": ledger.tokenizer() / "tokenizer.json",
        "vocab": ledger.vocabulary() / "learned.json",
        "grow": ledger.model(stage) / "config.json",
        "clean": ledger.clean(stage, step.source) / "manifest.json",
        "copies": ledger.copies(stage) / "manifest.json",
        "protect": ledger.guard() / "items.json",
        "prepare": ledger.source(stage, step.source) / "manifest.json",
        "mix": ledger.manifest(stage),
        "reference": ledger.reference(stage),
        "train": ledger.model(stage) / "config.json",
        "evaluate": ledger.evaluation(stage),
        "healing": ledger.grown(),
        "gate": ledger.gate(stage),
    }
    return step.verb not in made or made[step.verb].is_file()


def _keep_earlier_attempt(run: Run, step: Step, reason: str) -> None:
    """A stage that is trained again because something changed keeps its earlier results."""
    if step.verb != "train":
        return
    folder = run.ledger.model(step.stage).parent
    results = [name for name in ("eval.json", "gate.json") if (folder / name).is_file()]
    if not results:
        return  # a response moved them
    number = run.ledger.next_attempt(step.stage)
    kept = run.ledger.attempt(step.stage, number)
    kept.mkdir()
    for name in results:
        (folder / name).rename(kept / name)
    run.ledger.record("attempt_kept", step=step.name, attempt=number, why=reason)


def _record(ledger: Ledger, event: str, **fields: Any) -> None:
    if parallel.is_main() and ledger.folder.is_dir():
        ledger.record(event, **fields)
