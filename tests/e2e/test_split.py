"""A model split over two processes has the gradients and checkpoints of a whole one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e import measuring_worker, reference_worker, rows_worker
from e2e.helpers import Finished, python
from e2e.split_worker import CASES

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.timeout(300)
def test_gradients_and_checkpoints_of_a_split_model(tmp_path: Path) -> None:
    """Tied and odd shapes, adapters, bf16, and a process without records in a micro-batch."""
    done = two_processes("split_worker.py", tmp_path)
    assert done.code == 0, done.err
    assert done.out.split() == [word for case in CASES for word in ("same", case)]


@pytest.mark.timeout(300)
def test_rows_and_averages_of_a_split_model(tmp_path: Path) -> None:
    """Phases of new rows that lie in one process, the other, or both; tied and not."""
    done = two_processes("rows_worker.py", tmp_path)
    assert done.code == 0, done.err
    assert done.out.split() == [word for case in rows_worker.CASES for word in ("same", case)]


@pytest.mark.timeout(300)
def test_a_reference_pass_is_shared(tmp_path: Path) -> None:
    """Five batches for two processes, whole and split: each batch once, and the same values."""
    done = two_processes("reference_worker.py", tmp_path)
    assert done.code == 0, done.err
    assert done.out.split() == [w for case in reference_worker.CASES for w in ("same", case)]


@pytest.mark.timeout(300)
def test_measuring_is_shared(tmp_path: Path) -> None:
    """Questions are dealt; without room, with an error and with a signal in one process too."""
    done = two_processes("measuring_worker.py", tmp_path)
    assert done.code == 0, done.err
    assert done.out.split() == [w for case in measuring_worker.CASES for w in ("same", case)]


def two_processes(worker: str, folder: Path) -> Finished:
    search = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return python(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(str(TESTS / "e2e" / worker), str(folder)),
        env={"PYTHONPATH": search},
    )
