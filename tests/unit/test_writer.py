"""Checkpoints that are written beside training are those of the moment they were asked for."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
import torch

import tiny
from samdan.train import writer as module
from samdan.train.state import Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from samdan.train.writer import Writer

CHOSEN = {"precision": "fp32", "micro_batch_tokens": 128, "world_size": 1}


def progress(step: int) -> Progress:
    return Progress(step, 100 * step, f"chain{step}", "abc", CHOSEN)


def test_training_that_goes_on_does_not_change_what_is_written(tmp_path: Path) -> None:
    model, optimizer = tiny.with_states()
    before = [p.detach().clone() for p in model.parameters()]
    go_on, writer = threading.Event(), Writer()

    def slowly(where: str, step: int) -> None:
        if where == "saving":
            assert go_on.wait(60)

    save_checkpoint(tmp_path, model, optimizer, progress(1), 2, slowly, writer=writer)
    tiny.update(model, optimizer)  # while the writer waits
    assert latest_checkpoint(tmp_path, "abc")[0] is None
    go_on.set()
    writer.wait()
    found, problems = latest_checkpoint(tmp_path, "abc")
    assert found is not None
    assert not problems
    other, states = tiny.with_states()
    assert load_checkpoint(found, other, states) == progress(1)
    for kept, parameter in zip(before, other.parameters(), strict=True):
        torch.testing.assert_close(parameter, kept, rtol=0, atol=0)
    tiny.update(other, states)  # the optimizer's states are of that moment as well
    for parameter, loaded in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(loaded, parameter, rtol=0, atol=0)


def test_a_full_disk_is_told_by_the_next_who_asks(tmp_path: Path) -> None:
    model, optimizer = tiny.with_states()
    writer = Writer()
    save_checkpoint(tmp_path, model, optimizer, progress(1), 1, writer=writer)

    def full(where: str, step: int) -> None:
        if where == "staged":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save_checkpoint(tmp_path, model, optimizer, progress(2), 1, full, writer=writer)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, model, optimizer, progress(3), 1, writer=writer)
    writer.wait()  # told once
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_they_are_written_one_after_another(tmp_path: Path) -> None:
    model, optimizer = tiny.with_states()
    writer, running, most = Writer(), 0, 0

    def count(where: str, step: int) -> None:
        nonlocal running, most
        running += {"saving": 1, "saved": -1}.get(where, 0)
        most = max(most, running)

    for step in range(1, 6):
        save_checkpoint(tmp_path, model, optimizer, progress(step), 2, count, writer=writer)
    writer.wait()
    assert (running, most) == (0, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000004", "step-000005"]


def test_without_room_in_the_host_it_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "host_memory", lambda: 1)
    model, optimizer = tiny.with_states()
    path = save_checkpoint(tmp_path, model, optimizer, progress(1), 1, writer=Writer())
    assert latest_checkpoint(tmp_path, "abc") == (path, [])
