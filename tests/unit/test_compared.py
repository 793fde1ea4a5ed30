"""A gate compares what was measured on all three models, or says what was not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from samdan.lm.files import write_json
from samdan.recipe import CptStage, Recipe, Source, parse
from samdan.records import Comparison, DataError
from samdan.rules import AtMost, Preferred
from samdan.run import evaluation
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


def test_what_fired_is_judged_on_votes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate on votes that passed is not among those that a response has to answer."""
    stage = CptStage(
        data=(Source(path="docs.jsonl"),),
        gates=(Preferred(), AtMost(metric="docs/bpb", value=0.1)),
    )
    row = Comparison("", 0.5, 0.5, 0.9, 40, (0.8, 0.95), (0.3, 0.5), (0.3, 0.5), True)
    run = SimpleNamespace(
        stage=lambda name: stage, recipe=SimpleNamespace(stages=[stage]), ledger=None
    )
    monkeypatch.setattr(evaluation, "compared", lambda *_: {"docs/bpb": row})
    monkeypatch.setattr(evaluation, "vote_comparisons", lambda *_: {"votes/over_before": row})
    fired = evaluation.fired(run, "cpt")  # type: ignore[arg-type]
    assert [rule.kind for rule, _ in fired] == ["at_most"]
