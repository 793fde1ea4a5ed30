"""The evaluate and gate steps: one model on everything, then three models side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from samdan.contexts import OnDocuments
from samdan.evals.generate import greedy
from samdan.evals.score import Scored, Subject, reward_results, score_heldout, score_task
from samdan.evals.stats import compare, deciles
from samdan.lm.files import write_json
from samdan.lm.shards import Shard
from samdan.plan import MEASURED, Step, parent_stage
from samdan.recipe import AnyStage, DpoStage, gates_of
from samdan.records import Comparison, DataError, EvalResult, Message, Verdict
from samdan.rules import Gate
from samdan.run.context import Run
from samdan.run.growing import old_pieces
from samdan.run.judging import vote_comparisons
from samdan.run.ledger import clean
from samdan.run.steps import Result
from samdan.run.verdicts import verdict_row
from samdan.tasks import Task, locations

SAMPLE_TOKENS = 96


class Measuring:
    """Measures one model, which is loaded when the first result is not known yet."""

    def __init__(self, run: Run, stage: str | None, model_hash: str) -> None:
        self.run, self.stage, self.model_hash = run, stage, model_hash
        self._subject: Subject | None = None

    @property
    def subject(self) -> Subject:
        if self._subject is None:
            subject = Subject(
                self.run.scorer(self.stage), self.run.chat(), poll=self.run.signals.poll
            )
            grow = self.run.recipe.grow
            if self.stage is None and grow is not None and grow.vocab is not None:
                # The base as it came reads with the tokenizer that it came with.
                subject = replace(subject, chat=self.run.base_chat(), read=old_pieces(self.run))
            self._subject = subject
        return self._subject

    def once(self, key: Sequence[Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result for (model, key), from the run's cache where it was measured before."""
        named = [MEASURED, self.model_hash, *key]
        text = json.dumps(named, ensure_ascii=False, sort_keys=True, default=str)
        cached = self.run.ledger.evaluation_cache(hashlib.sha256(text.encode()).hexdigest())
        if not cached.is_file():
            write_json(cached, clean(measure()))
        found: dict[str, Any] = json.loads(cached.read_text("utf-8"))
        return found


def evaluate(run: Run, step: Step) -> Result:
    """Every held-out set and every task on the model of a stage, or of the base."""
    stage = None if step.stage == "base" else step.stage
    outputs = run.ledger.outputs()
    measuring = Measuring(run, stage, outputs[step.reads[0]])
    value = {"model": step.stage, **measured(run, measuring, step.reads[1:])}
    write_json(run.ledger.evaluation(step.stage), value)
    return Result(hash_of(value), {"metrics": len(value["results"])})


def hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def measured(run: Run, measuring: Measuring, prepared: Sequence[str]) -> dict[str, Any]:
    """Held-out sets of the ``prepared`` steps, the recipe's tasks, and answers to its samples."""
    outputs = run.ledger.outputs()
    results: list[dict[str, Any]] = []
    items: dict[str, Any] = {}
    sets = _heldout_sets(run, prepared, outputs)
    for label, (stage_name, digest) in sets.items():
        kept = run.stage(stage_name)
        key = ["heldout", label, kept.kind, kept.heldout.max_records, digest]
        scored = measuring.once(key, partial(_heldout, measuring, kept, label))
        results += scored["results"]
        items[label] = scored["items"]
    for task in run.recipe.evaluate:
        run.signals.poll()
        read = [run.fingerprints.get(place) for place in locations(task)]
        heldout = None
        if isinstance(task, OnDocuments) and task.source:
            folder, most, digest = _probed(run, task, sets)
            heldout = (folder, most)
            read += [digest, str(most)]
        key = ["task", task.model_dump(mode="json"), read]
        scored = measuring.once(key, partial(_task, measuring, task, heldout))
        results += scored["results"]
        items[task.name] = scored["items"]
    samples = measuring.once(
        ["samples", list(run.recipe.samples)], partial(_samples, run, measuring)
    )
    return {"results": results, "items": items, "samples": samples["answers"]}


