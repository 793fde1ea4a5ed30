"""Tokens whose embedding a model has never learned.

Base models carry rows for special tokens that no text of theirs held: Llama 3's reserved tokens are
zero, and chat templates write some of them. Such a token says nothing, and a zero row at the begin
of a record is divided by its own size in every layer's norm until the gradient overflows (measured:
30 layers of random weights, loss finite, gradient not). Land and Bartolo (2405.05417) find them by
their small rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from samdan.lm.tensors import FLOATS, Checkpoint

# Of the usual row's norm. Rows that were trained are within a factor of three of each other.
SMALL = 0.01
SAMPLED = 512  # rows that tell what is usual
_NAMES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")


def unlearned(folder: Path, tokens: Mapping[str, int]) -> list[str]:
    """Names of those ``tokens`` whose row of the input embeddings is all but zero.

    Reads some rows, not the model. Empty where the embeddings go by an unknown name.
    """
    weights = Checkpoint(folder)
    name = next((n for n in weights.tensors if n.endswith(_NAMES)), None)
    if name is None or weights.tensors[name].dtype not in FLOATS:
        return []
    rows = weights.tensors[name].rows
    step = max(1, rows // SAMPLED)

    def norm(row: int) -> float:
        return float(torch.linalg.vector_norm(weights.read(name, row, row + 1).float()))

    usual = float(torch.tensor([norm(row) for row in range(0, rows, step)]).median())
    return [text for text, row in tokens.items() if row < rows and norm(row) < SMALL * usual]
