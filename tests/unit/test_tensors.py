"""Checkpoints in pieces: what is written is read back, by us and by the format's own library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from samdan.lm.tensors import DTYPES, INDEX, Checkpoint, Planned, Stored, write_checkpoint
from samdan.records import DataError

TENSORS = {
    "wide": torch.arange(60, dtype=torch.float32).reshape(10, 6),
    "half": torch.arange(21, dtype=torch.bfloat16).reshape(7, 3),
    "scalar": torch.tensor(3.5),
    "none": torch.empty(0, 4),
    "counts": torch.arange(5),
    "flags": torch.tensor([True, False, True]),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def by_rows(tensor: Tensor, rows: int) -> Iterator[Tensor]:
    if not tensor.dim():
        yield tensor
        return
    yield from (tensor[first : first + rows] for first in range(0, len(tensor), rows))


def planned() -> list[Planned]:
    return [
        Planned(name, NAMES[tensor.dtype], tuple(tensor.shape), partial(by_rows, tensor, 2))
        for name, tensor in TENSORS.items()
    ]


@pytest.mark.parametrize("shard_bytes", [1, 100, 1 << 20])
def test_everything_comes_back(tmp_path: Path, shard_bytes: int) -> None:
    size = write_checkpoint(tmp_path, planned(), shard_bytes)
    assert size == sum(t.numel() * t.element_size() for t in TENSORS.values())
    found = Checkpoint(tmp_path)
    assert found.tensors.keys() == TENSORS.keys()
    theirs = {}
    for file in tmp_path.glob("*.safetensors"):
        theirs |= load_file(file)
    for name, tensor in TENSORS.items():
        assert torch.equal(found.read(name), tensor)
        assert torch.equal(theirs[name], tensor)
        copied = [part.reshape(-1) for part in found.copy(name)] or [tensor.view(-1)]
        assert torch.equal(torch.cat(copied), tensor.reshape(-1))
    assert (tmp_path / INDEX).is_file() == (shard_bytes < 1 << 20)


def test_rows_in_the_middle(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert torch.equal(Checkpoint(tmp_path).read("wide", 3, 5), TENSORS["wide"][3:5])
    assert torch.equal(Checkpoint(tmp_path).read("half", 6), TENSORS["half"][6:])


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 400))
def test_no_piece_is_larger_than_asked_but_a_row(rows: int, width: int, most: int) -> None:
    found = Checkpoint.__new__(Checkpoint)
    found.tensors = {"x": Stored(Path("x"), "F32", (rows, width), 0)}
    pieces = list(found.pieces("x", most))
    assert [row for first, last in pieces for row in range(first, last)] == list(range(rows))
    assert all((last - first) * width * 4 <= max(most, width * 4) for first, last in pieces)


def test_pieces_that_are_not_what_was_planned_are_an_error(tmp_path: Path) -> None:
    wrong = Planned("x", "F32", (4, 2), partial(by_rows, torch.zeros(3, 2), 2))
    with pytest.raises(ValueError, match="24 bytes, not 32"):
        write_checkpoint(tmp_path, [wrong])
    other = Planned("x", "F32", (3, 2), partial(by_rows, torch.zeros(3, 2).half(), 2))
    with pytest.raises(TypeError, match="float16"):
        write_checkpoint(tmp_path, [other])


def test_an_index_cannot_lead_elsewhere(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("../model.safetensors", "gone.safetensors"):
        (folder / INDEX).write_text(json.dumps({"weight_map": {"wide": name}}), "utf-8")
        with pytest.raises(DataError, match="which is not beside it"):
            Checkpoint(folder)
    (folder / INDEX).write_text("[]", "utf-8")
    with pytest.raises(DataError, match="expected a 'weight_map'"):
        Checkpoint(folder)
