"""Packed attention equals each record alone, in value and gradient, for the families we support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samdan.lm.attention import Branch, Layout, Span
from samdan.lm.batch import Batch, Encoded, collate
from samdan.lm.scoring import Scorer, sum_by_sequence

# Families whose layers pass `layout` on to the attention function. GQA unless said otherwise.
FAMILIES: dict[str, dict[str, Any]] = {
    "Qwen2": {},
    "Qwen2-MHA": {"num_key_value_heads": 4},
    "Llama": {},
    "Mistral": {"sliding_window": 64},
    "Qwen3": {"head_dim": 16},
    "Gemma2": {"head_dim": 16, "query_pre_attn_scalar": 12, "attn_logit_softcapping": None},
    "Gemma3": {"head_dim": 16, "query_pre_attn_scalar": 12},
    "Phi3": {},
    "Olmo2": {},
}
every_family = pytest.mark.parametrize("family", FAMILIES)
MIXED = [17, 3, 16, 1, 9, 30, 2]


def model(family: str, **more: Any) -> Any:
    return tiny.model(("Gemma3Text" if family == "Gemma3" else family).split("-")[0], **shape(family) | more)


def shape(family: str) -> dict[str, Any]:
    return FAMILIES[family]


def plain_log_probs(model: Any, tokens: Sequence[int]) -> Tensor:
    """Log-probability of each token but the first, by transformers alone: one sequence, no padding."""
    ids = torch.tensor([list(tokens)])
    logits = model(input_ids=ids, use_cache=False).logits[0].float()
    return logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


@pytest.fixture(params=list(FAMILIES))
def pair_of_models(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A model with our attention and its twin with transformers' eager attention."""
    family = request.param
    name = "Gemma3" if family == "Gemma3" else family.split("-")[0]
    ours = tiny.model(name, **FAMILIES[family]) if name != "Gemma3" else gemma3()
    return ours, tiny.twin(ours)


def gemma3() -> Any:
    return tiny.model("Gemma3Text", **FAMILIES["Gemma3"])