def _heldout_sets(
    run: Run, prepared: Sequence[str], outputs: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """By source: the stage that prepared its held-out set first, and the set's hash."""
    found: dict[str, tuple[str, str]] = {}
    for name in prepared:
        stage_name, _, label = name.split("/", 2)
        folder = run.ledger.source(stage_name, label) / "heldout"
        if label not in found and len(Shard(folder)):
            found[label] = (stage_name, outputs[name])
    return found


def _heldout(measuring: Measuring, stage: AnyStage, label: str) -> dict[str, Any]:
    folder = measuring.run.ledger.source(stage.name, label) / "heldout"
    most = stage.heldout.max_records
    return _dump(score_heldout(label, folder, stage.kind, most, measuring.subject))


def _probed(
    run: Run, task: OnDocuments, sets: Mapping[str, tuple[str, str]]
) -> tuple[Path, int, str]:
    """The held-out documents that a task asks about, how many of them, and their hash."""
    label = str(task.source)
    if label not in sets:
        raise DataError(
            f"evaluate.{task.name}: source '{label}' holds no document out; raise its stage's "
            f"'heldout', or give 'path' instead of 'source'"
        )
    stage_name, digest = sets[label]
    most = run.stage(stage_name).heldout.max_records
    return run.ledger.source(stage_name, label) / "heldout", most, digest


def _task(
    measuring: Measuring, task: Task, heldout: tuple[Path, int] | None
) -> dict[str, Any]:
    return _dump(score_task(task, measuring.subject, heldout))


def _samples(run: Run, measuring: Measuring) -> dict[str, Any]:
    if not run.recipe.samples:
        return {"answers": []}
    subject = measuring.subject
    prompts = [subject.chat.prompt((Message("user", text),)) for text in run.recipe.samples]
    answers = greedy(subject.scorer.model, subject.chat, prompts, SAMPLE_TOKENS, subject.poll)
    return {"answers": [text for text, _ in answers]}


def _dump(scored: Scored) -> dict[str, Any]:
    return {
        "results": [asdict(r) for r in scored.results],
        "items": [dict(i) for i in scored.items],
    }


def fired(run: Run, stage: str) -> list[tuple[Gate, Verdict]]:
    """The gates of a stage that fired, judged again on what is kept of models and votes."""
    _, judged = _judged(run, run.stage(stage))
    return [(rule, verdict) for rule, verdict in judged if verdict.fired]


def _judged(
    run: Run, stage: AnyStage
) -> tuple[dict[str, Comparison], list[tuple[Gate, Verdict]]]:
    """What is compared, votes among it, and every gate's verdict on it."""
    parent = parent_stage(run.recipe, stage.name) or "base"
    comparisons = compared(run, stage) | vote_comparisons(run.ledger, stage, parent)
    return comparisons, [(rule, rule(comparisons)) for rule in gates_of(stage)]


def gate(run: Run, step: Step) -> Result:
    """Compares the stage with its parent and the base, and judges the gates. Writes gate.json."""
    stage = run.stage(step.stage)
    comparisons, judged = _judged(run, stage)
    verdicts = [verdict for _, verdict in judged]
    failed = [verdict for verdict in verdicts if verdict.fired]
    value = {
        "gate": "failed" if failed else "passed",
        "why": [verdict.message for verdict in failed],
        "verdicts": [verdict_row(verdict) for verdict in verdicts],
        "metrics": {name: comparison_row(c) for name, c in comparisons.items()},
        "lengths": lengths(run, stage),
    }
    write_json(run.ledger.gate(stage.name), clean(value))
    facts = {"gate": value["gate"], "why": value["why"]}
    return Result(hashlib.sha256(json.dumps(clean(value)).encode()).hexdigest(), facts)


def compared(run: Run, stage: AnyStage) -> dict[str, Comparison]:
    """Every metric of base, parent and stage. Raises DataError when one was not measured on all."""
    parent = parent_stage(run.recipe, stage.name) or "base"
    base, before, after = (load(run, name) for name in ("base", parent, stage.name))
    seed = run.recipe.seed
    tables = [results_of(model) for model in (base, before, after)]
    for model, table in zip(("base", parent), tables, strict=False):
        if missing := sorted(tables[2].keys() - table.keys()):
            # Anything put in its place would look like "no change".
            raise DataError(
                f"{stage.name}/gate: {', '.join(missing)} was measured on '{stage.name}' and not "
                f"on '{model}'; remove {run.ledger.evaluation(model)} and run again"
            )
    found = {
        name: compare(tables[0][name], tables[1][name], result, seed)
        for name, result in tables[2].items()
    }
    return found | _rewards(stage, before, after, seed)


def lengths(run: Run, stage: AnyStage) -> dict[str, dict[str, list[float]]]:
    """Of every task's answers, the characters that 10%, half and 90% of them stay within."""
    parent = parent_stage(run.recipe, stage.name) or "base"
    found: dict[str, dict[str, list[float]]] = {}
    for place, model in (("base", "base"), ("before", parent), ("after", stage.name)):
        for name, result in results_of(load(run, model)).items():
            task, _, metric = name.rpartition("/")
            if metric == "length" and result.numerators:
                found.setdefault(task, {})[place] = deciles(result.numerators)
    return found


def _rewards(
    stage: AnyStage, before: Mapping[str, Any], after: Mapping[str, Any], seed: int
) -> dict[str, Comparison]:
    """A DPO stage's own metrics. Base and parent are the reference: they have no preference yet."""
    if not isinstance(stage, DpoStage):
        return {}
    found: dict[str, Comparison] = {}
    for source in stage.data:
        pairs, reference = after["items"].get(source.label), before["items"].get(source.label)
        if not pairs or not reference:
            continue
        start = reward_results(source.label, reference, reference, stage.beta)
        end = reward_results(source.label, pairs, reference, stage.beta)
        found |= {b.name: compare(a, a, b, seed) for a, b in zip(start, end, strict=True)}
    return found


def load(run: Run, stage: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(run.ledger.evaluation(stage).read_text("utf-8"))
    return value


def results_of(evaluation: Mapping[str, Any]) -> dict[str, EvalResult]:
    results = [
        EvalResult(
            row["name"],
            tuple(row["numerators"]),
            tuple(row["denominators"]),
            row["higher_is_better"],
            row["exponential"],
        )
        for row in evaluation["results"]
    ]
    return {result.name: result for result in results}


def comparison_row(c: Comparison) -> dict[str, Any]:
    """As in report.json."""
    return {
        "base": c.base,
        "before": c.before,
        "after": c.after,
        "n": c.n,
        "higher_is_better": c.higher_is_better,
        "ci95": {
            "after": list(c.after_ci),
            "vs_before": list(c.vs_before_ci),
            "vs_base": list(c.vs_base_ci),
        },
        "mcnemar": {"vs_before": c.p_before, "vs_base": c.p_base},
    }

