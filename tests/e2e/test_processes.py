"""Two processes train to the same parameters as one, and outlive what happens to them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from e2e.helpers import STAGES, events, python, rows_of, samdan, samples_seen, stopped_before

HALVED = ("base.train", "stages.cpt", "stages.sft", "stages.dpo")
# At the world's own rate, 1e-3, Adam makes rounding visible: 1e-5 of a tensor's largest value in
# ten steps); the golden rates lie between 5e-7 and 2e-5.
RATES = [f"--set={name}.learning_rate=1e-4" for name in HALVED]
SINGLE = {"base.train": 2, "stages.cpt": 2, "stages.sft": 4, "stages.dpo": 4}
HALVES = [f"--set={name}.per_device_train_batch_size={SINGLE[name] // 2}" for name in HALVED]
SPLIT = [f"--set={name}.shard=full" for name in HALVED]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
LAST = "updated:10:kill"  # of cpt alone: base has 9 steps, and cpt's last checkpoint is of step 8

pytestmark = pytest.mark.timeout(400)


def two(recipe: Path, run: Path, *more: str, fault: str = "") -> int:
    """``samdan run`` under torchrun with two processes; the exit code."""
    words = ("run", str(recipe), "--out", str(run), *RATES, *HALVES, *more)
    return python(*TORCHRUN, "samdan.cli", *words, env={"SAMDAN_FAULT": fault}).code


@pytest.fixture(scope="module")
def one(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process."""
    run = tmp_path_factory.mktemp("one") / "run"
    assert samdan("run", recipe, "--out", run, *RATES).code == 0
    return run


