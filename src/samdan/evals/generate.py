"""Answers in batches: the likeliest token, or samples that do not depend on the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessor

from samdan.lm.attention import NAME as ATTENTION
from samdan.lm.chat import ChatFormat
from samdan.lm.rounding import matching

BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class Sampling:
    """``temperature`` above 0; ``top_p``: the likeliest tokens that reach that probability."""

    temperature: float
    top_p: float = 1.0
    seed: str = ""


def greedy(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    poll: Callable[[], None] = lambda: None,
) -> list[tuple[str, bool]]:
    """Per prompt: the answer's text, and whether it ended by itself within ``max_new_tokens``."""
    return generate(model, chat, prompts, max_new_tokens, poll)


def generate(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    poll: Callable[[], None] = lambda: None,
    sampling: Sampling | None = None,
    stops: Sequence[int] | None = None,
) -> list[tuple[str, bool]]:
    """As ``greedy``, or sampled where ``sampling`` is given.

    What is drawn for a prompt depends on the seed and on the prompt's number, not on the batch.
    ``stops``: tokens that end an answer, in place of those of the chat format.
    """
    answers: list[tuple[str, bool]] = [("", False)] * len(prompts)
    # Shortest first; prompts of similar length share a batch, so there is little padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    with _plain_attention(model):
        while order:
            poll()
            widest = len(prompts[order[-1]]) + max_new_tokens
            size = max(1, min(128, BATCH_TOKENS // widest))
            chosen, order = order[-size:], order[:-size]
            drawing = [_Drawing(sampling, chosen)] if sampling else []
            ends = chat.stop_tokens if stops is None else tuple(stops)
            some = [prompts[i] for i in chosen]
            outputs = _generate(model, chat, some, max_new_tokens, drawing, ends)
            for number, answer in zip(chosen, outputs, strict=True):
                answers[number] = answer
    return answers


class Written(NamedTuple):
    """An answer on its way. ``ended``: by itself, which only the last one tells."""

    text: str
    tokens: int
    ended: bool = False


def stream(
    model: Any,
    chat: ChatFormat,
    prompt: Sequence[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
) -> Iterator[Written]:
    """The answer so far, token by token, and at last what ``generate`` returns.

    Characters that a token began and the next one ends are held back.
    """
    device = next(model.parameters()).device
    drawing = _Drawing(sampling, [0]) if sampling else None
    ids = torch.tensor([list(prompt)], device=device)
    tokens: list[int] = []
    past: Any = None
    ended = False
    while len(tokens) < max_new_tokens and not ended:
        with torch.inference_mode(), _plain_attention(model):
            out = model(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=1)
            logits = out.logits[:, -1].float()
            scores = drawing(ids, logits) if drawing else logits
            token = int(scores.argmax(-1))
        ended = token in chat.stop_tokens
        if not ended:
            past, ids = out.past_key_values, torch.tensor([[token]], device=device)
            tokens.append(token)
            text = str(chat.tokenizer.decode(tokens, skip_special_tokens=True))
            if not text.endswith("\ufffd"):
                yield Written(text, len(tokens))
    whole = str(chat.tokenizer.decode(tokens, skip_special_tokens=True))
    yield Written(whole, len(tokens), ended)


@contextmanager
def _plain_attention(model: Any) -> Iterator[None]:
    """The attention that generation needs; samdan's own knows packed rows only."""
    model.set_attn_implementation("sdpa")
    model.eval()
    try:
        with matching(model):
            yield
    finally:
        model.set_attn_implementation(ATTENTION)


def _generate(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    processors: Sequence[LogitsProcessor],
    stops: Sequence[int],
) -> list[tuple[str, bool]]:
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
            logits_processor=list(processors),
        )
    return [_cut(row, stops, chat) for row in out[:, width:].tolist()]


def _cut(tokens: list[int], stops: Sequence[int], chat: ChatFormat) -> tuple[str, bool]:
    ends = [position for position, token in enumerate(tokens) if token in stops]
    kept = tokens[: ends[0]] if ends else tokens
    return chat.tokenizer.decode(kept, skip_special_tokens=True), bool(ends)


class _Drawing(LogitsProcessor):
    """Adds Gumbel noise, so that the largest logit is a sample: one stream of noise per prompt.

    The library's own sampling draws for the whole batch from the global state, and so the same
    prompt gets another answer when its neighbours change.
    """

    def __init__(self, sampling: Sampling, numbers: Sequence[int]) -> None:
        self.sampling, self.numbers = sampling, numbers
        self.streams: list[torch.Generator] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits [prompts, vocabulary] to noisy ones."""
        if not self.streams:
            self.streams = [self._stream(number, scores.device) for number in self.numbers]
        cooled = scores.float() / self.sampling.temperature
        if self.sampling.top_p < 1:
            cooled = _nucleus(cooled, self.sampling.top_p)
        width = scores.shape[-1]
        noise = torch.stack(
            [torch.rand(width, generator=g, device=scores.device) for g in self.streams]
        )
        return cooled - torch.log(-torch.log(noise.clamp(1e-20, 1 - 1e-7)))

    def _stream(self, number: int, device: torch.device) -> torch.Generator:
        key = hashlib.sha256(f"{self.sampling.seed}/{number}".encode()).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(key[:7], "big"))


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens whose probabilities first reach ``top_p``; at least one."""
    ordered, places = logits.sort(descending=True)
    probabilities = ordered.softmax(-1)
    outside = probabilities.cumsum(-1) - probabilities >= top_p
    outside[..., 0] = False
    return logits.masked_fill(outside.scatter(-1, places, outside), float("-inf"))
