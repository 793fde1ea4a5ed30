"""What hangs is ended, with the place where it hangs; what is only slow is not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from samdan.run import watchdog
from samdan.run.watchdog import VARIABLE, Watchdog

HANGS = """
import time
from pathlib import Path
from samdan.run.watchdog import Watchdog

def waits_for_ever():
    while True:
        time.sleep(0.05)

with Watchdog(Path("stacks.txt"), "cpt/train", look=0.05) as dog:
    dog.alive()
    waits_for_ever()
"""


def test_a_hung_process_ends_with_code_4_and_says_where(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        cwd=tmp_path,
        env={"PATH": "", VARIABLE: "0.3", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "cpt/train: no progress for" in done.stderr
    stacks = (tmp_path / "stacks.txt").read_text("utf-8")
    assert "in waits_for_ever" in stacks
    assert "Traceback" not in done.stderr


def wait_for(event: threading.Event) -> None:
    assert event.wait(60)


def test_signs_of_life_keep_it_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the control: as soon as they stop, it bites."""
    monkeypatch.setenv(VARIABLE, "2")
    bitten = threading.Event()
    with Watchdog(tmp_path / "stacks", "x", lambda code: bitten.set(), look=0.02) as dog:
        for _ in range(30):
            dog.alive()
            time.sleep(0.1)
        assert not bitten.is_set()
        wait_for(bitten)


def test_it_ends_with_what_it_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.1")
    bitten = threading.Event()
    with Watchdog(tmp_path / "stacks", "x", lambda code: bitten.set(), look=0.5):
        pass
    assert not bitten.wait(1)


def test_the_limit_follows_the_longest_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now)
    dog = Watchdog(Path("x"), "x")
    assert dog.limit == watchdog.LEAST
    now = 400.0
    dog.alive()
    assert dog.limit == 400 * watchdog.TIMES


def test_zero_turns_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    before = threading.active_count()
    with Watchdog(tmp_path / "stacks", "x"):
        assert threading.active_count() == before


def test_where_nothing_can_be_written_the_stacks_go_to_the_error_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0.05")
    told: list[object] = []
    monkeypatch.setattr(watchdog.faulthandler, "dump_traceback", lambda to, **_: told.append(to))
    bitten = threading.Event()
    with Watchdog(tmp_path / "no" / "stacks", "x", lambda code: bitten.set(), look=0.02):
        wait_for(bitten)
    assert told == [sys.__stderr__]
