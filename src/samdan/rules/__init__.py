"""Monitors and gates: a rule is a spec that can be called and returns a ``Verdict``.

A monitor reads the history of metrics while a stage trains; a gate reads the comparisons made after
it. To add one: write a class with a ``kind``, documented limits and ``__call__``, and name it in
``Monitor`` or ``Gate``. Rules see only values that are reduced over all ranks, so that every rank
reaches the same verdict. What a rule's firing changes is a response (``responses.py``).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from samdan.preferences.gate import Preferred
from samdan.rules.gates import (
    AtLeast,
    AtMost,
    Displaced,
    Drifted,
    Improved,
    Refusing,
    Retained,
    Unbalanced,
)
from samdan.rules.monitors import (
    Displacing,
    Diverging,
    Forgetting,
    LossSpike,
    NonFinite,
    Rebound,
    Slow,
    Unstable,
    measured,
)
from samdan.rules.skipping import SkipSpikes

__all__ = [
    "AtLeast", "AtMost", "Displaced", "Displacing", "Diverging", "Drifted", "Forgetting", "Gate",
    "Improved", "LossSpike", "Monitor", "NonFinite", "Preferred", "Rebound", "Refusing", "Retained",
    "SkipSpikes", "Slow", "Unbalanced", "Unstable", "measured",
]  # fmt: skip

Monitor = Annotated[
    NonFinite | LossSpike | Unstable | Rebound | Forgetting | Displacing | Diverging | Slow,
    Field(discriminator="kind"),
]
Gate = Annotated[
    Improved | Retained | AtLeast | AtMost | Drifted | Unbalanced | Refusing | Displaced
    | Preferred,
    Field(discriminator="kind"),
]
