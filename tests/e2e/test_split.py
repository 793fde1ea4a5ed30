"""A model split over two processes has the gradients and checkpoints of a whole one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.helpers import python
from e2e.split_worker import CASES

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.timeout(300)
def test_gradients_and_checkpoints_of_a_split_model(tmp_path: Path) -> None:
    """Tied and odd shapes, adapters, bf16, and a process without records in a micro-batch."""
    search = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = python(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(str(TESTS / "e2e" / "split_worker.py"), str(tmp_path)),
        env={"PYTHONPATH": search},
    )
    assert done.code == 0, done.err
    assert done.out.split() == [word for case in CASES for word in ("same", case)]
