"""What breaks on machines that fail: each case ends as promised, and each has its control."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny
from e2e.helpers import (
    all_weights,
    assert_same,
    events,
    fault,
    make_world,
    python,
    rows_of,
    samdan,
    samples_seen,
    stopped_before,
    weights,
)
from samdan.run import training
from samdan.run.executor import execute
from samdan.run.loading import load_recipe
from samdan.train import state
from samdan.train.optim import make_optimizer
from samdan.train.state import Progress, save_checkpoint

Before = Callable[[str], Path]


@pytest.fixture
def before(reference: Path, tmp_path: Path) -> Before:
    """Makes a run that stands just before a step."""

    def make(step: str) -> Path:
        return stopped_before(reference, step, tmp_path / "실행 1")

    return make


@pytest.fixture
def interrupted(recipe: Path, before: Before) -> Path:
    """A run killed in step 9 of cpt, with the checkpoints of steps 4 and 8."""
    run = before("cpt/train")
    killed = samdan("run", recipe, "--out", run, env=fault("updated:9:kill"))
    assert killed.code == -signal.SIGKILL
    assert [path.name for path in checkpoints(run)] == ["step-000004", "step-000008"]
    return run


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "cpt" / "checkpoints").iterdir())


def flip(file: Path, place: int = -40) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


# -- damaged checkpoints ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["flipped", "missing"])
def test_a_damaged_checkpoint_is_passed_over(
    damage: Callable[[Path], None], name: str, recipe: Path, reference: Path, interrupted: Path
) -> None:
    damage(checkpoints(interrupted)[-1] / name)
    resumed = samdan("run", recipe, "--out", interrupted)
    assert resumed.code == 0, resumed.err
    assert resumed.err.count("passed over a damaged checkpoint: step-000008: " + name) == 1
    assert "cpt: goes on after step 4 " in resumed.err
    assert_same(interrupted, reference)
    assert [e["text"].split(":")[0] for e in events(interrupted, "checkpoint_damaged")] == [
        "step-000008"
    ]


def test_without_verification_a_flipped_bit_would_not_be_noticed(
    recipe: Path, reference: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the hashes are what finds it."""
    flip(checkpoints(interrupted)[-1] / "model.safetensors")
    monkeypatch.setattr(state, "verify", lambda path: None)
    said: list[str] = []
    execute(load_recipe(recipe), interrupted, until="cpt", say=said.append)
    assert any("goes on after step 8 " in line for line in said)
    assert weights(interrupted, "cpt") != weights(reference, "cpt")


def test_where_every_checkpoint_is_damaged_the_stage_begins_again(
    recipe: Path, reference: Path, interrupted: Path
) -> None:
    for path in checkpoints(interrupted):
        flip(path / "model.safetensors")
    resumed = samdan("run", recipe, "--out", interrupted)
    assert resumed.err.count("passed over a damaged checkpoint") == 2
    assert "goes on after" not in resumed.err
    assert_same(interrupted, reference)


def test_names_and_times_of_checkpoints_say_nothing(
    recipe: Path, reference: Path, interrupted: Path
) -> None:
    """The clock jumped, and a folder was renamed: the manifest tells which is the newest."""
    older, newer = checkpoints(interrupted)
    older.rename(older.with_name("step-999999"))
    for path in newer.rglob("*"):
        os.utime(path, (1, 1))
    os.utime(newer, (1, 1))
    resumed = samdan("run", recipe, "--out", interrupted)
    assert "cpt: goes on after step 8 " in resumed.err
    assert_same(interrupted, reference)


# -- signals wherever they come --------------------------------------------------------------------

PLACES = ["cpt/clean/docs", "cpt/copies", "cpt/prepare/docs", "cpt/mix", "base/train",
          "cpt/evaluate", "cpt/gate", "dpo/reference", "dpo/evaluate"]  # fmt: skip


@pytest.mark.parametrize(("place", "what"), [(p, "term") for p in PLACES] + [(PLACES[5], "int")])
def test_a_signal_ends_every_kind_of_step(
    place: str, what: str, recipe: Path, reference: Path, before: Before
) -> None:
    run = before(place)
    stopped = samdan("run", recipe, "--out", run, env=fault(f"{place}:0:{what}"))
    assert stopped.code == {"term": 143, "int": 130}[what], stopped.err
    assert "Traceback" not in stopped.err
    assert json.loads((run / "report.json").read_text("utf-8"))["status"] == "preempted"
    begun = [e["step"] for e in events(run, "step_begin")]
    assert begun[-1] == place, "a step began after the signal"
    assert samdan("run", recipe, "--out", run).code == 0
    assert_same(run, reference)


