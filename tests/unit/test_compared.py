"""A gate compares what was measured on all three models, or says what was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from samdan.lm.files import write_json
from samdan.recipe import Recipe, parse
from samdan.records import DataError
from samdan.run.context import Run, Signals
from samdan.run.evaluation import compared
from samdan.run.ledger import Ledger

RECIPE = """
samdan: 1
name: small
base: {path: somewhere}
stages:
  - name: cpt
    data: [{path: docs.jsonl}]
"""


def measured(ledger: Ledger, stage: str, *names: str) -> None:
    results = [
        {"name": name, "numerators": [1.0, 2.0], "denominators": [1.0, 1.0],
         "higher_is_better": False, "exponential": False}
        for name in names
    ]  # fmt: skip
    write_json(ledger.evaluation(stage), {"results": results, "items": {}})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    recipe: Recipe = parse(RECIPE, "recipe.yaml")
    return Run(recipe, Ledger(tmp_path), Signals())


def test_metrics_of_all_models_are_compared(run: Run) -> None:
    measured(run.ledger, "base", "docs/bpb")
    measured(run.ledger, "cpt", "docs/bpb")
    assert list(compared(run, run.stage("cpt"))) == ["docs/bpb"]


def test_a_metric_that_the_base_lacks_is_an_error_and_not_no_change(run: Run) -> None:
    measured(run.ledger, "base", "docs/bpb")
    measured(run.ledger, "cpt", "docs/bpb", "new/bpb")
    with pytest.raises(DataError, match=r"new/bpb was measured on 'cpt' and not on 'base'"):
        compared(run, run.stage("cpt"))
