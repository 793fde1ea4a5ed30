"""`samdan compare`: two run directories beside each other; reads their reports, loads no model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from samdan.lm.files import write_text
from samdan.printing import json_text
from samdan.records import DataError
from samdan.report.compare import compared
from samdan.report.compare_view import Named, as_page, as_text
from samdan.run.ledger import Ledger, read_json
from samdan.run.status import is_held
from samdan.run.strangers import understood


def compare(
    first: Path,
    second: Path,
    out: Path | None = None,
    as_json: bool = False,
    lang: Literal["en", "ko"] | None = None,
) -> str:
    """What is printed. ``out``: where the page goes. Raises DataError for what is no run."""
    if first.resolve() == second.resolve():
        raise DataError(f"{first} and {second} are the same run; name two")
    with understood(first):
        left = _named(first)
    with understood(second):
        runs = (left, _named(second))
    if out is not None and out.is_dir():
        raise DataError(f"--out {out}: is a folder; name a file such as {out / 'compare.html'}")
    with understood(Path(f"{first} or {second}")):
        if out is not None:
            write_text(out, as_page(*runs, lang))
        if as_json:
            found: dict[str, Any] = dataclasses.asdict(compared(runs[0][1], runs[1][1]))
            return json_text(found)
        return as_text(*runs) + (f"\n{out}\n" if out is not None else "")


def _named(folder: Path) -> Named:
    """A run with its report; one that is going on, or has none, is assembled as it stands."""
    ledger = Ledger(folder)
    if not ledger.events_file.is_file():
        missing = "is no run directory (it has no events.jsonl)"
        raise DataError(f"{folder}: {missing if folder.is_dir() else 'does not exist'}")
    report = read_json(folder / "report.json")
    if not report or is_held(folder):
        from samdan.run.accepted import accepted, effective
        from samdan.run.loading import load_recipe
        from samdan.run.reporting import assemble

        recipe = load_recipe(ledger.recipe_file)
        report = assemble(ledger, effective(recipe, accepted(ledger, recipe)))
    return str(folder), report
