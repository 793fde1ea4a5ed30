"""A model split over two processes has the gradients and checkpoints of a whole one."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest

from e2e import measuring_worker, reference_worker, rows_worker, split_worker
from e2e.helpers import python

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.timeout(300)
def test_gradients_and_checkpoints_of_a_split_model(tmp_path: Path) -> None:
    """Tied and odd shapes, adapters, bf16, and a process without records in a micro-batch."""
    two_processes(split_worker, tmp_path)


@pytest.mark.timeout(300)
def test_rows_and_averages_of_a_split_model(tmp_path: Path) -> None:
    """Phases of new rows that lie in one process, the other, or both; tied and not."""
    two_processes(rows_worker, tmp_path)


@pytest.mark.timeout(300)
def test_a_reference_pass_is_shared(tmp_path: Path) -> None:
    """Five batches for two processes, whole and split: each batch once, and the same values."""
    two_processes(reference_worker, tmp_path)


@pytest.mark.timeout(300)
def test_measuring_is_shared(tmp_path: Path) -> None:
    """Questions are dealt; without room, with an error and with a signal in one process too."""
    two_processes(measuring_worker, tmp_path)


def two_processes(worker: ModuleType, folder: Path) -> None:
    """Every case of the worker, by two processes."""
    search = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = python(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(str(worker.__file__), str(folder)),
        env={"PYTHONPATH": search},
    )
    assert done.code == 0, done.err
    assert done.out.split() == [word for case in worker.CASES for word in ("same", case)]
