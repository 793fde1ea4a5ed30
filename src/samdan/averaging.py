"""Averages of the weights of a stage: which points count, and how much."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdan.spec import Spec


class Ema(Spec):
    """Exponential moving average of the trained weights, in fp32, after every update.

    Of the weights after updates 1 to t, update i counts decay^(t - i) and all together 1: the
    weights before the first update have no part in it, as in Adam's correction of its means
    (1412.6980, section 3). Costs 4 bytes a trained weight on the device, and as much in each
    checkpoint.
    """

    kind: Literal["ema"] = "ema"
    decay: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.999

    def weight(self, updates: int) -> float:
        """How far the average moves towards the weights after update number ``updates``."""
        return (1 - self.decay) / (1 - self.decay**updates)


class Last(Spec):
    """Mean of the last ``k`` checkpoints, ``save_steps`` apart; the end of the stage is the last.

    Costs no memory, but the disk keeps so many checkpoints until the stage is done. (Averaging of
    pre-training checkpoints: LAWA, 2209.14981.)
    """

    kind: Literal["last"] = "last"
    k: Annotated[int, Field(strict=True, ge=2)] = 4

    def steps(self, total: int, save_steps: int) -> tuple[int, ...]:
        """Steps whose weights are averaged, in order; fewer than ``k`` in a short stage."""
        saved = range(save_steps, total, save_steps)
        return (*saved[max(0, len(saved) - (self.k - 1)) :], total)


Average = Annotated[Ema | Last, Field(discriminator="kind")]
