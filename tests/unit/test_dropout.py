"""Dropout is a function of (seed, step, record, position, channel): no split or order moves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from samdan.lm.batch import collate
from samdan.lm.dropout import (
    CounterDropout,
    DropoutContext,
    add_residual_dropout,
    replace_lora_dropout,
)
from samdan.lm.model import add_lora
from samdan.lm.scoring import Scorer
from samdan.recipe import Lora
from samdan.train import loop
from samdan.train.objectives import NextToken

# Names that transformers will drop in v6 and peft still uses.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
RECORDS = [tiny.document(length, length) for length in (5, 12, 3, 9)]
WHOLE = [[0, 1, 2, 3]]


def dropping(p: float = 0.3, seed: int = 0) -> Scorer:
    scorer = Scorer(tiny.model(seed=seed))
    add_residual_dropout(scorer.model, p, scorer.dropout)
    return scorer


def log_probs(
    scorer: Scorer, groups: Sequence[Sequence[int]], seed: int = 0, step: int = 1
) -> dict[int, Tensor]:
    """Log-probabilities by record, computed in these groups."""
    found = {}
    for group in groups:
        batch = collate([RECORDS[i] for i in group], group)
        scorer.dropout.set(seed, step, batch.keys_T, batch.positions_T)
        parts = scorer(batch).detach().split([len(RECORDS[i]) - 1 for i in group])
        found.update(zip(group, parts, strict=True))
    return found


def same(ours: dict[int, Tensor], theirs: dict[int, Tensor]) -> bool:
    return all(torch.allclose(ours[i], theirs[i], rtol=1e-4, atol=1e-5) for i in range(4))


def test_a_record_drops_the_same_however_it_is_packed() -> None:
    scorer = dropping()
    whole = log_probs(scorer, WHOLE)
    for groups in ([[0], [1], [2], [3]], [[3, 1], [2, 0]], [[2, 3, 0, 1]]):
        assert same(log_probs(scorer, groups), whole)
    assert not same(log_probs(dropping(p=0.0), WHOLE), whole)


def test_gradients_with_dropout_do_not_depend_on_the_split() -> None:
    found = []
    for groups in (WHOLE, [[0, 2], [3], [1]]):
        scorer = dropping()
        micro = [collate([RECORDS[i] for i in group], group) for group in groups]
        loop._accumulate(scorer, NextToken(), micro, seed=3, step=5)
        found.append(tiny.gradients(scorer.model))
    assert tiny.distance(found[1], found[0]) < 1e-5


def test_seed_step_and_record_change_what_is_dropped() -> None:
    scorer = dropping()
    first = log_probs(scorer, WHOLE, seed=0, step=1)
    assert same(log_probs(scorer, WHOLE, seed=0, step=1), first)
    assert not same(log_probs(scorer, WHOLE, seed=0, step=2), first)
    assert not same(log_probs(scorer, WHOLE, seed=1, step=1), first)
    twice = collate([RECORDS[1], RECORDS[1]], [1, 7])
    scorer.dropout.set(0, 1, twice.keys_T, twice.positions_T)
    one, other = scorer(twice).detach().chunk(2)
    assert not torch.allclose(one, other)


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    scorer = dropping()
    torch.manual_seed(1)
    first = log_probs(scorer, WHOLE)
    after = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert same(log_probs(scorer, WHOLE), first)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), after)


def kept(p: float, step: int = 1, site: int = 0) -> Tensor:
    context = DropoutContext()
    context.set(0, step, torch.arange(64).repeat_interleave(16), torch.arange(16).repeat(64))
    return CounterDropout(p, site, context)(torch.ones(1, 1024, 128))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_about_a_share_p_is_dropped_and_the_mean_stays(p: float) -> None:
    out = kept(p)
    assert float((out == 0).float().mean()) == pytest.approx(
        p, abs=4 * (p * (1 - p) / 131072) ** 0.5
    )
    assert float(out.mean()) == pytest.approx(1, abs=0.03)
    for axis in (1, 2):  # no token and no channel is favoured
        rates = (out == 0).float().mean(axis).flatten()
        assert float(rates.std()) < 1.3 * (p * (1 - p) / out.shape[axis]) ** 0.5


def test_sites_and_steps_are_unrelated() -> None:
    here = kept(0.5) == 0
    for other in (kept(0.5, site=1), kept(0.5, step=2)):
        both = float((here & (other == 0)).float().mean())
        assert both == pytest.approx(0.25, abs=0.01)


def test_evaluation_drops_nothing() -> None:
    scorer = dropping(p=0.9)
    plain = Scorer(tiny.model())
    for one in (scorer, plain):
        one.eval()
    assert same(log_probs(scorer, WHOLE), log_probs(plain, WHOLE))


def test_recomputing_activations_drops_the_same_again() -> None:
    found = []
    for checkpointing in (False, True):
        scorer = dropping()
        if checkpointing:
            scorer.model.gradient_checkpointing_enable({"use_reentrant": False})
        loop._accumulate(scorer, NextToken(), [collate(RECORDS)], seed=0, step=1)
        found.append(tiny.gradients(scorer.model))
    assert tiny.distance(found[1], found[0]) < 1e-6


def lora(p: float) -> Scorer:
    model: Any = add_lora(tiny.model(), Lora(r=4, dropout=p), (), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start: the adapter would do nothing
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    return Scorer(model)


def test_loras_dropout_is_replaced_by_ours() -> None:
    scorer = lora(0.3)
    modules = [m for m in scorer.modules() if isinstance(m, torch.nn.Dropout) and m.p == 0.3]
    assert replace_lora_dropout(scorer.model, scorer.dropout) == len(modules) == 14
    assert not [m for m in scorer.modules() if isinstance(m, torch.nn.Dropout) and m.p]
    torch.manual_seed(1)
    whole = log_probs(scorer, WHOLE)
    torch.manual_seed(2)
    assert same(log_probs(scorer, [[1, 3], [0], [2]]), whole)
    assert not same(log_probs(lora(0.0), WHOLE), whole)


def test_each_adapter_drops_on_its_own() -> None:
    scorer = lora(0.3)
    replace_lora_dropout(scorer.model, scorer.dropout)
    sites = [m.site for m in scorer.modules() if isinstance(m, CounterDropout)]
    assert len(set(sites)) == len(sites) == 14


def test_negative_control_peft_alone_draws_from_global_state() -> None:
    scorer = lora(0.3)
    torch.manual_seed(1)
    whole = log_probs(scorer, WHOLE)
    torch.manual_seed(2)
    assert not same(log_probs(scorer, WHOLE), whole)


def test_a_model_without_blocks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no blocks"):
        add_residual_dropout(torch.nn.Linear(2, 2), 0.1, DropoutContext())
