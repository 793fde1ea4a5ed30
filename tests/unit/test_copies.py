"""Computing with bf16 copies: masters keep their place, their precision and their gradient."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from samdan.lm.batch import Batch, collate
from samdan.lm.copies import Copies
from samdan.lm.model import add_lora
from samdan.lm.scoring import Scorer
from samdan.recipe import Lora
from samdan.train.loop import train_steps
from samdan.train.objectives import NextToken
from samdan.train.optim import make_optimizer

BATCHES = [collate([tiny.document(40, n), tiny.pair(9, 7, 3, n)]) for n in range(3)]


def learned(
    model: Any, batches: Sequence[Batch] = BATCHES, bf16: bool = True, **options: Any
) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    scorer = Scorer(model, bf16, **options)
    with scorer.computing():
        for batch in batches:
            (-scorer(batch).sum()).backward()
    return tiny.gradients(model)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "cast"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_near_those_of_fp32(keep: bool, checkpointing: bool, tied: bool) -> None:
    model = tiny.model(tie_word_embeddings=tied)
    right = learned(model, bf16=False)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    found = learned(model, keep_copies=keep)
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    assert tiny.distance(found, right) < 0.04  # the worst tensor is a bias of queries or keys
    two_of_three = learned(model, BATCHES[:2], keep_copies=keep)
    assert tiny.distance(two_of_three, right) > 0.2


@pytest.mark.parametrize("family", ["Gemma3", "Qwen3", "Starcoder2", "Mixtral", "OPT"])
def test_other_families_too(family: str) -> None:
    """OPT learns its positions, in an embedding of their own; all experts of Mixtral are asked, as
    rounding changes which two are."""
    own = {
        "OPT": {"word_embed_proj_dim": 32, "ffn_dim": 48, "dropout": 0.0},
        "Mixtral": {"num_local_experts": 3, "num_experts_per_tok": 3},
    }
    model = tiny.model(family, **own.get(family, {}))
    assert tiny.distance(learned(model), learned(model, bf16=False)) < 0.06


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("padding", [None, 3])
def test_the_embeddings_gradient_by_rows_is_the_matrix(tied: bool, padding: int | None) -> None:
    """The same bits as torch's own in one micro-batch; of many, their sum; of padding, nothing."""
    model = tiny.model(tie_word_embeddings=tied, pad_token_id=padding)
    embeddings = model.get_input_embeddings()
    assert embeddings.padding_idx == padding
    copies = Copies(model)
    ids = torch.tensor([[1, 3, 3, 7, 1, 1]])
    upstream = torch.randn(1, 6, embeddings.embedding_dim).bfloat16()
    embeddings(ids).backward(upstream.float())
    right = embeddings.weight.grad.clone()
    assert bool(right[3].any()) == (padding is None)
    embeddings.weight.grad = None
    with copies.in_place():
        for times in (1, 2, 3):
            found = embeddings(ids)
            assert found.dtype == torch.bfloat16
            found.backward(upstream)
            assert torch.allclose(embeddings.weight.grad, times * right, rtol=1e-6)
        before = embeddings.weight.grad
        embeddings(ids).backward(upstream)
        assert embeddings.weight.grad is before  # added to, no second matrix


def test_embeddings_that_do_more_than_look_up_keep_their_own_gradient() -> None:
    class Scaled(torch.nn.Embedding):
        def forward(self, ids: Tensor) -> Tensor:
            return 3.0 * super().forward(ids)

    model = tiny.model(tie_word_embeddings=False)
    scaled = Scaled(*model.get_input_embeddings().weight.shape)
    model.set_input_embeddings(scaled)
    with Copies(model).in_place():
        scaled(torch.tensor([[2]])).sum().backward()
    assert scaled.weight.grad is not None
    assert torch.equal(scaled.weight.grad[2], torch.full((scaled.embedding_dim,), 3.0))


def test_micro_batches_are_summed_in_fp32() -> None:
    """One micro-batch 512 times: in bf16 the sum would stand still at 256 times."""
    model = tiny.model(num_hidden_layers=1)
    one, many = learned(model, BATCHES[:1]), learned(model, BATCHES[:1] * 512)
    for name, gradient in one.items():
        assert torch.allclose(many[name] / 512, gradient, rtol=1e-3, atol=1e-6), name


def test_within_it_the_layers_hold_copies_and_before_and_after_it_their_masters() -> None:
    model = tiny.model()
    before = dict(model.named_parameters())
    scorer = Scorer(model, bf16=True)
    with contextlib.suppress(KeyboardInterrupt), scorer.computing():
        inside = dict(model.named_parameters())
        assert {name for name, p in inside.items() if p.dtype == torch.bfloat16} == {
            name for name in before if ".layers." in name or name == "lm_head.weight"
        }
        with scorer.computing():
            assert all(p is inside[name] for name, p in model.named_parameters())
        assert all(p is inside[name] for name, p in model.named_parameters())
        raise KeyboardInterrupt
    assert all(p is before[name] for name, p in model.named_parameters())
    assert not model.get_input_embeddings()._forward_hooks
    assert model.state_dict()["model.layers.0.mlp.up_proj.weight"].dtype == torch.float32


