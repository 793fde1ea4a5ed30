"""Staged against plain unfreezing of a grown base: what is learned, and what is kept.

python -m experiments.grow.unfreezing runs/grow docs/grow-unfreezing.json [--data FOLDER]

The base grows by merges learned on court decisions and then reads them, equally many steps in each
case, without any English. Prints a Markdown table and paired differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.grow.common import Measured, Study, adapt, arguments, base, paired

GROW = {"vocab": {"merges": 600, "min_count": 20, "sources": ["law"]}}
STEPS, EARLY = 100, 50
PLAIN = "all from the start"
CASES: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {},
    "new rows, then all": {
        "unfreeze": [{"train": "new_both", "share": 0.3}, {"train": "all", "share": 0.7}]
    },
    "eeve, seven phases": {"unfreeze": "eeve"},
    "new rows only": {"unfreeze": ["new_both"]},
}


def main() -> None:
    given = arguments(__doc__)
    study = Study(given.results)
    for seed in given.seeds:
        model = base(given.home, given.data, seed)
        for case in CASES:
            study.measure(case, seed, Arm(given.home, case, seed, model))
    print(study.table(list(CASES), headings(STEPS), digits=3))
    for case in CASES:
        for key in (f"law {STEPS}", "en after"):
            mean, half = paired(study.values(case, key), study.values(PLAIN, key))
            print(f"{case}, {key}, against {PLAIN}: {mean:+.4f} ± {half:.4f}")


def headings(steps: int) -> dict[str, str]:
    return {
        "law base": "law, base", "law 0": "law, grown", f"law {EARLY}": f"law, {EARLY} steps",
        f"law {steps}": f"law, {steps} steps", "en base": "English, base", "en after": "after",
    }  # fmt: skip


class Arm:
    """One case with one seed."""

    def __init__(self, home: Path, case: str, seed: int, model: Path) -> None:
        self._home, self._case, self._seed, self._model = home, case, seed, model

    def __call__(self) -> dict[str, float]:
        # A source of no tokens is still measured.
        fields = {"replay": 0.0, "max_steps": STEPS, "eval_steps": EARLY} | CASES[self._case]
        name = f"unfreezing-{self._case.replace(' ', '-').replace(',', '')}"
        return row(adapt(self._home, name, self._seed, self._model, GROW, **fields))


def row(found: Measured) -> dict[str, float]:
    """Bits per byte by source and step."""
    law, english = found.bpb["law"], found.bpb["en"]
    return {
        "law base": found.base["law"],
        "en base": found.base["en"],
        "en after": english[found.steps],
        "tokens": float(found.tokens),
    } | {f"law {step}": value for step, value in law.items()}


if __name__ == "__main__":
    main()
