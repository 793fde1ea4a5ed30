"""Compiled layers: one graph for all layers and batches, and no silent return to eager code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor

import tiny
from samdan.lm import compiled, opaque, varlen
from samdan.lm.attention import Layout, Span
from samdan.lm.batch import Batch, collate
from samdan.lm.compiled import compile_layers
from samdan.lm.scoring import Scorer


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    before = torch._dynamo.config.fail_on_recompile_limit_hit
    torch._dynamo.reset()
    yield
    torch._dynamo.config.fail_on_recompile_limit_hit = before
    torch._dynamo.reset()


def batches() -> list[Batch]:
    """Growing counts of documents and pairs, of changing lengths."""
    made = []
    for count in range(2, 12):
        documents = [tiny.document(3 + (7 * n + count) % 23, n) for n in range(count)]
        pairs = [tiny.pair(3 + n, 2 + (n + count) % 5, 1 + n, n) for n in range(count % 4 + 1)]
        made.append(collate([*documents, *pairs]))
    return made


def count_graphs(model: Any, fullgraph: bool = True) -> list[int]:
    """Compiles the layers with a backend that only counts; fullgraph: nothing may break out."""
    counted: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        counted.append(1)
        return graph.forward

    assert compile_layers(model, backend=backend, fullgraph=fullgraph) > 0  # type: ignore[arg-type]
    return counted


def test_one_graph_serves_all_layers_and_every_batch() -> None:
    ours, theirs = (tiny.model(num_hidden_layers=10) for _ in range(2))
    counted = count_graphs(ours)
    for batch in batches():
        seen, expected = Scorer(ours)(batch), Scorer(theirs)(batch)
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)
        seen.sum().backward()
        expected.sum().backward()
    assert tiny.distance(tiny.gradients(ours), tiny.gradients(theirs)) < 1e-5
    assert len(counted) <= 2


def test_bf16_copies_need_no_graph_more() -> None:
    """The layers hold their masters before and after each step, and copies within."""
    ours, theirs = (tiny.model(num_hidden_layers=10) for _ in range(2))
    counted = count_graphs(ours)
    scorers = [Scorer(model, bf16=True) for model in (ours, theirs)]
    for batch in batches():
        for scorer in scorers:
            with scorer.computing():
                scorer(batch).sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(scorers[0](batch), scorers[1](batch), rtol=0, atol=0.05)
    assert tiny.distance(tiny.gradients(ours), tiny.gradients(theirs)) < 0.02
    assert len(counted) <= 3  # one without gradients


def test_one_graph_serves_the_variable_length_kernel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs need keys copied and documents do not: two graphs, for any number of either."""

    @torch.library.custom_op("samdan_test::played", mutates_args=())
    def kernel(
        q: Tensor, k: Tensor, v: Tensor, cq: Tensor, ck: Tensor, mq: int, mk: int, scale: float
    ) -> Tensor:
        return q * scale + v.sum() + k.sum()

    kernel.register_fake(lambda q, k, v, cq, ck, mq, mk, scale: torch.empty_like(q))

    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.shapes = [x.shape for x in inputs[:3]]

    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v = (grad.new_ones(shape) for shape in ctx.shapes)
        return q, k, v, None, None, None, None, None

    kernel.register_autograd(backward, setup_context=setup)

    def played(
        q: Tensor, k: Tensor, v: Tensor, cq: Tensor, ck: Tensor, mq: int, mk: int, *,
        scale: float, window_size: Any, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        out: Tensor = kernel(q, k, v, cq, ck, mq, mk, scale)
        return out

    monkeypatch.setattr(varlen, "_kernel", lambda: played)
    monkeypatch.setattr(Scorer, "_form", lambda self, device: "grouped")
    ours = tiny.model(num_hidden_layers=10)
    counted = count_graphs(ours)
    for batch in batches():
        Scorer(ours)(batch).sum().backward()
    for count in range(2, 12):
        documents = [tiny.document(60 * n + count, n) for n in range(1, count)]
        Scorer(ours)(collate(documents)).sum().backward()
    assert len(counted) <= 4


def test_one_graph_serves_adapters_and_recomputed_layers() -> None:
    from peft import LoraConfig, get_peft_model

    spec = LoraConfig(r=2, target_modules="all-linear")
    adapted = get_peft_model(tiny.model(num_hidden_layers=10), spec)
    saving = tiny.model(num_hidden_layers=10)
    saving.gradient_checkpointing_enable({"use_reentrant": False})
    for model in (adapted, saving):
        counted = count_graphs(model, fullgraph=False)
        for batch in batches()[:4]:
            Scorer(model)(batch).sum().backward()
        assert len(counted) <= 3


def test_the_operator_is_attention_and_its_gradient_is_right() -> None:
    layout = Layout([Span(0, 4), Span(4, 3)])
    inputs = [torch.randn(7, 2, 4, dtype=torch.float64).requires_grad_() for _ in range(3)]
    assert torch.equal(
        opaque.attend(*inputs, layout.handle, 0.5), layout.attend_each(*inputs, 0.5)
    )
    assert torch.autograd.gradcheck(
        lambda q, k, v: opaque.attend(q, k, v, layout.handle, 0.5), inputs
    )
    torch.library.opcheck(torch.ops.samdan.attend, (*inputs, layout.handle, 0.5))


def test_too_many_recompilations_are_an_error() -> None:
    """Every length of a list is another graph: what torch would otherwise run eagerly."""
    compile_layers(tiny.model(), backend="eager")
    work = torch.compile(lambda x, parts: x + len(parts), backend="eager", dynamic=False)
    with torch._dynamo.config.patch(recompile_limit=2):
        for count in range(2):
            work(torch.zeros(2), [torch.zeros(1)] * count)
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            work(torch.zeros(2), [torch.zeros(1)] * 5)


def test_without_a_compiler_the_layers_stay_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler"):
        scorer = Scorer(tiny.model(), compile_layers=True)
    assert not scorer.fused
    assert len(scorer(collate([tiny.document(5)]))) == 4


@pytest.mark.slow
def test_compiled_code_computes_the_same() -> None:
    ours, theirs = tiny.model(), tiny.model()
    scorer = Scorer(ours, compile_layers=True)
    if not scorer.fused:
        pytest.skip("no C++ compiler")
    for total in (False, True):
        for batch in batches()[:3]:
            seen, expected = scorer(batch, total=total), Scorer(theirs)(batch, total=total)
            torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)
            seen.square().sum().backward()
            expected.square().sum().backward()
    assert tiny.distance(tiny.gradients(ours), tiny.gradients(theirs)) < 1e-5