# -- what has changed since ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.cpt.learning_rate=2e-3", "learning_rate was 0.001, is 0.002"),
        ("stages.cpt.weight_decay=0.1", "weight_decay was 0.0, is 0.1"),
        ("seed=43", "seed was 42, is 43"),
    ],
)
def test_a_changed_recipe_says_which_field_and_uses_no_old_checkpoint(
    change: str, said: str, recipe: Path, reference: Path, interrupted: Path
) -> None:
    resumed = samdan("run", recipe, "--out", interrupted, "--set", change, "--until", "cpt")
    assert resumed.code == 0, resumed.err
    assert said in resumed.err
    assert "goes on after" not in resumed.err
    assert weights(interrupted, "cpt") != weights(reference, "cpt")


def test_the_field_of_an_interrupted_training_is_named(
    recipe: Path, reference: Path, interrupted: Path
) -> None:
    """And the control: back at the recipe of before, its checkpoints are used."""
    words = ("run", recipe, "--out", interrupted, "--until", "cpt")
    changed = samdan(*words, "--set", "stages.cpt.learning_rate=2e-3", env=fault("updated:2:kill"))
    assert (
        "cpt/train: begins again, as what it depends on has changed since it was interrupted: "
        "recipe: learning_rate was 0.001, is 0.002 (2 checkpoints of before not used)"
    ) in " ".join(changed.err.split())
    unchanged = samdan(*words)
    assert "begins again" not in unchanged.err
    assert "cpt: goes on after step 8 " in unchanged.err
    assert weights(interrupted, "cpt") == weights(reference, "cpt")


