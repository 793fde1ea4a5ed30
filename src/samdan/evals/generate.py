"""Greedy answers in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from samdan.lm.attention import NAME as ATTENTION
from samdan.lm.chat import ChatFormat

BATCH_TOKENS = 16_384


def greedy(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    poll: Callable[[], None] = lambda: None,
) -> list[tuple[str, bool]]:
    """Per prompt: the answer's text, and whether it ended by itself within ``max_new_tokens``."""
    answers: list[tuple[str, bool]] = [("", False)] * len(prompts)
    # Shortest first; prompts of similar length share a batch, so there is little padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    model.set_attn_implementation("sdpa")
    model.eval()
    try:
        while order:
            poll()
            widest = len(prompts[order[-1]]) + max_new_tokens
            size = max(1, min(128, BATCH_TOKENS // widest))
            chosen, order = order[-size:], order[:-size]
            outputs = _generate(model, chat, [prompts[i] for i in chosen], max_new_tokens)
            for number, answer in zip(chosen, outputs, strict=True):
                answers[number] = answer
    finally:
        model.set_attn_implementation(ATTENTION)
    return answers


def _generate(
    model: Any, chat: ChatFormat, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[tuple[str, bool]]:
    stops = chat.stop_tokens
    pad = stops[0] if stops else 0
    width = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.full((len(prompts), width), pad, device=device)
    mask = torch.zeros((len(prompts), width), dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(list(prompt), device=device)
        mask[row, width - len(prompt) :] = 1
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=list(stops) or None,
            pad_token_id=pad,
        )
    return [_cut(row, stops, chat) for row in out[:, width:].tolist()]


def _cut(tokens: list[int], stops: Sequence[int], chat: ChatFormat) -> tuple[str, bool]:
    ends = [position for position, token in enumerate(tokens) if token in stops]
    kept = tokens[: ends[0]] if ends else tokens
    return chat.tokenizer.decode(kept, skip_special_tokens=True), bool(ends)
