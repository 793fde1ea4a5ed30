"""A stage goes on with the number of processes it was begun with."""

from __future__ import annotations

import pytest

import tiny
from samdan.records import EnvironmentFailure
from samdan.run.training import _same_processes
from samdan.train.state import Progress


def test_another_number_of_processes_is_refused_by_name() -> None:
    begun_with_two = Progress(3, 100, "", "id", {"world_size": 2})
    with pytest.raises(EnvironmentFailure, match="begun with 2 processes"):
        _same_processes(begun_with_two, tiny.cpt())
    _same_processes(Progress(3, 100, "", "id", {"world_size": 1}), tiny.cpt())
