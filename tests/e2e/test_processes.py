"""Two processes train to the same parameters as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from e2e.helpers import STAGES, python, rows_of, samples_seen, stopped_before

HALVED = ("base.train", "stages.cpt", "stages.sft", "stages.dpo")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


@pytest.mark.timeout(240)
def test_two_gloo_processes_train_the_same_parameters_as_one(
    recipe: Path, reference: Path, tmp_path: Path
) -> None:
    """All four trainings, each batch split over the processes, from the same prepared data."""
    run = stopped_before(reference, "base/train", tmp_path / "run")
    single = {"base.train": 2, "stages.cpt": 2, "stages.sft": 4, "stages.dpo": 4}
    halves = [f"--set={name}.per_device_train_batch_size={single[name] // 2}" for name in HALVED]
    done = python(*TORCHRUN, "samdan.cli", "run", str(recipe), "--out", str(run), *halves)
    assert done.code == 0, done.err
    assert samples_seen(run) == samples_seen(reference)
    assert [r["step"] for r in rows_of(run / "metrics.jsonl")] == [
        r["step"] for r in rows_of(reference / "metrics.jsonl")
    ]  # reduced, and written by one process only
    for stage in STAGES:
        one = load_file(reference / stage / "model" / "model.safetensors")
        two = load_file(run / stage / "model" / "model.safetensors")
        assert one.keys() == two.keys()
        for name, tensor in one.items():
            if name.endswith("k_proj.bias"):
                # Attention does not depend on it: its gradient is rounding, which Adam makes large.
                continue
            difference = (two[name] - tensor).abs().max() / tensor.abs().max()
            assert difference <= 1e-5, f"{stage}: {name} differs by {difference:.1e}"
            assert not torch.equal(tensor, torch.zeros_like(tensor))
