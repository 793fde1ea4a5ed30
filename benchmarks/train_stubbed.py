"""A side of a training benchmark with its matrix products and attention kernels left out.

Every other operator runs and is timed; a product gives zeros, and its FLOPs are counted by
precision. So a machine that multiplies bf16 slowly tells what a bf16 step takes beside its products
(norms, casts, softmax, optimizer: bound by memory, as elsewhere), and what it allocates. Losses
mean nothing here. `benchmarks.beside` runs it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.train_pipe import Turns
from benchmarks.train_side import Spec, program
from samdan.lm import causal

aten = torch.ops.aten
PRODUCTS = frozenset([
    aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.addmm_,
    aten.linear, aten.matmul,  # whole in inference mode
])  # fmt: skip
ADDED = frozenset([aten.addmm, aten.baddbmm, aten.addmm_])  # to their first argument
ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu
ATTENTION_WHOLE = aten.scaled_dot_product_attention  # in inference mode
ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward


class Stubbed(TorchDispatchMode):
    """Counts since `reset`: seconds of what ran, by operator, and FLOPs of what did not."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.flops: dict[str, float] = defaultdict(float)
        self.operators = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        started = time.perf_counter()
        left_out = self._left_out(function.overloadpacket, args, named)
        result = function(*args, **named) if left_out is None else left_out
        name = str(function.overloadpacket).removeprefix("aten.")
        self.seconds[name if left_out is None else "zeros"] += time.perf_counter() - started
        self.operators += 1
        return result

    def _left_out(self, function: Any, args: Any, named: Any) -> Any:
        """Zeros of a product's or a kernel's shape; None for every other operator."""
        if function in PRODUCTS:
            left, right = args[1:3] if function in ADDED else args[:2]
            right = right.T if function is aten.linear else right
            self.flops[_name("product", left)] += 2 * left.numel() * right.shape[-1]
            if function is aten.addmm_:
                return args[0]
            if "out" in named:
                return named["out"].zero_()
            dtype = named.get("out_dtype", left.dtype)
            return _zeros(left.new_empty((*left.shape[:-1], right.shape[-1]), dtype=dtype))
        if function in (ATTENTION, ATTENTION_WHOLE):
            query, key = args[:2]
            at = 4 if function is ATTENTION else 5
            half = args[at] if len(args) > at else named.get("is_causal", False)
            self.flops[_name("attention", query)] += _attention_flops(query, key, half)
            by_position = query.transpose(1, 2)  # as the kernel lays its result out
            result = _zeros(torch.empty_like(by_position)).transpose(1, 2)
            norms = query.new_empty(query.shape[:3], dtype=torch.float32)
            return (result, _zeros(norms)) if function is ATTENTION else result
        if function is ATTENTION_BACKWARD:
            query, key = args[1:3]
            twice_and_a_half = 2.5 * _attention_flops(query, key, args[7])
            self.flops[_name("attention backward", query)] += twice_and_a_half
            return tuple(_zeros(torch.empty_like(x)) for x in args[1:4])
        return None


def _name(what: str, like: Tensor) -> str:
    return f"{what}, {str(like.dtype).removeprefix('torch.')}"


def _attention_flops(query: Tensor, key: Tensor, causal: bool) -> float:
    """Two products over all pairs of positions; causal: over half of them."""
    return 4.0 * query.numel() * key.shape[2] * (0.5 if causal else 1.0)


def _zeros(room: Tensor) -> Tensor:
    """Written, as a product writes its result: untouched pages would be free."""
    return room.zero_()


class _Counting(Turns):
    """Adds to every turn what the mode counted in it."""

    def __init__(self, turns: Turns, mode: Stubbed) -> None:
        self._turns, self._mode = turns, mode

    def wait(self) -> None:
        self._turns.wait()
        self._mode.reset()

    def done(self, **facts: Any) -> None:
        mode = self._mode
        self._turns.done(
            **facts,
            beside={k: round(v, 4) for k, v in mode.seconds.items()},
            flops=dict(mode.flops),
            operators=mode.operators,
        )


class Side:
    """The side that the option ``side`` names, without its products."""

    def __init__(self, spec: Spec) -> None:
        self.mode = Stubbed()
        if spec.bf16:  # what the side does where it is, wherever this runs
            causal.bf16_is_fast = lambda _: True  # type: ignore[assignment]
        self.inner = program(spec.options["side"], spec)

    def about(self) -> dict[str, Any]:
        about: dict[str, Any] = self.inner.about()
        return about

    def begin(self) -> dict[str, Any]:
        """Where there is a reference pass, nearly all that is counted is that."""
        self.mode.reset()
        with self.mode:
            begun: dict[str, Any] = self.inner.begin()
        return begun | {"beside": dict(self.mode.seconds), "flops": dict(self.mode.flops)}

    def train(self, turns: Turns) -> None:
        with self.mode:
            self.inner.train(_Counting(turns, self.mode))
