"""Whatever stops a run, the same command goes on and ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.helpers import (
    Program,
    assert_same,
    events,
    fault,
    killed_when_said,
    rows_of,
    samdan,
    samples_seen,
    stopped_before,
    weights,
)
from samdan.run import training
from samdan.run.executor import execute
from samdan.run.loading import load_recipe

Before = Callable[[str], Path]
# Of the tiny recipe: base 9 steps, cpt 10 (an epoch is 5), sft 13 (an epoch is 6.5), dpo 14. A
# checkpoint is written every 4 steps (base: every 3).
KILLS = [
    ("base", "updated:5", 3),
    ("base", "staged:6", 3),
    ("cpt", "updated:1", 0),
    ("cpt", "updated:6", 4),
    ("cpt", "updated:9", 8),
    ("cpt", "gradients:7", 4),
    ("cpt", "saving:8", 4),
    ("cpt", "staged:4", 0),
    ("cpt", "saved:8", 8),
    ("cpt", "exported:10", 8),
    ("sft", "updated:3", 0),
    ("sft", "updated:11", 8),
    ("sft", "gradients:6", 4),
    ("sft", "exported:14", 12),
    ("dpo", "updated:6", 4),
    ("dpo", "saving:8", 4),
    ("dpo", "saved:12", 12),
    ("dpo", "exported:13", 12),
]


@pytest.fixture
def before(reference: Path, tmp_path: Path) -> Before:
    """Makes a run that stands just before a stage's training."""
    return lambda stage: stopped_before(reference, f"{stage}/train", tmp_path / "run")


@pytest.mark.parametrize(("stage", "where", "checkpoint"), KILLS, ids=lambda value: str(value))
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    stage: str, where: str, checkpoint: int, recipe: Path, reference: Path, before: Before
) -> None:
    run = before(stage)
    assert samdan("run", recipe, "--out", run, env=fault(f"{where}:kill")).code == -signal.SIGKILL
    resumed = samdan("run", recipe, "--out", run)
    assert resumed.code == 0, resumed.err
    assert (f"{stage}: goes on after step {checkpoint} " in resumed.err) == (checkpoint > 0)
    assert_same(run, reference)


@pytest.mark.parametrize(
    ("stage", "step"),
    [("cpt", "cpt/evaluate"), ("cpt", "sft/train"), ("sft", "dpo/reference"), ("dpo", "dpo/gate")],
)
def test_a_run_killed_between_two_steps_goes_on_with_the_next(
    stage: str, step: str, recipe: Path, reference: Path, before: Before
) -> None:
    run = before(stage)
    assert killed_when_said(recipe, run, step) == -signal.SIGKILL
    with (run / "events.jsonl").open("a", encoding="utf-8") as opened:
        opened.write('{"time": "2026-01-01T00:00')  # what a crash may leave behind
    assert samdan("run", recipe, "--out", run).code == 0
    assert_same(run, reference)


