"""All stages on a CUDA device that does not exist: no mixing, no waiting, memory as planned.

Its tensors hold real values in the host's memory (`tests/pretended`), so the run must find what the
same run finds on the CPU. A real device is needed for its kernels, compiling and time alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from e2e.helpers import STAGES, Finished, python, rows_of, samdan

TESTS = Path(__file__).parent.parent
COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
# A build for CUDA brings its own answers, and they want a driver.
BUILT_FOR = "CUDA" if torch.version.cuda else "the CPU"
pytestmark = pytest.mark.skipif(
    COMPILER is None or BUILT_FOR == "CUDA", reason=f"C++ compiler: {COMPILER}; for {BUILT_FOR}"
)

CHECKS = """
import torch
from pretended.device import Device, install

class Waiting(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        grad.sum().item()
        return grad * 2

install()
with Device() as device:
    x = torch.ones(3).pin_memory().to("cuda", non_blocking=True).requires_grad_()
    assert x.is_cuda and not device.waits
    Waiting.apply(x).sum().backward()
    assert x.grad.is_cuda and [wait.in_a_pass for wait in device.waits] == [True]
    assert x.grad.tolist() == [2, 2, 2]
    torch.ones(3).to("cuda")
    torch.ones(3).pin_memory().to("cuda")
    x[x > 0]
    assert len(device.waits) == 5, device.waits
    try:
        x + torch.ones(3)
    except RuntimeError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With what the engine asks of a device, preloaded."""
    made, home = tmp_path_factory.mktemp("guard") / "guard.so", Path(torch.__file__).parent
    headers = [f"-I{home / 'include'}", f"-I{home / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{home / 'lib'}"]
    source = TESTS / "pretended" / "guard.cpp"
    command = [str(COMPILER), "-std=c++20", "-shared", "-fPIC", *headers, str(source), *libraries]
    subprocess.run([*command, "-o", str(made)], check=True, capture_output=True, timeout=240)
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return {"LD_PRELOAD": str(made), "PYTHONPATH": path}


def test_mixing_is_an_error_and_waits_are_seen(environment: dict[str, str]) -> None:
    done = python("-c", CHECKS, env=environment)
    assert done.code == 0, done.err
    assert "add: expected all tensors on cuda:0, but [(3,)] are on cpu" in done.out


@pytest.fixture(scope="module")
def runs(
    recipe: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Finished]:
    """A run in bf16 on the device, one on the CPU, and what the first one said."""
    folder = tmp_path_factory.mktemp("runs")
    text = recipe.read_text("utf-8").replace("precision: fp32", "precision: bf16")
    path = recipe.with_name("pretended.yaml")
    path.write_text(text, "utf-8")
    here, there = folder / "device", folder / "cpu"
    said = python("-m", "pretended", "run", str(path), "--out", str(here), env=environment)
    assert said.code == 0, said.err
    done = samdan("run", path, "--out", there)
    assert done.code == 0, done.err
    return here, there, said


def test_losses_are_those_of_the_cpu(runs: tuple[Path, Path, Finished]) -> None:
    for stage in STAGES:
        found, right = (
            [row["loss"] for row in rows_of(run / "metrics.jsonl")
             if row["step_name"] == f"{stage}/train" and "lr" in row]
            for run in runs[:2]
        )  # fmt: skip
        assert found == pytest.approx(right, rel=1e-3), stage
    assert '"Pretended"' in (runs[0] / "events.jsonl").read_text("utf-8")


def test_one_kernel_call_serves_a_row_and_the_host_waits_twice_a_step(
    runs: tuple[Path, Path, Finished],
) -> None:
    seen = json.loads(runs[2].out.splitlines()[-1])
    assert seen["attention_calls"] > 0
    assert "varlen_attn cannot be used" not in runs[2].err
    assert seen["waits_in_passes"] == []
    steps = sum("lr" in row for row in rows_of(runs[0] / "metrics.jsonl"))
    # For what is logged of its loss, and for the norm of its gradient.
    assert len(seen["waits_between_passes"]) == 2 * steps, Counter(seen["waits_between_passes"])


@pytest.fixture(scope="module")
def memory(environment: dict[str, str]) -> dict[str, Any]:
    done = python("-W", "ignore", "-m", "pretended.planned", env=environment)
    assert done.code == 0, done.err
    return dict(json.loads(done.out.splitlines()[-1]))


def test_steps_take_the_memory_that_the_plan_says(memory: dict[str, Any]) -> None:
    """A little less, that is; the allocator's holes come on top of both."""
    for case, (planned, taken) in memory["planned"].items():
        assert 0.97 < planned / taken < 1.1, case


def test_out_of_memory_leaves_nothing_of_the_micro_batch(memory: dict[str, Any]) -> None:
    for kind, found in memory["short"].items():
        assert found["sizes"] == [2048, 1024], kind
        assert found["left"] == pytest.approx([found["expected"]], rel=0.01), kind
