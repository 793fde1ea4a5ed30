"""Tokens of a stage: what each source gives, how often it is passed, how many steps that makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from samdan.stages import CptStage, Stage

FILL = 0.97  # of a block of training text; best fit in order leaves 2 to 4% (measured)


@dataclass(frozen=True)
class SourceAmounts:
    """A source's tokens. ``held``: in it; ``repeated``: seen again; ``dropped``: by reason."""

    role: str
    held: int
    records: int
    repeated: int = 0
    trained: int = 0
    masked: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def passes(self) -> float:
        """How often it is gone through."""
        return (self.trained + self.masked) / self.held if self.held else 0.0


@dataclass(frozen=True)
class Amounts:
    """What a stage trains on: all its epochs, all processes.

    ``units``: blocks, conversations or pairs. ``length``: tokens that a token can see at most, as a
    mean over tokens: that of its record. ``predicted``: share of the tokens that are predicted.
    """

    tokens: int
    units: int
    length: float
    predicted: float
    sources: Mapping[str, SourceAmounts] = field(default_factory=dict)
    exact: bool = False  # counted on prepared data

    @property
    def tokens_per_unit(self) -> float:
        return self.tokens / self.units if self.units else 0.0


def shares(stage: Stage, tokens: Mapping[str, int]) -> dict[str, float]:
    """Tokens that each source gives in one epoch. ``tokens``: what each source holds."""
    targets = [s for s in stage.data if s.role == "target"]
    whole = sum(tokens[s.label] for s in targets)
    if stage.data[0].weight is not None:
        weights = {s.label: float(s.weight or 0) for s in stage.data}
        per_weight = whole / sum(weights[s.label] for s in targets)
        return {label: weight * per_weight for label, weight in weights.items()}
    given = {s.label: float(tokens[s.label]) for s in stage.data if s.role != "replay"}
    given |= {
        s.label: tokens[s.label] * s.epochs / stage.num_train_epochs
        for s in stage.data
        if s.epochs is not None
    }
    replay = {s.label: tokens[s.label] for s in stage.data if s.label not in given}
    if not replay:
        return given
    budget = sum(given.values()) * stage.replay / (1 - stage.replay)
    total = sum(replay.values())
    return given | {
        label: budget * held / total if total else 0.0 for label, held in replay.items()
    }


def steps_of(stage: Stage, units: float, processes: int = 1) -> int:
    """Optimizer steps for so many units of all epochs."""
    count = max(1, -(-int(units) // (stage.units_per_step * processes)))
    return min(count, stage.max_steps) if stage.max_steps is not None else count


def estimated(
    stage: Stage,
    held: Mapping[str, tuple[int, int]],
    length: float,
    predicted: float,
    processes: int = 1,
) -> Amounts:
    """Amounts from what the files seem to hold: tokens and records by source.

    What cleaning, deduplication and contamination will leave out is not known before it is done;
    what is held out is taken off.
    """
    kept = {label: int(tokens * (1 - _heldout(stage, held[label][1]))) for label, (tokens, _) in
            held.items()}  # fmt: skip
    per_epoch = shares(stage, kept)
    used = {label: per_epoch[label] * stage.num_train_epochs for label in kept}
    units = max(1, round(_units(stage, used, held)))
    most = steps_of(stage, units, processes) * stage.units_per_step * processes
    reached = min(1.0, most / units)
    sources = {}
    for source in stage.data:
        tokens, seen = kept[source.label], int(used[source.label] * reached)
        left = {"not_reached": max(0, tokens - seen), "heldout": held[source.label][0] - tokens}
        trained = int(seen * predicted)
        sources[source.label] = SourceAmounts(
            source.role, held[source.label][0], held[source.label][1], max(0, seen - tokens),
            trained, seen - trained, {reason: n for reason, n in left.items() if n},
        )  # fmt: skip
    total = sum(row.trained + row.masked for row in sources.values())
    return Amounts(total, max(1, round(units * reached)), length, predicted, sources)


def _units(stage: Stage, used: Mapping[str, float], held: Mapping[str, tuple[int, int]]) -> float:
    if isinstance(stage, CptStage):
        return sum(used.values()) / (FILL * stage.max_length)
    means = {label: tokens / records for label, (tokens, records) in held.items() if records}
    return sum(used[label] / mean for label, mean in means.items() if mean)


def _heldout(stage: Stage, records: int) -> float:
    """The share of a source that is held out: as asked for, and of few records not all."""
    return stage.heldout.share if records > 1 else 0.0
