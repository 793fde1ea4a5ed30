"""bf16 copies of a model's decoder layers, for computing, while the masters stay fp32.

Autocast casts a weight at each of its uses, and the gradient of the cast is a second tensor as
large as the master's. A copy that is kept is cast once a step; what its gradient gets is added to
the master's in fp32, so many micro-batches sum as exactly as before. The embeddings' result is cast
too: the residual stream is bf16, and so are the rotations of queries and keys, as in other trainers
and in inference. Embeddings, last norm and
head keep their masters: a sum over a token's thousand places would stand still in bf16, and the
head (`samdan.lm.head`) chooses its precisions itself. FSDP's bf16 (`samdan.train.sharding`) is the
same arithmetic.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from samdan.lm.layers import layers_of

PART = 1 << 18  # numbers


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
        """Within it the layers hold the copies, as new as the masters were at its beginning.

        A backward must lie inside, as checkpointed layers are computed again there. Inside
        another one it does nothing.
        """
        if self._inside:
            yield
            return
        inside = (module for layer in layers_of(self._model) for module in layer.modules())
        modules = list(dict.fromkeys(inside))  # a layer may hold others
        embeddings = self._embeddings() - set(modules)
        places = list(_places(modules, embeddings)) if self._keep else []
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
            _add(self.master.grad, found)


def _call(hand_on: Callable[[Tensor], None] | None, values: Tensor) -> None:
    if hand_on is not None:
        hand_on(values)


def _places(
    modules: Iterable[nn.Module], embeddings: Iterable[nn.Module]
) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Modules and names of the layers' fp32 parameters; split and quantized ones are not."""
    outside = {id(parameter) for module in embeddings for parameter in module.parameters()}
    for module in modules:
        for name, value in module._parameters.items():
            plain = type(value) is nn.Parameter and value.dtype == torch.float32
            if value is not None and plain and id(value) not in outside:
                yield module, name, value


def _add(total: Tensor, found: Tensor) -> None:
    """total += found. A CPU widens ``found`` first: by parts, what it makes stays in the cache."""
    if total.is_cpu and total.is_contiguous() and found.is_contiguous():
        parts = zip(total.view(-1).split(PART), found.view(-1).split(PART), strict=True)
        for part, more in parts:
            part.add_(more)
    else:
        total.add_(found)


def _in_bf16(module: nn.Module, given: Any, result: Tensor) -> Tensor:
    return result.to(torch.bfloat16)
