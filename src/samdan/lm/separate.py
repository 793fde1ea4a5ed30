"""Whether records packed on one row are computed as if each were alone: tried, not assumed.

samdan's attention keeps records apart. Layers that mix tokens in another way (convolutions, linear
attention, recurrent states: LFM2, RecurrentGemma, Granite's hybrids) do not ask it, and would learn
from a neighbour's text while the loss looks healthy. A list of families is never complete, so the
model itself is asked, with two short records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samdan.lm.batch import Encoded, collate
from samdan.lm.scoring import Scorer
from samdan.records import DataError

LENGTH = 12  # tokens of a record
LEAK = 0.1  # 1: the neighbour counts as if it were the record's own text; fp32's rounding: 1e-4
ROUNDING = 1e-4  # of a log-probability in fp32: not told from none


def require_separate(model: Any, path: str, key: str = "base.path") -> None:
    """Raises DataError where a record's log-probabilities change with what it is packed with.

    ``key``: as in ``load_model``.
    """
    leak = neighbours_share(model)
    if leak > LEAK:
        where = f"{key}: " if key else ""
        raise DataError(
            f"{where}'{path}' is a {type(model).__name__}, whose records see their neighbours when "
            f"packed on one row ({leak:.0%} of what joining them would change): it mixes tokens "
            f"outside of attention. samdan cannot train or score it; choose a base that mixes "
            f"them by attention alone"
        )


@torch.no_grad()
def neighbours_share(model: Any) -> float:
    """How much a record packed behind another differs from itself alone, over how much it differs
    when it is the other's continuation. 0 where it does not: about 1e-4 in fp32."""
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    ids = vocabulary // 3 + 7 * np.arange(2 * LENGTH)
    tokens = (ids % vocabulary).astype(np.uint32)
    first, second, joined = (
        Encoded(part, np.ones(len(part), np.bool_))
        for part in (tokens[:LENGTH], tokens[LENGTH:], tokens)
    )
    scorer = Scorer(model)
    scorer.varlen = False  # whose kernel is checked on its own, and knows no fp32

    def scores(*records: Encoded) -> Tensor:
        return scorer(collate(records))[-(LENGTH - 1) :].double()

    with _evaluating(model):
        alone = scores(second)
        packed = float((scores(first, second) - alone).abs().mean())
        continued = float((scores(joined) - alone).abs().mean())
    return packed / continued if packed > ROUNDING else 0.0


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
