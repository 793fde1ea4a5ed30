"""Checkpoints tensor by tensor: read in pieces, written in shards, never whole in memory.

The format is safetensors (an 8-byte length, a JSON header, the data). Its own library writes only
what is in memory and reads through a memory map, whose pages count as this process's; here a few
megabytes of rows are held at a time, however large the model is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from samdan.lm.files import write_json
from samdan.lm.trust import read_config
from samdan.records import DataError

PIECE_BYTES = 16 << 20  # read at a time
SHARD_BYTES = 1 << 30  # of one file, unless one tensor is larger
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class Stored:
    """Where one tensor of a checkpoint lies. ``start``: its first byte in the file."""

    file: Path
    dtype: str  # as in the header: "BF16"
    shape: tuple[int, ...]
    start: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Length of the first dimension; a scalar is one row."""
        return self.shape[0] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        return DTYPES[self.dtype].itemsize * (self.count // self.rows if self.rows else 0)


class Checkpoint:
    """The tensors of a model folder, by name. Raises DataError when there are none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tensors: dict[str, Stored] = {}
        for file in _files(folder):
            self.tensors |= _header(file)

    def read(self, name: str, first: int = 0, last: int | None = None) -> Tensor:
        """Rows [first, last) of a tensor, of its own dtype; a scalar is read whole."""
        found = self.tensors[name]
        last = found.rows if last is None else last
        shape = (last - first, *found.shape[1:]) if found.shape else ()
        if not math.prod(shape):
            return torch.empty(shape, dtype=DTYPES[found.dtype])
        with found.file.open("rb") as opened:
            opened.seek(found.start + first * found.row_bytes)
            data = bytearray((last - first) * found.row_bytes)
            if opened.readinto(data) != len(data):
                raise DataError(f"{found.file}: '{name}' ends too early; the file is damaged")
        return torch.frombuffer(data, dtype=DTYPES[found.dtype]).reshape(shape)

    def pieces(self, name: str, piece_bytes: int = PIECE_BYTES) -> Iterator[tuple[int, int]]:
        """The ranges of rows that a tensor is read in."""
        found = self.tensors[name]
        step = max(1, piece_bytes // max(1, found.row_bytes))
        for first in range(0, found.rows, step):
            yield first, min(first + step, found.rows)

    def copy(self, name: str) -> Iterator[Tensor]:
        """A tensor in pieces, unchanged."""
        for first, last in self.pieces(name):
            yield self.read(name, first, last)


@dataclass(frozen=True)
class Planned:
    """A tensor that will be written: its pieces are made when their turn comes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[Tensor]]

    @property
    def size(self) -> int:
        return DTYPES[self.dtype].itemsize * math.prod(self.shape)


def write_checkpoint(
    folder: Path,
    planned: Sequence[Planned],
    shard_bytes: int = SHARD_BYTES,
    poll: Callable[[], None] = lambda: None,
) -> int:
    """Writes the tensors into ``folder`` as transformers names them; returns their size in bytes.

    ``poll``: called between tensors, and may raise to stop; what is written then is not whole.
    """
    shards = _shards(planned, shard_bytes)
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = SINGLE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        with (folder / name).open("wb") as opened:
            _write_shard(opened, shard, poll)
        where |= {tensor.name: name for tensor in shard}
    total = sum(tensor.size for tensor in planned)
    if len(shards) > 1:
        ordered = dict(sorted(where.items()))
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": ordered})
    return total


def _shards(planned: Sequence[Planned], shard_bytes: int) -> list[list[Planned]]:
    shards: list[list[Planned]] = [[]]
    used = 0
    for tensor in planned:
        if shards[-1] and used + tensor.size > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(tensor)
        used += tensor.size
    return shards


def _write_shard(opened: BinaryIO, shard: Sequence[Planned], poll: Callable[[], None]) -> None:
    # The widest first: every tensor begins at a multiple of its element's size.
    ordered = sorted(shard, key=lambda tensor: (-DTYPES[tensor.dtype].itemsize, tensor.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in ordered:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [end, end + tensor.size],
        }
        end += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    opened.write(len(text).to_bytes(8, "little") + text)
    for tensor in ordered:
        poll()
        written = 0
        for piece in tensor.pieces():
            if piece.dtype != DTYPES[tensor.dtype]:
                raise TypeError(f"{tensor.name}: {piece.dtype}, not {tensor.dtype}")
            data = piece.contiguous().reshape(-1).view(torch.uint8).numpy().data
            written += len(data)
            opened.write(data)
        if written != tensor.size:
            raise ValueError(f"{tensor.name}: {written} bytes, not {tensor.size}")


def _files(folder: Path) -> list[Path]:
    """The files of the index where there is one: others may hold the same weights once more."""
    index = folder / INDEX
    if index.is_file():
        try:
            names = set(read_config(index)["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{index}: expected a 'weight_map' of tensors to files") from None
        listed = sorted(map(str, names))
        if missing := [n for n in listed if Path(n).name != n or not (folder / n).is_file()]:
            raise DataError(f"{index}: names {missing[0]!r}, which is not beside it")
        return [folder / name for name in listed]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    raise DataError(
        f"{folder}: no {SINGLE} and no {INDEX}; expected a model saved as safetensors (pickled "
        f".bin weights are not read; load and save them with transformers once)"
    )


def _header(file: Path) -> dict[str, Stored]:
    try:
        with safe_open(str(file), "pt"):
            pass  # sizes, offsets and shapes are checked by the format's own library
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: not a whole safetensors file ({error})") from None
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    header.pop("__metadata__", None)
    if strange := sorted({row["dtype"] for row in header.values()} - DTYPES.keys()):
        raise DataError(f"{file}: holds tensors of type {strange[0]}, which cannot be rewritten")
    return {
        name: Stored(file, row["dtype"], tuple(row["shape"]), 8 + length + row["data_offsets"][0])
        for name, row in header.items()
    }
