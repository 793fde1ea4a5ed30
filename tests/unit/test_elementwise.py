"""Norms and gated MLPs that keep less: values and gradients are those of transformers."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from samdan.lm import elementwise
from samdan.lm.batch import collate
from samdan.lm.compiled import compile_layers
from samdan.lm.elementwise import Light, lighten, restore
from samdan.lm.scoring import Scorer

BATCH = collate([tiny.document(40, 0), tiny.pair(9, 7, 3, 1)])
FP32, BF16 = torch.float32, torch.bfloat16


def changed(model: nn.Module) -> set[str]:
    lighten(model)
    return {type(m).__name__ for m in model.modules() if isinstance(m, Light)}


def lightened(model: nn.Module) -> bool:
    return any(isinstance(module, Light) for module in model.modules())


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("Qwen2", {"Qwen2RMSNorm", "Qwen2MLP"}),
        ("Qwen3", {"Qwen3RMSNorm", "Qwen3MLP"}),
        ("Llama", {"LlamaRMSNorm", "LlamaMLP"}),
        ("Mistral", {"MistralRMSNorm", "MistralMLP"}),
        ("Olmo2", {"Olmo2MLP"}),  # its norm rounds after the weight
        ("Gemma2", set()),  # its norm multiplies with 1 + weight, its gate is a GELU
        ("Phi3", {"Phi3RMSNorm"}),  # gate and up are one matrix
    ],
)
def test_a_class_is_known_by_what_it_computes(family: str, names: set[str]) -> None:
    assert changed(tiny.model(family)) == names


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("freeze", [False, True], ids=["all learn", "norms frozen"])
def test_values_are_the_same_and_gradients_within_rounding(
    family: str, bf16: bool, freeze: bool
) -> None:
    def found(light: bool) -> tuple[Tensor, dict[str, Tensor]]:
        model = tiny.model(family)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not (freeze and "norm" in name))
        scorer = Scorer(model, bf16)
        assert lightened(model)
        if not light:
            restore(model)
        with scorer.computing():
            logp = scorer(BATCH)
            (-logp.sum()).backward()
        return logp.detach(), tiny.gradients(model)

    (ours, light), (theirs, plain) = found(True), found(False)
    assert torch.equal(ours, theirs)
    assert light.keys() == plain.keys()
    assert tiny.distance(light, plain) < (0.02 if bf16 else 1e-6)


@pytest.mark.parametrize("held", [FP32, BF16])
@pytest.mark.parametrize("given", [FP32, BF16])
def test_a_norm_by_itself(held: torch.dtype, given: torch.dtype) -> None:
    """Each block's rows are its own, and the weight's gradient is the sum over blocks."""
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

    torch.manual_seed(0)
    theirs = Qwen2RMSNorm(16).to(held)
    theirs.weight.data.uniform_(0.5, 1.5)
    ours = copy.deepcopy(theirs)
    assert lighten(ours) == 1
    x, upstream = torch.randn(2, 3, 5, 16).to(given), torch.randn(2, 3, 5, 16)
    xs = [x.clone().requires_grad_() for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise, "BLOCK", 64)  # 30 rows in blocks of a few
        results = [norm(x) for norm, x in zip((theirs, ours), xs, strict=True)]
        for result in results:
            result.backward(upstream.to(result.dtype))
    assert torch.equal(*results)
    assert results[0].dtype == results[1].dtype
    near: dict[str, Any] = {} if (held, given) == (FP32, FP32) else {"rtol": 0.02, "atol": 0.03}
    torch.testing.assert_close(xs[1].grad, xs[0].grad, **near)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, **near)


def test_bf16_gradients_of_a_norm_are_nearer_to_the_exact_ones() -> None:
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

    torch.manual_seed(0)
    x, upstream = torch.randn(256, 64).to(BF16), torch.randn(256, 64).to(BF16)

    def by_weight(light: bool, dtype: torch.dtype) -> Tensor:
        norm = Qwen2RMSNorm(64).to(dtype)
        if light:
            lighten(norm)
        norm(x.to(dtype)).backward(upstream.to(dtype))
        grad: Tensor = norm.weight.grad
        return grad.double()

    exact = by_weight(False, FP32)
    ours, theirs = ((by_weight(light, BF16) - exact).norm() for light in (True, False))
    assert ours < theirs


def kept(light: bool) -> int:
    """Bytes that the backward of one forward keeps, each storage once, parameters left out."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model = tiny.model(intermediate_size=170)
    scorer = Scorer(model)
    if not light:
        restore(model)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logp = scorer(BATCH)
    assert logp.requires_grad
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return sum(size for place, size in seen.items() if place not in own)


def test_a_quarter_less_is_kept_for_the_backward() -> None:
    assert kept(light=True) < 0.8 * kept(light=False)


def test_a_model_that_is_let_go_is_freed_at_once() -> None:
    """And not when Python looks for circles: two models would lie in memory."""
    model = tiny.model()
    Scorer(model)(BATCH).sum().backward()
    seen = weakref.ref(model.model.norm)
    gc.disable()
    try:
        del model
        assert seen() is None
    finally:
        gc.enable()


def test_a_copy_computes_with_its_own_weights() -> None:
    model = tiny.model()
    Scorer(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    norm = other.model.norm
    assert not norm(torch.ones(1, 32)).any()
    assert model.model.norm(torch.ones(1, 32)).any()


def test_a_forward_that_somebody_else_has_set_stays() -> None:
    model = tiny.model()
    given: Callable[..., Tensor] = lambda x: x  # noqa: E731
    model.model.norm.forward = given
    lighten(model)
    assert model.model.norm.forward is given


def test_what_only_looks_like_one_keeps_its_own() -> None:
    class OddNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))
            self.eps = 1e-6

        def forward(self, x: Tensor, factor: Tensor) -> Tensor:
            return x * self.weight * factor

    assert lighten(OddNorm()) == 0


def test_compiled_layers_have_their_own_functions() -> None:
    """Whoever scored with the model before."""
    model = tiny.model()
    Scorer(model)
    compile_layers(model, backend="eager")
    Scorer(model)
    assert not lightened(model)
    Scorer(model)
    assert not lightened(model)
