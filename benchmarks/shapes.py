"""Model shapes with random weights, synthetic records with realistic lengths, and model FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from samdan.lm.attention import NAME as ATTENTION
from samdan.lm.batch import Encoded, num_predictions


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes; ``key_heads``: heads of keys and values."""

    hidden: int
    layers: int
    heads: int
    key_heads: int
    mlp: int
    vocab: int
    tied: bool


# Qwen2.5's own, from its model cards' configurations; ``135m`` has the sizes of SmolLM-135M;
# ``tiny`` only tries the code.
SHAPES = {
    "tiny": Shape(64, 3, 4, 2, 160, 512, True),
    "135m": Shape(576, 30, 9, 3, 1536, 49_152, True),
    "0.5b": Shape(896, 24, 14, 2, 4864, 151_936, True),
    "1.5b": Shape(1536, 28, 12, 2, 8960, 151_936, True),
    "7b": Shape(3584, 28, 28, 4, 18_944, 152_064, False),
}


def build(
    shape: Shape, device: torch.device, dtype: torch.dtype, attention: str = ATTENTION
) -> Any:
    """The shape with random weights, drawn on the device. Equal calls give equal weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        intermediate_size=shape.mlp,
        tie_word_embeddings=shape.tied,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        max_position_embeddings=32_768,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
        attn_implementation=attention,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return Qwen2ForCausalLM(config).to(dtype)


def parameters(shape: Shape) -> int:
    """The matrices of the layers, the embeddings, and a head of its own if untied; no vectors."""
    width = shape.hidden // shape.heads
    attention = 2 * shape.hidden * width * (shape.heads + shape.key_heads)
    layer = attention + 3 * shape.hidden * shape.mlp
    return shape.layers * layer + shape.vocab * shape.hidden * (1 if shape.tied else 2)


# --- records --------------------------------------------------------------------------------------


def blocks(count: int, length: int, vocab: int, seed: int = 0) -> list[list[Encoded]]:
    """CPT: ``count`` blocks of ``length`` tokens, each filled with documents, the last one cut.

    Document lengths are lognormal with a median of 500 tokens and a mean of about 900, as company
    documentation and court precedents have them.
    """
    drawn = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        block, left = [], length
        while left:
            size = min(left, max(8, int(drawn.lognormal(np.log(500), 1.1))))
            block.append(Encoded(_tokens(drawn, size, vocab), np.ones(size, np.bool_)))
            left -= size
        made.append(block)
    return made


def conversations(count: int, longest: int, vocab: int, seed: int = 0) -> list[list[Encoded]]:
    """SFT: 40% of the tokens are supervised; lognormal lengths, median 400."""
    drawn = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        size = int(np.clip(drawn.lognormal(np.log(400), 0.8), 16, longest))
        trained = np.arange(size) >= round(0.6 * size)
        made.append([Encoded(_tokens(drawn, size, vocab), trained)])
    return made


def pairs(count: int, longest: int, vocab: int, share: float, seed: int = 0) -> list[list[Encoded]]:
    """DPO: the prompt is ``share`` of prompt and one answer; lognormal lengths, median 600."""
    drawn = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        size = int(np.clip(drawn.lognormal(np.log(600), 0.5), 32, longest * 0.8))
        prompt = max(1, round(share * size))
        answer = size - prompt
        chosen, rejected = (max(2, int(answer * f)) for f in drawn.uniform(0.75, 1.25, 2))
        tokens = _tokens(drawn, prompt + chosen + rejected, vocab)
        made.append([Encoded(tokens, np.arange(len(tokens)) >= prompt, prompt, prompt + chosen)])
    return made


def _tokens(drawn: np.random.Generator, size: int, vocab: int) -> Any:
    return drawn.integers(2, vocab, size).astype(np.uint32)


# --- FLOPs ----------------------------------------------------------------------------------------


def backbone_parameters(model: Any) -> int:
    """Parameters that every token is multiplied with: no embeddings, no head, no adapters."""
    skipped = ("embed_tokens", "lm_head", "lora_")
    named = model.named_parameters()
    return sum(p.numel() for name, p in named if not any(part in name for part in skipped))


def model_flops(
    shape: Shape, backbone: int, records: Sequence[Encoded], adapters: int | None = None
) -> float:
    """FLOPs that a training step over the records needs; what is recomputed does not count.

    Forward: 2 for every backbone parameter and token; 4 * layers * heads * head width for every key
    that a token sees (l^2 / 2 of a document of l tokens, so 2 * l a token: causal); 2 * hidden *
    vocabulary for every *predicted* token. A shared prompt counts once, as it is computed once. The
    backward takes twice the forward: 6 * N * T + 6 * L * a * lbar * T + 6 * d * V * predictions.
    With ``adapters`` (their number of parameters) the frozen matrices have no gradient of their
    own: their backward takes as much as their forward.
    """
    tokens = sum(len(record) for record in records)
    seen = 0.0
    for record in records:
        branch = len(record) - record.span
        seen += record.span**2 / 2 + branch * record.prefix + branch**2 / 2
    matrices = 2.0 * backbone * tokens
    attention = 4.0 * shape.layers * shape.hidden * seen
    head = 2.0 * shape.hidden * shape.vocab * sum(num_predictions(record) for record in records)
    if adapters is None:
        return 3 * (matrices + attention + head)
    return 2 * (matrices + head) + 3 * attention + 6.0 * adapters * tokens
