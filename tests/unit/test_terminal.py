"""What is printed while a run goes on, where there is no terminal."""

from __future__ import annotations

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
