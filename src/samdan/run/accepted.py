"""The responses that a run has accepted, and the recipe as they change it; reads events only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samdan.plan import identity, numbers
from samdan.recipe import AnyStage, Recipe
from samdan.run.ledger import Ledger


@dataclass(frozen=True)
class Responded:
    """One response that was accepted."""

    stage: str
    of: str  # hash of the stage as the recipe gives it: another recipe starts afresh
    attempt: int  # the one that it ended
    rules: tuple[Mapping[str, Any], ...]  # verdicts that fired, as in report.json
    responses: tuple[Mapping[str, Any], ...]
    changes: Mapping[str, Any]
    checkpoint: str | None = None  # in the run directory, where training goes on from


def accepted(ledger: Ledger, recipe: Recipe) -> dict[str, list[Responded]]:
    """By stage, the responses that hold for this recipe, in order."""
    found: dict[str, list[Responded]] = {}
    current = {stage.name: hash_of(stage) for stage in recipe.stages}
    for event in ledger.events():
        stage = event.get("stage", "")
        if event.get("of") != current.get(stage):
            continue
        if event["event"] == "responded":
            fields = {k: event[k] for k in Responded.__dataclass_fields__}
            found.setdefault(stage, []).append(Responded(**fields))
        elif event["event"] == "attempt_chosen":
            found[stage] = found.get(stage, [])[: event["attempt"] - 1]
    return found


def planned(responses: Mapping[str, Sequence[Responded]]) -> dict[str, list[dict[str, Any]]]:
    """What of the responses belongs to the identity of a train step."""
    return {
        stage: [{"changes": r.changes, "checkpoint": r.checkpoint} for r in rows]
        for stage, rows in responses.items()
    }


def effective(recipe: Recipe, responses: Mapping[str, Sequence[Responded]]) -> Recipe:
    """The recipe with every accepted response's changes."""
    stages = []
    for stage in recipe.stages:
        for response in responses.get(stage.name, ()):
            stage = changed(stage, response.changes)
        stages.append(stage)
    return recipe.model_copy(update={"stages": tuple(stages)})


def changed(stage: AnyStage, changes: Mapping[str, Any]) -> AnyStage:
    """The stage with other values; of ``data`` and ``dedup`` only what is named changes."""
    fields = stage.model_dump(exclude_unset=True)
    by_label: Mapping[str, Any] = changes.get("data", {})
    sources = [
        {**given, **by_label.get(source.label, {})}
        for given, source in zip(fields["data"], stage.data, strict=True)
    ]
    merged = {**fields, **changes, "data": sources}
    if "dedup" in changes:
        merged["dedup"] = {**(stage.dedup.model_dump() if stage.dedup else {}), **changes["dedup"]}
    return type(stage).model_validate(merged)


def shown(changes: Mapping[str, Any]) -> str:
    """``learning_rate 5e-06, data.docs.weight 0.4``"""
    parts = []
    for key, value in changes.items():
        if isinstance(value, Mapping):
            parts += [f"{key}.{part}" for part in shown(value).split(", ")]
        else:
            parts.append(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}")
    return ", ".join(parts)


def hash_of(stage: AnyStage) -> str:
    """Of what the stage computes: another limit of a rule keeps the responses, another rate not."""
    data = [source.model_dump(mode="json") for source in stage.data]
    more = {"data": data, "replay": stage.replay, "dedup": stage.model_dump(mode="json")["dedup"]}
    return identity(numbers(stage) | more)
