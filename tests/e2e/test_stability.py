"""Phases and averages in real runs: bits that stay or come back after a kill, the report."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import growing
from e2e.helpers import events, losses, rows_of, samdan, weights
from samdan.lm import growth

PHASES = """
    unfreeze: [new_input, new_both, {train: [new_input, all_output], share: 2}, all]
    average: {kind: ema, decay: 0.9}
    weight_decay: 0.1
    save_steps: 5
"""


def recipe(folder: Path, more: str, steps: int = 20) -> Path:
    text = growing.recipe(folder).replace("max_steps: 4", f"max_steps: {steps}")
    text = text.replace("    rules: []\n", "    rules: []\n" + more.lstrip("\n"))
    path = folder / "recipe.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = growing.world(tmp_path_factory.mktemp("world"))
    growing.base(folder / "model", tied=False)
    done = samdan("run", recipe(folder, PHASES), "--out", folder / "run")
    assert done.code == 0, done.err
    return folder


def tensors(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")


def test_old_rows_are_the_base_s_in_phases_that_train_new_ones(world: Path) -> None:
    only = recipe(world, "    unfreeze: [new_input, new_both]\n    weight_decay: 0.1\n", 8)
    done = samdan("run", only, "--out", world / "only")
    assert done.code == 0, done.err
    before, after = tensors(world / "only/base/model"), tensors(world / "only/cpt/model")
    grown = growth.read(world / "only/base/model")
    assert grown is not None
    old = [n for n in range(len(before["model.embed_tokens.weight"])) if n not in grown.new_ids]
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if name not in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(after[name], tensor), name
            continue
        assert torch.equal(after[name][old], tensor[old])
        assert not torch.equal(after[name], tensor)
    recipe(world, PHASES)


@pytest.mark.parametrize(
    "where", ["updated:13", pytest.param("exported:20", marks=pytest.mark.slow)]
)
def test_a_killed_run_ends_with_the_same_bits(world: Path, where: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fault = {"SAMDAN_FAULT": f"{where}:kill"}
    killed = samdan("run", world / "recipe.yaml", "--out", run, env=fault)
    assert killed.code == -signal.SIGKILL
    resumed = samdan("run", world / "recipe.yaml", "--out", run)
    assert resumed.code == 0, resumed.err
    assert weights(run, "cpt") == weights(world / "run", "cpt")
    assert losses(run) == losses(world / "run")
    phases = [row.get("phase") for row in rows_of(run / "metrics.jsonl")]
    assert phases == [1] * 4 + [2] * 4 + [3] * 8 + [4] * 4


def test_the_report_and_the_plan_name_the_phases(world: Path) -> None:
    report = json.loads((world / "run/report.json").read_text("utf-8"))
    stage = report["stages"][0]
    assert [row["train"] for row in stage["phases"]] == [
        "new_input", "new_both", "new_input + all_output", "all",
    ]  # fmt: skip
    assert [row["last_step"] for row in stage["phases"]] == [4, 8, 16, 20]
    shares = [row["trained_share"] for row in stage["phases"]]
    assert shares[0] < shares[2] < shares[3] == 1
    assert not any(row["converged"] for row in stage["phases"])
    average = stage["average"]
    assert average["updates"] == 20
    assert set(average["last"]) == set(average["average"]) == {"heldout/docs/bpb", "heldout/en/bpb"}
    assert average["last"] != average["average"]
    page = (world / "run/report.html").read_text("utf-8")
    assert "new_input + all_output" in page
    assert "이동 평균" in page
    planned = samdan("plan", world / "recipe.yaml", "--out", world / "run")
    assert "phase 3: new_input + all_output, 8 steps" in planned.out
    started = [event["text"] for event in events(world / "run", "phase")]
    assert started == [row["train"] for row in stage["phases"]]


def test_the_last_checkpoints_are_averaged_and_a_kill_changes_nothing(
    world: Path, tmp_path: Path
) -> None:
    other = world / "last.yaml"
    more = "    average: {kind: last, k: 3}\n    save_steps: 3\n    save_total_limit: 1\n"
    other.write_text(recipe(world, more, 8).read_text("utf-8"), "utf-8")
    recipe(world, PHASES)
    for name, fault in (("a", {}), ("b", {"SAMDAN_FAULT": "updated:7:kill"})):
        done = samdan("run", other, "--out", tmp_path / name, env=fault)
        assert done.code in (0, -signal.SIGKILL), done.err
    assert samdan("run", other, "--out", tmp_path / "b").code == 0
    assert weights(tmp_path / "a", "cpt") == weights(tmp_path / "b", "cpt")
    assert events(tmp_path / "a", "averaged")[0]["steps"] == [3, 6, 8]
    assert not (tmp_path / "a/cpt/checkpoints").exists()


def test_new_parts_without_growth_are_an_error_that_says_so(world: Path, tmp_path: Path) -> None:
    text = recipe(world, PHASES).read_text("utf-8")
    plain = world / "plain.yaml"
    plain.write_text(text.replace(", grow: {vocab: {merges: 60, min_count: 20}}", ""), "utf-8")
    done = samdan("run", plain, "--out", tmp_path / "run")
    assert done.code == 1
    assert "stages.cpt.unfreeze[0]: 'new_input' trains nothing" in done.err
    assert "growth.json" in done.err