def test_copies_follow_their_masters() -> None:
    model = tiny.model()
    scorer = Scorer(model, bf16=True)
    frozen = model.model.layers[0].mlp.up_proj.weight.requires_grad_(False)
    learning = model.model.layers[0].mlp.down_proj.weight
    for write in (lambda w: w.add_(1.0), lambda w: setattr(w, "data", w.data + 1.0)):
        before = scorer(BATCHES[0]).detach()
        for weight in (frozen, learning):
            with torch.no_grad():
                write(weight)
            after = scorer(BATCHES[0]).detach()
            assert not torch.equal(before, after)
            before = after
    assert torch.equal(before, Scorer(model, bf16=True)(BATCHES[0]).detach())


def test_a_scorer_that_was_asked_in_inference_mode_learns_afterwards() -> None:
    model = tiny.model()
    right = learned(model)
    scorer = Scorer(model, bf16=True)
    with torch.inference_mode():
        scorer(BATCHES[0])
    model.zero_grad(set_to_none=True)
    with scorer.computing():
        for batch in BATCHES:
            (-scorer(batch).sum()).backward()
    assert tiny.distance(tiny.gradients(model), right) == 0.0


def test_what_is_frozen_gets_no_gradient_and_adapters_do() -> None:
    base = tiny.model()
    model = add_lora(base, Lora(r=4), (), 0)
    found = learned(model)
    assert found
    assert all("lora_" in name for name in found)
    assert tiny.distance(found, learned(model, bf16=False)) < 0.03


def test_a_gradient_that_a_broken_step_left_is_not_added() -> None:
    model = tiny.model()
    right = learned(model, BATCHES[:1])
    scorer = Scorer(model, bf16=True)
    with scorer.computing():
        (-scorer(BATCHES[1]).sum()).backward()
        layer = model.model.layers[0].mlp.up_proj.weight
        layer.grad = torch.ones_like(layer)
    model.zero_grad(set_to_none=True)
    with scorer.computing():
        (-scorer(BATCHES[0]).sum()).backward()
    assert tiny.distance(tiny.gradients(model), right) == 0.0


@pytest.mark.parametrize("learns", [True, False])
def test_a_model_that_computed_in_bf16_is_freed(learns: bool) -> None:
    model = tiny.model()
    layer = model.model.layers[0].mlp.up_proj.weight
    scorer = Scorer(model, bf16=True)
    with scorer.computing(), contextlib.nullcontext() if learns else torch.no_grad():
        loss = -scorer(BATCHES[0]).sum()
        if learns:
            loss.backward()
    seen = [weakref.ref(layer), weakref.ref(scorer._copies._copies[layer].values)]
    del model, layer, scorer, loss
    gc.collect()
    assert [one() for one in seen] == [None, None]


def test_a_fresh_dora_is_its_base_without_copies() -> None:
    """With copies it is not, which is why a stage with DoRA keeps none."""
    stage = tiny.dpo(lora=Lora(r=4, use_dora=True))
    assert not stage.keeps_copies
    assert tiny.dpo(lora=Lora(r=4)).keeps_copies
    found, right = (
        Scorer(made, True, keep_copies=stage.keeps_copies)(BATCHES[0]).detach()
        for made in (add_lora(tiny.model(), stage.lora, (), 0), tiny.model())
    )
    assert torch.equal(found, right)


class Casts(TorchDispatchMode):
    """Counts how often one of some tensors is read to be written in bf16."""

    def __init__(self, watched: Iterable[Tensor]) -> None:
        super().__init__()
        self.watched = {tensor.data_ptr() for tensor in watched}
        self.count = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = op(*args, **kwargs or {})
        if op.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            read = args[-1] if op.overloadpacket is torch.ops.aten._to_copy else args[1]
            self.count += read.data_ptr() in self.watched and result.dtype == torch.bfloat16
        return result


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "cast"])
def test_weights_are_cast_once_a_step_where_copies_are_kept(keep: bool, tmp_path: Path) -> None:
    model = tiny.model()
    steps = tiny.steps(tmp_path, [tiny.document(20, n) for n in range(8)], 8, 20)
    stage = tiny.cpt()
    scorer = Scorer(model, True, keep_copies=keep)
    optimizer = make_optimizer(model, stage, from_scratch=False)
    loop = train_steps(scorer, optimizer, NextToken(), steps, stage, seed=0)
    matrices = [layer.mlp.up_proj.weight for layer in model.model.layers]
    with Casts(matrices) as casts:
        next(loop)
    assert len(steps.micro_batches(1)) == 8
    assert casts.count == len(matrices) * (1 if keep else 8)
