"""Variants of LoRA: what is exported computes what was trained, and who learns how fast."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny
from samdan.lm.batch import collate
from samdan.lm.dropout import CounterDropout, replace_lora_dropout
from samdan.lm.model import add_lora, merged
from samdan.recipe import Lora
from samdan.train.optim import parameter_groups

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
VARIANTS = {
    "plain": Lora(r=4, alpha=8),
    "rslora": Lora(r=4, alpha=8, use_rslora=True),
    "dora": Lora(r=4, alpha=8, use_dora=True),
    "both": Lora(r=4, alpha=8, use_rslora=True, use_dora=True),
}


def adapted(spec: Lora) -> Any:
    """A model whose adapters have learned something."""
    model = add_lora(tiny.model(attention="eager"), spec, (5,), 0)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.mark.parametrize("name", VARIANTS)
def test_the_merged_model_has_the_logits_of_the_adapters(name: str) -> None:
    model = adapted(VARIANTS[name])
    ids = torch.arange(1, 30)[None]
    with torch.no_grad():
        before = model(ids).logits
        start = tiny.model(attention="eager").eval()(ids).logits
        after = merged(model)(ids).logits
    scale = float(before.abs().max())
    assert float((after - before).abs().max()) < 1e-5 * scale
    assert float((start - before).abs().max()) > 1e-2 * scale  # the adapters do something
    assert not [n for n, _ in model.named_parameters() if "lora_" in n]


def test_rslora_scales_by_the_root_of_the_rank() -> None:
    def scale(spec: Lora) -> float:
        for module in add_lora(tiny.model(), spec, (), 0).modules():
            if isinstance(getattr(module, "scaling", None), dict):
                return float(module.scaling["default"])
        raise AssertionError("no adapter")

    assert scale(Lora(r=16, alpha=8)) == 0.5
    assert scale(Lora(r=16, alpha=8, use_rslora=True)) == 2.0


def test_lora_plus_gives_each_parameter_the_rate_that_peft_gives() -> None:
    from peft.optimizers import create_loraplus_optimizer

    for variant in ("plain", "dora"):
        spec = VARIANTS[variant].model_copy(update={"lora_plus_ratio": 16.0})
        model = add_lora(tiny.model(), spec, (), 0)
        theirs = create_loraplus_optimizer(
            model, torch.optim.AdamW, lr=1e-4, loraplus_lr_ratio=16.0
        )
        rates = {id(p): g["lr"] for g in theirs.param_groups for p in g["params"]}
        groups = parameter_groups(model, tiny.cpt(learning_rate=1e-4, lora=spec), False)
        ours = {id(p): group["lr"] for group in groups for p in group["params"]}
        assert ours == pytest.approx(rates)
        assert sorted(set(rates.values())) == pytest.approx([1e-4, 1.6e-3])


def test_dora_starts_as_the_model_it_adapts() -> None:
    ids = torch.arange(1, 20)[None]
    model = add_lora(tiny.model(attention="eager"), VARIANTS["dora"], (), 0).eval()
    with torch.no_grad():
        before = tiny.model(attention="eager").eval()(ids).logits
        assert torch.allclose(model(ids).logits, before, atol=1e-5)


def test_dropout_of_dora_is_ours() -> None:
    spec = Lora(r=4, use_dora=True, dropout=0.5)
    scorer = tiny.scorer(add_lora(tiny.model(), spec, (), 0)).train()
    assert replace_lora_dropout(scorer.model, scorer.dropout) > 0
    assert [m for m in scorer.modules() if isinstance(m, CounterDropout)]
    batch = collate([tiny.document(12)])
    with torch.no_grad():
        for parameter in scorer.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05)
        said = []
        for state in (0, 1):
            torch.manual_seed(state)  # which must not matter
            scorer.dropout.set(3, 7, batch.keys_T, batch.positions_T)
            said.append(scorer(batch))
    assert torch.equal(*said)
