"""The course of the learning rate: pure functions of the stage and the step."""

from __future__ import annotations

import math

from samdan.recipe import Stage


def warmup_length(stage: Stage, total_steps: int) -> int:
    """Steps of warm-up as they will really be: never more than a tenth of the run."""
    asked = stage.warmup_steps * total_steps if stage.warmup_steps < 1 else stage.warmup_steps
    return int(min(asked, total_steps // 10))


def rate_factor(stage: Stage, step: int, total_steps: int) -> float:
    """What the base rate is multiplied with at optimizer step ``step`` (the first is 1)."""
    warmup = warmup_length(stage, total_steps)
    if step <= warmup:
        return step / (warmup + 1)
    if stage.lr_scheduler_type == "constant":
        return 1.0
    if stage.lr_scheduler_type == "wsd":
        decay = max(1, round(stage.decay_share * total_steps))
        progress = max(0.0, (step - 1 - (total_steps - decay)) / decay)
        return 1.0 - progress * (1.0 - stage.min_lr_ratio)
    progress = (step - 1 - warmup) / max(1, total_steps - warmup)
    down = 1.0 - progress
    if stage.lr_scheduler_type == "cosine":
        down = 0.5 * (1.0 + math.cos(math.pi * progress))
    return stage.min_lr_ratio + (1.0 - stage.min_lr_ratio) * down
