"""What two processes run in ``test_split.py``: questions to a model, shared between them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from e2e.worker import carry_out
from samdan.records import DataError, Preempted
from samdan.run import measuring as module
from samdan.run.context import Run, Signals
from samdan.run.ledger import Ledger
from samdan.run.measuring import Question
from samdan.train import parallel

COUNT = 7
FULL = torch.OutOfMemoryError("no room")
Measure = Callable[[int], dict[str, Any]]


def questions(run: Run, name: str, measure: Measure) -> tuple[Sequence[Question], Any]:
    scorer = SimpleNamespace(model=tiny.model())
    model: Any = SimpleNamespace(
        run=run, model_hash=name, precision="fp32", subject=SimpleNamespace(scorer=scorer)
    )
    return [
        Question(str(n), [n], lambda n=n: measure(n), model) for n in range(COUNT)
    ], model


def by_whom(number: int) -> dict[str, Any]:
    time.sleep(0.2)  # long enough that both get some
    return {"number": number, "process": parallel.rank()}


def shared(run: Run) -> None:
    """Every question once; some by either process."""
    asked, model = questions(run, "shared", by_whom)
    module._share(asked, model)
    found = [one.result() for one in asked]
    assert [one["number"] for one in found] == list(range(COUNT))
    assert {one["process"] for one in found} == {0, 1}


def alone(run: Run) -> None:
    """No room for a second model: nothing is measured before the main process does it."""
    asked, model = questions(run, "alone", by_whom)
    room, module.has_room_for_all = module.has_room_for_all, lambda *given: False
    module._share(asked, model)
    module.has_room_for_all = room
    assert not any(one.place.is_file() for one in asked)


def wrong(run: Run) -> None:
    """What goes wrong in the second process is told, and the main one is asked again."""
    told: list[str] = []

    def measure(number: int) -> dict[str, Any]:
        if not parallel.is_main():
            raise (DataError("there is nothing to ask") if case == "wrong" else FULL)
        return by_whom(number)

    for case in ("wrong", "full"):
        asked, model = questions(replace(run, say=told.append), case, measure)
        module._share(asked, model)
        missing = [one for one in asked if not one.place.is_file()]
        assert len(missing) == 1
        parallel.barrier()
        if parallel.is_main():
            assert missing[0].result()["process"] == 0
            assert f"process 1: {missing[0].name}: left to the main process" in told[-1]
    assert len(told) == (2 if parallel.is_main() else 0)


def stopped(run: Run) -> None:
    """A signal to the second process stops the main one, in the middle of a long question."""

    def measure(number: int) -> dict[str, Any]:
        if not parallel.is_main():
            run.signals.received = signal.SIGTERM
        for _ in range(50):
            time.sleep(0.1)
            run.poll()
        return by_whom(number)

    asked, model = questions(run, "stopped", measure)
    with pytest.raises(Preempted) as stop, parallel.leaving_together():
        module._share(asked, model)
    assert stop.value.exit_code == 143
    assert not any(one.place.is_file() for one in asked)


CASES = {one.__name__: one for one in (shared, alone, wrong, stopped)}

def check(case: str, folder: Path) -> None:
    parallel.barrier()
    recipe: Any = None
    CASES[case](Run(recipe, Ledger(folder, parallel.is_main()), Signals()))
    if parallel.is_main():
        print("same", case, flush=True)


if __name__ == "__main__":
    carry_out(CASES, check)
