"""The variable-length path, with the kernel played by a loop of plain attention calls on CPU.

What the kernel itself computes is checked on the device, by the probe and by the tests marked gpu.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from samdan.lm import varlen
from samdan.lm.attention import Branch, Layout, Span
from samdan.lm.batch import collate
from samdan.lm.scoring import Scorer

CPU = torch.device("cpu")
RECORDS = (tiny.pair(5, 7, 3, 0), tiny.document(30, 1), tiny.pair(9, 1, 12, 2), tiny.document(1))


def played(
    query: Tensor, key: Tensor, value: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int,
    *, scale: float, window_size: tuple[int, int], enable_gqa: bool = False, top_left: bool = False,
) -> Tensor:  # fmt: skip
    """One causal call per segment, aligned at the bottom right; grouped heads only when asked."""
    assert window_size == (-1, 0)
    assert enable_gqa or query.shape[1] == key.shape[1], "Try setting enable_gqa=True"
    assert int((cu_q[1:] - cu_q[:-1]).max()) <= max_q
    assert int((cu_k[1:] - cu_k[:-1]).max()) <= max_k
    out = []
    for n in range(len(cu_q) - 1):
        q, k, v = (
            x[int(cu[n]) : int(cu[n + 1])].transpose(0, 1)
            for x, cu in ((query, cu_q), (key, cu_k), (value, cu_k))
        )
        shift = 0 if top_left else k.shape[1] - q.shape[1]
        mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(shift)
        attended = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=scale, enable_gqa=enable_gqa
        )
        out.append(attended.transpose(0, 1))
    return torch.cat(out)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    def use(kernel: Any) -> None:
        monkeypatch.setattr(varlen, "_kernel", lambda: kernel)

    use(played)
    return use


@pytest.mark.usefixtures("play")
@pytest.mark.parametrize("form", ["grouped", "expanded"])
def test_it_is_attention_under_the_dense_mask(form: varlen.Form) -> None:
    batch = collate(RECORDS)
    torch.manual_seed(0)
    shapes = [(batch.num_tokens, heads, 8) for heads in (4, 2, 2)]
    inputs = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    upstream = torch.randn(shapes[0], dtype=torch.float64)
    ours = batch.layout.to(CPU, form).attend(*inputs, 0.3)
    theirs = varlen._defined(*inputs, 0.3, batch.layout.dense_mask())
    torch.testing.assert_close(ours, theirs)
    mine = torch.autograd.grad(ours, inputs, upstream)
    for a, b in zip(mine, torch.autograd.grad(theirs, inputs, upstream), strict=True):
        torch.testing.assert_close(a, b)


def test_the_cumulative_lengths_are_those_of_unshared_keys() -> None:
    """[P + c, r, ...] queries against [P + c, P + r, ...] keys."""
    layout = Layout([Span(0, 5), Span(8, 4)], [Branch(5, 3, prefix_start=0, prefix=2)])
    where = layout.to(CPU, "plain").segments
    assert where is not None
    assert where.cu_queries.tolist() == [0, 5, 8, 12]
    assert where.cu_keys.tolist() == [0, 5, 10, 14]
    assert where.cu_queries.dtype == where.cu_keys.dtype == torch.int32
    assert where.key_rows is not None
    assert where.key_rows.tolist() == [0, 1, 2, 3, 4, 0, 1, 5, 6, 7, 8, 9, 10, 11]
    assert (where.longest_query, where.longest_key) == (128, 128)


def test_without_branches_nothing_is_copied() -> None:
    where = varlen.segments([(0, 200, 0, 0), (200, 3, 0, 0)])
    assert where.key_rows is None
    assert (where.longest_query, where.cu_queries.tolist()) == (256, [0, 200, 203])


@pytest.mark.usefixtures("play")
def test_several_branches_on_one_prefix_all_send_their_gradient() -> None:
    layout = Layout([Span(0, 4)], [Branch(4, 2, 0, 3), Branch(6, 1, 0, 3), Branch(7, 3, 0, 2)])
    inputs = [torch.randn(10, 2, 4, dtype=torch.float64).requires_grad_() for _ in range(3)]
    ours = layout.to(CPU, "plain").attend(*inputs, 0.5)
    theirs = varlen._defined(*inputs, 0.5, layout.dense_mask())
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), inputs),
        torch.autograd.grad(theirs.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_row_with_gaps_is_refused() -> None:
    with pytest.raises(ValueError, match="without gaps"):
        varlen.segments([(0, 3, 0, 0), (4, 2, 0, 0)])


@pytest.mark.usefixtures("play")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_model_scores_and_learns_as_in_padded_calls(
    checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tiny.model(), tiny.model()
    if checkpointing:
        ours.gradient_checkpointing_enable({"use_reentrant": False})
    batch = collate(RECORDS)
    expected = Scorer(theirs)(batch)
    expected.square().sum().backward()
    monkeypatch.setattr(Scorer, "_form", lambda self, device: "grouped")
    seen = Scorer(ours)(collate(RECORDS))
    seen.square().sum().backward()
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)
    assert tiny.distance(tiny.gradients(ours), tiny.gradients(theirs)) < 1e-5


# --- the probe ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.usefixtures("play")
def test_the_probe_finds_the_form_that_computes(mode: Callable[[], Any]) -> None:
    with mode():
        assert varlen.probe(CPU, torch.bfloat16, 4, 2, 16) == "grouped"
        assert varlen.probe(CPU, torch.bfloat16, 4, 4, 16) == "plain"


def test_the_probe_passes_over_what_is_refused_or_wrong(play: Callable[[Any], None]) -> None:
    def like_2_11(q: Any, k: Any, v: Any, cq: Any, ck: Any, mq: int, mk: int, *, scale: float,
                  window_size: Any) -> Tensor:  # fmt: skip
        return played(q, k, v, cq, ck, mq, mk, scale=scale, window_size=window_size,
                      enable_gqa=q.shape[1] != k.shape[1])  # fmt: skip

    play(like_2_11)
    assert varlen.probe(CPU, torch.bfloat16, 4, 2, 16) == "plain"

    def refuses(*args: Any, scale: float, window_size: Any) -> Tensor:
        if args[0].shape[1] != args[1].shape[1]:
            raise RuntimeError("heads must be equal")
        return played(*args, scale=scale, window_size=window_size)

    play(refuses)
    assert varlen.probe(CPU, torch.bfloat16, 4, 2, 16) == "expanded"

    def top_left(*args: Any, scale: float, window_size: Any) -> Tensor:
        return played(*args, scale=scale, window_size=window_size, enable_gqa=True, top_left=True)

    play(top_left)
    with pytest.warns(UserWarning, match="plain: off by"):
        assert varlen.probe(CPU, torch.bfloat16, 4, 2, 16) is None


def test_a_kernel_without_causal_window_or_scale_is_not_tried(play: Callable[[Any], None]) -> None:
    play(lambda q, k, v, cq, ck, mq, mk, is_causal=False: q)
    assert varlen.probe(CPU, torch.bfloat16, 4, 2, 16) is None


def test_cpu_and_fp32_do_not_use_it() -> None:
    assert varlen.choose_form(CPU, torch.bfloat16, 4, 2, 16) is None
    assert varlen.choose_form(torch.device("cuda"), torch.float32, 4, 2, 16) is None


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("heads", "key_heads", "width"), [(14, 2, 64), (12, 2, 128), (28, 4, 128)])
def test_on_the_device_a_form_is_found(heads: int, key_heads: int, width: int) -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    assert varlen.choose_form(device, torch.bfloat16, heads, key_heads, width) is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-4), (True, 0.05)])
@pytest.mark.parametrize("compiled", [False, True])
def test_on_the_device_scores_and_gradients_are_those_of_the_cpu(
    bf16: bool, tolerance: float, compiled: bool
) -> None:
    shape = {"hidden_size": 256, "head_dim": 64, "intermediate_size": 512}
    ours, theirs = tiny.model(**shape).cuda(), tiny.model(**shape)
    expected = Scorer(theirs)(collate(RECORDS))
    expected.sum().backward()
    scorer = Scorer(ours, bf16=bf16, compile_layers=compiled)
    batch = collate(RECORDS)
    seen = scorer(batch)
    seen.sum().backward()
    assert float((seen.cpu() - expected).norm() / expected.norm()) < tolerance
    found = {name: grad.cpu() for name, grad in tiny.gradients(ours).items()}
    assert tiny.distance(found, tiny.gradients(theirs)) < 2 * tolerance
    if bf16:
        assert batch.layout.form is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("total", [False, True])
def test_on_the_device_the_host_never_waits_for_a_forward_and_backward(total: bool) -> None:
    shape = {"hidden_size": 256, "head_dim": 64, "intermediate_size": 512}
    scorer = Scorer(tiny.model(**shape).cuda(), bf16=True)
    for attempt in range(3):  # the first ones fill caches and probe the kernel
        torch.cuda.set_sync_debug_mode("error" if attempt == 2 else "default")
        try:
            scorer(collate(RECORDS), total=total).sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
