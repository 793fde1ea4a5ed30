"""What of a model learns, and when: patterns of names, and phases that unfreeze it bit by bit.

A phase names parts of the model. New rows and layers are those that growing the base has added, as
its ``growth.json`` says; all others are old.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from samdan.spec import Positive, Share, Spec

Part = Literal[
    "new_input", "new_output", "new_both", "all_input", "all_output", "new_layers", "layers", "all"
]
# (place in the model, whether it is new) that each part stands for.
PLACES: Mapping[str, frozenset[tuple[str, bool]]] = MappingProxyType(
    {
        "new_input": frozenset({("input", True)}),
        "new_output": frozenset({("output", True)}),
        "new_both": frozenset({("input", True), ("output", True)}),
        "all_input": frozenset({("input", True), ("input", False)}),
        "all_output": frozenset({("output", True), ("output", False)}),
        "new_layers": frozenset({("layers", True)}),
        "layers": frozenset({("layers", True), ("layers", False)}),
        "all": frozenset((p, new) for p in ("input", "output", "layers") for new in (True, False)),
    }
)


class Converged(Spec):
    """A phase also ends when the training loss stands still.

    That is when its mean over the last ``window`` steps is not at least ``min_gain`` (a share)
    below the mean of the ``window`` steps before them. What is left of the phase's steps goes to
    the phases behind it.
    """

    window: Annotated[int, Field(strict=True, ge=2, le=512)] = 50
    min_gain: Share = 0.005


class Phase(Spec):
    """One phase: the parts that learn in it, and how long."""

    train: Annotated[
        tuple[Part, ...],
        BeforeValidator(
            lambda value: (value,) if isinstance(value, str) else value,
            json_schema_input_type=Part | list[Part],
        ),
        Field(min_length=1),
    ]
    share: Positive = 1.0
    """Its share of the stage's steps, relative to the other phases' shares."""
    until: Converged | None = None
    """Ends it earlier; null: it takes its whole share."""

    @property
    def name(self) -> str:
        return " + ".join(self.train)

    @property
    def places(self) -> frozenset[tuple[str, bool]]:
        return frozenset().union(*(PLACES[part] for part in self.train))


# EEVE's seven stages (2402.14714). The paper does not say how long each was. A reproduction gave
# the first a fifth of the steps; the other shares are ours: most for the phase that trains all.
EEVE: tuple[tuple[tuple[str, ...], float], ...] = (
    (("new_input",), 0.2),
    (("new_output",), 0.1),
    (("new_both",), 0.1),
    (("all_output",), 0.1),
    (("new_input", "all_output"), 0.1),
    (("all",), 0.3),
    (("layers",), 0.1),
)


def _expanded(value: Any) -> Any:
    if value == "eeve":
        return [{"train": train, "share": share} for train, share in EEVE]
    if isinstance(value, str):
        raise ValueError(f"found '{value}', expected 'eeve' or a list of phases")
    if isinstance(value, list | tuple):
        return [{"train": entry} if isinstance(entry, str) else entry for entry in value]
    return value


Unfreeze = Annotated[
    tuple[Phase, ...],
    BeforeValidator(_expanded, json_schema_input_type=Literal["eeve"] | list[Part | Phase]),
    Field(min_length=1),
]


# --- when -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage is in its phases: the phase's index, and the steps done before it began."""

    phase: int = 0
    began: int = 0


def last_step(phases: Sequence[Phase], place: Place, total: int) -> int:
    """The step that the phase of ``place`` takes at most; the last phase takes all that are left.

    Each phase gets its share of what was left when it began, and at least one step.
    """
    later = phases[place.phase + 1 :]
    left = total - place.began
    if not later:
        return total
    share = phases[place.phase].share
    length = round(left * share / (share + sum(phase.share for phase in later)))
    return place.began + max(1, min(length, left - len(later)))


def has_converged(phase: Phase, losses: Sequence[float]) -> bool:
    """Whether the losses of a phase's steps so far end it."""
    if phase.until is None or len(losses) < 2 * phase.until.window:
        return False
    size = phase.until.window
    before, now = sum(losses[-2 * size : -size]) / size, sum(losses[-size:]) / size
    return now > before * (1 - phase.until.min_gain)


def place_at(
    phases: Sequence[Phase], place: Place, total: int, step: int, losses: Sequence[float]
) -> Place:
    """The place of optimizer step ``step`` (the first is 1).

    ``place`` and ``losses``: that of the step before, and the losses of the steps of its phase.
    """
    if place.phase + 1 == len(phases):
        return place
    if step > last_step(phases, place, total) or has_converged(phases[place.phase], losses):
        return Place(place.phase + 1, step - 1)
    return place


def rewarming(place: Place, last: int, warmup: int, step: int) -> float:
    """What the rate is multiplied with: a phase warms up anew, for at most a tenth of its steps.

    What has just begun to learn has no gradient statistics yet: its first updates are of full size
    whatever the gradient. The first phase has the stage's own warm-up.
    """
    length = min(warmup, (last - place.began) // 10)
    return min(1.0, (step - place.began) / (length + 1)) if place.phase else 1.0


def course(phases: Sequence[Phase], total: int) -> list[tuple[Phase, int]]:
    """Every phase and its steps, if none ends early."""
    found, place = [], Place()
    for index, phase in enumerate(phases):
        last = min(total, last_step(phases, place, total))
        found.append((phase, last - place.began))
        place = Place(index + 1, last)
    return found


# --- what -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Growth:
    """What growing has added to a base: rows of the vocabulary, and layers by index."""

    new_rows: tuple[int, int] | None = None  # first, and the one behind the last
    new_layers: frozenset[int] = field(default_factory=frozenset)


NOT_GROWN = Growth()


def learns(name: str, freeze: Sequence[str], train_only: Sequence[str]) -> bool:
    """Whether the patterns of a stage let the parameter of that name learn."""
    if train_only and not any(re.search(pattern, name) for pattern in train_only):
        return False
    return not any(re.search(pattern, name) for pattern in freeze)


def layer_of(name: str) -> int | None:
    """The index of the layer that a parameter belongs to: the first number in its name."""
    found = re.search(r"\.(\d+)\.", name)
    return int(found[1]) if found else None
