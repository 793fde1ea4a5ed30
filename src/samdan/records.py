"""The records that travel between the parts of samdan, and the errors that stop a run.

Everything here is plain Python: frozen dataclasses without behaviour, importable in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Any  # a JSON value; typing it recursively costs more than it catches
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record was read: enough for a person to open the file and look."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True, slots=True)
class Document:
    """A text to read: the record of a CPT stage."""

    text: str
    origin: Origin
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of a dialogue, the last one the assistant's: the record of an SFT stage."""

    messages: tuple[Message, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two answers to one prompt, the first preferred: the record of a DPO stage."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Drop:
    """A row or record that will not be trained on, and why."""

    reason: str
    origin: Origin
    detail: str = ""


Record = Document | Conversation | PreferencePair


@dataclass(frozen=True, slots=True)
class Metrics:
    """What one optimizer step measured, already reduced over all ranks."""

    step: int
    tokens: int  # non-padding tokens seen so far in this stage, all ranks
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One metric of one model: a value per item, so that differences can be paired.

    The metric is ``sum(numerators) / sum(denominators)``: an accuracy has denominators of 1, bits
    per byte has bits over bytes, and both are resampled by item in the same way.
    """

    name: str  # "<task or held-out set>/<metric>"
    numerators: tuple[float, ...]
    denominators: tuple[float, ...]
    higher_is_better: bool | None  # None: a length, say, of which neither is better
    exponential: bool = False  # the metric is e to the power of the ratio: a perplexity

    @property
    def value(self) -> float:
        total = sum(self.denominators)
        if not total:
            return float("nan")
        ratio = sum(self.numerators) / total
        return math.exp(min(ratio, 700.0)) if self.exponential else ratio


Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric of a stage beside its parent and the base, with 95% intervals (paired by item)."""

    name: str
    base: float
    before: float
    after: float
    n: int
    after_ci: Interval
    vs_before_ci: Interval
    vs_base_ci: Interval
    higher_is_better: bool | None
    p_before: float = math.nan  # McNemar's exact test, of metrics that are yes or no per item
    p_base: float = math.nan


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule concluded. ``response`` says what happens next: "none", "stop" or a response."""

    rule: str
    fired: bool
    value: float
    limit: float
    message: str
    response: str = "stop"
    since: int | None = None  # the last step that was still good, where the rule knows it
    about: tuple[str, ...] = ()  # the metrics that it is about


class SamdanError(Exception):
    """A failure that a person can act on; printed without a traceback."""

    exit_code = 1


class RecipeError(SamdanError, ValueError):
    """The recipe is wrong: says file, line, column, what was found and what was expected."""


class DataError(SamdanError, ValueError):
    """The data are wrong: says which file and line."""


class EnvironmentFailure(SamdanError, OSError):
    """The machine cannot do it: no disk, no memory, no GPU that was asked for, no library."""

    exit_code = 4


class TrainError(SamdanError, RuntimeError):
    """Training cannot go on: a non-finite loss, a batch without a label."""


class GateFailed(SamdanError, RuntimeError):
    """A gate stopped the run."""

    exit_code = 3


class Preempted(SamdanError):
    """A signal asked the run to stop; its state is saved."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def first_line(error: BaseException) -> str:
    """What an error says, without the advice below it; the name of one that says nothing.

    With the second line, where the first only announces it.
    """
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1]}"
    return (lines or [type(error).__name__])[0]
