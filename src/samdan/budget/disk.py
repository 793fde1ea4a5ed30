"""Disk of a stage: its checkpoints while it trains, its model afterwards, its prepared data."""

from __future__ import annotations

from dataclasses import dataclass

from samdan.averaging import Ema, Last
from samdan.budget.memory import trained_parameters
from samdan.budget.shapes import Shape
from samdan.stages import Stage

DATA_BYTES = 5  # a token and whether it is trained, in a shard


@dataclass(frozen=True)
class Disk:
    """Bytes. ``checkpoints``: all that lie there at one time, the one being written among them."""

    checkpoint: float
    checkpoints: float
    model: float
    data: float

    @property
    def peak(self) -> float:
        return self.checkpoints + self.model + self.data


def disk_of(shape: Shape, stage: Stage, steps: int | None, tokens: int | None) -> Disk:
    """``steps`` and ``tokens``: of the stage, where they are known.

    A checkpoint holds what is trained in fp32 and two states of each; the exported model is whole
    and fp32. Kept are the newest ``save_total_limit``, the best one, those that are averaged, and
    the one being written.
    """
    trained = trained_parameters(shape, stage)
    states = 2.0 if stage.optim == "adamw_8bit" else 8.0
    one = (4.0 + states + (4.0 if isinstance(stage.average, Ema) else 0.0)) * trained
    points = stage.average.k - 1 if isinstance(stage.average, Last) else 0
    written = stage.save_total_limit + 2 + points
    if steps is not None:
        epochs = int(stage.num_train_epochs) if stage.keep_best is not None else 0
        written = min(written, steps // stage.save_steps + epochs)
    return Disk(one, one * written, 4.0 * shape.parameters, DATA_BYTES * float(tokens or 0))
