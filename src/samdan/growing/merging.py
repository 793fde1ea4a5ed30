"""Merging models of one architecture: how weights are combined, and which models may be.

Specs and comparisons only; the tensors are combined in ``grow.merging``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator

from samdan.records import DataError
from samdan.spec import NonNegative, Number, Share, Spec

# Where these differ, the weights do not mean the same: merging is refused.
SAME = (
    "model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
    "num_key_value_heads", "head_dim", "layer_types", "hidden_act", "hidden_activation",
    "rms_norm_eps", "layer_norm_eps", "attention_bias", "mlp_bias", "tie_word_embeddings",
    "num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size",
    "samdan_skips",
)  # fmt: skip
# Where these differ, the first model's value is kept, and that is said.
NOTED = (
    "rope_parameters", "rope_scaling", "rope_theta", "max_position_embeddings", "sliding_window",
    "use_sliding_window",
)  # fmt: skip
_LATE = 1 << 40  # behind every id
PARALLEL = 0.9995  # cosine from which on SLERP is a straight line: its sine is rounding


class Linear(Spec):
    """The weighted mean of two or more models (model soups, Wortsman et al. 2203.05482)."""

    kind: Literal["linear"] = "linear"
    weights: tuple[NonNegative, ...] = ()
    """One per model, taken as shares of their sum; absent: all equal."""


class Slerp(Spec):
    """Spherical interpolation of two models, tensor by tensor (Shoemake 1985)."""

    kind: Literal["slerp"] = "slerp"
    t: Share = 0.5
    """0 is the first model, 1 the second."""


class TaskArithmetic(Spec):
    """A model plus what tuning changed in another: model + scale * (tuned - base).

    With a chat model and its base this is the chat vector (Huang et al. 2310.04799): a model that
    was trained on more text answers as the chat model does.
    """

    kind: Literal["task_arithmetic"] = "task_arithmetic"
    scale: Number = 1.0
    """How much of the change is added; lower it when answers fall back to the other language."""
    embeddings: Literal["shared", "skip"] = "shared"
    """Rows of input embeddings and output head. ``shared``: those whose id is the same token in
    all three tokenizers are moved, the others stay; ``skip``: none is moved."""


Merge = Annotated[Linear | Slerp | TaskArithmetic, Discriminator("kind")]


def shares(weights: Sequence[float], models: int) -> tuple[float, ...]:
    """Weights of a linear merge that sum to one. Raises DataError where they do not fit."""
    if not weights:
        return (1 / models,) * models
    if len(weights) != models:
        raise DataError(f"{len(weights)} weights for {models} models; give one for each, or none")
    total = math.fsum(weights)
    if total <= 0:
        raise DataError("the weights of a merge are all zero; at least one must be larger")
    return tuple(weight / total for weight in weights)


def slerp_shares(t: float, dot: float, norm_a: float, norm_b: float) -> tuple[float, float]:
    """What of each tensor is taken, from their scalar product and norms.

    Nearly parallel tensors, or one that is zero, are interpolated linearly.
    """
    if not norm_a or not norm_b:
        return 1 - t, t
    cosine = max(-1.0, min(1.0, dot / (norm_a * norm_b)))
    if abs(cosine) > PARALLEL:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def compare_configs(configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Notes on what differs and does no harm. ``configs``: by model, the first one's is kept.

    Raises DataError naming every field that has to be the same and is not.
    """
    (first, own), *others = configs.items()
    wrong, notes = [], []
    for name, other in others:
        wrong += [
            f"{key} is {a} in {first} and {b} in {name}"
            for field in SAME
            for key, a, b in _differences(field, own.get(field), other.get(field))
        ]
        for key in NOTED:
            if own.get(key) != other.get(key):
                notes.append(
                    f"{key} is {own.get(key)} in {first} and {other.get(key)} in {name}; the first "
                    f"is kept"
                )
    if wrong:
        raise DataError(
            "these models cannot be merged, their weights do not mean the same: "
            + "; ".join(wrong)
            + ". Expected models that come from one base"
        )
    return notes


def _differences(key: str, own: Any, other: Any) -> list[tuple[str, Any, Any]]:
    """Where two values differ; of lists the first entry. Other lengths come from other layers."""
    if own == other:
        return []
    if isinstance(own, list) and isinstance(other, list):
        apart = [i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b]
        return [(f"{key}[{i}]", own[i], other[i]) for i in apart[:1]]
    return [(key, own, other)]


def shared_rows(vocabularies: Sequence[Mapping[str, int]]) -> frozenset[int]:
    """Ids that are the same token in all vocabularies."""
    first, *others = vocabularies
    return frozenset(
        row for token, row in first.items() if all(other.get(token) == row for other in others)
    )


def first_difference(vocabularies: Mapping[str, Mapping[str, int]]) -> str | None:
    """What distinguishes the first tokenizer that is not the first one; None when all are equal."""
    (first, own), *others = vocabularies.items()
    for name, other in others:
        apart = [t for t in own.keys() | other.keys() if own.get(t) != other.get(t)]
        if apart:
            token = min(apart, key=lambda t: (min(own.get(t, _LATE), other.get(t, _LATE)), t))
            return (
                f"token {token!r} has id {own.get(token, 'none')} in {first} and "
                f"{other.get(token, 'none')} in {name}"
            )
    return None
