"""What the steps of a run share: recipe, ledger, signals, and the choices of the program."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samdan.data.engine import Engine
from samdan.lm.chat import ChatFormat
from samdan.lm.machine import bf16_is_fast
from samdan.lm.model import best_device, load_chat, load_model
from samdan.lm.rounding import to_measure
from samdan.lm.scoring import Scorer
from samdan.lm.separate import require_separate
from samdan.plan import parent_stage
from samdan.recipe import AnyStage, ExistingBase, Recipe, ScratchBase
from samdan.records import EnvironmentFailure, Preempted
from samdan.run.ledger import Ledger
from samdan.train import parallel

Say = Callable[[str], None]


class Signals:
    """SIGTERM and SIGINT ask to stop; the run saves its state first. A second one stops at once."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number

    def receive_too(self, number: int = signal.SIGTERM) -> None:
        """Another process was asked to stop, and this one stops with it."""
        self.received = self.received or number

    def poll(self) -> None:
        """Raises Preempted when a signal came; called where nothing is half done."""
        if self.received:
            name = signal.Signals(self.received).name
            raise Preempted(
                self.received, f"stopped by {name}; run the same command again to go on"
            )


@dataclass
class Run:
    """One run being carried out."""

    recipe: Recipe
    ledger: Ledger
    signals: Signals
    say: Say = lambda text: None
    progress: Callable[[Mapping[str, Any]], None] = lambda row: None
    injected: Callable[[str, int], None] = lambda where, step: None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    engine: Engine = field(default_factory=Engine)
    dry_responses: bool = False  # say what a rule would change, and change nothing
    given: Recipe | None = None  # the recipe without the changes of ``responses``
    responses: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # by stage, so far
    measured: Callable[[str, Mapping[str, Any]], None] = lambda stage, metrics: None

    def tokenizer_folder(self) -> Path:
        """The tokenizer of all stages: the base's, or what it grew to."""
        grow = self.recipe.grow
        return self.ledger.vocabulary() if grow and grow.vocab else self.ledger.tokenizer()

    def chat(self) -> ChatFormat:
        return load_chat(str(self.tokenizer_folder()))

    def base_chat(self) -> ChatFormat:
        """The tokenizer that the base came with."""
        return load_chat(str(self.ledger.tokenizer()))

    def parent(self, stage: str) -> str | None:
        """Whose model a stage starts from: an earlier stage's, ``base`` where the run made or grew
        it, or the base as it came (None)."""
        return parent_stage(self.recipe, stage) or ("base" if self.recipe.grow else None)

    def model_location(self, stage: str | None) -> tuple[str, str | None]:
        """Path and revision of a stage's model, or of the base's as it came (None)."""
        base = self.recipe.base
        if stage is not None:
            return str(self.ledger.model(stage)), None
        if isinstance(base, ScratchBase):
            return str(self.ledger.model("base")), None
        return base.path, base.revision

    def scorer(self, stage: str | None, precision: str = "auto") -> Scorer:
        """The model of a stage (None: the base) on the best device, for measuring."""
        path, revision = self.model_location(stage)
        return scorer_of(path, revision, precision)

    def poll(self) -> None:
        """``signals.poll``, and Preempted as well when another process was stopped."""
        if number := parallel.told_to_stop():
            self.signals.receive_too(number)
        self.signals.poll()

    def poll_together(self) -> None:
        """``signals.poll`` of all processes: asked of one, they stop at the same place."""
        if parallel.any_rank(bool(self.signals.received)):
            self.signals.receive_too()
            self.signals.poll()

    def stage(self, name: str) -> AnyStage:
        return self.recipe.stage(name)

    def is_scratch(self, stage: str) -> bool:
        return stage == "base" and isinstance(self.recipe.base, ScratchBase)


def scorer_of(
    path: str,
    revision: str | None = None,
    precision: str = "auto",
    key: str = "base.path",
) -> Scorer:
    """A model on the best device, for measuring. Raises DataError where it cannot be packed.

    ``key``: as in ``load_model``.
    """
    model = load_model(path, revision, key=key)
    require_separate(model, path, key)
    bf16 = resolve_precision(precision) == "bf16"
    return Scorer(to_measure(model, bf16), bf16).eval()


def to_write(model: Any) -> Any:
    """Moves a model to the best device that writes answers as those of a run are written."""
    return to_measure(model, resolve_precision("auto") == "bf16")


def resolve_precision(asked: str) -> str:
    """``auto`` is bf16 where it is fast, fp32 elsewhere; a wish that cannot be met is an error."""
    fast = bf16_is_fast(best_device().type)
    if asked == "auto":
        return "bf16" if fast else "fp32"
    if asked == "bf16" and best_device().type == "cuda" and not fast:
        raise EnvironmentFailure("precision: this GPU has no bf16; use 'fp32' or 'auto'")
    return asked


def process_info() -> dict[str, Any]:
    """What is written into a run about the machine: never its name or paths."""
    import platform

    import torch

    device = best_device()
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": parallel.world_size(),
        "precision": resolve_precision("auto"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.system(),
    }


def existing_base(recipe: Recipe) -> ExistingBase | None:
    return recipe.base if isinstance(recipe.base, ExistingBase) else None
