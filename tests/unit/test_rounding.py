"""A model that lies in bf16 alone scores as one that computes with copies, and writes answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny
from samdan.evals.generate import generate
from samdan.lm.batch import collate
from samdan.lm.rounding import is_rounded, round_weights, rounded_bytes
from samdan.lm.scoring import Scorer

RECORDS = [tiny.document(40), tiny.pair(9, 7, 3), tiny.conversation(8, 20)]
# Gemma scales its embeddings, Cohere its logits, Mixtral chooses experts, OPT learns positions.
FAMILIES = ("Qwen2", "Llama", "Gemma", "Gemma3", "Cohere", "Mixtral", "OPT", "GPTNeoX")


def scores(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return Scorer(model, bf16=True).eval()(collate(RECORDS))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_kept_copies_to_the_bit(family: str, tied: bool) -> None:
    model = tiny.model(family, tie_word_embeddings=tied)
    before = sum(p.numel() * p.element_size() for p in model.parameters())
    expected, planned = scores(model), rounded_bytes(model)
    round_weights(model)
    assert is_rounded(model)
    assert torch.equal(scores(model), expected)
    after = sum(p.numel() * p.element_size() for p in model.parameters())
    assert after == planned == rounded_bytes(model)
    scaled = family.startswith("Gemma")
    assert after < before * (0.9 if scaled else 0.52)
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (table is head) is tied
    assert {table.dtype, head.dtype} == (
        {torch.bfloat16} if not scaled
        else {torch.float32} if tied else {torch.bfloat16, torch.float32}
    )  # fmt: skip
    assert not any(p.requires_grad for p in model.parameters() if p.dtype == torch.bfloat16)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_writes_what_the_model_that_learns_writes_in_bf16(family: str) -> None:
    chat = tiny.chat()
    model = tiny.model(family, vocab_size=len(chat.tokenizer)).eval()
    prompts = [[5, 6, 7], [9, 8, 7, 6, 5]]
    with Scorer(model, bf16=True).precision():
        expected = generate(model, chat, prompts, 24)
    assert not is_rounded(model)
    round_weights(model)
    assert generate(model, chat, prompts, 24) == expected
