"""One step of ``samdan prepare`` in this process, timed: ``prepare_step RECIPE OUT VERB WORKERS``.

``start`` is what a run does about its data before the first training step when all is prepared:
hash the files, find that no step is stale, map shards and index, and read the first batch.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.watch import resident_mb, say, timed

# samdan is imported inside functions, as its command line does: a spawned worker imports this
# module again, and must not load torch for it.
STAGE = "cpt"
MICRO_BATCH_TOKENS = 8192


def step(recipe_file: Path, out: Path, verb: str, workers: int) -> dict[str, Any]:
    """Carries out the steps of the verb; hashing the files is not part of it.

    Nor is saving the tokenizer, which ``prepare`` needs and which has nothing to do with the data.
    """
    from samdan.data.engine import Engine
    from samdan.run.executor import Options, execute
    from samdan.run.fingerprints import fingerprints
    from samdan.run.loading import load_recipe

    recipe = load_recipe(recipe_file)
    fingerprints(recipe)  # remembered by the process
    before = resident_mb()

    def work(verb: str) -> None:
        engine = Engine(workers=workers)
        execute(recipe, out, say=lambda text: None, engine=engine, options=Options({verb}))

    if verb == "prepare":
        work("tokenizer")
    return timed(lambda: work(verb))[1] | {"before_mb": before}


def start(recipe_file: Path, out: Path) -> dict[str, Any]:
    """Seconds to the first batch, by what they are spent on; imports are not among them."""
    from samdan.lm.shards import Index, TrainingData
    from samdan.plan import steps
    from samdan.run.executor import PREPARING
    from samdan.run.fingerprints import fingerprints
    from samdan.run.ledger import Ledger
    from samdan.run.loading import load_recipe
    from samdan.run.planning import step_states
    from samdan.train.batches import Steps

    marks = [time.perf_counter()]
    recipe = load_recipe(recipe_file)
    found = fingerprints(recipe)
    marks.append(time.perf_counter())
    ledger = Ledger(out, writes=False)
    states = step_states(steps(recipe, found), ledger, recipe.seed)
    stale = [one.name for one, why in states if why is not None and one.verb in PREPARING]
    assert not stale, f"everything was prepared, and yet these are stale: {stale}"
    marks.append(time.perf_counter())
    stage = recipe.stage(STAGE)
    folders = [ledger.source(STAGE, source.label) for source in stage.data]
    data = TrainingData(folders, Index.load(ledger.index(STAGE)))
    batches = Steps(data, stage.units_per_step, MICRO_BATCH_TOKENS)
    first = batches.micro_batches(1)
    marks.append(time.perf_counter())
    hashed, planned, opened = (after - at for at, after in pairwise(marks))
    return {
        "seconds": marks[-1] - marks[0],
        "hash_seconds": hashed,
        "plan_seconds": planned,
        "open_seconds": opened,
        "optimizer_steps": len(batches),
        "micro_batches": len(first),
    }


def main() -> None:
    recipe, out, verb, workers = sys.argv[1:]
    if verb == "start":
        say(start(Path(recipe), Path(out)))
    else:
        say(step(Path(recipe), Path(out), verb, int(workers)))


if __name__ == "__main__":
    main()
