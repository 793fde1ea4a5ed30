"""Two processes train to the same parameters as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from e2e.helpers import STAGES, python, rows_of, samdan, samples_seen

HALVED = ("base.train", "stages.cpt", "stages.sft", "stages.dpo")
# At the world's own rate, 1e-3, Adam makes rounding visible: 1e-5 of a tensor's largest value in
# ten steps); the golden rates lie between 5e-7 and 2e-5.
RATES = [f"--set={name}.learning_rate=1e-4" for name in HALVED]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


@pytest.mark.timeout(240)
def test_two_gloo_processes_train_the_same_parameters_as_one(
    recipe: Path, tmp_path: Path
) -> None:
    """All four trainings, each batch split over the processes."""
    reference, run = tmp_path / "one", tmp_path / "two"
    assert samdan("run", recipe, "--out", reference, *RATES).code == 0
    single = {"base.train": 2, "stages.cpt": 2, "stages.sft": 4, "stages.dpo": 4}
    halves = [f"--set={name}.per_device_train_batch_size={single[name] // 2}" for name in HALVED]
    words = ("run", str(recipe), "--out", str(run), *RATES, *halves)
    done = python(*TORCHRUN, "samdan.cli", *words)
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
