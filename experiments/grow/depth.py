"""Depth at equal training compute: solar, llama_pro and no growth, over seeds.

python -m experiments.grow.depth runs/grow docs/grow-depth.json [--data FOLDER]

All start from one base a seed and read the same court decisions with English as replay. The deeper
a model, the fewer steps it gets: compute is counted in multiplications of the layers and the head,
forward, and backward as far as something learns. Every arm has its own schedule over its own steps.
Prints Markdown tables.
"""

from __future__ import annotations

import json
from pathlib import Path

from experiments.grow.common import (
    MODEL,
    VOCAB,
    Measured,
    Study,
    Tree,
    adapt,
    arguments,
    base,
    print_paired,
)
from samdan.growing.depth import LlamaPro, Solar, layout

STEPS = 60  # of the base without growth
POINTS = 2  # measurements while training, the last one behind it
LAYERS = int(MODEL["num_hidden_layers"])
NONE = "no growth"
# By case: base.grow.depth, and fields of the stage. Identity blocks train alone by default.
CASES: dict[str, tuple[Tree | None, Tree]] = {
    NONE: (None, {}),
    "solar": ({"kind": "solar", "drop": 1}, {}),
    "llama_pro": ({"kind": "llama_pro", "blocks": 2}, {}),
}


def main() -> None:
    given = arguments(__doc__)
    study = Study(given.results)
    for seed in given.seeds:
        model = base(given.home, given.data, seed)
        for case in CASES:
            study.measure(case, seed, Arm(given.home, seed, model, case))
    print(
        study.table(
            list(CASES),
            {
                "layers": "layers", "steps": "steps", "compute": "compute",
                "law base": "law, base", "law 0": "grown", "law half": "half of the compute",
                "law end": "end", "en base": "English, base", "en 0": "grown ", "en end": "end ",
            },
        )
    )  # fmt: skip
    print_paired(study, [(case, NONE) for case in CASES], ("law end", "en end"))


def compute(case: str) -> float:
    """Multiplications of a training step, relative to the base's without growth."""
    return _multiplications(case) / _multiplications(NONE)


def _multiplications(case: str) -> float:
    """Per token: forward, gradients of activations down to what learns, gradients of weights."""
    grow, fields = CASES[case]
    hidden, inner = int(MODEL["hidden_size"]), int(MODEL["intermediate_size"])
    layer, head = 4 * hidden * hidden + 3 * hidden * inner, hidden * VOCAB
    new = [False] * LAYERS
    if grow is not None:
        spec = Solar(**grow) if grow["kind"] == "solar" else LlamaPro(**grow)
        new = [found.new for found in layout(spec, LAYERS)]
    only_new = grow is not None and grow["kind"] == "llama_pro" and "unfreeze" not in fields
    if not only_new:
        return 3 * (len(new) * layer + head)
    reached = len(new) - new.index(True)
    return len(new) * layer + head + reached * layer + head + sum(new) * layer


class Arm:
    """One case with one seed."""

    def __init__(self, home: Path, seed: int, model: Path, case: str) -> None:
        self._home, self._seed, self._model, self._case = home, seed, model, case

    def __call__(self) -> dict[str, float]:
        depth, fields = CASES[self._case]
        steps = round(STEPS / compute(self._case))
        name = "depth-" + "-".join(self._case.replace(",", "").split())
        grow = {"depth": depth} if depth else None
        found = adapt(
            self._home, name, self._seed, self._model, grow,
            max_steps=steps, eval_steps=steps // POINTS, **fields,
        )  # fmt: skip
        config = json.loads(
            (self._home / f"{name}-{self._seed}" / "cpt" / "model" / "config.json").read_text()
        )
        return row(found, steps) | {
            "layers": config["num_hidden_layers"],
            "compute": steps * compute(self._case) / STEPS,
        }


def row(found: Measured, steps: int) -> dict[str, float]:
    """The numbers of a case by source: base, grown, half of the compute, end."""
    numbers: dict[str, float] = {"steps": found.steps, "seconds": found.seconds}
    for name in ("law", "en"):
        numbers |= {
            f"{name} base": found.base[name],
            f"{name} 0": found.bpb[name][0],
            f"{name} half": found.bpb[name][steps // POINTS],
            f"{name} end": found.bpb[name][found.steps],
        }
    return numbers


if __name__ == "__main__":
    main()
