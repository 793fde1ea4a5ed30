"""`samdan demo`: writes a generated world and its recipe into the run's folder, and runs it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch

from samdan.demo.world import write_world
from samdan.run.executor import Outcome, execute
from samdan.run.loading import load_recipe

# Seconds that the calibration below takes on the machine on which the demo's limit was set: two
# cores of a 2023 server processor with AVX2.
REFERENCE_SECONDS = 0.6
LIMIT_SECONDS = 360.0


def run_demo(
    out: Path,
    seed: int,
    recipe: Path | Literal["demo", "no-replay"],
    say: Callable[[str], None],
    progress: Callable[[Mapping[str, Any]], None],
) -> Outcome:
    """Runs the demo in ``out``. Says beforehand how long it may take on this machine.

    ``recipe``: one of the demo's own, or a file that reads the same generated world.
    """
    slower = calibrate()
    say(f"this machine takes {slower:.1f} times the reference's time; limit {limit(slower):.0f} s")
    written = write_demo(out, seed, recipe)
    started = time.monotonic()
    outcome = execute(load_recipe(written), out, say=say, progress=progress)
    took = time.monotonic() - started
    within = "within" if took <= limit(slower) else "over"
    say(f"took {took:.0f} s, {within} the limit of {limit(slower):.0f} s")
    return outcome


def write_demo(out: Path, seed: int, recipe: Path | Literal["demo", "no-replay"] = "demo") -> Path:
    """Writes ``out/world`` and ``out/demo.yaml``; returns the recipe's path."""
    write_world(out / "world", seed)
    if isinstance(recipe, Path):
        text = recipe.read_text("utf-8")
    else:
        name = "recipe.yaml" if recipe == "demo" else "recipe-no-replay.yaml"
        text = (resources.files("samdan.demo") / name).read_text("utf-8")
    written = out / "demo.yaml"
    shown = json.dumps(_samples(out / "world" / "eval"), ensure_ascii=False)
    text = text.replace("seed: 42", f"seed: {seed}").replace("samples: []", f"samples: {shown}")
    written.write_text(text, "utf-8")
    return written


def _samples(folder: Path) -> list[str]:
    """Questions on a company that SFT never saw, and one harmless and one unsafe request."""
    chosen = (("answers", 4), ("benign", 1), ("unsafe", 1))
    lines = [
        line
        for name, count in chosen
        for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()[:count]
    ]
    return [json.loads(line)["prompt"] for line in lines]


def limit(slower: float) -> float:
    """The demo's time limit on a machine that is ``slower`` times as slow as the reference."""
    return LIMIT_SECONDS * max(1.0, slower)


def calibrate() -> float:
    """This machine's time for a fixed piece of work like the demo's, over the reference's."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2048, 128, generator=generator, requires_grad=True)
    up = torch.randn(128, 384, generator=generator)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(60):
            y = torch.nn.functional.silu(x @ up) @ up.t()
            y.sum().backward()
        best = min(best, time.perf_counter() - started)
    return best / REFERENCE_SECONDS