@pytest.fixture(scope="module")
def split(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by two, every stage split over them. Not to be changed."""
    run = tmp_path_factory.mktemp("split") / "run"
    assert two(recipe, run, *SPLIT) == 0
    return run


def assert_close(run: Path, reference: Path, stages: tuple[str, ...] = STAGES) -> None:
    for stage in stages:
        ours = load_file(run / stage / "model" / "model.safetensors")
        theirs = load_file(reference / stage / "model" / "model.safetensors")
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            if name.endswith("k_proj.bias"):
                # Attention does not depend on it: its gradient is rounding, which Adam makes large.
                continue
            difference = (ours[name] - tensor).abs().max() / tensor.abs().max()
            assert difference <= 1e-5, f"{stage}: {name} differs by {difference:.1e}"
            assert not torch.equal(tensor, torch.zeros_like(tensor))


def weights(run: Path, stage: str) -> bytes:
    return (run / stage / "model" / "model.safetensors").read_bytes()


def said(run: Path, key: str, step: str = "cpt/train") -> list[object]:
    return [event[key] for event in events(run, "chosen") if event["step"] == step]


def test_two_processes_train_the_same_parameters_as_one(
    recipe: Path, one: Path, tmp_path: Path
) -> None:
    """All four trainings, each batch dealt over the processes, weights in both of them."""
    run = tmp_path / "two"
    assert two(recipe, run) == 0
    assert said(run, "shard") == ["none"]
    assert samples_seen(run) == samples_seen(one)
    assert [r["step"] for r in rows_of(run / "metrics.jsonl")] == [
        r["step"] for r in rows_of(one / "metrics.jsonl")
    ]  # reduced, and written by one process only
    assert_close(run, one)


def test_a_split_model_trains_to_the_same_parameters(one: Path, split: Path) -> None:
    """All four trainings with fully_shard; the held-out text is measured in between."""
    assert said(split, "shard") == ["full"]
    assert samples_seen(split) == samples_seen(one)
    heldout = [row for row in rows_of(split / "metrics.jsonl") if "heldout/docs/bpb" in row]
    assert heldout
    assert_close(split, one)


@pytest.fixture(scope="module")
def killed(recipe: Path, split: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The split run again, process 1 killed in cpt's last step. Not to be changed."""
    run = stopped_before(split, "cpt/train", tmp_path_factory.mktemp("killed") / "run")
    assert two(recipe, run, *SPLIT, "--until=cpt", fault=f"{LAST}:1") != 0
    return run


def test_processes_share_the_reference_pass(one: Path, split: Path) -> None:
    theirs, ours = (np.load(run / "dpo" / "data" / "reference.npy") for run in (one, split))
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    (done,) = [e for e in events(split, "step_done") if e["step"] == "dpo/reference"]
    assert done["facts"] == {"pairs": len(theirs), "shard": "full"}


def test_processes_share_the_measuring(one: Path, split: Path) -> None:
    """What is measured, in its order, and values as close as the weights are."""
    for stage in STAGES:
        theirs, ours = (
            json.loads((run / stage / "eval.json").read_text("utf-8")) for run in (one, split)
        )
        assert [r["name"] for r in ours["results"]] == [r["name"] for r in theirs["results"]]
        for mine, other in zip(ours["results"], theirs["results"], strict=True):
            if mine["name"].endswith(("/bpb", "/perplexity")):
                assert mine["numerators"] == pytest.approx(other["numerators"], rel=1e-4)
        assert len(ours["samples"]) == len(theirs["samples"])


def test_a_lost_process_ends_the_run_and_the_next_ends_with_the_same_bits(
    recipe: Path, split: Path, killed: Path, tmp_path: Path
) -> None:
    assert not (killed / "cpt" / "model").exists()
    kept = killed / "cpt" / "checkpoints" / "step-000008"
    assert {path.name for path in kept.iterdir()} == {
        *(f"model-0000{n}-of-00002.safetensors" for n in (1, 2)),
        *(f"optimizer-0000{n}-of-00002.safetensors" for n in (1, 2)),
        "index.json",
        "state.json",
        "manifest.json",
    }
    run = shutil.copytree(killed, tmp_path / "run")
    assert two(recipe, run, *SPLIT, "--until=cpt") == 0
    assert weights(run, "cpt") == weights(split, "cpt")
    assert samples_seen(run)["cpt/train"] == samples_seen(split)["cpt/train"]


def test_one_process_goes_on_where_two_were(
    recipe: Path, split: Path, killed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(killed, tmp_path / "run")
    words = (*RATES, *HALVES, *SPLIT, "--until=cpt")
    done = samdan("run", recipe, "--out", run, *words)
    assert done.code == 0, done.err
    assert "was begun with 2 processes and goes on with 1" in done.err
    assert "goes on after step 8" in done.err
    assert said(run, "shard")[-1] == "none"
    assert samples_seen(run)["cpt/train"] == samples_seen(split)["cpt/train"]
    assert_close(run, split, ("cpt",))


def test_two_processes_go_on_where_one_was(recipe: Path, one: Path, tmp_path: Path) -> None:
    run = stopped_before(one, "cpt/train", tmp_path / "run")
    killed = samdan("run", recipe, "--out", run, *RATES, env={"SAMDAN_FAULT": LAST})
    assert killed.code != 0
    words = ("run", str(recipe), "--out", str(run), *RATES, *SPLIT, "--until=cpt")
    done = python(*TORCHRUN, "samdan.cli", *words)
    assert done.code == 0, done.err
    assert "was begun with 1 process and goes on with 2" in done.err
    assert samples_seen(run)["cpt/train"] == samples_seen(one)["cpt/train"]
    assert_close(run, one, ("cpt",))


def srun(*words: str | Path) -> tuple[list[int], list[str]]:
    """``samdan WORDS`` as two tasks of a step, with nobody who ends one for the other."""
    step = {
        "SLURM_JOB_ID": str(os.getpid()),  # the port follows from it
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, "-m", "samdan.cli", *map(str, words)],
            env={**os.environ, **step, "SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    said = [task.communicate(timeout=240)[1] for task in tasks]
    return [task.returncode for task in tasks], said


def test_slurms_environment_is_enough(recipe: Path, split: Path, tmp_path: Path) -> None:
    """It ends with the bits of torchrun's."""
    run = stopped_before(split, "cpt/train", tmp_path / "run")
    codes, errors = srun("run", recipe, "--out", run, *RATES, *HALVES, *SPLIT, "--until=cpt")
    assert codes == [0, 0], errors
    assert weights(run, "cpt") == weights(split, "cpt")


def test_a_failure_of_the_main_process_ends_the_others(recipe: Path, tmp_path: Path) -> None:
    """Process 1 waits while process 0 finds that a source holds nothing that can be used."""
    broken = tmp_path / "bad.jsonl"
    broken.write_text('{"prompt": "no completion"}\n' * 9, "utf-8")
    source = f"--set=stages.sft.data=[{{path: {broken}}}]"
    codes, errors = srun("run", recipe, "--out", tmp_path / "run", source)
    assert codes == [1, 4], errors
    assert "another one failed: process 0: DataError" in errors[1]


def test_a_signal_to_one_process_stops_both_with_a_checkpoint(
    recipe: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped_before(split, "cpt/train", tmp_path / "run")
    monkeypatch.setenv("SAMDAN_FAULT", "updated:3:term:1")
    codes, errors = srun("run", recipe, "--out", run, *RATES, *HALVES, *SPLIT, "--until=cpt")
    assert codes == [143, 143], errors
    assert (run / "cpt" / "checkpoints" / "step-000003" / "manifest.json").is_file()
