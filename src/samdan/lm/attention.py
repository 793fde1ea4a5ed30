"""Attention in which a document attends to itself only, and two answers share one prompt.

Records lie one after another on a single row of T tokens. A record is a *span* (prompt and first
answer, or a whole document: causal over itself) and perhaps *branches* (a second answer: sees the
span's prefix and itself). The function is registered with transformers' attention interface, so it
serves every decoder model; an implementation name that transformers' mask registry does not know
makes it build no mask at all.

On CPU, spans of similar length are padded into one batched call of the flash kernel, which is
causal and so never looks at the padding behind a span; nothing else of the model is padded. On CUDA
one call of the variable-length kernel serves the whole row (`samdan.lm.varlen`), and the padded
calls only where that kernel cannot be had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface

from samdan.lm import opaque, varlen
from samdan.records import RecipeError

NAME = "samdan"
# A span joins a batch when it fills at least this share of the longest one's length: below, the
# padding costs more than another call.
MIN_FILL = 0.7
# What a few families do to the scores (Gemma 2's soft cap, gpt-oss's sinks) and the kernels cannot.
UNKNOWN_TO_KERNELS = ("softcap", "s_aux")


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens [start, start + length) of the row, causal over themselves."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Branch:
    """Tokens [start, start + length) that also see the ``prefix`` tokens from ``prefix_start``."""

    start: int
    length: int
    prefix_start: int
    prefix: int


@dataclass(frozen=True, slots=True)
class _Call:
    """One batched call of the kernel: ``count`` records padded to ``queries`` x ``keys``."""

    count: int
    queries: int
    keys: int
    mask_N1QK: Tensor | None  # None: causal


class Layout:
    """Which token may see which, as index tensors that every layer reuses.

    ``form`` decides how attention is computed: by the variable-length kernel in one of its forms,
    or (None) in padded calls. Who moves the layout to a device sets it.
    """

    def __init__(self, spans: Sequence[Span], branches: Sequence[Branch] = ()) -> None:
        self.spans = tuple(spans)
        self.branches = tuple(branches)
        self.tokens = sum(s.length for s in spans) + sum(b.length for b in branches)
        self.form: varlen.Form | None = None
        self.segments: varlen.Segments | None = None
        self.handle = opaque.handle_of(self)
        self._pad()

    def _pad(self) -> None:
        """The padded calls and their index tensors."""
        spans, branches = self.spans, self.branches
        span_parts = [_span_call(group) for group in _groups(spans)]
        branch_parts = [_branch_call(group) for group in _branch_groups(branches)]
        parts = span_parts + branch_parts
        self._calls = [call for call, _, _ in parts]
        index = [query for _, query, _ in parts]
        # The queries of all calls, one after another, padding included; a padded place holds -1.
        padded = np.concatenate(index) if index else np.empty(0, np.int64)
        self._places = torch.from_numpy(np.flatnonzero(padded >= 0))
        self._queries = torch.from_numpy(np.maximum(padded, 0))
        self._real = self._queries[self._places]
        self._span_rows = sum(len(query) for _, query, _ in span_parts)
        keys = [key for _, _, key in branch_parts]
        self._branch_keys = torch.from_numpy(np.concatenate(keys)) if keys else None

    @property
    def longest(self) -> int:
        """The longest sequence of positions that one token can see."""
        spans = (s.length for s in self.spans)
        return max([*spans, *(b.prefix + b.length for b in self.branches)], default=0)

    def to(self, device: torch.device, form: varlen.Form | None = None) -> Layout:
        """Moves the index tensors that ``form`` needs."""
        self.form = form
        if form is not None:
            if self.segments is None:
                spans = [(s.start, s.length, 0, 0) for s in self.spans]
                branches = [(b.start, b.length, b.prefix_start, b.prefix) for b in self.branches]
                self.segments = varlen.segments(spans + branches)
            self.segments = self.segments.to(device)
            return self
        for name in ("_places", "_queries", "_real", "_branch_keys"):
            tensor = getattr(self, name)
            setattr(self, name, None if tensor is None else varlen.to_device(tensor, device))
        self._calls = [
            call
            if call.mask_N1QK is None
            else replace(call, mask_N1QK=varlen.to_device(call.mask_N1QK, device))
            for call in self._calls
        ]
        return self

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query [T, H, D], key and value [T, Hkv, D] -> [T, H, D]."""
        if self.form is not None and self.segments is not None:
            return varlen.attend(query, key, value, scale, self.segments, self.form)
        if torch.compiler.is_compiling():
            return opaque.attend(query, key, value, self.handle, scale)
        return self.attend_padded(query, key, value, scale)

    def attend_padded(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """The same, in padded calls of scaled_dot_product_attention."""
        if len(self.spans) == 1 and not self.branches:
            return _sdpa(query[None], key[None], value[None], scale)[0]
        queries = _Pad.apply(query, self._queries, self._places, self._real)
        keys, values = (self._padded_keys(x) for x in (key, value))
        outputs = []
        sizes = [(call.count * call.queries, call.count * call.keys) for call in self._calls]
        split_q = queries.split([q for q, _ in sizes])
        split_k = keys.split([k for _, k in sizes])
        split_v = values.split([k for _, k in sizes])
        for call, q, k, v in zip(self._calls, split_q, split_k, split_v, strict=True):
            q = q.unflatten(0, (call.count, call.queries))
            k = k.unflatten(0, (call.count, call.keys))
            v = v.unflatten(0, (call.count, call.keys))
            outputs.append(_sdpa(q, k, v, scale, call.mask_N1QK).flatten(0, 1))
        return _Unpad.apply(torch.cat(outputs), self._places, self._real)  # type: ignore[no-any-return, no-untyped-call]

    def _padded_keys(self, x: Tensor) -> Tensor:
        """Spans see themselves: their keys lie as their queries do. Branches also see a prefix."""
        if self._branch_keys is None:
            return _Pad.apply(x, self._queries, self._places, self._real)  # type: ignore[no-any-return, no-untyped-call]
        index = torch.cat([self._queries[: self._span_rows], self._branch_keys])
        return x.index_select(0, index)

    def dense_mask(self) -> Tensor:
        """[T, T], True where a query (row) sees a key (column): the definition, for tests."""
        mask = torch.zeros(self.tokens, self.tokens, dtype=torch.bool)
        for span in self.spans:
            end = span.start + span.length
            mask[span.start : end, span.start : end] = _causal(span.length)
        for branch in self.branches:
            rows = slice(branch.start, branch.start + branch.length)
            mask[rows, rows] = _causal(branch.length)
            mask[rows, branch.prefix_start : branch.prefix_start + branch.prefix] = True
        return mask


class _Pad(torch.autograd.Function):
    """x[index], where ``places`` of the result hold the rows ``real`` of x, each once.

    Padding repeats row 0 and never gets a gradient (a causal kernel does not see what lies behind a
    span), so the gradient is a gather too: index_select's own would add row by row.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, places: Tensor, real: Tensor) -> Tensor:
        ctx.save_for_backward(places, real)
        ctx.rows = x.shape[0]
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        places, real = ctx.saved_tensors
        return _scatter(grads[0].index_select(0, places), real, ctx.rows), None, None, None


class _Unpad(torch.autograd.Function):
    """The other way round: the rows at ``places``, put where ``real`` says."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places: Tensor, real: Tensor) -> Tensor:
        ctx.save_for_backward(places, real)
        ctx.rows = padded.shape[0]
        return _scatter(padded.index_select(0, places), real, len(real))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        places, real = ctx.saved_tensors
        return _scatter(grads[0].index_select(0, real), places, ctx.rows), None, None


def _scatter(rows: Tensor, index: Tensor, size: int) -> Tensor:
    shape = (size, *rows.shape[1:])
    out = rows.new_empty(shape) if len(index) == size else rows.new_zeros(shape)
    return out.index_copy_(0, index, rows)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """[N, L, H, D] each -> [N, L, H, D]; causal when there is no mask."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out.transpose(1, 2)


def _causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def _groups(spans: Sequence[Span]) -> list[list[Span]]:
    ordered = sorted(spans, key=lambda s: (-s.length, s.start))
    groups: list[list[Span]] = []
    for span in ordered:
        if groups and span.length >= MIN_FILL * groups[-1][0].length:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _branch_groups(branches: Sequence[Branch]) -> list[list[Branch]]:
    def similar(a: Branch, b: Branch) -> bool:
        whole = (a.prefix + a.length, b.prefix + b.length)
        return min(whole) >= MIN_FILL * max(whole) and min(a.length, b.length) >= 0.4 * max(
            a.length, b.length
        )

    ordered = sorted(branches, key=lambda b: (-(b.prefix + b.length), b.start))
    groups: list[list[Branch]] = []
    for branch in ordered:
        home = next((g for g in groups if similar(g[0], branch)), None)
        if home is None:
            groups.append([branch])
        else:
            home.append(branch)
    return groups


def _padded(starts: Sequence[int], lengths: Sequence[int], longest: int) -> NDArray[np.int64]:
    """Row positions [n, longest]; -1 where a record has ended."""
    offsets = np.arange(longest)
    real = offsets[None, :] < np.asarray(lengths)[:, None]
    return np.where(real, np.asarray(starts)[:, None] + offsets[None, :], -1)


_Part = tuple[_Call, NDArray[np.int64], NDArray[np.int64]]  # call, query positions, key positions


def _span_call(group: Sequence[Span]) -> _Part:
    longest = group[0].length
    index = _padded([s.start for s in group], [s.length for s in group], longest).reshape(-1)
    return _Call(len(group), longest, longest, None), index, index


def _branch_call(group: Sequence[Branch]) -> _Part:
    longest = max(b.length for b in group)
    widest = max(b.prefix for b in group)
    query = _padded([b.start for b in group], [b.length for b in group], longest)
    prefix = _padded([b.prefix_start for b in group], [b.prefix for b in group], widest)
    mask = np.empty((len(group), 1, longest, widest + longest), dtype=bool)
    mask[:, 0, :, :widest] = (prefix >= 0)[:, None, :]
    mask[:, 0, :, widest:] = np.tril(np.ones((longest, longest), dtype=bool))
    keys = np.maximum(np.concatenate([prefix, query], axis=1), 0).reshape(-1)
    call = _Call(len(group), longest, widest + longest, torch.from_numpy(mask))
    return call, query.reshape(-1), keys


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, H, T, D], key and value [1, Hkv, T, D].

    Under autocast the kernels compute in its precision, as transformers' own attention does. Raises
    RecipeError for scores that the kernels cannot compute.
    """
    if layout is None:
        raise ValueError("samdan's attention needs the layout of the packed records")
    _require_plain_scores(layout, given)
    scale = scaling if scaling is not None else 1 / math.sqrt(query.shape[-1])
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    device = query.device.type
    if torch.is_autocast_enabled(device):
        # Where a norm left them in fp32, only half of it needs to be gathered and padded.
        dtype = torch.get_autocast_dtype(device)
        query, key, value = (x.to(dtype) for x in (query, key, value))
    return layout.attend(query, key, value, scale)[None], None


def _require_plain_scores(layout: Layout, given: dict[str, Any]) -> None:
    unknown = next((name for name in UNKNOWN_TO_KERNELS if given.get(name) is not None), None)
    if unknown is not None:
        raise RecipeError(
            f"base.path: the model's attention uses '{unknown}', which samdan's packed attention "
            f"does not compute; training on it would change the model silently"
        )
    window = given.get("sliding_window")
    if window is not None and layout.longest > window:
        raise RecipeError(
            f"a record of {layout.longest} tokens is longer than the model's sliding window of "
            f"{window}; set max_length to {window} or less"
        )


AttentionInterface.register(NAME, attention)
