"""What report.json says of a grown base: its size, and whether training healed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samdan.recipe import Recipe
from samdan.run.ledger import Ledger, read_json

UNIT = "/bpb"


def growth_facts(ledger: Ledger, recipe: Recipe) -> dict[str, Any]:
    """Empty for a base that does not grow.

    ``healing``: by held-out text, bits per byte of the base as it came, of the grown model before
    it trained, and after every stage, each with the 95% interval of its change against the base.
    ``curves``: the same while training, against the tokens of all stages so far. They are measured
    in pieces of the stage's ``max_length``, so they are compared with their own beginning only.
    """
    if recipe.grow is None:
        return {}
    done = ledger.done()
    made = done.get("base/grow")
    compared = read_json(ledger.grown()).get("compared", {}) if "base/healing" in done else {}
    return {
        "facts": dict(made.facts) if made else {},
        "healing": {
            name: {
                "base": row["base"],
                "grown": _against_base(row),
                "after": _after(ledger, recipe, name),
            }
            for name, row in compared.items()
            if name.endswith(UNIT)
        },
        "curves": _curves(ledger, recipe),
    }


def _against_base(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": row["after"], "ci95": row["ci95"]["vs_base"]}


def _after(ledger: Ledger, recipe: Recipe, name: str) -> dict[str, Any]:
    found = {}
    for stage in recipe.stages:
        row = read_json(ledger.gate(stage.name)).get("metrics", {}).get(name)
        if row:
            found[stage.name] = _against_base(row)
    return found


def _curves(ledger: Ledger, recipe: Recipe) -> dict[str, Any]:
    curves: dict[str, Any] = {}
    before = 0
    for stage in recipe.stages:
        if stage.kind != "cpt":
            continue
        rows = list(ledger.metrics(stage.name))
        for row in [{"tokens": 0, **ledger.measured_before(stage.name)}, *rows]:
            for key, value in row.items():
                if key.startswith("heldout/") and key.endswith(UNIT) and value is not None:
                    name = key.removeprefix("heldout/")
                    curve = curves.setdefault(name, {"tokens": [], "value": []})
                    curve["tokens"].append(before + row["tokens"])
                    curve["value"].append(value)
        before += rows[-1]["tokens"] if rows else 0
    return curves
