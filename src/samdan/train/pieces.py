"""A checkpoint's tensors as files: whole in one, or by rows in one file of each process.

``index.json`` says which rows lie where, so that any number of processes can read what another
number has written. It is JSON: nothing here is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from samdan.lm.files import disk_errors
from samdan.train import parallel
from samdan.train.sharding import local_part, own_rows, row_limits

INDEX = "index.json"
KINDS = ("model", "optimizer")


def file_name(kind: str, part: int = 0, parts: int = 1) -> str:
    return f"{kind}{f'-{part + 1:05d}-of-{parts:05d}' if parts > 1 else ''}.safetensors"


def file_names(parts: int) -> list[str]:
    return [file_name(kind, part, parts) for kind in KINDS for part in range(parts)]


def write(folder: Path, kind: str, tensors: Mapping[str, Tensor], parts: int) -> str:
    """This process's file of a kind. Tensors that are not split lie in the first one."""
    mine = {
        name: local_part(tensor).contiguous()
        for name, tensor in tensors.items()
        if parts == 1 or isinstance(tensor, DTensor) or parallel.is_main()
    }
    name = file_name(kind, parallel.rank() if parts > 1 else 0, parts)
    with disk_errors():
        save_file(mine, folder / name)
    return name


def index_of(kinds: Mapping[str, Mapping[str, Tensor]], parts: int) -> dict[str, Any]:
    """Per kind and tensor its shape and, where it is split, the rows that each part ends at."""
    return {"parts": parts} | {
        kind: {
            name: {"shape": list(tensor.shape)}
            | ({"rows": row_limits(tensor.shape[0], parts)} if isinstance(tensor, DTensor) else {})
            for name, tensor in tensors.items()
        }
        for kind, tensors in kinds.items()
    }


class Saved:
    """The tensors of one kind in a verified checkpoint, read by rows."""

    def __init__(self, folder: Path, kind: str) -> None:
        index: dict[str, Any] = {"parts": 1}
        if (folder / INDEX).is_file():
            index = json.loads((folder / INDEX).read_text("utf-8"))
        self.parts = int(index["parts"])
        self._opened = [
            safe_open(str(folder / file_name(kind, part, self.parts)), "pt")
            for part in range(self.parts)
        ]
        self._index: dict[str, Any] = index.get(kind, {})

    @property
    def names(self) -> set[str]:
        return set(self._index) if self.parts > 1 else set(self._opened[0].keys())

    def like(self, name: str, model: Tensor) -> Tensor:
        """The tensor, whole or this process's rows of it, as ``model`` is split.

        One of another shape than ``model`` (an optimizer's count of steps) is not split.
        """
        whole = self._shape(name)
        if not isinstance(model, DTensor) or whole != list(model.shape):
            return self._rows(name, 0, whole[0]) if whole else self._opened[0].get_tensor(name)
        return self._rows(name, *own_rows(model))

    def _shape(self, name: str) -> list[int]:
        if name in self._index:
            return list(self._index[name]["shape"])
        return list(self._opened[0].get_slice(name).get_shape())

    def _rows(self, name: str, first: int, last: int) -> Tensor:
        limits = self._index.get(name, {}).get("rows")
        if limits is None:
            found: Tensor = self._opened[0].get_slice(name)[first:last]
            return found
        parts = []
        for part, (start, end) in enumerate(pairwise(limits)):
            low, high = max(first, start), min(last, end)
            if low < high or part == 0:  # the first one also gives the type of no rows
                high = max(low, high)
                rows = self._opened[part].get_slice(name)
                parts.append(rows[low - start : high - start] if low < high else rows[0:0])
        return torch.cat(parts) if len(parts) > 1 else parts[0]
