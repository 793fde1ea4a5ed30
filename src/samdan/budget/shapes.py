"""A decoder's shape and its parameters; those of well-known models stand here, for no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

GIB = 1 << 30
# Layers that are not all alike, or of which a token sees only some: this arithmetic is not theirs.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class Shape:
    """A decoder's shape, as in its config.json; ``head_dim`` 0: hidden_size over the heads."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    vocab_size: int
    num_attention_heads: int
    num_key_value_heads: int
    tied: bool
    head_dim: int = 0

    @property
    def query_width(self) -> int:
        head = self.head_dim or self.hidden_size // self.num_attention_heads
        return head * self.num_attention_heads

    @property
    def key_width(self) -> int:
        return self.query_width // self.num_attention_heads * self.num_key_value_heads

    @property
    def layer_parameters(self) -> int:
        attention = 2 * self.hidden_size * (self.query_width + self.key_width)
        return attention + 3 * self.hidden_size * self.intermediate_size

    def named_weights(self) -> Iterator[tuple[str, int]]:
        """The matrices as Llama's kind of models names them, and their sizes; vectors are few."""
        widths = {"q": self.query_width, "k": self.key_width, "v": self.key_width,
                  "o": self.query_width}  # fmt: skip
        yield "model.embed_tokens.weight", self.vocab_size * self.hidden_size
        for layer in range(self.num_hidden_layers):
            for part, width in widths.items():
                yield f"model.layers.{layer}.self_attn.{part}_proj.weight", self.hidden_size * width
            for part in ("gate", "up", "down"):
                name = f"model.layers.{layer}.mlp.{part}_proj.weight"
                yield name, self.hidden_size * self.intermediate_size
        if not self.tied:
            yield "lm_head.weight", self.vocab_size * self.hidden_size

    @property
    def root_parameters(self) -> int:
        """Of input embeddings and output head, which are one where they are tied."""
        return self.vocab_size * self.hidden_size * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """Of all matrices; norms and biases are left out (below 0.1%)."""
        return self.num_hidden_layers * self.layer_parameters + self.root_parameters


# From the models' published configs.
KNOWN_SHAPES = {
    "Qwen/Qwen2.5-0.5B": Shape(896, 24, 4864, 151_936, 14, 2, True),
    "Qwen/Qwen2.5-1.5B": Shape(1536, 28, 8960, 151_936, 12, 2, True),
    "Qwen/Qwen2.5-3B": Shape(2048, 36, 11_008, 151_936, 16, 2, True),
    "Qwen/Qwen2.5-7B": Shape(3584, 28, 18_944, 152_064, 28, 4, False),
    "upstage/SOLAR-10.7B-v1.0": Shape(4096, 48, 14_336, 32_000, 32, 8, False),
    "Qwen/Qwen2.5-14B": Shape(5120, 48, 13_824, 152_064, 40, 8, False),
}


def shape_from_config(config: Mapping[str, Any]) -> Shape | None:
    """The shape in a config.json, or None when it is of another kind (a mixture of experts)."""
    if isinstance(config.get("text_config"), Mapping):
        config = config["text_config"]
    if any(int(config.get(name) or 0) > 1 for name in EXPERTS):
        return None
    try:
        heads = int(config["num_attention_heads"])
        return Shape(
            int(config["hidden_size"]),
            int(config["num_hidden_layers"]),
            int(config["intermediate_size"]),
            int(config["vocab_size"]),
            heads,
            int(config.get("num_key_value_heads") or heads),
            bool(config.get("tie_word_embeddings", True)),
            int(config.get("head_dim") or 0),
        )
    except (KeyError, TypeError, ValueError):
        return None
