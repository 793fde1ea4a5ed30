"""How a `transformers.Trainer` takes turns, whoever derives from it. Imports nothing of samdan."""

from __future__ import annotations

from typing import Any

from benchmarks.train_pipe import Turns


def summing(trainer: Any) -> Any:
    """The trainer's class, adding up its micro-batches' losses as ``step_loss``."""

    class Trainer(trainer):  # type: ignore[misc]
        step_loss = 0.0

        def training_step(self, *given: Any, **named: Any) -> Any:
            loss = super().training_step(*given, **named)
            self.step_loss += float(loss)
            return loss

    return Trainer


def taking_turns(turns: Turns, trainer: Any) -> Any:
    """A callback that waits before every optimizer step and reports after it.

    A turn holds everything between two steps' ends: batches fetched, logging, gradients, update.
    """
    from transformers import TrainerCallback

    class TakingTurns(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            turns.done(loss=trainer.step_loss)
            trainer.step_loss = 0.0
            if state.global_step < state.max_steps:
                turns.wait()

    return TakingTurns()
