"""Ten kills at random moments change nothing of what a run ends with."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

import soak
from e2e.helpers import Program, losses, samples_seen, stopped_before


class Forked:
    """`samdan run` in a process that is forked after the imports."""

    def __init__(self, recipe: Path, run: Path) -> None:
        self.program = Program("run", recipe, "--out", run)

    def wait(self, timeout: float | None = None) -> int:
        self.program.process.join(120 if timeout is None else timeout)
        code = self.program.process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("samdan", timeout or 120)
        return code

    def kill(self) -> None:
        self.program.process.kill()


@pytest.mark.timeout(400)
def test_ten_kills_at_random_leave_the_weights_as_they_would_be(
    recipe: Path, reference: Path, tmp_path: Path
) -> None:
    """The seed is fixed; when it is killed follows from the machine's speed all the same."""
    rng = random.Random(2026)
    kills = 0
    for attempt in range(20):
        run = stopped_before(reference, "base/train", tmp_path / str(attempt))
        found = soak.soak(lambda run=run: Forked(recipe, run), rng, 10 - kills, (0.2, 1.2))
        kills += len(found.kills)
        assert found.code == 0
        assert soak.weights(run) == soak.weights(reference)
        assert len(soak.weights(run)) == 4
        assert losses(run) == losses(reference)
        assert samples_seen(run) == samples_seen(reference)
        if kills >= 10:
            return
    raise AssertionError(f"killed only {kills} times in 20 runs")


def test_weights_of_another_run_differ(reference: Path, tmp_path: Path) -> None:
    """The control: the comparison can fail."""
    run = stopped_before(reference, "sft/train", tmp_path / "run")
    assert soak.weights(run) != soak.weights(reference)
