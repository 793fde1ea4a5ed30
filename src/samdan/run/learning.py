"""What of a stage's model learns, and the average that its weights are replaced by at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from samdan.averaging import Ema
from samdan.lm import growth
from samdan.recipe import AnyStage, CptStage
from samdan.records import DataError
from samdan.run.context import Run
from samdan.run.watching import Training, measured_now
from samdan.train import parallel
from samdan.train.averaging import Averaging
from samdan.train.blocks import freeze_parameters
from samdan.train.state import verified
from samdan.train.unfreezing import Unfreezing, freeze_for_phases
from samdan.unfreezing import NOT_GROWN, Growth


def growth_of(run: Run, stage: AnyStage) -> Growth:
    """What growing has added to the base of a stage's model, whether in this run or before it."""
    if run.is_scratch(stage.name):
        return NOT_GROWN
    folder, _ = run.model_location(run.parent(stage.name))
    found = growth.read(Path(folder))
    if found is None and run.recipe.grow is not None:  # an earlier stage has been trained since
        found = growth.read(run.ledger.model("base"))
    if found is None:
        return NOT_GROWN
    ids = sorted(found.new_ids)
    rows = (ids[0], ids[-1] + 1) if ids else None
    if rows is not None and rows[1] - rows[0] != len(ids):
        raise DataError(
            f"{folder}/{growth.FILE}: the ids in 'new_ids' do not follow one another; rows that "
            f"learn apart from the others have to"
        )
    return Growth(rows, frozenset(found.new_layers))


def freeze(run: Run, stage: AnyStage, model: nn.Module) -> None:
    """Leaves trainable what the stage trains at some time. Raises RecipeError."""
    freeze_parameters(model, stage)
    if isinstance(stage, CptStage) and stage.unfreeze is not None:
        freeze_for_phases(model, stage, growth_of(run, stage))


def unfreezing_of(stage: AnyStage, model: nn.Module, optimizer: Any) -> Unfreezing | None:
    if isinstance(stage, CptStage) and stage.unfreeze is not None:
        return Unfreezing(model, optimizer, stage)
    return None


def average_of(stage: AnyStage, model: nn.Module, total: int) -> Averaging | None:
    if stage.average is None:
        return None
    return Averaging(model, stage.average, total, stage.save_steps)


def put_average_in(training: Training) -> dict[str, Any]:
    """Replaces the weights by their average, both measured on held-out records; facts of it."""
    average, run, stage = training.average, training.run, training.stage
    if average is None:
        return {}
    last = measured_now(training)
    folder, step = run.ledger.checkpoints(stage.name), training.progress.step
    found: dict[int, Path] = {}
    if parallel.is_main():
        found = verified(folder, training.progress.identity, average.needs - {step})
    names = parallel.share(json.dumps({str(s): path.name for s, path in found.items()}))[0]
    checkpoints = {int(s): folder / name for s, name in json.loads(names).items()}
    used = average.put_in(checkpoints, step)
    facts = {
        "kind": average.spec.kind,
        "steps": list(used),
        "updates": average.updates,
        "last": last,
        "average": measured_now(training),
    }
    missing = sorted(average.needs - set(used))
    if parallel.is_main():
        run.ledger.record("averaged", step=f"{stage.name}/train", **facts, missing=missing)
        what = (
            f"a moving average over {average.updates} updates"
            if isinstance(average.spec, Ema)
            else f"the mean of the weights after steps {', '.join(map(str, used))}"
        )
        run.say(f"{stage.name}: the model is {what}")
        if missing:
            run.say(f"{stage.name}: there is no whole checkpoint of steps {missing} to average")
    return {"average": facts}
