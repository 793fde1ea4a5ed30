"""What a grown model's folder says about its growth: ``growth.json`` beside the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samdan.lm.batch import Encoded
from samdan.lm.files import write_json
from samdan.records import DataError

FILE = "growth.json"


@dataclass(frozen=True)
class Growth:
    """How a model differs from the base it was grown from."""

    old_rows: int
    """Rows of the embeddings before, padding included."""
    new_ids: tuple[int, ...] = ()
    """The rows that are new. Of a padded vocabulary, the first of them are old padding."""
    pieces: tuple[tuple[int, ...], ...] = ()
    """Per new id, the old ids that the same text was before."""
    initialisers: Mapping[str, str] = field(default_factory=dict)
    """``input`` and ``output``, by name; no ``output`` where the head is tied."""
    new_layers: tuple[int, ...] = ()
    """Indices of layers that the base did not have."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Hashes of what it was made of, by step."""


def write(folder: Path, growth: Growth) -> None:
    write_json(folder / FILE, asdict(growth))


def read(folder: Path) -> Growth | None:
    """None for a model that did not grow (its folder has no ``growth.json``)."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text("utf-8"))
        return Growth(
            int(value["old_rows"]),
            tuple(value["new_ids"]),
            tuple(map(tuple, value["pieces"])),
            value["initialisers"],
            tuple(value["new_layers"]),
            value["sources"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: found no growth of a model ({error}); grow it again") from None


class OldPieces:
    """Records as the tokenizer before growing would have encoded them.

    Exact, since old merges rank before new ones: every new token stands for fixed old tokens.
    """

    def __init__(self, pieces: Mapping[int, Iterable[int]]) -> None:
        self._pieces = {number: np.asarray(list(ids), np.uint32) for number, ids in pieces.items()}

    def __call__(self, record: Encoded) -> Encoded:
        """The record with every new token replaced; the parts of a trained token are trained."""
        parts = [
            self._pieces.get(token, record.tokens[at : at + 1])
            for at, token in enumerate(record.tokens.tolist())
        ]
        lengths = np.asarray([len(part) for part in parts], np.int64)
        ends: NDArray[np.int64] = np.concatenate([[0], np.cumsum(lengths)])
        return Encoded(
            np.concatenate([np.empty(0, np.uint32), *parts]),
            np.repeat(record.trained, lengths),
            int(ends[record.prefix]),
            int(ends[record.span]),
        )
