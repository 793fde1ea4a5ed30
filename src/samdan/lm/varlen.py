"""Packed attention by one variable-length kernel call, for CUDA.

``torch.nn.attention.varlen.varlen_attn`` takes cumulative lengths instead of a mask. A segment of
queries may be shorter than its keys: the causal diagonal is then aligned at the bottom right, so
the branch of a preference pair is one more segment whose keys are the prefix and itself (``queries
= [P + c, r, ...]``, ``keys = [P + c, P + r, ...]``; the method of flash-preference). Keys and
values are copied for that ("un-shared"); the hidden states stay shared through all layers.

The kernel's signature and its treatment of grouped heads changed between torch releases (2.11 has
no ``enable_gqa`` and does not check heads, 2.13 has it and checks), so a form is not chosen by
version: each is tried on a small problem on the device at hand, in value and gradient, and the
first that computes attention is taken. If none does, the single calls of `samdan.lm.attention`
serve.

Shape letters: T tokens of the packed row, S segments, K keys of all segments, H and G heads of
queries and keys, D channels of a head.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samdan.records import first_line

Form = Literal["grouped", "plain", "expanded"]
# grouped: enable_gqa=True; plain: fewer key heads, no flag; expanded: key heads repeated.
FORMS: tuple[Form, ...] = ("grouped", "plain", "expanded")
# bf16 has 8 bits: 4e-3 an operation. A wrong mask or a missing key is off by far more.
TOLERANCE = 3e-2


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Moves without making the host wait: a copy from pageable memory would."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Segments:
    """Cumulative lengths of the segments, and where their keys come from."""

    cu_queries: Tensor  # int32 [S + 1]
    cu_keys: Tensor  # int32 [S + 1]
    longest_query: int  # upper bounds, powers of two: few values, so few compiled variants
    longest_key: int
    key_rows: Tensor | None = None  # [K] row of each key; None: keys lie as the row does
    own: Tensor | None = None  # [T] where each row's own copy lies among the K
    # Copies of prefixes: per round, places among the K and their rows, every row at most once, so
    # that the gradient is gathered and added without atomics, the same in every run.
    rounds: tuple[tuple[Tensor, Tensor], ...] = ()

    def to(self, device: torch.device) -> Segments:
        """The same on another device; asynchronous towards CUDA."""
        return replace(
            self,
            cu_queries=to_device(self.cu_queries, device),
            cu_keys=to_device(self.cu_keys, device),
            key_rows=None if self.key_rows is None else to_device(self.key_rows, device),
            own=None if self.own is None else to_device(self.own, device),
            rounds=tuple((to_device(p, device), to_device(r, device)) for p, r in self.rounds),
        )


def segments(parts: Sequence[tuple[int, int, int, int]]) -> Segments:
    """From (start, length, prefix_start, prefix) of every span (prefix 0) and branch of a row.

    Together the parts must cover the row without gaps.
    """
    parts = sorted(part for part in parts if part[1])
    queries = np.array([length for _, length, _, _ in parts], np.int64)
    keys = np.array([length + prefix for _, length, _, prefix in parts], np.int64)
    starts = np.array([start for start, _, _, _ in parts], np.int64)
    if not np.array_equal(starts, np.cumsum(queries) - queries):
        raise ValueError("the spans and branches of a layout must cover the row without gaps")
    bounds = _bound(queries), _bound(keys)
    if not any(prefix for _, _, _, prefix in parts):
        return Segments(_cumulative(queries), _cumulative(keys), *bounds)
    rows, own, rounds = _unshared(parts)
    index = [(torch.from_numpy(places), torch.from_numpy(copied)) for places, copied in rounds]
    return Segments(
        _cumulative(queries),
        _cumulative(keys),
        *bounds,
        torch.from_numpy(rows),
        torch.from_numpy(own),
        tuple(index),
    )


_Int = NDArray[np.int64]


def _unshared(
    parts: Sequence[tuple[int, int, int, int]],
) -> tuple[_Int, _Int, list[tuple[_Int, _Int]]]:
    """Rows of all keys; places of the rows' own copies; rounds of (places, rows) of the others."""
    rows, own = [], []
    rounds: list[tuple[list[_Int], list[_Int]]] = []
    used: dict[int, int] = {}  # prefix_start -> how many branches share it so far
    place = 0
    for start, length, prefix_start, prefix in parts:
        if prefix:
            number = used.get(prefix_start, 0)
            used[prefix_start] = number + 1
            if number == len(rounds):
                rounds.append(([], []))
            copied = np.arange(prefix_start, prefix_start + prefix)
            rounds[number][0].append(np.arange(place, place + prefix))
            rounds[number][1].append(copied)
            rows.append(copied)
            place += prefix
        rows.append(np.arange(start, start + length))
        own.append(np.arange(place, place + length))
        place += length
    joined = [(np.concatenate(places), np.concatenate(copied)) for places, copied in rounds]
    return np.concatenate(rows), np.concatenate(own), joined


