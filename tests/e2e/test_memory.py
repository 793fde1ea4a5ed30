"""A run that runs out of memory goes on with less at a time, says so, and remembers it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from e2e.helpers import events, samples_seen, stopped_before
from samdan.lm.batch import Batch
from samdan.lm.scoring import Scorer
from samdan.run.executor import execute
from samdan.run.loading import load_recipe
from samdan.train.objectives import NextToken


class Hungry:
    """Stands for a device on which so many tokens do not fit; tells what was tried."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        self.most, self.error = most, error
        self.tried: list[int] = []
        self.honest = NextToken.loss_sums

    def __call__(self, objective: NextToken, scorer: Scorer, batch: Batch) -> Any:
        self.tried.append(batch.num_tokens)
        if batch.num_tokens > self.most:
            raise self.error
        return self.honest(objective, scorer, batch)


HOST = RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), HOST])
def test_the_run_goes_on_with_smaller_micro_batches_and_keeps_them(
    error: RuntimeError,
    recipe: Path,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = stopped_before(reference, "sft/train", tmp_path / "run")
    hungry = Hungry(100, error)
    monkeypatch.setattr(NextToken, "loss_sums", lambda *given: hungry(*given))
    said: list[str] = []

    def stop(where: str, step: int) -> None:
        if (where, step) == ("updated", 2):  # before the first checkpoint
            raise KeyboardInterrupt

    loaded = load_recipe(recipe)
    with pytest.raises(KeyboardInterrupt):
        execute(loaded, run, "sft", say=said.append, injected=stop)
    (event,) = events(run, "out_of_memory")
    assert event["before"] > event["tokens"]
    (line,) = [text for text in said if "out of memory" in text]
    assert f"goes on with {event['tokens']:,}. A step keeps its 8 records" in line

    hungry.tried.clear()
    execute(loaded, run, "sft")
    assert max(hungry.tried) <= hungry.most  # the larger size is not tried again
    assert samples_seen(run)["sft/train"] == samples_seen(reference)["sft/train"]
    (facts,) = [e["facts"] for e in events(run, "step_done") if e["step"] == "sft/train"][-1:]
    assert facts["micro_batch_tokens"] == event["tokens"]
    assert facts["peak_memory"] is None or facts["peak_memory"] > 1e8


def test_what_cannot_be_split_ends_with_advice(
    recipe: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samdan.records import EnvironmentFailure

    run = stopped_before(reference, "sft/train", tmp_path / "run")
    hungry = Hungry(0, torch.OutOfMemoryError("out of memory"))
    monkeypatch.setattr(NextToken, "loss_sums", lambda *given: hungry(*given))
    with pytest.raises(EnvironmentFailure, match="cannot be split"):
        execute(load_recipe(recipe), run, "sft")
