"""From what the sides took to ratios, rates and shares. Arithmetic only."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """What one optimizer step took. ``reference_*``: its records' part of the reference pass."""

    seconds: float
    cpu_seconds: float
    loss: float
    reference_seconds: float = 0.0
    reference_cpu_seconds: float = 0.0

    def took(self, clock: str, whole: bool) -> float:
        """By ``clock`` (seconds or cpu_seconds); ``whole``: the reference pass too."""
        reference = getattr(self, f"reference_{clock}") if whole else 0.0
        return float(getattr(self, clock) + reference)


@dataclass(frozen=True)
class Load:
    """What a step holds: tokens (a shared prompt once), predicted tokens, and the FLOPs needed."""

    tokens: int
    supervised: int
    flops: float


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return {"median": _short(middle), "min": _short(least), "max": _short(most)}


def ratios(
    ours: Sequence[Step], theirs: Sequence[Step], clock: str, whole: bool
) -> dict[str, float]:
    """Their time over ours, step by step on the same records: above 1, ours is faster."""
    pairs = zip(ours, theirs, strict=True)
    return spread([them.took(clock, whole) / us.took(clock, whole) for us, them in pairs])


def compared(
    ours: Sequence[Step], theirs: Sequence[Step], with_reference: bool
) -> dict[str, dict[str, float]]:
    """The step alone, and where there is a reference pass the epoch with it; by both clocks."""
    found = {
        "step": ratios(ours, theirs, "seconds", False),
        "step_cpu": ratios(ours, theirs, "cpu_seconds", False),
    }
    if with_reference:
        found["epoch"] = ratios(ours, theirs, "seconds", True)
        found["epoch_cpu"] = ratios(ours, theirs, "cpu_seconds", True)
    return found


def side_figures(
    steps: Sequence[Step], loads: Sequence[Load], peak_mb: float, peak_flops: float
) -> dict[str, Any]:
    """Times, rates, memory and the share of the measured peak, of one side.

    Every side's share has the same numerator: the FLOPs that the step's records need, each prompt
    once. So a side that computes more than that does not look better for it.
    """
    pairs = list(zip(steps, loads, strict=True))
    return {
        "step_s": spread([step.seconds for step in steps]),
        "step_cpu_s": spread([step.cpu_seconds for step in steps]),
        "reference_s": _short(sum(step.reference_seconds for step in steps)),
        "tokens_per_s": spread([load.tokens / step.seconds for step, load in pairs]),
        "supervised_tokens_per_s": spread([load.supervised / step.seconds for step, load in pairs]),
        "gflops": spread([load.flops / step.seconds / 1e9 for step, load in pairs]),
        "peak_share": spread([load.flops / step.seconds / peak_flops for step, load in pairs]),
        "peak_mb": round(peak_mb, 1),
        "loss": [step.loss for step in steps],
    }


def differences(losses: dict[str, float]) -> dict[str, float]:
    """Each other side's loss against samdan's, relative."""
    ours = losses["samdan"]
    return {name: abs(loss - ours) / abs(ours) for name, loss in losses.items() if name != "samdan"}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
