"""Causal attention of one record on a CPU, by bf16 matrix products instead of the flash kernel.

torch's kernel reaches 40 to 60 GFLOP/s on records of 100 to 320 tokens where products of bf16 reach
400 (two Zen 4 cores). Here a block of queries has its scores by one product over the heads that
share their keys, in fp32 as in the kernel, then a softmax in the cache, then products in bf16; the
backward computes scores and softmax again. The gradients of keys and values are summed in fp32,
which the kernel's are not: their error is a quarter to two thirds of its. docs/performance.md has
the times. Shape letters: L queries, S keys (the prefix first), H heads, K of them of keys and
values, G = H / K, D channels, B queries of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from samdan.lm.machine import bf16_is_fast
from samdan.lm.softmax import wide

LONGEST = 1024  # keys; with more the kernel is as fast, since it skips all that is masked
SCORES = 1 << 20  # of a block, at most: 4 MB, for a cache that cores share
ROWS = 128  # of a block, at most: half of its square is computed for nothing
FEWEST = 64  # rows of a block: products of fewer are slow


def serves(query_LHD: Tensor, key_SKD: Tensor) -> bool:
    """Whether products are faster than the kernel."""
    in_bf16 = query_LHD.is_cpu and query_LHD.dtype == torch.bfloat16
    return in_bf16 and len(key_SKD) <= LONGEST and bf16_is_fast("cpu")


def attend(
    query_LHD: Tensor, key_SKD: Tensor, value_SKD: Tensor, scale: float, mask_LS: Tensor | None
) -> Tensor:
    """[L, H, D]. Without a mask (True: seen) query l sees the first S - L keys and l + 1 more."""
    hidden = None if mask_LS is None else _hidden(mask_LS)
    result: Tensor = _Products.apply(query_LHD, key_SKD, value_SKD, scale, hidden)  # type: ignore[no-untyped-call]
    return result


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, hidden: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, hidden)
        ctx.scale = scale
        out_LHD = query.new_empty(*query.shape[:2], value.shape[-1])  # a width of its own, in some
        with torch.autocast("cpu", enabled=False):
            key_KDS, value_KSD = wide(key).permute(1, 2, 0), value.transpose(0, 1)
            for rows, seen, last in _blocks(query, key, hidden):
                query_KMD = _by_key(query[rows], key)
                probs_KMS = _probabilities(query_KMD, key_KDS[..., :seen], scale, last)
                found_KMD = probs_KMS.to(value.dtype) @ value_KSD[:, :seen]
                _fill(out_LHD[rows], found_KMD, key)
        return out_LHD

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_LHD: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, hidden = ctx.saved_tensors
        by_query = torch.empty_like(query)
        key_KDS, key_KSD, value_KDS = (
            wide(key).permute(1, 2, 0), key.transpose(0, 1), value.permute(1, 2, 0)
        )  # fmt: skip
        by_key_KSD, by_value_KSD = (
            torch.zeros_like(x.transpose(0, 1), dtype=key_KDS.dtype) for x in (key, value)
        )
        for rows, seen, last in _blocks(query, key, hidden):
            query_KMD, grad_KMD = _by_key(query[rows], key), _by_key(grad_LHD[rows], key)
            probs_KMS = _probabilities(query_KMD, key_KDS[..., :seen], ctx.scale, last)
            by_value_KSD[:, :seen].add_(probs_KMS.to(grad_KMD.dtype).transpose(1, 2) @ grad_KMD)
            by_probs = (grad_KMD @ value_KDS[..., :seen]).to(probs_KMS.dtype)
            by_scores = torch._softmax_backward_data(by_probs, probs_KMS, -1, probs_KMS.dtype)
            by_scores = by_scores.to(query.dtype)
            _fill(by_query[rows], (by_scores @ key_KSD[:, :seen]).mul_(ctx.scale), key)
            by_key_KSD[:, :seen].add_(by_scores.transpose(1, 2) @ query_KMD)
        by_key, by_value = (
            x.to(key.dtype).transpose(0, 1) for x in (by_key_KSD.mul_(ctx.scale), by_value_KSD)
        )
        return by_query, by_key, by_value, None, None


def _blocks(
    query_LHD: Tensor, key_SKD: Tensor, hidden_LS: Tensor | None
) -> Iterator[tuple[slice, int, Tensor]]:
    """Rows of queries, how many keys they see at most, and what is added to the last scores."""
    if hidden_LS is not None:
        yield slice(0, len(query_LHD)), len(key_SKD), hidden_LS
        return
    length, heads = query_LHD.shape[:2]
    prefix = len(key_SKD) - length
    start = 0
    while start < length:
        most = SCORES // (heads * (prefix + min(length, start + ROWS)))
        stop = start + min(ROWS, max(FEWEST, most))
        if length - stop < FEWEST:
            stop = length
        yield slice(start, stop), prefix + stop, _later(stop - start)
        start = stop


def _by_row(rows_BHD: Tensor, key_SKD: Tensor) -> Tensor:
    """A view [K, G, B, D]: heads that share keys lie together."""
    return rows_BHD.unflatten(1, (key_SKD.shape[1], -1)).permute(1, 2, 0, 3)


def _by_key(rows_BHD: Tensor, key_SKD: Tensor) -> Tensor:
    """A copy [K, M, D], M = G * B."""
    return _by_row(rows_BHD, key_SKD).flatten(1, 2)


def _fill(rows_BHD: Tensor, found_KMD: Tensor, key_SKD: Tensor) -> None:
    view = _by_row(rows_BHD, key_SKD)
    view.copy_(found_KMD.view(view.shape))


def _probabilities(query_KMD: Tensor, key_KDS: Tensor, scale: float, last_BN: Tensor) -> Tensor:
    """[K, M, S], at least fp32; ``last_BN`` is added to the scores of the last N keys."""
    room = key_KDS.new_empty(*query_KMD.shape[:2], key_KDS.shape[-1])
    scores = torch.baddbmm(room, query_KMD.to(room.dtype), key_KDS, beta=0, alpha=scale)
    scores.unflatten(1, (-1, len(last_BN)))[..., -last_BN.shape[1] :].add_(last_BN)
    return torch.softmax(scores, -1)


def _hidden(mask: Tensor) -> Tensor:
    """Minus infinity where the mask is False, else zero."""
    return torch.zeros(mask.shape).masked_fill_(~mask, float("-inf"))


@cache
def _later(count: int) -> Tensor:
    """[count, count] that hides every query's later keys."""
    return _hidden(torch.ones(count, count, dtype=torch.bool).tril())
