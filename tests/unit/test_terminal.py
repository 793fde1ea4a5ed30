"""What is printed while a run goes on, with and without a terminal."""

from __future__ import annotations

import os
import pty
import sys
import threading

import pytest

from samdan.run.terminal import Terminal


def lines(capsys: pytest.CaptureFixture[str], steps: int, every: int) -> list[str]:
    with Terminal() as terminal:
        for step in range(1, steps + 1):
            terminal.progress(
                {
                    "stage": "sft",
                    "step": step,
                    "of": steps,
                    "loss": float(step),
                    "lr": 1e-5,
                    "tokens_per_second": 100.0,
                    "logging_steps": every,
                }
            )
    return capsys.readouterr().err.splitlines()


def test_a_line_every_logging_steps_holds_the_mean_since_the_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert lines(capsys, steps=7, every=3) == [
        "sft step 3/7 loss 2.0000 lr 1.00e-05 100 tokens/s",
        "sft step 6/7 loss 5.0000 lr 1.00e-05 100 tokens/s",
        "sft step 7/7 loss 7.0000 lr 1.00e-05 100 tokens/s",
    ]


def test_other_processes_are_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert lines(capsys, steps=3, every=1) == []


def test_on_a_terminal_the_stage_stays_below_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    shown = bytearray()
    reader = threading.Thread(target=drain, args=(ours, shown))
    reader.start()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    rules = [{"rule": "loss_spike", "near": 0.4, "value": 2.4, "limit": 6.0}]
    now = {"stage": "sft", "step": 3, "of": 9, "loss": 1.5, "seconds_left": 61.0, "rules": rules}
    with os.fdopen(theirs, "w") as terminal_file:
        monkeypatch.setattr(sys, "stderr", terminal_file)
        with Terminal() as terminal:
            terminal.progress({"stage": "sft", "step": 3, "of": 9, "now": now})
            terminal.say("a message with [brackets]")
    reader.join(60)
    os.close(ours)
    text = shown.decode()
    assert "a message with [brackets]" in text
    assert "sft  step 3 of 9  33%" in text
    assert "1 min 01 s left" in text
    assert "40% of the way to its limit" in text


def drain(descriptor: int, into: bytearray) -> None:
    """Everything that is written to a terminal until nobody has it open."""
    try:
        while part := os.read(descriptor, 4096):
            into += part
    except OSError:  # how Linux says that the other side was closed
        return