def _cumulative(lengths: _Int) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _bound(lengths: _Int) -> int:
    """The next power of two, at least 128. The kernel only sizes its grid by it."""
    longest = int(lengths.max()) if len(lengths) else 1
    return max(128, 1 << (longest - 1).bit_length())


class _Unshare(torch.autograd.Function):
    """x[key_rows]: every row at its own place and once more in each segment whose prefix it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, key_rows: Tensor, own: Tensor, *rounds: Tensor) -> Tensor:
        ctx.save_for_backward(own, *rounds)
        return x.index_select(0, key_rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        own, *rounds = ctx.saved_tensors
        total = grads[0].index_select(0, own)
        for places, rows in zip(rounds[::2], rounds[1::2], strict=True):
            summed = total.index_select(0, rows) + grads[0].index_select(0, places)
            total = total.index_copy(0, rows, summed)
        return (total, None, None, *(None for _ in rounds))


def attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, where: Segments, form: Form
) -> Tensor:
    """query [T, H, D], key and value [T, G, D] -> [T, H, D]."""
    if form == "expanded" and query.shape[1] != key.shape[1]:
        times = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(times, 1) for x in (key, value))
    if where.key_rows is not None:
        rounds = [tensor for pair in where.rounds for tensor in pair]
        key, value = (
            _Unshare.apply(x, where.key_rows, where.own, *rounds)  # type: ignore[no-untyped-call]
            for x in (key, value)
        )
    return _kernel()(
        query,
        key,
        value,
        where.cu_queries,
        where.cu_keys,
        where.longest_query,
        where.longest_key,
        scale=scale,
        window_size=(-1, 0),  # causal
        **({"enable_gqa": True} if form == "grouped" else {}),
    )


def _kernel() -> Callable[..., Tensor]:
    from torch.nn.attention import varlen

    return varlen.varlen_attn  # type: ignore[return-value]


@functools.cache
def choose_form(
    device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int
) -> Form | None:
    """The first form of the kernel that computes attention on this device; None if there is none.

    Half precision on CUDA only: that is what the kernel is made for.
    """
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return None
    return probe(device, dtype, heads, key_heads, width)


def probe(
    device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int
) -> Form | None:
    """Tries the forms against attention as it is defined, on two pairs and a document."""
    try:
        known = set(inspect.signature(_kernel()).parameters)
    except (ImportError, AttributeError):
        known = set()
    if not {"scale", "window_size"} <= known:
        return None
    reasons = []
    for form in FORMS:
        if form == "grouped" and (heads == key_heads or "enable_gqa" not in known):
            continue
        try:
            error = _error_of(form, device, dtype, heads, key_heads, width)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as refused:
            reasons.append(f"{form}: {first_line(refused)}")
            continue
        if error < TOLERANCE:
            return form
        reasons.append(f"{form}: off by {error:.2g}")
    warnings.warn(
        f"varlen_attn cannot be used on {device} ({'; '.join(reasons)}); attention is computed in "
        "a call for each record, which is slower",
        stacklevel=2,
    )
    return None


def _error_of(
    form: Form, device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int
) -> float:
    """Largest relative error of output and gradients against fp32 attention under a full mask."""
    parts = [(0, 150, 0, 0), (150, 37, 0, 90), (187, 60, 0, 0), (247, 5, 187, 20), (252, 41, 0, 0)]
    tokens = 293
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> Tensor:
        return torch.randn(tokens, count, width, generator=generator).to(device, dtype)

    # The first batch may be scored in inference mode, where nothing has a gradient.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        upstream = draw(heads)
        q, k, v = inputs = [draw(n).requires_grad_() for n in (heads, key_heads, key_heads)]
        fq, fk, fv = exact = [x.detach().float().requires_grad_() for x in inputs]
        where = segments(parts).to(device)
        ours = attend(q, k, v, width**-0.5, where, form)
        theirs = _defined(fq, fk, fv, width**-0.5, _mask(parts, tokens).to(device))
        mine = torch.autograd.grad(ours, inputs, upstream)
        right = torch.autograd.grad(theirs, exact, upstream.float())
    pairs = zip((ours, *mine), (theirs, *right), strict=True)
    errors = [((a.float() - b).norm() / b.norm()).item() for a, b in pairs]
    return max(errors) if all(e == e for e in errors) else float("inf")


def _mask(parts: Sequence[tuple[int, int, int, int]], tokens: int) -> Tensor:
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for start, length, prefix_start, prefix in parts:
        rows = slice(start, start + length)
        mask[rows, rows] = torch.ones(length, length, dtype=torch.bool).tril()
        mask[rows, prefix_start : prefix_start + prefix] = True
    return mask


def _defined(query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor) -> Tensor:
    times = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(times, 1) for x in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key) * scale
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value)
