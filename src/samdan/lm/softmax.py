"""The softmax of the output head, at least fp32, and its gradients by the logits.

On CUDA, and wherever it is compiled, all rows at once. On a CPU by blocks of rows whose fp32 values
stay in the cache: a chunk's logits are read once and written once in their own precision, instead
of a pass over memory for every function (`python -m benchmarks.elementwise`: 508 rows of 49,152
bf16 logits in 45 ms instead of 65, two AVX2 cores). Shape letters as in `samdan.lm.head`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from samdan.lm.elementwise import blocks


def wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def numbers(rows: Tensor) -> Tensor:
    """Room for a number per row, at least fp32."""
    return wide(rows.new_empty(0)).new_empty(len(rows))


def log_probs(logits_CV: Tensor, targets_C: Tensor, fused: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities [C] of the targets, and the logarithms [C] of the normalisers."""
    if _whole(logits_CV, fused):
        return _chosen(_log_probs, fused)(logits_CV, targets_C)
    logp_C, norm_C = (numbers(logits_CV) for _ in range(2))
    for logits, targets, logp, norm in blocks(logits_CV, targets_C, logp_C, norm_C):
        values = wide(logits)
        norm.copy_(_probabilities(values)[1])
        torch.sub(_picked(values, targets), norm, out=logp)
    return logp_C, norm_C


def slopes(
    logits_CV: Tensor, norm_C: Tensor, targets_C: Tensor, factor_C: Tensor, fused: bool
) -> Tensor:
    """Gradient [C, V] of sum(factor * log-probability) by the logits, in their precision.

    It may lie where the logits were.
    """
    if _whole(logits_CV, fused):
        return _chosen(_slopes, fused)(logits_CV, norm_C, targets_C, factor_C)
    for logits, *given in blocks(logits_CV, norm_C, targets_C, factor_C):
        logits.copy_(_slopes(logits, *given))
    return logits_CV


def minus_slopes(logits_CV: Tensor, targets_C: Tensor, fused: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities [C] of the targets, and the gradient [C, V] of minus their sum.

    The gradient may lie where the logits were.
    """
    if _whole(logits_CV, fused):
        return _chosen(_minus_slopes, fused)(logits_CV, targets_C)
    logp_C = numbers(logits_CV)
    for logits, targets, logp in blocks(logits_CV, targets_C, logp_C):
        values = wide(logits)
        slope, norm = _probabilities(values)
        torch.sub(_picked(values, targets), norm, out=logp)
        logits.copy_(_less_one(slope, targets))
    return logp_C, logits_CV


# --- parts ----------------------------------------------------------------------------------------


def _log_probs(logits_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    logp_C = _picked(_log_softmax(logits_CV), targets_C)
    return logp_C, wide(_picked(logits_CV, targets_C)) - logp_C


def _slopes(logits_CV: Tensor, norm_C: Tensor, targets_C: Tensor, factor_C: Tensor) -> Tensor:
    slope = (wide(logits_CV) - norm_C[:, None]).exp_().mul_(-factor_C[:, None])
    return slope.scatter_add_(-1, targets_C[:, None], factor_C[:, None]).to(logits_CV.dtype)


def _minus_slopes(logits_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    logp_CV = _log_softmax(logits_CV)
    logp_C = _picked(logp_CV, targets_C)
    return logp_C, _less_one(logp_CV.exp_(), targets_C).to(logits_CV.dtype)


def _log_softmax(logits_CV: Tensor) -> Tensor:
    """In one pass, which ``logsumexp`` is not: that was 0.1 s of 5 for 508 x 49,152 on a CPU."""
    narrow = logits_CV.dtype in (torch.bfloat16, torch.float16)
    return torch.log_softmax(logits_CV, -1, dtype=torch.float32 if narrow else None)


def _probabilities(values_CV: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax [C, V], and the logarithm [C] of its normaliser, told by the likeliest token.

    One exponential a logit, where a logarithm of all and its exponential are two.
    """
    found = torch.softmax(values_CV, -1)
    return found, values_CV.amax(-1) - found.amax(-1).log_()


def _picked(values_CV: Tensor, targets_C: Tensor) -> Tensor:
    return values_CV.gather(-1, targets_C[:, None])[:, 0]


def _less_one(values_CV: Tensor, targets_C: Tensor) -> Tensor:
    """In place: minus one at the targets."""
    minus_one = values_CV.new_full((1, 1), -1.0).expand(len(targets_C), 1)
    return values_CV.scatter_add_(-1, targets_C[:, None], minus_one)


# --- how ------------------------------------------------------------------------------------------


def _whole(values: Tensor, fused: bool) -> bool:
    return fused or not values.is_cpu


def bytes_a_logit(hidden: Tensor, fused: bool) -> int:
    """The widest form in which a whole chunk of logits is held, for hidden states that are given.

    By blocks it is their own; otherwise at least fp32.
    """
    return max(hidden.element_size(), 4 if _whole(hidden, fused) else 0)


@functools.cache
def _compiled(part: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(part, dynamic=True)


def _chosen(part: Callable[..., Any], fused: bool) -> Callable[..., Any]:
    return _compiled(part) if fused else part
