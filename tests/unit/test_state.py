"""Checkpoints: whole or not at all, verified before use, the last good one never lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny
from samdan.train import room, state
from samdan.train.optim import make_optimizer, state_tensors
from samdan.train.state import (
    MANIFEST,
    MODEL,
    OPTIMIZER,
    STATE,
    Progress,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    verify,
)

IDENTITY = "abc"
CHOSEN = {"precision": "fp32", "micro_batch_tokens": 128, "world_size": 1}
FILES = (MODEL, OPTIMIZER, STATE)


def progress(step: int, identity: str = IDENTITY) -> Progress:
    return Progress(step, 100 * step, f"chain{step}", identity, CHOSEN)


@pytest.fixture
def parts() -> tuple[Any, Any]:
    """A model and its optimizer, with states."""
    return tiny.with_states()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save(folder: Path, parts: tuple[Any, Any], *at: int, keep: int = 9) -> None:
    for step in at:
        save_checkpoint(folder, *parts, progress(step), keep)


def test_a_checkpoint_brings_back_every_bit(tmp_path: Path, parts: tuple[Any, Any]) -> None:
    model, optimizer = parts
    path = save_checkpoint(tmp_path, model, optimizer, progress(7), keep=2)
    assert path.name == "step-000007"
    other = tiny.model(seed=5, num_hidden_layers=1)
    fresh = make_optimizer(other, tiny.cpt(learning_rate=1e-2), False)
    assert latest_checkpoint(tmp_path, IDENTITY) == (path, [])
    assert load_checkpoint(path, other, fresh) == progress(7)
    for _ in range(2):  # now, and after another update
        theirs = dict(model.named_parameters())
        assert all(torch.equal(p, theirs[name]) for name, p in other.named_parameters())
        before, after = state_tensors(optimizer), state_tensors(fresh)
        assert set(before) == set(after)
        assert all(torch.equal(before[name], after[name]) for name in before)
        tiny.update(model, optimizer)
        tiny.update(other, fresh)


def test_a_tied_tensor_is_stored_once_and_a_frozen_one_not_at_all(tmp_path: Path) -> None:
    model = tiny.model(num_hidden_layers=1, tie_word_embeddings=True)
    model.model.norm.requires_grad_(False)
    optimizer = make_optimizer(model, tiny.cpt(), False)
    path = save_checkpoint(tmp_path, model, optimizer, progress(1), keep=1)
    saved = load_file(path / MODEL)
    assert "lm_head.weight" not in saved
    assert "model.norm.weight" not in saved
    assert "model.embed_tokens.weight" in saved


def test_a_checkpoint_of_other_parameters_is_refused(
    tmp_path: Path, parts: tuple[Any, Any]
) -> None:
    path = save_checkpoint(tmp_path, *parts, progress(1), keep=1)
    larger = tiny.model()
    with pytest.raises(ValueError, match="other parameters"):
        load_checkpoint(path, larger, make_optimizer(larger, tiny.cpt(), False))


# --- damage ---------------------------------------------------------------------------------------


def truncate(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, "bytes, not"),
    "bit flipped": (flip_a_bit, "sha256 differs"),
    "missing": (Path.unlink, "is missing"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_noticed_and_the_one_before_is_taken(
    tmp_path: Path, parts: tuple[Any, Any], name: str, damage: str
) -> None:
    save(tmp_path, parts, 2, 4)
    break_, reason = DAMAGE[damage]
    break_(tmp_path / "step-000004" / name)
    found, problems = latest_checkpoint(tmp_path, IDENTITY)
    assert found == tmp_path / "step-000002"
    assert len(problems) == 1
    assert problems[0].startswith(f"step-000004: {name} ")
    assert reason in problems[0]


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_a_damaged_manifest_is_noticed_too(
    tmp_path: Path, parts: tuple[Any, Any], damage: Callable[[Path], None]
) -> None:
    save(tmp_path, parts, 2, 4)
    damage(tmp_path / "step-000004" / MANIFEST)
    found, problems = latest_checkpoint(tmp_path, IDENTITY)
    assert found == tmp_path / "step-000002"
    assert problems == ["step-000004: its manifest cannot be read"]


def test_a_manifest_that_lists_no_files_proves_nothing(
    tmp_path: Path, parts: tuple[Any, Any]
) -> None:
    save(tmp_path, parts, 2)
    manifest = tmp_path / "step-000002" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"files": {}}))
    assert verify(tmp_path / "step-000002") == f"its manifest does not list {MODEL}"


def test_negative_control_without_verification_a_flipped_bit_goes_unnoticed(
    tmp_path: Path, parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = parts
    save(tmp_path, parts, 2, 4)
    flip_a_bit(tmp_path / "step-000004" / MODEL)
    monkeypatch.setattr(state, "verify", lambda path: None)
    found, problems = latest_checkpoint(tmp_path, IDENTITY)
    assert (found, problems) == (tmp_path / "step-000004", [])
    before = [p.detach().clone() for p in model.parameters()]
    load_checkpoint(found, model, optimizer)
    changed = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert sum(changed) == 1


def test_when_every_checkpoint_is_damaged_there_is_none(
    tmp_path: Path, parts: tuple[Any, Any]
) -> None:
    save(tmp_path, parts, 2, 4)
    for step in (2, 4):
        truncate(tmp_path / f"step-{step:06d}" / MODEL)
    found, problems = latest_checkpoint(tmp_path, IDENTITY)
    assert found is None
    assert [problem[:11] for problem in problems] == ["step-000004", "step-000002"]
    assert latest_checkpoint(tmp_path / "nowhere", IDENTITY) == (None, [])


def test_the_manifest_decides_not_the_name(tmp_path: Path, parts: tuple[Any, Any]) -> None:
    save(tmp_path, parts, 2, 4)
    (tmp_path / "step-000002").rename(tmp_path / "step-999999")
    assert latest_checkpoint(tmp_path, IDENTITY)[0] == tmp_path / "step-000004"


def test_a_checkpoint_of_another_recipe_is_not_this_runs(
    tmp_path: Path, parts: tuple[Any, Any]
) -> None:
    save(tmp_path, parts, 2)
    save_checkpoint(tmp_path, *parts, progress(8, "other"), keep=1)
    assert latest_checkpoint(tmp_path, IDENTITY) == (tmp_path / "step-000002", [])
    assert names(tmp_path) == ["step-000002", "step-000008"]  # nor is it this run's to remove


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["saving", "staged"])
def test_a_full_disk_keeps_the_last_good_one(
    tmp_path: Path, parts: tuple[Any, Any], where: str
) -> None:
    save(tmp_path, parts, 2, keep=1)

    def full(place: str, step: int) -> None:
        if place == where:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, *parts, progress(4), 1, full)
    assert names(tmp_path) == ["step-000002"]
    assert latest_checkpoint(tmp_path, IDENTITY) == (tmp_path / "step-000002", [])


def test_room_is_asked_for_before_the_first_checkpoint_too(
    tmp_path: Path, parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = parts
    folder = tmp_path / "run" / "checkpoints"  # not made yet
    first = room.needed(folder, model)
    assert first >= 12 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    save(folder, parts, 2)
    written = sum(file.stat().st_size for file in (folder / "step-000002").iterdir())
    assert room.needed(folder, model) == int(1.1 * written)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage._replace(free=written))
    with pytest.raises(OSError, match="GB needed") as failed:
        room.require_room(folder, model)
    assert failed.value.errno == errno.ENOSPC
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage._replace(free=2 * written))
    room.require_room(folder, model)


@pytest.mark.parametrize("where", ["saving", "staged"])
def test_a_killed_write_is_no_checkpoint_and_is_swept_by_the_next(
    tmp_path: Path, parts: tuple[Any, Any], where: str
) -> None:
    save(tmp_path, parts, 2)

    class Killed(BaseException):
        pass

    def kill(place: str, step: int) -> None:
        if place == where:
            raise Killed

    with pytest.raises(Killed):
        save_checkpoint(tmp_path, *parts, progress(4), 2, kill)
    (left,) = tmp_path.glob(".step-*")
    left.rename(left.with_name(".step-000004.99999.tmp"))  # another process's
    assert latest_checkpoint(tmp_path, IDENTITY) == (tmp_path / "step-000002", [])
    save(tmp_path, parts, 5)
    assert names(tmp_path) == ["step-000002", "step-000005"]


def test_no_file_can_be_found_before_all_of_them_are_there(
    tmp_path: Path, parts: tuple[Any, Any]
) -> None:
    seen = {}

    def look(place: str, step: int) -> None:
        seen[place] = latest_checkpoint(tmp_path, IDENTITY)[0]

    save_checkpoint(tmp_path, *parts, progress(3), 1, look)
    assert seen == {"saving": None, "staged": None, "saved": tmp_path / "step-000003"}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_are_kept(tmp_path: Path, parts: tuple[Any, Any], keep: int) -> None:
    save(tmp_path, parts, 2, 4, 6, 8, keep=keep)
    assert names(tmp_path) == ["step-000002", "step-000004", "step-000006", "step-000008"][-keep:]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_later_one_does_not_push_out_a_good_one(
    tmp_path: Path, parts: tuple[Any, Any], keep: int
) -> None:
    """After falling back to step 4, a signal saves step 5; the damaged step 6 still lies there."""
    save(tmp_path, parts, 4, 6)
    truncate(tmp_path / "step-000006" / MODEL)
    save(tmp_path, parts, 5, keep=keep)
    assert names(tmp_path) == ["step-000004", "step-000005"][-keep:]
    assert latest_checkpoint(tmp_path, IDENTITY) == (tmp_path / "step-000005", [])


def test_a_damaged_one_is_replaced_when_its_step_comes_again(
    tmp_path: Path, parts: tuple[Any, Any]
) -> None:
    save(tmp_path, parts, 4, 6)
    shutil.rmtree(tmp_path / "step-000004")
    truncate(tmp_path / "step-000006" / MODEL)
    save(tmp_path, parts, 6)
    assert latest_checkpoint(tmp_path, IDENTITY) == (tmp_path / "step-000006", [])
