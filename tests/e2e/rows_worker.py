"""What two processes run in ``test_split.py``: phases and an average of a split model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import tiny
from e2e.worker import carry_out
from samdan.averaging import Ema
from samdan.lm.scoring import Scorer
from samdan.train import parallel, sharding
from samdan.train.averaging import Averaging
from samdan.train.blocks import state_tensors
from samdan.train.loop import Hooks, Learning, train_steps
from samdan.train.objectives import NextToken
from samdan.train.optim import make_optimizer
from samdan.train.state import Beside, Progress, load_checkpoint, save_checkpoint
from samdan.train.unfreezing import Unfreezing, freeze_for_phases
from samdan.unfreezing import Growth

# Of 97 rows the first process has 49: new rows of both, of the second only, of the first only.
CASES: dict[str, tuple[Growth, dict[str, Any]]] = {
    "both": (Growth((40, 60)), {}),
    "second": (Growth((80, 90)), {"tie_word_embeddings": True}),
    "first": (Growth((0, 9)), {"tie_word_embeddings": True}),
}
STAGE = tiny.cpt(
    unfreeze=["new_input", "all_output", "all"], learning_rate=1e-2, weight_decay=0.1,
    lr_scheduler_type="constant", warmup_steps=0,
)  # fmt: skip
COUNT = 6


class Trained:
    """A model and what trains it, ``COUNT`` steps of three phases."""

    def __init__(self, folder: Path, growth: Growth, shape: dict[str, Any], split: bool) -> None:
        meta = split and not parallel.is_main()
        with torch.device("meta") if meta else contextlib.nullcontext():
            self.model = tiny.model(**shape)
        freeze_for_phases(self.model, STAGE, growth)
        self.scorer = Scorer(self.model)
        if split:
            sharding.shard(self.scorer, torch.device("cpu"), False)
        self.optimizer = make_optimizer(self.model, STAGE, False, growth)
        self.phases = Unfreezing(self.model, self.optimizer, STAGE)
        self.average = Averaging(self.model, Ema(decay=0.7), COUNT, 1)
        records = [tiny.document(9 + n, seed=n) for n in range(2 * COUNT)]
        whole = tiny.steps(folder, records, 2, 32)
        self.steps = replace(whole, rank=parallel.rank(), world_size=2) if split else whole

    @contextmanager
    def _learning(self, step: int) -> Iterator[Learning]:
        with self.phases.during((step - 1) // 2):
            yield Learning()

    def learn(self) -> Iterator[int]:
        hooks = Hooks(learning=self._learning, updated=self.average.update)
        loop = train_steps(
            self.scorer, self.optimizer, NextToken(), self.steps, STAGE, 0, hooks=hooks
        )
        return (metrics.step for metrics in loop)

    def weights(self) -> dict[str, torch.Tensor]:
        return {n: t.clone() for n, t in sharding.whole_tensors(self.model).items()}


def compare(name: str, folder: Path) -> None:
    growth, shape = CASES[name]
    split = Trained(folder / name / f"{parallel.rank()}", growth, shape, split=True)
    start = split.weights()
    first, last = growth.new_rows or (0, 0)
    for step in split.learn():
        if step == 2 and parallel.is_main():
            now = split.weights()
            for key, tensor in start.items():
                changed = (now[key] != tensor).reshape(len(tensor), -1).any(1)
                expected = torch.zeros_like(changed)
                if key == "model.embed_tokens.weight":
                    expected[first:last] = True
                assert torch.equal(changed, expected), (name, key)
        elif step == 2:
            split.weights()
        if step == 5:
            progress = Progress(5, 5, "", "id", {}, 2, 4, 5)
            path = save_checkpoint(
                folder / name / "checkpoints", split.model, split.optimizer, progress, 1,
                beside=Beside(average=split.average),
            )  # fmt: skip
    ours = split.weights()
    split.average.put_in({}, COUNT)
    mean = split.weights()
    states = {n: sharding.local_part(t).clone() for n, t in state_tensors(split.optimizer).items()}
    parallel.barrier()
    load_checkpoint(path, split.model, split.optimizer, split.average)
    assert split.average.updates == 5
    assert states.keys() == state_tensors(split.optimizer).keys()
    if parallel.is_main():
        whole = Trained(folder / name / "whole", growth, shape, split=False)
        parallel_start = {n: p.detach().clone() for n, p in whole.model.named_parameters()}
        assert all(torch.equal(parallel_start[n], t) for n, t in start.items())
        _one_process(whole)
        assert tiny.distance(ours, whole.weights()) < 1e-4
        other = Trained(folder / name / "other", growth, shape, split=False)
        load_checkpoint(path, other.model, other.optimizer, other.average)  # two wrote it
        found = state_tensors(other.optimizer)
        assert found.keys() == state_tensors(whole.optimizer).keys()
        whole.average.put_in({}, COUNT)
        assert tiny.distance(mean, whole.weights()) < 1e-4
        print("same", name, flush=True)


def _one_process(whole: Trained) -> None:
    """Without the other process: sums over ranks would wait for it."""
    gather = parallel.add_over_ranks
    gradients = parallel.add_gradients
    parallel.add_over_ranks = dict  # type: ignore[assignment]
    parallel.add_gradients = lambda parameters: None
    try:
        for _ in whole.learn():
            pass
    finally:
        parallel.add_over_ranks, parallel.add_gradients = gather, gradients


if __name__ == "__main__":
    carry_out(CASES, compare)
