"""A separate learning rate for embeddings and head against none, grown and not.

python -m experiments.grow.rates runs/grow docs/grow-rates.json [--data FOLDER]

Court decisions without any English, equally many steps in each case; one base for all seeds. Prints
a Markdown table and paired differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.grow.common import Study, adapt, arguments, base, print_paired
from experiments.grow.unfreezing import (
    BASE,
    FIELDS,
    GROW,
    HEADINGS,
    KEYS,
    PLAIN,
    name_of,
    row,
    start_from,
)

RATE = 1e-3
CASES: Mapping[str, tuple[Mapping[str, Any] | None, Mapping[str, Any]]] = {
    "not grown, a tenth": (None, {}),
    "not grown, one rate": (None, {"embedding_lr": RATE, "lm_head_lr": RATE}),
    "grown, old rows a tenth": (GROW, {}),  # the program's defaults
    "grown, one rate": (GROW, {"embedding_lr": RATE, "lm_head_lr": RATE}),
}
PAIRS = (
    ("not grown, a tenth", "not grown, one rate"),
    ("grown, old rows a tenth", "grown, one rate"),
)


def main() -> None:
    given = arguments(__doc__)
    study = Study(given.results)
    model = base(given.home, given.data, BASE)
    for case in CASES:
        for seed in given.seeds:
            study.measure(case, seed, Arm(given.home, case, seed, model))
    print(study.table(list(CASES), HEADINGS, digits=3))
    print_paired(study, PAIRS, KEYS)


class Arm:
    """One case with one seed."""

    def __init__(self, home: Path, case: str, seed: int, model: Path) -> None:
        self._home, self._case, self._seed, self._model = home, case, seed, model

    def __call__(self) -> dict[str, float]:
        grow, fields = CASES[self._case]
        # The case that has the program's defaults is also the plain one of the other study.
        defaults = grow is not None and not fields
        name = name_of(PLAIN) if defaults else f"rates-{self._case.replace(' ', '-')}"
        first = name_of(PLAIN) if grow else f"rates-{next(iter(CASES)).replace(' ', '-')}"
        start_from(self._home, first, name, self._seed)
        given = dict(grow) if grow else None
        every = {**FIELDS, **fields}
        return row(adapt(self._home, name, self._seed, self._model, given, **every))


if __name__ == "__main__":
    main()