def test_changed_data_are_read_again(reference: Path, recipe: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(recipe.parent, tmp_path / "세계")
    run = stopped_before(reference, "cpt/train", tmp_path / "run")
    samdan("run", copied / recipe.name, "--out", run, env=fault("updated:9:kill"))
    with (copied / "docs.jsonl").open("a", encoding="utf-8") as opened:
        opened.write(json.dumps({"text": "회사 새별의 본사는 제주에 있다."}, ensure_ascii=False))
    resumed = samdan("run", copied / recipe.name, "--out", run, "--until", "cpt")
    assert resumed.code == 0, resumed.err
    assert "files changed" in resumed.err
    assert "goes on after" not in resumed.err
    assert samples_seen(run)["cpt/train"] != samples_seen(reference)["cpt/train"]


# -- disks -----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A real disk of about one megabyte, where root may mount one; ``param``: kilobytes."""
    size = getattr(request, "param", 1400)
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)],
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("no right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("small_disk", [1600], indirect=True)
def test_a_disk_too_small_for_the_checkpoints_is_said_before_training(
    recipe: Path, before: Before, small_disk: Path
) -> None:
    """On a real disk; the control is every other test here, which has room."""
    run = shutil.copytree(before("cpt/train"), small_disk / "run")
    begun = len(rows_of(run / "metrics.jsonl"))
    failed = samdan("run", recipe, "--out", run)
    assert failed.code == 4, failed.err
    assert "stages.cpt: its checkpoints do not fit the disk: " in failed.err
    assert "GB needed for 2 + 1 checkpoints and the model" in failed.err
    assert "Traceback" not in failed.err
    assert len(rows_of(run / "metrics.jsonl")) == begun
    fewer = samdan("run", recipe, "--out", run, "--set", "stages.cpt.save_total_limit=99")
    assert "99 + 1 checkpoints" in fewer.err


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint(small_disk: Path) -> None:
    """A real one: nothing half written is left, and with room the next one is written."""
    model = tiny.model(num_hidden_layers=1)
    optimizer = make_optimizer(model, tiny.cpt(), False)

    def save(step: int) -> Path:
        progress = Progress(step, step, "", "abc", {})
        return save_checkpoint(small_disk, model, optimizer, progress, keep=1)

    good = save(1)
    size = sum(path.stat().st_size for path in good.iterdir())
    filling = small_disk / "other"
    filling.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - size // 2))
    with pytest.raises(OSError, match="No space left"):
        save(2)
    assert sorted(path.name for path in small_disk.iterdir()) == ["other", "step-000001"]
    assert state.latest_checkpoint(small_disk, "abc") == (good, [])
    filling.unlink()
    assert save(3).name == "step-000003"
    assert not good.exists()


def test_a_folder_that_cannot_be_written(recipe: Path, tmp_path: Path) -> None:
    place = tmp_path / "파일"
    place.write_text("this is a file", "utf-8")
    failed = samdan("run", recipe, "--out", place / "run")
    assert failed.code == 4, failed.err
    assert str(place) in failed.err
    assert "Traceback" not in failed.err


def test_paths_with_spaces_and_hangul(reference: Path, tmp_path: Path) -> None:
    world = make_world(tmp_path / "우리 회사 문서 (최종)")
    run = tmp_path / "실행 결과 1"
    done = samdan("run", world, "--out", run)
    assert done.code == 0, done.err
    assert all_weights(run) == all_weights(reference)


# -- numbers that are none, and waiting for ever ---------------------------------------------------

POISON = """
import os, sys
import torch
from samdan.train import loop, parallel

add = parallel.add_gradients

def poisoned(parameters):
    parameters = list(parameters)
    if os.environ.get("RANK") == "1" and poisoned.calls == 6:
        parameters[0].grad[0] = {value}
    poisoned.calls += 1
    add(parameters)

poisoned.calls = 0
parallel.add_gradients = poisoned
sys.argv = ["samdan", *sys.argv[1:]]
from samdan.cli import main
main()
"""


@pytest.mark.timeout(400)
def test_a_number_that_is_none_on_one_process_stops_all_before_the_update(
    recipe: Path, before: Before, tmp_path: Path
) -> None:
    run = before("cpt/train")
    program = tmp_path / "poison.py"
    program.write_text(POISON.format(value="float('nan')"), "utf-8")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = python(*torchrun, str(program), "run", str(recipe), "--out", str(run),
                  "--set", "stages.cpt.logging_steps=100",
                  "--set", "stages.cpt.per_device_train_batch_size=1")  # fmt: skip
    assert done.code != 0
    assert "the gradient norm is not finite at step 7 " in " ".join(done.err.split())
    written = [row for row in rows_of(run / "metrics.jsonl") if row["stage"] == "cpt"]
    assert [row["step"] for row in written] == list(range(1, 7))
    assert all(row["loss"] > 0.5 for row in written)
    assert not (run / "cpt" / "model").exists()


def test_a_run_that_hangs_says_where_and_can_be_gone_on_with(
    recipe: Path, reference: Path, before: Before
) -> None:
    run = before("cpt/train")
    hangs = fault("gradients:7:hang") | {"SAMDAN_HANG_SECONDS": "5"}
    hung = samdan("run", recipe, "--out", run, env=hangs)
    assert hung.code == 4, hung.err
    assert "cpt/train: no progress for" in hung.err
    assert "in fault" in (run / "cpt" / "hang-0.txt").read_text("utf-8")
    resumed = samdan("run", recipe, "--out", run)
    assert "cpt: goes on after step 4 " in resumed.err
    assert_same(run, reference)


# -- the ledger of samples -------------------------------------------------------------------------


def test_every_sample_is_seen_as_often_as_planned(reference: Path, recipe: Path) -> None:
    """The chain of the run is that of the plan: each unit once, in the planned order."""
    from samdan.run.context import Run, Signals
    from samdan.run.ledger import Ledger
    from samdan.run.steps import training_data
    from samdan.train.batches import Steps, extend_chain

    loaded = load_recipe(recipe)
    run = Run(loaded, Ledger(reference, writes=False), Signals())
    for stage in loaded.all_stages():
        data = training_data(run, stage)
        steps = Steps(data, stage.units_per_step, 10**9)
        chain, seen = "", []
        for step in range(1, len(steps) + 1):
            chain = extend_chain(chain, steps, step)
            seen += [p for unit in steps.units(step) for p in data.pieces_of_unit(unit)]
        assert chain == samples_seen(reference)[f"{stage.name}/train"]
        tokens = sum(len(data.piece(piece)) for piece in seen)
        written = [row for row in rows_of(reference / "metrics.jsonl")
                   if row["stage"] == stage.name]  # fmt: skip
        assert written[-1]["tokens"] == tokens
        assert chain != extend_chain(chain, steps, 1), "a step seen twice changes the chain"


def test_forgetting_the_cursor_is_noticed_by_the_chain(
    recipe: Path, reference: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above."""
    from dataclasses import replace

    load = training.load_checkpoint

    def repeats(*given: Any) -> Any:
        progress = load(*given)
        return replace(progress, step=progress.step - 1)

    monkeypatch.setattr(training, "load_checkpoint", repeats)
    execute(load_recipe(recipe), interrupted, until="cpt", say=lambda text: None)
    assert samples_seen(interrupted)["cpt/train"] != samples_seen(reference)["cpt/train"]
