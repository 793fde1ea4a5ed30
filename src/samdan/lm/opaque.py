"""Attention by single calls as one operator that a compiler does not look into.

How many calls a row takes changes with every batch; traced, each count would be compiled
anew. Behind an operator that only names its layout, a compiled layer serves every batch. The
backward computes the forward once more, which for attention costs little beside the layer's matrix
products.
(The variable-length kernel is such an operator already and keeps what its backward needs.)
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor


class Separate(Protocol):
    """What the operator finds behind a handle."""

    def attend_each(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor: ...


_LAYOUTS: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()


def handle_of(layout: Separate) -> Tensor:
    """A number for the layout, as a tensor on the host: a graph's input, not a constant in it."""
    number = next(_NUMBERS)
    _LAYOUTS[number] = layout
    return torch.tensor(number)


@torch.library.custom_op("samdan::attend", mutates_args=())
def attend(query: Tensor, key: Tensor, value: Tensor, handle: Tensor, scale: float) -> Tensor:
    """query [T, H, D], key and value [T, Hkv, D] -> [T, H, D], under the layout of the handle."""
    layout = _LAYOUTS[int(handle)]
    out: Tensor = layout.attend_each(query, key, value, scale)
    return out.contiguous()


@attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, handle: Tensor, scale: float) -> Tensor:
    return torch.empty(query.shape, dtype=query.dtype, device=query.device)


@torch.library.custom_op("samdan::attend_backward", mutates_args=())
def _attend_backward(
    upstream: Tensor, query: Tensor, key: Tensor, value: Tensor, handle: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    layout = _LAYOUTS[int(handle)]
    with _recording():
        inputs = [x.detach().requires_grad_() for x in (query, key, value)]
        out = layout.attend_each(*inputs, scale)
        grads = torch.autograd.grad(out, inputs, upstream)
    q, k, v = (grad.contiguous() for grad in grads)
    return q, k, v


@contextlib.contextmanager
def _recording() -> Iterator[None]:
    """Lets autograd record although an operator's body runs below it."""
    keys = torch._C.DispatchKey
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in (keys.AutogradCPU, keys.AutogradCUDA, keys.AutogradOther, keys.ADInplaceOrView):
        excluded = excluded.remove(key)
    included = torch._C._dispatch_tls_local_include_set()
    with torch._C._ForceDispatchKeyGuard(included, excluded), torch.enable_grad():
        yield


@_attend_backward.register_fake
def _(
    upstream: Tensor, query: Tensor, key: Tensor, value: Tensor, handle: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (query, key, value))
    return q, k, v


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, scale = inputs
    ctx.save_for_backward(*tensors)
    ctx.scale = scale


def _backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, handle = ctx.saved_tensors
    return (*_attend_backward(upstream, query, key, value, handle, ctx.scale), None, None)


attend.register_autograd(_backward, setup_context=_remember)
