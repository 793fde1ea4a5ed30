"""Prints what every stage of a run gained and cost, as a Markdown table.

python -m experiments.stage_table runs/real-small
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    report = json.loads((Path(sys.argv[1]) / "report.json").read_text("utf-8"))
    print("| stage | tokens | metric | base | before | after | change, 95% interval | n |")
    print("|---|---|---|---|---|---|---|---|")
    for stage in report["stages"]:
        for name, row in stage["metrics"].items():
            if not name.endswith("/perplexity"):
                print(_row(stage, name, row))


def _row(stage: dict[str, Any], name: str, row: dict[str, Any]) -> str:
    low, high = (_number(bound) for bound in row["ci95"]["vs_before"])
    cells = [stage["name"], f"{stage['tokens']['seen']:,}", f"`{name}`"]
    cells += [_number(row[key]) for key in ("base", "before", "after")]
    return f"| {' | '.join(cells)} | {low} to {high} | {row['n']} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