def test_without_the_cursor_the_weights_differ(
    recipe: Path, reference: Path, before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the comparison above can fail."""
    run = before("cpt")
    samdan("run", recipe, "--out", run, env=fault("updated:6:kill"))
    load = training.load_checkpoint

    def forgetful(*given: Any) -> Any:
        return replace(load(*given), step=0, tokens=0, chain="")

    monkeypatch.setattr(training, "load_checkpoint", forgetful)
    execute(load_recipe(recipe), run, until="cpt", say=lambda text: None)
    assert samples_seen(run)["cpt/train"] == samples_seen(reference)["cpt/train"]
    assert weights(run, "cpt") != weights(reference, "cpt")


def test_sigterm_saves_exits_143_and_starts_no_other_stage(
    recipe: Path, reference: Path, before: Before
) -> None:
    run = before("cpt")
    stopped = samdan("run", recipe, "--out", run, env=fault("updated:5:term"))
    assert stopped.code == 143
    assert stopped.err.count("stopped by SIGTERM") == 1
    assert json.loads((run / "report.json").read_text("utf-8"))["status"] == "preempted"
    assert json.loads(samdan("status", run, "--json").out)["status"] == "preempted"
    assert not (run / "cpt" / "model").exists()
    assert "sft/train" not in {e["step"] for e in events(run, "step_begin")}
    resumed = samdan("run", recipe, "--out", run)
    assert "cpt: goes on after step 5 " in resumed.err
    assert_same(run, reference)


def test_a_second_signal_stops_at_once(recipe: Path, before: Before) -> None:
    run = before("cpt")
    program = endless(recipe, run)
    os.kill(program.process.pid, signal.SIGSTOP)  # so that both signals arrive together
    os.kill(program.process.pid, signal.SIGINT)
    os.kill(program.process.pid, signal.SIGTERM)
    os.kill(program.process.pid, signal.SIGCONT)
    assert program.wait().code in (130, 143)
    assert events(run)[-1]["event"] not in ("preempted", "ended")


def test_a_full_disk_while_saving_exits_4_and_keeps_the_last_checkpoint(
    recipe: Path, reference: Path, before: Before
) -> None:
    run = before("cpt")
    failed = samdan("run", recipe, "--out", run, env=fault("saving:8:full"))
    assert failed.code == 4
    assert failed.err.count("No space left on device") == 1
    assert "Traceback" not in failed.err
    left = sorted(path.name for path in (run / "cpt" / "checkpoints").iterdir())
    assert left == ["step-000004"]
    assert samdan("run", recipe, "--out", run).code == 0
    assert_same(run, reference)


def test_a_truncated_checkpoint_is_passed_over_with_one_message(
    recipe: Path, reference: Path, before: Before
) -> None:
    run = before("cpt")
    samdan("run", recipe, "--out", run, env=fault("updated:9:kill"))
    newest = run / "cpt" / "checkpoints" / "step-000008" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed = samdan("run", recipe, "--out", run)
    assert resumed.code == 0
    assert resumed.err.count("damaged checkpoint") == 1
    assert "cpt: goes on after step 4 " in resumed.err
    assert_same(run, reference)


def test_a_checkpoint_of_another_recipe_is_not_used(recipe: Path, before: Before) -> None:
    run = before("cpt")
    samdan("run", recipe, "--out", run, env=fault("updated:6:kill"))
    other = ("--set", "stages.cpt.learning_rate=2e-3", "--until", "cpt")
    resumed = samdan("run", recipe, "--out", run, *other)
    assert resumed.code == 0
    assert "goes on after" not in resumed.err


def test_a_loss_that_is_not_finite_stops_before_the_update(recipe: Path, before: Before) -> None:
    run = before("cpt")
    failed = samdan("run", recipe, "--out", run, "--set", "stages.cpt.learning_rate=1e30")
    assert failed.code == 1
    assert failed.err.count("is not finite at step 2 ") == 1
    assert "Traceback" not in failed.err
    written = [row for row in rows_of(run / "metrics.jsonl") if row["stage"] == "cpt"]
    assert [row["step"] for row in written] == [1]
    assert all(row["loss"] > 1 for row in written)
    assert not (run / "cpt" / "model").exists()


def test_two_runs_on_one_directory_the_second_names_the_holder(
    recipe: Path, before: Before
) -> None:
    run = before("cpt")
    first = endless(recipe, run)
    try:
        second = samdan("run", recipe, "--out", run)
        assert json.loads(samdan("status", run, "--json").out)["status"] == "running"
    finally:
        first.process.kill()
        first.wait()
    assert second.code == 4
    assert f"process {first.process.pid} " in second.err
    assert json.loads(samdan("status", run, "--json").out)["status"] == "interrupted"


def endless(recipe: Path, run: Path) -> Program:
    """A run in the middle of a CPT stage that takes very long."""
    program = Program("run", recipe, "--out", run, "--set", "stages.cpt.num_train_epochs=2000")
    for _ in range(600):
        if any(row["stage"] == "cpt" for row in rows_of(run / "metrics.jsonl")):
            return program
        time.sleep(0.1)
    program.process.kill()
    raise AssertionError(program.wait().err)
