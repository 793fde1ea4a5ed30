"""The evaluate and gate steps: one model on everything, then three models side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from samdan.evals.score import reward_results
from samdan.evals.stats import compare, deciles
from samdan.lm.files import write_json
from samdan.plan import Step, parent_stage
from samdan.recipe import AnyStage, DpoStage, gates_of
from samdan.records import Comparison, DataError, EvalResult, Verdict
from samdan.rules import Gate
from samdan.run.context import Run
from samdan.run.judging import vote_comparisons
from samdan.run.ledger import clean
from samdan.run.measuring import Measuring, measured
from samdan.run.steps import Result
from samdan.run.verdicts import verdict_row


def evaluate(run: Run, step: Step) -> Result:
    """Every held-out set and every task on the model of a stage, or of the base."""
    stage = None if step.stage == "base" else step.stage
    outputs = run.ledger.outputs()
    found = measured(Measuring(run, stage, outputs[step.reads[0]]), step.reads[1:])
    if found is None:
        return Result("")
    value = {"model": step.stage, **found}
    write_json(run.ledger.evaluation(step.stage), value)
    return Result(hash_of(value), {"metrics": len(value["results"])})


def hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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

