"""Attention in which a document attends to itself only, and two answers share one prompt.

Records lie one after another on a single row of T tokens. A record is a *span* (prompt and first
answer, or a whole document: causal over itself) and perhaps *branches* (a second answer: sees the
span's prefix and itself). The function is registered with transformers' attention interface, so it
serves every decoder model; an implementation name that transformers' mask registry does not know
makes it build no mask at all.

On a CPU every span and every branch is a call of its own, on views of the row, but that short
neighbours share one under a mask; nothing is padded. A call is one of the flash kernel, or in bf16
matrix products where they are faster (`samdan.lm.causal`). On CUDA one call of the
variable-length kernel serves the whole row (`samdan.lm.varlen`), and single calls only where that
kernel cannot be had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from samdan.lm import causal, opaque, varlen
from samdan.records import RecipeError

NAME = "samdan"
# Tokens of neighbours that share a call: as long as the call costs more than what the mask hides.
SHARED = 64
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
    """One call for one part of the row: which pieces of the row are its keys.

    ``causal``: every query sees the keys before its own, a prefix included. The kernel knows no
    prefix, so it takes a mask for one.
    """

    keys: tuple[int, ...]
    mask_QK: Tensor | None = None
    causal: bool = True


@dataclass(frozen=True, slots=True)
class _Calls:
    """All calls, in the order of the row, which is split into queries and into keys."""

    query_sizes: list[int]
    key_sizes: list[int]
    each: list[_Call]


class Layout:
    """Which token may see which, in the form that every layer reuses.

    ``form`` decides how attention is computed: by the variable-length kernel in one of its forms,
    or (None) in single calls. Who moves the layout to a device sets it.
    """

    def __init__(self, spans: Sequence[Span], branches: Sequence[Branch] = ()) -> None:
        self.spans = tuple(spans)
        self.branches = tuple(branches)
        self.tokens = sum(s.length for s in spans) + sum(b.length for b in branches)
        self.form: varlen.Form | None = None
        self.segments: varlen.Segments | None = None
        self.handle = opaque.handle_of(self)

    @cached_property
    def _calls(self) -> _Calls:
        """A branch of its own sees its prefix first; a group sees itself under a mask."""
        groups = _neighbours(self.spans, self.branches)
        alone = [group[0] for group in groups if isinstance(group[0], Branch)]
        seen = {b.prefix_start for b in alone} | {b.prefix_start + b.prefix for b in alone}
        cuts = sorted({group[0].start for group in groups} | seen | {self.tokens})
        number = {cut: n for n, cut in enumerate(cuts)}

        def pieces(start: int, length: int) -> tuple[int, ...]:
            return tuple(range(number[start], number[start + length]))

        sizes = [sum(part.length for part in group) for group in groups]
        calls = []
        for group, length in zip(groups, sizes, strict=True):
            first, keys = group[0], pieces(group[0].start, length)
            if isinstance(first, Branch):
                keys = pieces(first.prefix_start, first.prefix) + keys
                mask_QK = torch.ones(length, first.prefix + length, dtype=torch.bool)
                calls.append(_Call(keys, mask_QK.tril(first.prefix)))
            elif len(group) > 1:
                calls.append(_Call(keys, _mask(group), causal=False))
            else:
                calls.append(_Call(keys))
        return _Calls(sizes, [b - a for a, b in pairwise(cuts)], calls)

    @property
    def longest(self) -> int:
        """The longest sequence of positions that one token can see."""
        spans = (s.length for s in self.spans)
        return max([*spans, *(b.prefix + b.length for b in self.branches)], default=0)

    def to(self, device: torch.device, form: varlen.Form | None = None) -> Layout:
        """Moves the tensors that ``form`` needs."""
        self.form = form
        if form is not None:
            if self.segments is None:
                spans = [(s.start, s.length, 0, 0) for s in self.spans]
                branches = [(b.start, b.length, b.prefix_start, b.prefix) for b in self.branches]
                self.segments = varlen.segments(spans + branches)
            self.segments = self.segments.to(device)
            return self
        each = [
            call
            if call.mask_QK is None
            else replace(call, mask_QK=varlen.to_device(call.mask_QK, device))
            for call in self._calls.each
        ]
        self._calls = replace(self._calls, each=each)
        return self

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query [T, H, D], key and value [T, Hkv, D] -> [T, H, D]."""
        if self.form is not None and self.segments is not None:
            return varlen.attend(query, key, value, scale, self.segments, self.form)
        if torch.compiler.is_compiling():
            return opaque.attend(query, key, value, self.handle, scale)
        return self.attend_each(query, key, value, scale)

    def attend_each(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """The same, by one call for each part of the row.

        Splitting keeps the gradients small: those of slices are as large as the whole row.
        """
        calls = self._calls
        queries = query.split(calls.query_sizes)
        keys, values = key.split(calls.key_sizes), value.split(calls.key_sizes)
        return torch.cat([
            _attend(q, _joined(keys, call.keys), _joined(values, call.keys), scale, call)
            for q, call in zip(queries, calls.each, strict=True)
        ])

    def dense_mask(self) -> Tensor:
        """[T, T], True where a query (row) sees a key (column): the definition, for tests."""
        return _mask([*self.spans, *self.branches])


def _mask(parts: Sequence[Span | Branch]) -> Tensor:
    """[T, T] of parts that lie side by side and see nothing else."""
    first, tokens = min(part.start for part in parts), sum(part.length for part in parts)
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for part in parts:
        start = part.start - first
        rows = slice(start, start + part.length)
        mask[rows, rows] = torch.ones(part.length, part.length, dtype=torch.bool).tril()
        if isinstance(part, Branch):
            seen = part.prefix_start - first
            mask[rows, seen : seen + part.prefix] = True
    return mask


def _neighbours(spans: Sequence[Span], branches: Sequence[Branch]) -> list[list[Span | Branch]]:
    """Parts in the order of the row, short ones in groups that see nothing but themselves."""
    groups: list[list[Span | Branch]] = []
    tokens = 0
    both: list[Span | Branch] = [*spans, *branches]
    for part in sorted(both, key=lambda part: part.start):
        own = part.prefix_start if isinstance(part, Branch) else part.start
        inside = groups and isinstance(groups[-1][0], Span) and groups[-1][0].start <= own
        if inside and tokens + part.length <= SHARED:
            groups[-1].append(part)
            tokens += part.length
        else:
            groups.append([part])
            tokens = part.length
    return groups


def _joined(pieces: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
    first, *others = (pieces[number] for number in chosen)
    return torch.cat([first, *others]) if others else first


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, call: _Call) -> Tensor:
    """[L, H, D] each -> [L, H, D], by the faster way."""
    if causal.serves(q, k):
        return causal.attend(q, k, v, scale, None if call.causal else call.mask_QK)
    return _sdpa(q, k, v, scale, call.mask_QK)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float, mask_QK: Tensor | None) -> Tensor:
    """[L, H, D] each -> [L, H, D]; causal when there is no mask."""
    groups = q.shape[1] // k.shape[1]
    widths = q.shape[-1], v.shape[-1]
    if groups > 1 and not knows_shared_heads(q.device.type, q.dtype, widths, mask_QK is not None):
        k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask_QK,
        is_causal=mask_QK is None,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out[0].transpose(0, 1)


def knows_shared_heads(
    device: str, dtype: torch.dtype, widths: tuple[int, int], masked: bool
) -> bool:
    """Whether a fused kernel of torch's surely serves fewer heads of keys than of queries.

    On CUDA flash attention does, for half precision, no mask, and ``widths`` of queries and values
    that are equal and at most 256. Of the others it depends on the release and the card; where none
    does, torch makes all L x S scores of every head, in silence. Repeated keys are served by all.
    """
    half = dtype in (torch.bfloat16, torch.float16)
    return device != "cuda" or (half and not masked and widths[0] == widths[1] <= 256)


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
        # Where a norm left them in fp32, only half of it needs to be gathered.
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
