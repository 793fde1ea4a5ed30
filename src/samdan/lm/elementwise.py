"""Norms and gated MLPs of a model on a CPU, with fewer passes over memory and less of it kept.

What is no matrix product is bound by memory there. transformers' RMSNorm makes a dozen tensors as
large as its input and keeps three for the backward; its SwiGLU keeps four. Here a norm goes block
by block of rows, whose temporaries stay in the cache, and keeps its input and a number per row;
SwiGLU keeps gate, up and their product, and computes the activation again. Values are
transformers' own to the bit. Gradients differ by rounding: a norm's stay in fp32 longer.
Measurements: docs/performance.md. Compiled layers need none of this, the compiler fuses them.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 1 << 18  # numbers a block has per thread, at most: temporaries then stay in the cache

PRECISIONS = (torch.float32, torch.bfloat16)


def lighten(model: nn.Module) -> int:
    """Gives norms and gated MLPs the functions of this module; returns how many.

    A class is known by what it computes: on small numbers that are drawn it must give the same
    values as the function, in fp32 and in bf16, or it keeps its own. Parameters and names stay; a
    module becomes of a subclass of its class (a bound method in it would be a circle, and the model
    would not be freed when it is let go).
    """
    changed = 0
    for module in model.modules():
        if isinstance(module, Light) or "forward" in module.__dict__:
            continue  # done before, or somebody else's
        own: Any = type(module)
        if _is_rms_norm(module):
            module.__class__ = _light(own, _rms_norm)
        elif _is_swiglu(module):
            module.__class__ = _light(own, _swiglu)
        else:
            continue
        changed += 1
    return changed


def restore(model: nn.Module) -> None:
    """Gives the model's modules their own functions again."""
    for module in model.modules():
        if isinstance(module, Light):
            module.__class__ = module.own  # type: ignore[assignment]


class Light:
    """Beside a module's class, ``own``, whose ``forward`` it replaces."""

    own: type[nn.Module]


@cache
def _light(own: Any, forward: Any) -> Any:
    return type(own.__name__, (Light, own), {"own": own, "forward": forward})


def add(total: Tensor, found: Tensor) -> Tensor:
    """total += found. A CPU widens ``found`` first: by parts, what it makes stays in the cache."""
    if total.is_cpu and total.is_contiguous() and found.is_contiguous():
        for part, more in blocks(total.view(-1), found.view(-1)):
            part.add_(more)
        return total
    return total.add_(found)


# --- RMSNorm --------------------------------------------------------------------------------------


class _RmsNorm(torch.autograd.Function):
    """x [R, d], weight [d] -> weight * (x / rms(x)), the quotient rounded to x's precision."""

    @staticmethod
    def forward(ctx: Any, x_Rd: Tensor, weight_d: Tensor, eps: float) -> Tensor:
        out_Rd = torch.empty_like(x_Rd, dtype=torch.result_type(weight_d, x_Rd))
        scale_R1 = x_Rd.new_empty(len(x_Rd), 1, dtype=torch.float32)
        for x, out, scale in blocks(x_Rd, out_Rd, scale_R1):
            wide = x.float()
            torch.rsqrt(wide.pow(2).mean(-1, keepdim=True).add_(eps), out=scale)
            torch.mul((wide * scale).to(x.dtype), weight_d, out=out)
        ctx.save_for_backward(x_Rd, weight_d, scale_R1)
        return out_Rd

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_Rd, weight_d, scale_R1 = ctx.saved_tensors
        by_x, by_weight = ctx.needs_input_grad[:2]
        grad_x_Rd = torch.empty_like(x_Rd)
        grad_weight_d = torch.zeros_like(weight_d, dtype=torch.float32)
        for x, scale, grad, grad_x in blocks(x_Rd, scale_R1, grads[0], grad_x_Rd):
            normal = x * scale  # fp32, as the scale is
            if by_weight:
                grad_weight_d += (normal * grad).sum(0)
            if by_x:
                by_normal = grad.to(torch.float32, copy=True).mul_(weight_d)
                along = (normal * by_normal).mean(-1, keepdim=True)
                grad_x.copy_(by_normal.addcmul_(normal, along, value=-1).mul_(scale))
        return (
            grad_x_Rd if by_x else None,
            grad_weight_d.to(weight_d.dtype) if by_weight else None,
            None,
        )


