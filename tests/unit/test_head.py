"""The chunked head equals the plain one: log-probabilities and gradients, however it is chunked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from samdan.lm import elementwise, head, softmax
from samdan.lm.batch import collate
from samdan.lm.head import PLAIN_FAMILIES, likeliest, log_probs, plain_head
from samdan.lm.scoring import Scorer

ROWS, WIDTH, VOCAB = 301, 24, 97
RECORDS = (tiny.pair(5, 7, 3, 0), tiny.document(30, 1), tiny.pair(9, 1, 12, 2))


@pytest.fixture(params=["one chunk, kept", "blocks, kept", "chunks, kept", "chunks, again"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sizes at which the head works by chunks of 64 rows and by blocks, or computes again."""
    if "chunks" in request.param or "blocks" in request.param:
        monkeypatch.setattr(elementwise, "BLOCK", 1)
    if "chunks" in request.param:
        monkeypatch.setattr(head, "CHUNK_BYTES", {"cpu": 1})
    if "again" in request.param:
        monkeypatch.setattr(head, "KEPT_BYTES", {"cpu": 0})
    return str(request.param)


def inputs(dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(ROWS, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(VOCAB, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    return hidden, weight, torch.randint(0, VOCAB, (ROWS,), generator=generator)


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = (hidden @ weight.T).float()
    return -nn.functional.cross_entropy(logits, targets, reduction="none")


def close(ours: Any, theirs: Any, tolerance: float = 1e-6) -> None:
    """Within the tolerance, relative to the norm."""
    assert ours.shape == theirs.shape
    assert float((ours.double() - theirs.double()).norm()) <= tolerance * float(theirs.norm())


@pytest.mark.usefixtures("limits")
def test_each_log_probability_and_any_gradient_is_the_plain_heads() -> None:
    hidden, weight, targets = inputs()
    factors = torch.linspace(-2, 3, ROWS)
    ours, theirs = log_probs(hidden, weight, targets), plain(hidden, weight, targets)
    close(ours, theirs)
    mine = torch.autograd.grad((ours * factors).sum(), (hidden, weight))
    other = torch.autograd.grad((theirs * factors).sum(), (hidden, weight))
    for a, b in zip(mine, other, strict=True):
        close(a, b)


@pytest.mark.usefixtures("limits")
def test_the_sum_and_its_gradient_are_the_plain_heads() -> None:
    hidden, weight, targets = inputs()
    ours = log_probs(hidden, weight, targets, total=True)
    theirs = plain(hidden, weight, targets).sum()
    close(ours, theirs)
    mine = torch.autograd.grad(ours * -0.37, (hidden, weight))
    other = torch.autograd.grad(theirs * -0.37, (hidden, weight))
    for a, b in zip(mine, other, strict=True):
        close(a, b)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_side_gets_no_gradient_and_the_other_one_its_own(frozen: int) -> None:
    both = inputs()
    factors = torch.linspace(-2, 3, ROWS)
    theirs = torch.autograd.grad((plain(*both) * factors).sum(), both[:2])
    both[frozen].requires_grad_(False)
    (log_probs(*both) * factors).sum().backward()
    close(both[1 - frozen].grad, theirs[1 - frozen])
    assert both[frozen].grad is None


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("total", [False, True])
def test_a_weight_used_twice_sums_both_gradients(total: bool) -> None:
    """As with two micro-batches, with tied embeddings, and with one backward after two forwards."""
    hidden, weight, targets = inputs()
    ours = sum(log_probs(x, weight, targets, total=total).sum() for x in (hidden, hidden * 0.5))
    theirs = sum(plain(x, weight, targets).sum() for x in (hidden, hidden * 0.5))
    assert isinstance(ours, Tensor)
    assert isinstance(theirs, Tensor)
    mine = torch.autograd.grad(ours, (hidden, weight))
    other = torch.autograd.grad(theirs, (hidden, weight))
    for a, b in zip(mine, other, strict=True):
        close(a, b)


def test_a_second_backward_gives_the_same_or_says_that_there_is_none(limits: str) -> None:
    hidden, weight, targets = inputs()
    for total in (False, True):
        logp = log_probs(hidden, weight, targets, total=total).sum()
        first = torch.autograd.grad(logp, (hidden, weight), retain_graph=True)
        if total or limits.endswith("kept"):
            with pytest.raises(RuntimeError, match="can be had once"):
                torch.autograd.grad(logp, (hidden, weight))
            continue
        for a, b in zip(first, torch.autograd.grad(logp, (hidden, weight)), strict=True):
            assert torch.equal(a, b)


@pytest.mark.usefixtures("limits")
def test_gradients_are_those_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "KEPT_BYTES", {"cpu": 0})  # kept logits have their gradient once
    hidden, weight, targets = (x[:70] for x in inputs(torch.float64))
    few = hidden[:, :3].detach().requires_grad_(), weight[:9, :3].detach().requires_grad_()
    targets = targets % 9
    assert torch.autograd.gradcheck(lambda h, w: log_probs(h, w, targets), few, fast_mode=True)


@pytest.mark.usefixtures("limits")
def test_in_bf16_the_masters_gradient_is_fp32_and_near() -> None:
    hidden, weight, targets = inputs()
    exact = torch.autograd.grad(plain(hidden, weight, targets).sum(), (hidden, weight))
    for total in (False, True):
        logp = log_probs(hidden, weight, targets, torch.bfloat16, total=total)
        assert logp.dtype == torch.float32
        for ours, theirs in zip(
            torch.autograd.grad(logp.sum(), (hidden, weight)), exact, strict=True
        ):
            assert ours.dtype == torch.float32
            close(ours, theirs, 0.02)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_by_blocks_the_softmax_is_that_of_all_rows(dtype: torch.dtype) -> None:
    """Also where a target is so unlikely that its probability is nothing in fp32."""
    generator = torch.Generator().manual_seed(3)
    logits = (torch.randn(70, VOCAB, generator=generator) * 40).to(dtype)
    targets = torch.randint(0, VOCAB, (70,), generator=generator)
    factors = torch.linspace(-2, 3, 70)
    right = softmax._log_probs(logits, targets)
    assert float(right[0].min()) < -110  # exp of it is 0
    for ours, theirs in zip(softmax.log_probs(logits, targets, False), right, strict=True):
        close(ours, theirs)
    slopes = softmax.slopes(logits.clone(), right[1], targets, factors, False)
    close(slopes, softmax._slopes(logits, right[1], targets, factors), 1e-6)
    logp, slopes = softmax.minus_slopes(logits.clone(), targets, False)
    close(logp, right[0])
    rounding = 1e-6 if dtype == torch.float32 else 4e-3
    close(slopes, softmax._minus_slopes(logits, targets)[1], rounding)


def test_logits_that_are_no_numbers_are_not_hidden() -> None:
    for bad in (float("nan"), float("inf")):
        logits = torch.zeros(4, VOCAB)
        logits[2, 5] = bad
        logp, slopes = softmax.minus_slopes(logits, torch.zeros(4, dtype=torch.long), False)
        assert not torch.isfinite(logp[2])
        assert torch.isfinite(logp[[0, 1, 3]]).all()
        assert not torch.isfinite(slopes[2]).all()


@pytest.mark.usefixtures("limits")
def test_without_gradients_the_values_are_the_same() -> None:
    hidden, weight, targets = inputs()
    seen = log_probs(hidden, weight, targets)
    with torch.inference_mode():
        close(log_probs(hidden, weight, targets), seen)
        close(log_probs(hidden, weight, targets, total=True), seen.sum())
        assert torch.equal(likeliest(hidden, weight), (hidden @ weight.T).argmax(-1))


@pytest.mark.parametrize("total", [False, True])
def test_no_prediction_is_no_error(total: bool) -> None:
    hidden, weight, targets = inputs()
    logp = log_probs(hidden[:0], weight, targets[:0], total=total)
    logp.sum().backward()
    assert logp.shape == (() if total else (0,))
    assert weight.grad is not None
    assert not weight.grad.any()


# --- in the scorer --------------------------------------------------------------------------------


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("shape", [{}, {"tie_word_embeddings": True}], ids=["untied", "tied"])
@pytest.mark.parametrize("total", [False, True])
def test_a_model_learns_the_same_through_either_head(
    shape: dict[str, Any], total: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tiny.model(**shape), tiny.model(**shape)
    batch = collate(RECORDS)
    factors = torch.ones(batch.num_targets) if total else torch.linspace(-1, 2, batch.num_targets)
    mine = Scorer(ours)(batch, total=total)
    (mine if total else (mine * factors).sum()).backward()
    monkeypatch.setattr(head, "PLAIN_FAMILIES", frozenset())
    assert plain_head(theirs) is None
    other = Scorer(theirs)(batch)
    (other * factors).sum().backward()
    close(mine, other.sum() if total else other)
    assert tiny.distance(tiny.gradients(ours), tiny.gradients(theirs)) < 2e-6
    both = [Scorer(model).likeliest(batch) for model in (ours, theirs)]
    assert torch.equal(*both)


FAMILIES = {
    "Qwen2": True, "Llama": True, "Mistral": True, "Qwen3": True, "Gemma": True, "Phi3": True,
    "Olmo2": True, "Gemma2": False, "Cohere": False, "Granite": False,
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_head_is_found_where_logits_are_a_product_and_only_there(family: str) -> None:
    model = tiny.model(family, attention="eager")
    found = plain_head(model)
    assert (found is not None) == FAMILIES[family]
    if found is not None:
        ids = torch.arange(1, 9)[None]
        backbone, linear = found
        with torch.no_grad():
            product = backbone(input_ids=ids).last_hidden_state @ linear.weight.T
            torch.testing.assert_close(product, model(input_ids=ids).logits)


def test_every_plain_family_says_so_in_its_source() -> None:
    """Where transformers has it: logits are assigned once, from the head, and not changed."""
    import inspect

    from transformers import AutoConfig, AutoModelForCausalLM

    seen = 0
    for name in sorted(PLAIN_FAMILIES):
        try:
            kind = AutoModelForCausalLM._model_mapping[type(AutoConfig.for_model(name))]
        except (KeyError, ValueError):
            continue
        lines = inspect.getsource(kind.forward).splitlines()
        assigned = [line.split("=", 1)[1] for line in lines if line.strip().startswith("logits = ")]
        assert len(assigned) == 1, name
        assert assigned[0].strip().startswith("self.lm_head(hidden_states"), name
        seen += 1
    assert seen > 10


def test_a_scaled_or_wrapped_head_is_not_plain() -> None:
    from peft import LoraConfig, get_peft_model

    scaled = tiny.model()
    scaled.config.logit_scale = 0.5
    assert plain_head(scaled) is None
    body = get_peft_model(tiny.model(), LoraConfig(r=2, target_modules=["q_proj"]))
    assert plain_head(body) is not None
    wrapped = get_peft_model(tiny.model(), LoraConfig(r=2, target_modules=["lm_head"]))
    assert plain_head(wrapped) is None


def test_adapters_learn_the_same_through_either_head(monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import LoraConfig, get_peft_model

    def adapted() -> Any:
        model = get_peft_model(
            tiny.model(), LoraConfig(r=2, target_modules=["q_proj", "down_proj"], lora_dropout=0.0)
        )
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.constant_(parameter, 0.05)
            if "lora_A" in name:
                nn.init.constant_(parameter, 0.03)
        return model.train()

    batch = collate(RECORDS)
    factors = torch.linspace(-1, 2, batch.num_targets)
    ours, theirs = adapted(), adapted()
    (Scorer(ours)(batch) * factors).sum().backward()
    monkeypatch.setattr(head, "PLAIN_FAMILIES", frozenset())
    (Scorer(theirs)(batch) * factors).sum().backward()
    assert tiny.distance(tiny.gradients(ours), tiny.gradients(theirs)) < 2e-6
