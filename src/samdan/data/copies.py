"""Copies within and across the sources of a stage: the first in the recipe's order is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdan.data.clean import EXACT
from samdan.data.store import clean_parts
from samdan.lm.files import write_json

Int = NDArray[np.int64]


def find_copies(cleaned: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Writes ``folder/<source>.npy``: of which record each one is a copy, -1 for none.

    ``cleaned``: the folders of ``clean_source`` by the source's name, in the recipe's order.
    Records are numbered through all of them. Returns counts and a hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashes = [_stacked(clean) for clean in cleaned.values()]
    first = _first_of_each(np.concatenate(hashes))
    copies = np.where(first == np.arange(len(first)), -1, first)
    bounds = np.cumsum([len(part) for part in hashes])[:-1]
    found: dict[str, Any] = {"sha256": hashlib.sha256(copies.tobytes()).hexdigest(), "copies": {}}
    for label, mine in zip(cleaned, np.split(copies, bounds), strict=True):
        np.save(folder / f"{label}.npy", mine)
        found["copies"][label] = int((mine >= 0).sum())
    write_json(folder / "manifest.json", found)
    return found


def _stacked(folder: Path) -> NDArray[np.uint64]:
    parts = [np.load(part / EXACT, allow_pickle=False) for part in clean_parts(folder)]
    return np.concatenate([np.empty((0, 2), np.uint64), *parts])


def _first_of_each(hashes: NDArray[np.uint64]) -> Int:
    """For every row the number of the first row that equals it."""
    _, first, inverse = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)].astype(np.int64)
