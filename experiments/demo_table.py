"""Prints the demo's promises for several runs as a Markdown table.

for seed in 42 43 44; do samdan demo --seed $seed --out runs/demo-$seed; done
samdan demo --no-replay --out runs/demo-no-replay
python -m experiments.demo_table runs/demo-42 runs/demo-43 runs/demo-44 runs/demo-no-replay
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# (metric, stage after which it is promised, whether the value before belongs to the claim)
ROWS = (
    ("knowledge/accuracy", "cpt", True),
    ("answers/exact", "sft", False),
    ("answers/exact", "dpo", False),
    ("polite/share", "dpo", True),
    ("preference/accuracy", "dpo", False),
    ("general/bpb", "cpt", True),
    ("refusal/benign", "dpo", False),
    ("refusal-unsafe/share", "dpo", False),
)


def main() -> None:
    runs = [Path(argument) for argument in sys.argv[1:]]
    reports = [json.loads((run / "report.json").read_text("utf-8")) for run in runs]
    names = [f"{r['name']}, seed {r['seed']}" for r in reports]
    print("| | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for metric, stage, change in ROWS:
        cells = [_cell(report, metric, stage, change) for report in reports]
        print(f"| `{metric}` after {stage} | " + " | ".join(cells) + " |")
    print("| seconds | " + " | ".join(f"{r['wall_seconds']:.0f}" for r in reports) + " |")


def _cell(report: dict[str, Any], metric: str, stage: str, change: bool) -> str:
    found = next((s["metrics"].get(metric) for s in report["stages"] if s["name"] == stage), None)
    if found is None:
        return "–"
    low, high = found["ci95"]["after"]
    before = f"{found['before']:.3f} → " if change else ""
    relative = ""
    if metric.endswith("/bpb"):
        relative = f" ({found['after'] / found['base'] - 1:+.1%})"
    return f"{before}{found['after']:.3f}{relative} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
