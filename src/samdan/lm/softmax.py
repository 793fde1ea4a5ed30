"""The softmax of the output head, at least fp32, and its gradients by the logits.

On CUDA, and wherever it is compiled, all rows at once. On a CPU by blocks of rows whose fp32 values
stay in the cache: a chunk's logits are read once and written once in their own precision, instead
of a pass over memory for every function (683 rows of 151,936 bf16 logits: 0.18 s for 0.25 to 0.54;
508 of 49,152: 0.045 for 0.063; two AVX2 cores). Shape letters as in `samdan.lm.head`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

BLOCK = 1 << 18  # numbers a block has per thread, but at least one row


def wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def log_probs(logits_CV: Tensor, targets_C: Tensor, fused: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities [C] of the targets, and the logarithms [C] of the normalisers."""
    if _whole(logits_CV, fused):
        return _chosen(_log_probs, fused)(logits_CV, targets_C)
    logp_C, norm_C = (_numbers(logits_CV) for _ in range(2))
    for rows in _blocks(logits_CV):
        values = wide(logits_CV[rows])
        _, norm_C[rows] = _probabilities(values)
        logp_C[rows] = _picked(values, targets_C[rows]) - norm_C[rows]
    return logp_C, norm_C


def slopes(
    logits_CV: Tensor, norm_C: Tensor, targets_C: Tensor, factor_C: Tensor, fused: bool, keep: bool
) -> Tensor:
    """Gradient [C, V] of sum(factor * log-probability) by the logits, in their precision.

    Unless the logits are to be kept, it may lie where they were.
    """
    if _whole(logits_CV, fused):
        return _chosen(_slopes, fused)(logits_CV, norm_C, targets_C, factor_C)
    found = torch.empty_like(logits_CV) if keep else logits_CV
    for rows in _blocks(logits_CV):
        found[rows] = _slopes(logits_CV[rows], norm_C[rows], targets_C[rows], factor_C[rows])
    return found


def minus_slopes(logits_CV: Tensor, targets_C: Tensor, fused: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities [C] of the targets, and the gradient [C, V] of minus their sum.

    The gradient may lie where the logits were.
    """
    if _whole(logits_CV, fused):
        return _chosen(_minus_slopes, fused)(logits_CV, targets_C)
    logp_C = _numbers(logits_CV)
    for rows in _blocks(logits_CV):
        values = wide(logits_CV[rows])
        slope, norm = _probabilities(values)
        logp_C[rows] = _picked(values, targets_C[rows]) - norm
        logits_CV[rows] = _less_one(slope, targets_C[rows])
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


def _numbers(logits_CV: Tensor) -> Tensor:
    """Room for a number [C] per row, at least fp32."""
    return wide(logits_CV.new_empty(0)).new_empty(len(logits_CV))


# --- how ------------------------------------------------------------------------------------------


def _whole(values: Tensor, fused: bool) -> bool:
    return fused or not values.is_cpu


def bytes_a_logit(hidden: Tensor, fused: bool) -> int:
    """The widest form in which a whole chunk of logits is held, for hidden states that are given.

    By blocks it is their own; otherwise at least fp32.
    """
    return max(hidden.element_size(), 4 if _whole(hidden, fused) else 0)


def _blocks(logits_CV: Tensor) -> Iterator[slice]:
    threads = torch.get_num_threads()
    rows = max(threads, -(-BLOCK * threads // logits_CV.shape[1]))
    for start in range(0, len(logits_CV), rows):
        yield slice(start, start + rows)


@functools.cache
def _compiled(part: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(part, dynamic=True)


def _chosen(part: Callable[..., Any], fused: bool) -> Callable[..., Any]:
    return _compiled(part) if fused else part
