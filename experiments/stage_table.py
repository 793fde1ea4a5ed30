"""Prints what every stage of a run gained and cost, as a Markdown table.

python -m experiments.stage_table runs/real-small [SUMMARY.json]

With a second argument also writes report.json there, without curves, events and the recipe's text.
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
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(
            json.dumps(_summary(report), ensure_ascii=False, indent=1) + "\n"
        )


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in report.items() if k not in ("recipe", "events", "lineage")}
    left_out = ("curve", "heldout_curve")
    kept["stages"] = [{k: v for k, v in s.items() if k not in left_out} for s in report["stages"]]
    return kept


def _row(stage: dict[str, Any], name: str, row: dict[str, Any]) -> str:
    low, high = (_number(bound) for bound in row["ci95"]["vs_before"])
    cells = [stage["name"], f"{stage['tokens']['seen']:,}", f"`{name}`"]
    cells += [_number(row[key]) for key in ("base", "before", "after")]
    return f"| {' | '.join(cells)} | {low} to {high} | {row['n']} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
