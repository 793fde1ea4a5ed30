"""What the models of a run answered, side by side: the recipe's samples, and items of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from samdan.recipe import Recipe
from samdan.run.ledger import Ledger, read_json

MOST = 60  # items of a task; those whose answer became right or wrong come first

Item = Mapping[str, Any]


def examples(ledger: Ledger, recipe: Recipe) -> list[dict[str, Any]]:
    """Rows of report.json's ``samples``: prompt, answers by model, and where a task judges them,
    ``task``, ``expected`` and ``right`` by model."""
    models = ["base", *(stage.name for stage in recipe.stages)]
    measured = {name: read_json(ledger.evaluation(name)) for name in models}
    rows: list[dict[str, Any]] = [
        {
            "prompt": prompt,
            "answers": {
                name: said[number]
                for name, found in measured.items()
                if number < len(said := found.get("samples", []))
            },
        }
        for number, prompt in enumerate(recipe.samples)
    ]
    for task in recipe.evaluate:
        items = {
            name: found.get("items", {}).get(task.name, []) for name, found in measured.items()
        }
        rows += _chosen(list(_rows(task.name, {name: row for name, row in items.items() if row})))
    return rows


def _rows(task: str, items: Mapping[str, Sequence[Item]]) -> Iterator[dict[str, Any]]:
    """Items that have words; a model that was asked something else is left out of a row."""
    first = next(iter(items.values()), [])
    for number, item in enumerate(first):
        prompt = item.get("prompt")
        asked = {
            name: listed[number]
            for name, listed in items.items()
            if number < len(listed) and listed[number].get("prompt") == prompt
        }
        if not prompt or not any("said" in one for one in asked.values()):
            continue
        right = {n: one["correct"] for n, one in asked.items() if "correct" in one}
        row = {
            "prompt": prompt,
            "answers": {name: one.get("said") for name, one in asked.items()},
            "task": task,
        }
        if "expected" in item:
            row["expected"] = _text(item["expected"])
        yield row | ({"right": right} if right else {})


def _text(expected: Any) -> str:
    return ", ".join(map(str, expected)) if isinstance(expected, list) else str(expected)


def _chosen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most ``MOST``, in order: what became right and what became wrong first, half each."""
    if len(rows) <= MOST:
        return rows
    turned: dict[bool, list[int]] = {True: [], False: []}
    for at, row in enumerate(rows):
        right = list(row.get("right", {}).values())
        if len(right) > 1 and right[0] != right[-1]:
            turned[bool(right[-1])].append(at)
    half = MOST // 2
    kept = set(turned[False][:half]) | set(turned[True][:half])
    rest = (at for at in range(len(rows)) if at not in kept)
    while len(kept) < MOST:
        kept.add(next(rest))
    return [rows[at] for at in sorted(kept)]