def blocks(*tensors: Tensor) -> Any:
    """Blocks of rows of all of them at once, as many as the first one's size asks for."""
    count = -(-tensors[0].numel() // (BLOCK * torch.get_num_threads()))
    rows = -(-len(tensors[0]) // max(1, count))
    return zip(*(tensor.split(max(1, rows)) for tensor in tensors), strict=True)


def _rms_norm(self: Any, hidden_states: Tensor) -> Tensor:
    if not hidden_states.is_cpu or hidden_states.dtype not in PRECISIONS:
        return self.own.forward(self, hidden_states)  # type: ignore[no-any-return]
    flat = hidden_states.reshape(-1, hidden_states.shape[-1])
    result: Tensor = _RmsNorm.apply(flat, self.weight, _eps(self))  # type: ignore[no-untyped-call]
    return result.view(hidden_states.shape)


def _eps(module: Any) -> Any:
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


def _is_rms_norm(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    only = not module._modules and list(module._parameters) == ["weight"]
    if not only or weight is None or weight.ndim != 1 or not isinstance(_eps(module), float):
        return False
    fp32, bf16 = PRECISIONS
    return all(
        _same(_with_drawn_weight(module, held), _rms_norm, given)
        for held, given in ((fp32, fp32), (bf16, bf16), (fp32, bf16))
    )


# --- SwiGLU ---------------------------------------------------------------------------------------


class _Swiglu(torch.autograd.Function):
    """silu(gate) * up, of equal shapes and precisions."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        by_gate = grads[0] * up
        torch.ops.aten.silu_backward.grad_input(by_gate, gate, grad_input=by_gate)
        return by_gate, nn.functional.silu(gate).mul_(grads[0])


def _swiglu(self: Any, x: Tensor) -> Tensor:
    gate, up = self.gate_proj(x), self.up_proj(x)
    same = gate.is_cpu and gate.dtype == up.dtype
    product = _Swiglu.apply(gate, up) if same else self.act_fn(gate) * up  # type: ignore[no-untyped-call]
    return self.down_proj(product)  # type: ignore[no-any-return]


def _is_swiglu(module: nn.Module) -> bool:
    names = {"gate_proj", "up_proj", "down_proj", "act_fn"}
    if module._parameters or set(module._modules) != names:
        return False
    small = copy.copy(module)
    shapes = {"gate_proj": (6, 8), "up_proj": (6, 8), "down_proj": (8, 6)}
    small._modules = {**module._modules, **{n: _Product(shape) for n, shape in shapes.items()}}
    return all(_same(small, _swiglu, dtype) for dtype in PRECISIONS)


class _Product(nn.Module):
    """x times a drawn matrix, in x's precision."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.matrix = _drawn(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T.to(x.dtype)


# --- which is which -------------------------------------------------------------------------------


def _with_drawn_weight(norm: nn.Module, dtype: torch.dtype) -> nn.Module:
    small = copy.copy(norm)
    small._parameters = {"weight": nn.Parameter(_drawn((8,)).to(dtype))}
    return small


def _same(small: Any, function: Any, dtype: torch.dtype) -> bool:
    """Whether the class computes what the function does, on [3, 8] drawn numbers."""
    x = _drawn((3, 8)).to(dtype)
    try:
        with torch.no_grad():
            theirs, ours = type(small).forward(small, x), function(small, x)
    except Exception:  # another signature, other attributes: whatever it is, it is not this
        return False
    return isinstance(theirs, Tensor) and theirs.dtype == ours.dtype and torch.equal(theirs, ours)


def _drawn(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
