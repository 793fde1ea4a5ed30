"""The grown base before it trains: measured as every model is, and compared with the base."""

from __future__ import annotations

from typing import Any

from samdan.evals.stats import compare
from samdan.lm.files import write_json
from samdan.plan import Step
from samdan.run.context import Run
from samdan.run.evaluation import comparison_row, hash_of, load, results_of
from samdan.run.ledger import clean
from samdan.run.measuring import Measuring, measured
from samdan.run.steps import Result


def measure_grown(run: Run, step: Step) -> Result:
    """Writes ``base/grown.json``: results of the grown model, and its changes against the base."""
    grow, _, *prepared = step.reads
    found = measured(Measuring(run, "base", run.ledger.outputs()[grow]), prepared)
    if found is None:
        return Result("")
    value: dict[str, Any] = {"model": "grown", **found}
    base, grown = results_of(load(run, "base")), results_of(value)
    value["compared"] = {
        name: comparison_row(compare(base[name], base[name], result, run.recipe.seed))
        for name, result in grown.items()
        if name in base
    }
    value = clean(value)
    write_json(run.ledger.grown(), value)
    return Result(hash_of(value), {"metrics": len(grown)})
