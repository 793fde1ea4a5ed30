"""The output head: log-probabilities from hidden states, without all logits in fp32 at once.

Only the predicting positions come here. Logits are one matrix product in the computing precision;
the softmax (`samdan.lm.softmax`) is fp32, by chunks of rows; the weight's gradient is summed in
fp32. How the gradient is had:

- *sum*: the caller wants only the sum of the log-probabilities (CPT, SFT). Its gradient is known up
  to one factor, so it is computed in the forward, chunk by chunk: 3 matrix products, no logits
  kept.
- *frozen*: the head does not learn (LoRA). The gradient of each row is its own, up to its factor,
  so it too is computed in the forward: 2 matrix products, no logits kept.
- *kept*: logits are kept in the computing precision while they are small: 3 matrix products.
- *again*: otherwise the backward computes the logits again: 4 matrix products.

The idea of the first is Liger Kernel's (2410.10989). Shape letters: N predictions, C of a chunk, d
hidden channels, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from samdan.lm import softmax
from samdan.lm.elementwise import add

# Bytes of one chunk's logits in the widest form that they have (`softmax.bytes_a_logit`), and of
# logits that are kept for the backward.
CHUNK_BYTES = {"cpu": 2**30, "cuda": 2**32}
KEPT_BYTES = {"cpu": 2**30, "cuda": 2**31}

# Families whose causal model is backbone, linear head, nothing else: no cap on logits, no scaling.
# Read in transformers' source, held by a test. Others go through their model's own forward.
PLAIN_FAMILIES = frozenset([
    "arcee", "exaone4", "gemma", "glm", "glm4", "llama", "ministral", "ministral3", "mistral",
    "olmo", "olmo2", "olmo3", "phi3", "qwen2", "qwen3", "seed_oss", "smollm3", "stablelm",
    "starcoder2",
])  # fmt: skip
# What a configuration says when logits are changed after the head; None, 1 or absent when they are
# not.
_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


def plain_head(model: Any) -> tuple[nn.Module, nn.Linear] | None:
    """Backbone and head of a model whose logits are hidden states times a matrix; else None.

    A head that adapters or sharding of its own have wrapped is not plain.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = getattr(inner, "config", None)
    if getattr(config, "model_type", None) not in PLAIN_FAMILIES:
        return None
    if any(getattr(config, name, None) not in (None, 1, 1.0) for name in _CHANGES):
        return None
    head = inner.get_output_embeddings()
    backbone = getattr(inner, getattr(inner, "base_model_prefix", ""), None)
    if type(head) is not nn.Linear or head.bias is not None or not isinstance(backbone, nn.Module):
        return None
    hooked = head._forward_hooks or head._forward_pre_hooks or inner._forward_hooks
    return None if hooked or inner._forward_pre_hooks else (backbone, head)


def log_probs(
    hidden_Nd: Tensor,
    weight_Vd: Tensor,
    targets_N: Tensor,
    dtype: torch.dtype | None = None,
    *,
    total: bool = False,
    fused: bool = False,
) -> Tensor:
    """Log-probability [N] of each target, at least fp32; with ``total`` their sum, a scalar.

    ``dtype``: precision of the matrix products, the hidden states' own by default. ``fused``:
    compile the softmax (worth it on CUDA, where it is bound by memory).
    """
    hidden_Nd = hidden_Nd.to(dtype or hidden_Nd.dtype)
    needs = hidden_Nd.requires_grad or weight_Vd.requires_grad
    if not (torch.is_grad_enabled() and needs):
        logp_N = _without_gradient(hidden_Nd, weight_Vd, targets_N, fused)
        return logp_N.sum() if total else logp_N
    if total or not weight_Vd.requires_grad:
        result: Tensor = _InForward.apply(hidden_Nd, weight_Vd, targets_N, total, fused)  # type: ignore[no-untyped-call]
        return result
    keep = weight_Vd.shape[0] * len(targets_N) * hidden_Nd.element_size() <= _limit(
        KEPT_BYTES, hidden_Nd
    )
    result = _InBackward.apply(hidden_Nd, weight_Vd, targets_N, keep, fused)  # type: ignore[no-untyped-call]
    return result


