"""Prepared data on disk: encoded records as flat memory-mapped arrays, and the index over them.

A shard is a folder: ``tokens.bin`` (uint32) and ``trained.bin`` (uint8) back to back, and the small
arrays that say where each record lies. An index says which pieces of which shards make each unit of
training (a block, a conversation, a pair), in training order. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdan.lm.batch import Encoded, num_predictions

Int = NDArray[np.int64]


class ShardWriter:
    """Appends records to a shard; ``close`` completes it. Memory stays flat."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._tokens = (folder / "tokens.bin").open("wb")
        self._trained = (folder / "trained.bin").open("wb")
        self._digest = hashlib.sha256()
        self._lengths: list[int] = []
        self._splits: list[tuple[int, int]] = []
        self._predicted: list[int] = []
        self._bytes: list[int] = []
        self._positions: list[float] = []

    def add(self, record: Encoded, num_bytes: int, position: float = 0.0) -> None:
        """``num_bytes``: UTF-8 bytes of the text that is trained, for bits per byte.

        ``position``: of a held-out record, the number in [0, 1) by which it was chosen.
        """
        tokens, trained = record.tokens.tobytes(), record.trained.astype(np.uint8).tobytes()
        self._tokens.write(tokens)
        self._trained.write(trained)
        self._digest.update(tokens)
        self._digest.update(trained)
        self._lengths.append(len(record))
        self._splits.append((record.prefix, record.span))
        self._predicted.append(num_predictions(record))
        self._bytes.append(num_bytes)
        self._positions.append(position)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each record."""
        return tuple(self._lengths)

    def close(self) -> str:
        """Returns the hash of the shard's content."""
        self._tokens.close()
        self._trained.close()
        offsets = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)])
        table = np.asarray(self._splits, np.int64).reshape(-1, 2)
        np.save(self.folder / "offsets.npy", offsets.astype(np.int64))
        np.save(self.folder / "splits.npy", table)
        np.save(self.folder / "predicted.npy", np.asarray(self._predicted, np.int64))
        np.save(self.folder / "bytes.npy", np.asarray(self._bytes, np.int64))
        np.save(self.folder / "positions.npy", np.asarray(self._positions, np.float64))
        self._digest.update(offsets.tobytes())
        self._digest.update(table.tobytes())
        return self._digest.hexdigest()


class Shard:
    """A prepared source, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.offsets: Int = np.load(folder / "offsets.npy", allow_pickle=False)
        self.splits: Int = np.load(folder / "splits.npy", allow_pickle=False)
        self.predicted: Int = np.load(folder / "predicted.npy", allow_pickle=False)
        self.bytes: Int = np.load(folder / "bytes.npy", allow_pickle=False)
        self.positions = np.load(folder / "positions.npy", allow_pickle=False)
        self._tokens = _map(folder / "tokens.bin", np.uint32)
        self._trained = _map(folder / "trained.bin", np.uint8)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int:
        return np.diff(self.offsets)

    @property
    def num_tokens(self) -> int:
        return int(self.offsets[-1])

    def record(self, number: int, start: int = 0, length: int | None = None) -> Encoded:
        """A record, or a piece of it (documents only: a pair cannot be cut)."""
        begin = int(self.offsets[number]) + start
        end = int(self.offsets[number + 1]) if length is None else begin + length
        tokens = np.asarray(self._tokens[begin:end])
        trained = np.asarray(self._trained[begin:end]).astype(np.bool_)
        prefix, span = (int(x) for x in self.splits[number])
        whole = end - begin == self.offsets[number + 1] - self.offsets[number]
        return Encoded(tokens, trained, prefix, span) if whole else Encoded(tokens, trained)


def _map(path: Path, dtype: Any) -> NDArray[Any]:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")


@dataclass(frozen=True)
class Index:
    """Units of training in order. Pieces are numbered through all shards of the stage."""

    pieces: Int  # [pieces, 4]: shard, record, start, length
    unit_offsets: Int  # [units + 1] into unit_pieces
    unit_pieces: Int
    unit_tokens: Int  # [units]

    @property
    def num_units(self) -> int:
        return len(self.unit_tokens)

    def save(self, folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        for name in ("pieces", "unit_offsets", "unit_pieces", "unit_tokens"):
            array = np.ascontiguousarray(getattr(self, name), np.int64)
            np.save(folder / f"{name}.npy", array)
            digest.update(array.tobytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, folder: Path) -> Index:
        names = ("pieces", "unit_offsets", "unit_pieces", "unit_tokens")
        return cls(
            *(np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in names)
        )


class TrainingData:
    """Shards and the index over them: unit numbers to encoded records."""

    def __init__(self, shard_folders: Sequence[Path], index: Index) -> None:
        self.shards = [Shard(folder) for folder in shard_folders]
        self.index = index

    def pieces_of_unit(self, unit: int) -> list[int]:
        begin, end = self.index.unit_offsets[unit], self.index.unit_offsets[unit + 1]
        return [int(piece) for piece in self.index.unit_pieces[begin:end]]

    def piece(self, number: int) -> Encoded:
        shard, record, start, length = (int(x) for x in self.index.pieces[number])
        return self.shards[shard].record(record, start, length)
