"""Staged against plain unfreezing of a grown base: what is learned, and what is kept.

python -m experiments.grow.unfreezing runs/grow docs/grow-unfreezing.json [--data FOLDER]

The base grows by merges learned on court decisions and then reads them, equally many steps in each
case, without any English. One base serves all seeds: they change the order of the text and what is
held out, not the base. Prints a Markdown table and paired differences.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.grow.common import Measured, Study, adapt, arguments, base, print_paired

GROW: Mapping[str, Any] = {"vocab": {"merges": 600, "min_count": 20, "sources": ["law"]}}
STEPS = 100
BASE = 1  # seed of the one base
# A source of no tokens (English) is still measured.
FIELDS = {
    "replay": 0.0, "max_steps": STEPS, "eval_steps": STEPS,
    "heldout": {"share": 0.02, "max_records": 40},
}  # fmt: skip
PLAIN = "all from the start"
CASES: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {},
    "eeve, seven phases": {"unfreeze": "eeve"},
    "new rows, then all": {
        "unfreeze": [{"train": "new_both", "share": 0.3}, {"train": "all", "share": 0.7}]
    },
    "new rows only": {"unfreeze": ["new_both"]},
}


def main() -> None:
    given = arguments(__doc__)
    study = Study(given.results)
    model = base(given.home, given.data, BASE)
    for case in CASES:
        for seed in given.seeds:
            study.measure(case, seed, Arm(given.home, case, seed, model))
    print(study.table(list(CASES), HEADINGS, digits=3))
    print_paired(study, [(case, PLAIN) for case in CASES], KEYS)


KEYS = (f"law {STEPS}", "en after")
HEADINGS = {
    "law base": "law, base", "law 0": "law, grown", f"law {STEPS}": f"law, {STEPS} steps",
    "en base": "English, base", "en after": "English, after",
}  # fmt: skip


class Arm:
    """One case with one seed."""

    def __init__(self, home: Path, case: str, seed: int, model: Path) -> None:
        self._home, self._case, self._seed, self._model = home, case, seed, model

    def __call__(self) -> dict[str, float]:
        name = name_of(self._case)
        start_from(self._home, name_of(PLAIN), name, self._seed)
        fields = {**FIELDS, **CASES[self._case]}
        return row(adapt(self._home, name, self._seed, self._model, dict(GROW), **fields))


def name_of(case: str) -> str:
    return f"unfreezing-{case.replace(' ', '-').replace(',', '')}"


def start_from(home: Path, first: str, name: str, seed: int) -> None:
    """What does not depend on the case is taken from the run of the first one."""
    source, target = home / f"{first}-{seed}", home / f"{name}-{seed}"
    if source.is_dir() and not target.exists():
        draft = target.with_suffix(".tmp")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft)
        draft.rename(target)


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