def likeliest(hidden_Nd: Tensor, weight_Vd: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The likeliest token [N]."""
    hidden_Nd = hidden_Nd.to(dtype or hidden_Nd.dtype)
    transposed = weight_Vd.to(hidden_Nd.dtype).T
    found = torch.empty(len(hidden_Nd), dtype=torch.long, device=hidden_Nd.device)
    for rows in _chunks(hidden_Nd, weight_Vd):
        found[rows] = (hidden_Nd[rows] @ transposed).argmax(-1)
    return found


def _limit(limits: dict[str, int], like: Tensor) -> int:
    return limits.get(like.device.type, limits["cpu"])


def _chunks(hidden_Nd: Tensor, weight_Vd: Tensor, fused: bool = False) -> Iterator[slice]:
    """Slices of equal size over the rows, so that no product is much smaller than the others."""
    rows = len(hidden_Nd)
    row = softmax.bytes_a_logit(hidden_Nd, fused) * weight_Vd.shape[0]
    most = max(64, _limit(CHUNK_BYTES, hidden_Nd) // row)
    count = -(-rows // most)
    size = -(-rows // count) if count else 1
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _add_product(total_Vd: Tensor | None, slope_CV: Tensor, hidden_Cd: Tensor) -> Tensor:
    """total + slope.T @ hidden, summed in fp32; a CPU's first product in bf16 stays as it is."""
    if slope_CV.dtype in (torch.float32, torch.float64):
        if total_Vd is None:
            return slope_CV.T @ hidden_Cd
        return total_Vd.addmm_(slope_CV.T, hidden_Cd)
    if slope_CV.is_cuda:
        product = torch.mm(slope_CV.T, hidden_Cd, out_dtype=torch.float32)
    else:
        product = slope_CV.T @ hidden_Cd
    return product if total_Vd is None else add(total_Vd.float(), product)


# --- the three ways -------------------------------------------------------------------------------


def _without_gradient(
    hidden_Nd: Tensor, weight_Vd: Tensor, targets_N: Tensor, fused: bool
) -> Tensor:
    transposed = weight_Vd.detach().to(hidden_Nd.dtype).T
    logp_N = softmax.numbers(hidden_Nd)
    for rows in _chunks(hidden_Nd, weight_Vd, fused):
        logits = hidden_Nd.detach()[rows] @ transposed
        logp_N[rows], _ = softmax.log_probs(logits, targets_N[rows], fused)
    return logp_N


class _InForward(torch.autograd.Function):
    """Gradients with a factor of minus one, computed along with the log-probabilities."""

    @staticmethod
    def forward(
        ctx: Any, hidden_Nd: Tensor, weight_Vd: Tensor, targets_N: Tensor, total: bool, fused: bool
    ) -> Tensor:
        weight = weight_Vd.to(hidden_Nd.dtype)
        logp_N = softmax.numbers(hidden_Nd)
        grad_hidden = torch.empty_like(hidden_Nd) if ctx.needs_input_grad[0] else None
        grad_weight = None
        for rows in _chunks(hidden_Nd, weight_Vd, fused):
            logits = hidden_Nd[rows] @ weight.T
            logp_N[rows], by_logits = softmax.minus_slopes(logits, targets_N[rows], fused)
            del logits
            if grad_hidden is not None:
                torch.mm(by_logits, weight, out=grad_hidden[rows])
            if ctx.needs_input_grad[1]:
                grad_weight = _add_product(grad_weight, by_logits, hidden_Nd[rows])
        if ctx.needs_input_grad[1] and grad_weight is None:
            grad_weight = torch.zeros_like(weight_Vd)
        ctx.save_for_backward(grad_hidden)
        # As large as the weight: scaled in place and handed on, not copied.
        ctx.grad_weight, ctx.weight_dtype = grad_weight, weight_Vd.dtype
        return logp_N.sum() if total else logp_N

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        (grad_hidden,) = ctx.saved_tensors
        if grad_hidden is not None:
            by_row = factor if factor.ndim == 0 else factor[:, None]
            grad_hidden = (grad_hidden * -by_row).to(grad_hidden.dtype)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            if ctx.grad_weight is None:
                raise RuntimeError("the gradient of a sum of log-probabilities can be had once")
            grad_weight, ctx.grad_weight = ctx.grad_weight, None
            grad_weight = grad_weight.to(torch.promote_types(grad_weight.dtype, ctx.weight_dtype))
            grad_weight = grad_weight.mul_(-factor).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None, None, None


class _InBackward(torch.autograd.Function):
    """Any gradient by the log-probabilities: logits are kept, or computed again."""

    @staticmethod
    def forward(
        ctx: Any, hidden_Nd: Tensor, weight_Vd: Tensor, targets_N: Tensor, keep: bool, fused: bool
    ) -> Tensor:
        transposed = weight_Vd.to(hidden_Nd.dtype).T
        logp_N = softmax.numbers(hidden_Nd)
        norm_N = torch.empty_like(logp_N)
        kept = []
        for rows in _chunks(hidden_Nd, weight_Vd, fused):
            logits = hidden_Nd[rows] @ transposed
            logp_N[rows], norm_N[rows] = softmax.log_probs(logits, targets_N[rows], fused)
            if keep:
                kept.append(logits)
        ctx.save_for_backward(hidden_Nd, weight_Vd, targets_N, norm_N, *kept)
        ctx.fused, ctx.spent = fused, False
        return logp_N

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, factor_N: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.spent:
            raise RuntimeError("the gradient of log-probabilities with kept logits can be had once")
        hidden_Nd, weight_Vd, targets_N, norm_N, *kept = ctx.saved_tensors
        ctx.spent = bool(kept)  # they become their gradient where they lie
        weight = weight_Vd.to(hidden_Nd.dtype)
        grad_hidden = torch.empty_like(hidden_Nd) if ctx.needs_input_grad[0] else None
        grad_weight = None
        for number, rows in enumerate(_chunks(hidden_Nd, weight_Vd, ctx.fused)):
            logits = kept[number] if kept else hidden_Nd[rows] @ weight.T
            by_logits = softmax.slopes(
                logits, norm_N[rows], targets_N[rows], factor_N[rows], ctx.fused
            )
            del logits
            if grad_hidden is not None:
                torch.mm(by_logits, weight, out=grad_hidden[rows])
            if ctx.needs_input_grad[1]:
                grad_weight = _add_product(grad_weight, by_logits, hidden_Nd[rows])
        if ctx.needs_input_grad[1] and grad_weight is None:
            grad_weight = torch.zeros_like(weight_Vd)
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight_Vd.dtype)
        return grad_hidden, grad_weight, None, None, None
