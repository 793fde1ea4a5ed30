"""Rates, groups and where the optimizer's states live."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import tiny
from samdan.lm.model import add_lora
from samdan.recipe import Lora
from samdan.records import RecipeError
from samdan.schedule import rate_factor, warmup_length
from samdan.train.optim import (
    OffloadedAdamW,
    load_state_tensors,
    make_optimizer,
    parameter_groups,
    set_rates,
    state_tensors,
)

SCHEDULES = ("cosine", "linear", "constant", "wsd")


# --- the course of the rate -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "total", "real"),
    [
        (1000, 200, 20),
        (5, 200, 5),
        (0.1, 200, 20),
        (0.03, 200, 6),
        (0.5, 200, 20),
        (500, 9, 0),
        (0, 50, 0),
    ],
)
def test_warm_up_is_never_more_than_a_tenth(asked: float, total: int, real: int) -> None:
    assert warmup_length(tiny.cpt(warmup_steps=asked), total) == real


def course(total: int = 200, **fields: Any) -> list[float]:
    stage = tiny.cpt(**{"warmup_steps": 0.1} | fields)
    return [rate_factor(stage, step, total) for step in range(1, total + 1)]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_warms_up_evenly_to_the_full_rate(kind: str) -> None:
    rates = course(lr_scheduler_type=kind)
    assert rates[0] > 0
    assert rates[:20] == pytest.approx([step / 21 for step in range(1, 21)])
    assert rates[20] == pytest.approx(1)
    assert max(rates) == pytest.approx(1)


def test_cosine_goes_down_to_a_tenth() -> None:
    rates = course(lr_scheduler_type="cosine", min_lr_ratio=0.1)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert rates[110] == pytest.approx(0.55, abs=0.01)  # half way
    assert tiny.cpt().min_lr_ratio == 0.1


def test_linear_goes_down_to_zero_in_equal_steps() -> None:
    rates = course(lr_scheduler_type="linear", min_lr_ratio=0.0)[20:]
    falls = [a - b for a, b in itertools.pairwise(rates)]
    assert falls == pytest.approx([falls[0]] * len(falls))
    assert rates[-1] == pytest.approx(falls[0])  # the step after the last would be 0


def test_wsd_stays_up_and_decays_in_its_last_share() -> None:
    rates = course(lr_scheduler_type="wsd", decay_share=0.2, min_lr_ratio=0.1)
    assert rates[20:161] == [1.0] * 141
    assert all(a > b for a, b in itertools.pairwise(rates[160:]))
    assert rates[-1] == pytest.approx(0.1, abs=0.03)


def test_constant_is_constant_behind_the_warm_up() -> None:
    assert course(lr_scheduler_type="constant")[20:] == [1.0] * 180


@given(
    st.sampled_from(SCHEDULES),
    st.integers(1, 400),
    st.one_of(st.integers(0, 1000), st.floats(0.0, 0.99)),
    st.floats(0.0, 1.0),
)
def test_rates_are_positive_never_above_the_full_rate_and_never_jump(
    kind: Any, total: int, warmup: float, lowest: float
) -> None:
    stage = tiny.cpt(lr_scheduler_type=kind, warmup_steps=warmup, min_lr_ratio=lowest)
    rates = [rate_factor(stage, step, total) for step in range(1, total + 1)]
    assert all(0 < rate <= 1 + 1e-12 for rate in rates)
    decay = max(1, round(stage.decay_share * total)) if kind == "wsd" else 0.6 * total
    steepest = max(1 / (warmup_length(stage, total) + 1), 1 / decay if decay else 1)
    assert all(abs(a - b) <= steepest + 1e-9 for a, b in itertools.pairwise(rates))


# --- groups ---------------------------------------------------------------------------------------


def rates(model: Any, stage: Any, from_scratch: bool = False) -> dict[str, float]:
    groups = parameter_groups(model, stage, from_scratch)
    return {name: group["lr"] for group in groups for name in group["names"]}


EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def test_cpt_slows_embeddings_and_head_to_a_tenth() -> None:
    found = rates(tiny.model(), tiny.cpt(learning_rate=1e-3))
    slow = {name for name, rate in found.items() if rate == pytest.approx(1e-4)}
    assert slow == {EMBEDDING, HEAD}
    assert {rate for name, rate in found.items() if name not in slow} == {1e-3}


@pytest.mark.parametrize("case", ["tied", "scratch", "sft", "dpo"])
def test_the_tenth_is_skipped_where_it_makes_no_sense(case: str) -> None:
    model = tiny.model(tie_word_embeddings=case == "tied")
    stage = {"sft": tiny.sft, "dpo": tiny.dpo}.get(case, tiny.cpt)(learning_rate=1e-3)
    assert set(rates(model, stage, case == "scratch").values()) == {1e-3}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_tenth_is_skipped_for_lora_whose_adapters_alone_learn() -> None:
    spec = Lora(r=2)
    found = rates(add_lora(tiny.model(), spec, (5,), 0), tiny.cpt(learning_rate=1e-3, lora=spec))
    assert set(found.values()) == {1e-3}
    assert all("lora_" in name or "trainable_tokens" in name for name in found)


def test_a_frozen_embedding_is_in_no_group() -> None:
    model = tiny.model()
    model.get_input_embeddings().requires_grad_(False)
    found = rates(model, tiny.cpt())
    assert EMBEDDING not in found
    assert HEAD in found


def test_rates_that_are_named_win() -> None:
    stage = tiny.cpt(
        learning_rate=1e-3, embedding_lr=0.0, lm_head_lr=5e-4, lr_groups={r"layers\.1\.mlp": 7e-4}
    )
    found = rates(tiny.model(), stage)
    assert (found[EMBEDDING], found[HEAD]) == (0.0, 5e-4)
    assert found["model.layers.1.mlp.up_proj.weight"] == 7e-4
    assert found["model.layers.0.mlp.up_proj.weight"] == 1e-3


def test_a_pattern_that_matches_nothing_trained_is_an_error() -> None:
    model = tiny.model()
    model.model.norm.requires_grad_(False)
    for pattern in ("no_such_layer", r"model\.norm"):
        with pytest.raises(RecipeError, match=r"stages\.cpt\.lr_groups: .* matches no trained"):
            parameter_groups(model, tiny.cpt(lr_groups={pattern: 1e-4}), False)


def test_every_trained_parameter_is_in_one_group_and_vectors_do_not_decay() -> None:
    model = tiny.model()
    groups = parameter_groups(model, tiny.cpt(weight_decay=0.1), False)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    for group in groups:
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0}


def test_set_rates_scales_each_group_from_its_own_base() -> None:
    optimizer = make_optimizer(tiny.model(), tiny.cpt(learning_rate=1e-3), False)
    for factor in (0.5, 0.25):
        assert set_rates(optimizer, factor) == pytest.approx(factor * 1e-3)
        scaled = sorted({g["lr"] / factor for g in optimizer.param_groups})
        assert scaled == pytest.approx([1e-4, 1e-3])


# --- states ---------------------------------------------------------------------------------------


def run(model: Any, optimizer: Any, first: int, last: int) -> None:
    """Updates with gradients that depend on the step alone."""
    for step in range(first, last + 1):
        set_rates(optimizer, 1 / step)
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def weights(model: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return set(ours) == set(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)


def trained(optim: str, last: int) -> tuple[Any, Any]:
    model = tiny.model(num_hidden_layers=1)
    stage = tiny.cpt(optim=optim, learning_rate=1e-2, weight_decay=0.1)
    optimizer = make_optimizer(model, stage, False)
    run(model, optimizer, 1, last)
    return model, optimizer


def test_offloaded_adamw_is_adamw_bit_for_bit() -> None:
    plain, plain_optimizer = trained("adamw", 6)
    moved, moved_optimizer = trained("adamw_offload", 6)
    assert isinstance(moved_optimizer, OffloadedAdamW)
    assert equal(weights(moved), weights(plain))
    assert equal(state_tensors(moved_optimizer), state_tensors(plain_optimizer))
    assert not equal(weights(plain), weights(tiny.model(num_hidden_layers=1)))


@pytest.mark.parametrize("before", ["adamw", "adamw_offload"])
@pytest.mark.parametrize("after", ["adamw", "adamw_offload"])
def test_states_saved_and_loaded_go_on_bit_for_bit(tmp_path: Path, before: str, after: str) -> None:
    from safetensors.torch import load_file, save_file

    straight, _ = trained("adamw", 6)
    model, optimizer = trained(before, 3)
    save_file(state_tensors(optimizer), tmp_path / "o.safetensors")
    resumed, fresh = trained(after, 0)
    resumed.load_state_dict(model.state_dict())
    load_state_tensors(fresh, load_file(tmp_path / "o.safetensors"))
    run(resumed, fresh, 4, 6)
    assert equal(weights(resumed), weights(straight))


def test_negative_control_without_the_states_the_weights_differ() -> None:
    straight, _ = trained("adamw", 6)
    model, _ = trained("adamw", 3)
    resumed, fresh = trained("adamw", 0)
    resumed.load_state_dict(model.state_dict())
    run(resumed, fresh, 4, 6)
    assert not equal(weights(resumed), weights(straight))


def test_weights_and_states_are_fp32() -> None:
    model, optimizer = trained("adamw", 1)
    tensors = [*weights(model).values(), *state_tensors(optimizer).values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


def test_tiny_rates_move_fp32_weights_and_would_not_move_bf16() -> None:
    """Why the masters are fp32: at DPO's rate bf16 rounds every update away."""
    start = torch.full((64,), 0.5)
    for dtype, moves in ((torch.float32, True), (torch.bfloat16, False)):
        parameter = torch.nn.Parameter(start.to(dtype, copy=True))
        optimizer = torch.optim.AdamW([parameter], lr=5e-7, weight_decay=0.0)
        for _ in range(5):
            parameter.grad = torch.ones_like(parameter)
            optimizer.step()
        assert bool((parameter != start).any()) == moves
