"""What an evaluation is handed, a model, and what it hands back, metrics with a value per item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.lm.passes import ALONE, Hands
from samdan.lm.scoring import Scorer
from samdan.records import EvalResult


@dataclass(frozen=True)
class Subject:
    """The model that is measured."""

    scorer: Scorer
    chat: ChatFormat
    capacity: int = 8192  # tokens in one forward pass
    max_length: int = 4096
    poll: Callable[[], None] = lambda: None
    hands: Hands = ALONE  # processes that measure it together, each with the same questions
    read: Callable[[Encoded], Encoded] = lambda record: record
    """A held-out record as this model's tokenizer has it, where the run's is another one."""


@dataclass(frozen=True)
class Scored:
    """Metrics and, per item, what the model did: kept so that a person can look."""

    results: tuple[EvalResult, ...]
    items: tuple[Mapping[str, Any], ...] = field(default=())


def share(name: str, values: Sequence[float], higher_is_better: bool | None = True) -> EvalResult:
    """The mean of a value per item."""
    return EvalResult(name, tuple(values), (1.0,) * len(values), higher_is_better)
