"""bf16 copies of a model's weights, for computing, while the masters stay fp32.

Autocast casts a weight at each of its uses, and the gradient of the cast is a second tensor as
large as the master's. A copy that is kept is cast once a step; what its gradient gets is added to
the master's in fp32, so many micro-batches sum as exactly as before. The decoder layers have
copies, and on a CPU the output head: on CUDA `samdan.lm.head` has the gradient of its matrix in
fp32, here products of bf16 are bf16 anyway.

The embeddings' result is cast too: the residual stream is bf16, and so are the rotations of queries
and keys, as in other trainers and in inference. Embeddings and last norm keep their masters: a sum
over a token's thousand places would stand still in bf16. On a CPU the embeddings' gradient is added
to the master's row by row, instead of as a matrix that is zero almost everywhere. FSDP's bf16
(`samdan.train.sharding`) is the same arithmetic.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from samdan.lm.elementwise import add
from samdan.lm.head import plain_head
from samdan.lm.layers import layers_of

Place = tuple[nn.Module, str, nn.Parameter]  # module, name there, master


class Copies:
    """The bf16 copies of a model. ``keep`` False: none, whoever computes casts at each use.

    They cost 2 bytes a parameter, which is what one forward's casts cost, but for a model whose
    layers are computed again in the backward.
    """

    def __init__(self, model: nn.Module, keep: bool = True) -> None:
        self._model, self._keep = model, keep
        self._copies: dict[nn.Parameter, _Copy] = {}
        self._inside = False

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it layers and head hold the copies, as new as the masters were at its beginning.

        A backward must lie inside, as checkpointed layers are computed again there. Inside
        another one it does nothing.
        """
        if self._inside:
            yield
            return
        inside = (module for layer in layers_of(self._model) for module in layer.modules())
        modules = list(dict.fromkeys(inside))  # a layer may hold others
        embeddings = self._embeddings() - set(modules)
        places = [*masters_of(modules, embeddings), *self._head()] if self._keep else []
        self._renew({master for _, _, master in places})
        hooks = [module.register_forward_hook(_in_bf16) for module in embeddings]
        self._inside = True
        try:
            for module, name, master in places:
                module._parameters[name] = self._copies[master].values
            yield
        finally:
            for module, name, master in places:
                module._parameters[name] = master
            for hook in hooks:
                hook.remove()
            self._inside = False

    def _embeddings(self) -> set[nn.Module]:
        """Of tokens, and of positions where they are learned (GPT-2's): all that begin a stream."""
        model: Any = self._model
        found = {module for module in model.modules() if isinstance(module, nn.Embedding)}
        return found | {model.get_input_embeddings()}

    def _head(self) -> list[Place]:
        """The matrix of the output head, on a CPU; also where it is the embeddings' as well."""
        found = plain_head(self._model)
        master = None if found is None else found[1]._parameters["weight"]
        if found is None or master is None or not master.is_cpu or not is_plain(master):
            return []
        return [(found[1], "weight", master)]

    @torch.no_grad()
    def _renew(self, masters: set[nn.Parameter]) -> None:
        with torch.inference_mode(False):
            self._copies = {m: c for m, c in self._copies.items() if m in masters}
            for master in masters:
                if master not in self._copies:
                    self._copies[master] = _Copy(master)
                self._copies[master].renew()


class _Copy:
    """One parameter in bf16, which hands its gradient on to the master."""

    def __init__(self, master: nn.Parameter) -> None:
        self.master = master
        self.values = nn.Parameter(torch.empty_like(master, dtype=torch.bfloat16))
        # Weakly: a hook that holds its tensor's owner is a circle that Python never frees.
        hand_on = weakref.WeakMethod(self._hand_on)
        self.values.register_post_accumulate_grad_hook(lambda values: _call(hand_on(), values))
        self._frozen_at: tuple[int, int] | None = None

    def renew(self) -> None:
        master = self.master
        at = None if master.requires_grad else (master.data_ptr(), master._version)
        self.values.grad = None
        self.values.requires_grad_(master.requires_grad)
        # A weight that does not learn is as it was, unless it was written into (not by its .data).
        if at is None or at != self._frozen_at:
            self.values.data.copy_(master)
        self._frozen_at = at

    @torch.no_grad()
    def _hand_on(self, values: Tensor) -> None:
        found, values.grad = values.grad, None
        assert found is not None
        if self.master.grad is None:
            self.master.grad = found.to(self.master.dtype)
        else:
            add(self.master.grad, found)


def _call(hand_on: Callable[[Tensor], None] | None, values: Tensor) -> None:
    if hand_on is not None:
        hand_on(values)


def masters_of(
    modules: Iterable[nn.Module], embeddings: Iterable[nn.Module]
) -> Iterator[Place]:
    """Modules and names of the layers' fp32 parameters; split and quantized ones are not."""
    outside = {id(parameter) for module in embeddings for parameter in module.parameters()}
    for module in modules:
        for name, value in module._parameters.items():
            if value is not None and is_plain(value) and id(value) not in outside:
                yield module, name, value


def is_plain(value: Tensor) -> bool:
    return type(value) is nn.Parameter and value.dtype == torch.float32


def _in_bf16(module: nn.Module, given: Any, result: Tensor) -> Tensor:
    if result.requires_grad and len(given) == 1 and _learns_by_rows(module):
        weight, padding = module.weight, module.padding_idx
        return _Rows.apply(weight, given[0], padding, result.detach())  # type: ignore[no-any-return, no-untyped-call]
    return result.to(torch.bfloat16)


def _learns_by_rows(module: nn.Module) -> bool:
    """Whether rows of a CPU's matrix are all that the module gives, and their sums its gradient."""
    return (
        isinstance(module, nn.Embedding)
        and is_lookup(module)
        and module.weight.is_cpu
        and is_plain(module.weight)
        and not module.scale_grad_by_freq
        and not module.sparse
    )


def is_lookup(table: nn.Embedding) -> bool:
    """Whether it gives its rows as they are: rounding before is then rounding after."""
    return type(table) is nn.Embedding and table.max_norm is None


class _Rows(torch.autograd.Function):
    """``result``, the rows ``ids`` of a leaf, in bf16; adds their gradients to those it has."""

    @staticmethod
    def forward(
        ctx: Any, weight_Vd: Tensor, ids: Tensor, padding: int | None, result: Tensor
    ) -> Tensor:
        ctx.weight_Vd, ctx.padding = weight_Vd, padding
        ctx.save_for_backward(ids)
        return result.to(torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        (ids,) = ctx.saved_tensors
        weight_Vd, ids = ctx.weight_Vd, ids.reshape(-1)
        rows = grads[0].reshape(len(ids), -1).float()
        if ctx.padding is not None:  # has no gradient
            rows, ids = rows[ids != ctx.padding], ids[ids != ctx.padding]
        if weight_Vd.grad is None:
            return torch.zeros_like(weight_Vd).index_add_(0, ids, rows), None, None, None
        weight_Vd.grad.index_add_(0, ids, rows)
        return None, None, None, None
