"""All stages in bf16: near fp32's run, the reference near the policy, exact after a kill."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from e2e.helpers import STAGES, assert_same, fault, rows_of, samdan, stopped_before


@pytest.fixture(scope="module")
def narrow(recipe: Path) -> Path:
    """The tiny world's recipe with bf16 for fp32, beside its data."""
    text = recipe.read_text("utf-8").replace("precision: fp32", "precision: bf16")
    path = recipe.with_name("bf16.yaml")
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def finished(narrow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("bf16") / "run"
    done = samdan("run", narrow, "--out", run)
    assert done.code == 0, done.err
    return run


def steps(run: Path, stage: str) -> list[dict[str, Any]]:
    """The metrics of a stage's optimizer steps."""
    rows = rows_of(run / "metrics.jsonl")
    return [row for row in rows if row["step_name"] == f"{stage}/train" and "lr" in row]


@pytest.mark.parametrize("stage", STAGES)
def test_losses_are_near_those_of_fp32_and_weights_are_fp32(
    stage: str, finished: Path, reference: Path
) -> None:
    found, right = ([row["loss"] for row in steps(run, stage)] for run in (finished, reference))
    assert found != right, "computed in bf16"
    assert found == pytest.approx(right, rel=0.03)
    weights = load_file(finished / stage / "model" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}


def test_the_first_step_of_dpo_finds_what_it_finds_in_fp32(finished: Path, reference: Path) -> None:
    """Policy and reference are one model there, but for dropout: rounding must not part them."""
    found, right = (steps(run, "dpo")[0] for run in (finished, reference))
    for name in ("rewards/chosen", "rewards/rejected"):
        assert found[name] == pytest.approx(right[name], abs=2e-3)


@pytest.mark.parametrize(("stage", "where"), [("cpt", "updated:6"), ("dpo", "gradients:7")])
def test_a_killed_run_ends_with_the_same_weights(
    stage: str, where: str, narrow: Path, finished: Path, tmp_path: Path
) -> None:
    run = stopped_before(finished, f"{stage}/train", tmp_path / "run")
    assert samdan("run", narrow, "--out", run, env=fault(f"{where}:kill")).code == -signal.SIGKILL
    assert samdan("run", narrow, "--out", run).code == 0
    assert_same(run, finished)
