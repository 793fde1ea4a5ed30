"""Attention by matrix products: against its definition, and the kernel it takes the place of."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samdan.lm import attention as packed
from samdan.lm import causal
from samdan.lm.attention import Branch, Layout, Span


def _drawn(length: int, prefix: int, heads: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    sizes = [(length, heads[0]), (length + prefix, heads[1]), (length + prefix, heads[1])]
    return [
        torch.randn(*size, 8, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for size in sizes
    ]


def _defined(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, float("-inf")).softmax(-1), v)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70), st.integers(0, 30), st.sampled_from([(4, 4), (6, 2), (3, 1)]),
    st.sampled_from([(1, 1), (4, 16), (64, 128)]),
)  # fmt: skip
def test_blocks_give_attention_and_its_gradients(
    length: int, prefix: int, heads: tuple[int, int], rows: tuple[int, int]
) -> None:
    q, k, v = _drawn(length, prefix, heads, torch.float64)
    mask = torch.ones(length, length + prefix, dtype=torch.bool).tril(prefix)
    with mock.patch.multiple(causal, FEWEST=rows[0], ROWS=rows[1]):
        found = causal.attend(q, k, v, 0.3, None)
        weights = torch.randn(found.shape, dtype=torch.float64)
        ours = torch.autograd.grad((found * weights).sum(), (q, k, v))
    expected = _defined(q, k, v, 0.3, mask)
    torch.testing.assert_close(found, expected)
    theirs = torch.autograd.grad((expected * weights).sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_values_may_have_a_width_of_their_own() -> None:
    q, k, v = _drawn(70, 5, (4, 2), torch.float64)
    v = torch.cat([v, v[..., :3]], -1).detach().requires_grad_()
    mask = torch.ones(70, 75, dtype=torch.bool).tril(5)
    found, expected = causal.attend(q, k, v, 0.3, None), _defined(q, k, v, 0.3, mask)
    torch.testing.assert_close(found, expected)
    for mine, other in zip(
        torch.autograd.grad(found.square().sum(), (q, k, v)),
        torch.autograd.grad(expected.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_a_mask_says_who_sees_whom() -> None:
    q, k, v = _drawn(9, 0, (4, 2), torch.float64)
    mask = torch.eye(9, dtype=torch.bool)
    mask[5, 2] = mask[8, 1] = True
    torch.testing.assert_close(causal.attend(q, k, v, 0.5, mask), _defined(q, k, v, 0.5, mask))


@pytest.mark.parametrize("autocast", [False, True])
def test_bf16_is_at_least_as_exact_as_the_kernel(autocast: bool) -> None:
    """In the gradients of keys and values more so: they are summed in fp32."""
    q, k, v = _drawn(300, 0, (6, 2), torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    mask = torch.ones(300, 300, dtype=torch.bool).tril()
    weights = torch.randn(300, 6, 8, generator=torch.Generator().manual_seed(1)).bfloat16()

    def errors(inputs: list[Tensor], out: Tensor) -> list[float]:
        found = [out.detach(), *torch.autograd.grad(out, inputs, weights)]
        return [float((x - y).norm() / y.norm()) for x, y in zip(found, reference, strict=True)]

    whole = _defined(*exact, 0.35, mask)
    reference = [whole.detach(), *torch.autograd.grad(whole, exact, weights.double())]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = causal.attend(q, k, v, 0.35, None)
    mine = errors([q, k, v], ours)
    kernel = errors([q, k, v], packed._sdpa(q, k, v, 0.35, None))
    assert max(mine) < 5e-3
    assert all(one < 1.3 * other for one, other in zip(mine, kernel, strict=True))
    assert all(one < 0.8 * other for one, other in zip(mine[2:], kernel[2:], strict=True))


@pytest.mark.parametrize("shared", [0, 64])
def test_a_layout_gives_the_same_by_products_as_by_the_kernel(shared: int) -> None:
    """Spans, branches that see a prefix, and short neighbours under a mask."""
    spans = [Span(0, 50), Span(70, 12), Span(82, 9), Span(91, 40)]
    layout = Layout(spans, [Branch(50, 20, prefix_start=0, prefix=30)])
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(131, heads, 8, generator=generator).bfloat16().requires_grad_()
        for heads in (4, 2, 2)
    )
    found = {}
    with mock.patch.object(packed, "SHARED", shared):
        for fast in (False, True):
            with mock.patch.object(causal, "bf16_is_fast", return_value=fast):
                assert causal.serves(q, k) is fast
                out = layout.attend(q, k, v, 0.35)
                found[fast] = [out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))]
    for mine, other in zip(found[True], found[False], strict=True):
        assert (mine - other).norm() / other.norm() < 0.02


def test_only_bf16_of_a_length_that_pays_goes_by_products() -> None:
    with mock.patch.object(causal, "bf16_is_fast", return_value=True):
        short, long = torch.zeros(4, 2, 8), torch.zeros(causal.LONGEST + 1, 2, 8)
        assert causal.serves(short.bfloat16(), short.bfloat16())
        assert not causal.serves(short, short)
        assert not causal.serves(short.bfloat16(), long.bfloat16())
