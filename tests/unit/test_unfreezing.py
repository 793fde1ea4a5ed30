"""Phases: when each begins and ends, and that what does not learn keeps every bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import tiny
from e2e.helpers import RECIPE
from samdan.averaging import Ema, Last
from samdan.budget import KNOWN_SHAPES, Setting, memory, remarks
from samdan.lm.scoring import Scorer
from samdan.plan import numbers
from samdan.recipe import parse
from samdan.records import Metrics, RecipeError
from samdan.rules import Unstable
from samdan.run.check import Findings, _groups
from samdan.run.phases import phases_of
from samdan.train.blocks import blocks_of, clear_rows, freeze_parameters, update
from samdan.train.loop import Hooks, Learning, train_steps
from samdan.train.objectives import NextToken
from samdan.train.optim import make_optimizer, state_tensors
from samdan.train.state import Progress, load_checkpoint, save_checkpoint
from samdan.train.unfreezing import Unfreezing, freeze_for_phases
from samdan.unfreezing import (
    EEVE,
    Converged,
    Growth,
    Phase,
    Place,
    course,
    has_converged,
    last_step,
    place_at,
    rewarming,
)

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
GROWN = Growth((80, 90), frozenset({1}))  # of 97 rows: 7 more behind the new ones
OLD = [row for row in range(tiny.VOCAB) if not 80 <= row < 90]


# --- when -----------------------------------------------------------------------------------------


def places(phases: list[Phase], total: int, losses: list[float]) -> list[int]:
    """The phase of every step, as training finds it: step by step, from what it has seen."""
    place, found = Place(), []
    for step in range(1, total + 1):
        place = place_at(phases, place, total, step, losses[place.began : step - 1])
        found.append(place.phase)
    return found


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=8), st.integers(1, 300))
def test_phases_come_in_order_and_take_their_shares(shares: list[float], total: int) -> None:
    phases = [Phase(train="all", share=share) for share in shares]
    found = places(phases, total, [1.0] * total)
    assert found == sorted(found)
    counts = [found.count(index) for index in range(len(phases))]
    assert counts == [steps for _, steps in course(phases, total)]
    if total >= len(phases):
        assert min(counts) >= 1
    for share, count in zip(shares, counts, strict=True):
        exact = total * share / sum(shares)
        assert abs(count - exact) <= len(shares)  # rounding, and a step for each phase behind


def test_eeve_is_seven_phases_in_the_published_order() -> None:
    stage = tiny.cpt(unfreeze="eeve")
    assert [phase.name for phase in stage.unfreeze or ()] == [
        "new_input", "new_output", "new_both", "all_output", "new_input + all_output", "all",
        "layers",
    ]  # fmt: skip
    assert len(EEVE) == 7
    assert [steps for _, steps in course(stage.unfreeze or (), 1000)] == [
        200, 100, 100, 100, 100, 300, 100,
    ]  # fmt: skip


def test_a_phase_that_stands_still_ends_and_leaves_its_steps_to_the_next() -> None:
    until = Converged(window=5, min_gain=0.01)
    phases = [Phase(train="new_both", until=until), Phase(train="all"), Phase(train="layers")]
    falling = [10 * 0.98**step for step in range(20)]
    losses = falling + [falling[-1]] * 70
    found = places(phases, 90, losses)
    change = found.index(1)
    assert 20 < change < 30  # instead of 30
    assert found.count(1) == pytest.approx((90 - change) / 2, abs=1)
    assert found.count(1) + found.count(2) == 90 - change
    never = places(phases, 90, [10 * 0.98**step for step in range(90)])
    assert never.index(1) == 30


def test_convergence_needs_two_whole_windows() -> None:
    phase = Phase(train="all", until=Converged(window=3, min_gain=0.1))
    assert not has_converged(phase, [1.0] * 5)
    assert has_converged(phase, [1.0] * 6)
    assert not has_converged(phase, [1.0] * 3 + [0.85] * 3)
    assert not has_converged(Phase(train="all"), [1.0] * 99)


def test_every_phase_but_the_first_warms_up_again() -> None:
    assert rewarming(Place(0, 0), 100, 10, 1) == 1  # the stage's own warm-up
    place = Place(1, 100)
    rates = [rewarming(place, 200, 50, step) for step in range(101, 201)]
    assert rates[:10] == pytest.approx([k / 11 for k in range(1, 11)])
    assert rates[10:] == [1.0] * 90
    assert rewarming(place, 105, 50, 101) == 1  # too short to warm up
    assert last_step([Phase(train="all")], Place(0, 0), 7) == 7


# --- what -----------------------------------------------------------------------------------------


def test_frozen_parameters_keep_every_bit_and_the_others_learn(tmp_path: Path) -> None:
    stage = tiny.cpt(freeze=("embed_tokens", r"layers\.0\."), learning_rate=1e-2, weight_decay=0.1)
    model = tiny.model()
    before = weights(model)
    freeze_parameters(model, stage)
    learn(tmp_path, model, stage, 3)
    for name, tensor in weights(model).items():
        frozen = "embed_tokens" in name or "layers.0." in name
        assert torch.equal(tensor, before[name]) == frozen, name


def test_train_only_is_the_other_way_round() -> None:
    model = tiny.model()
    freeze_parameters(model, tiny.cpt(train_only=("mlp",), freeze=(r"layers\.1",)))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up", "down")}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"freeze": ("no_such",)}, r"stages\.cpt\.freeze: 'no_such' matches no parameter"),
        ({"train_only": ("no_such",)}, r"stages\.cpt\.train_only: 'no_such' matches"),
        ({"freeze": (".",)}, "leave nothing that learns"),
    ],
)
def test_patterns_without_effect_are_errors(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        freeze_parameters(tiny.model(), tiny.cpt(**fields))


def test_a_tied_head_has_the_name_of_the_embeddings() -> None:
    with pytest.raises(RecipeError, match="tied to the embeddings"):
        freeze_parameters(tiny.model(tie_word_embeddings=True), tiny.cpt(freeze=("lm_head",)))


def test_new_parts_of_a_model_that_did_not_grow_are_an_error() -> None:
    for phases in ("eeve", ["new_layers"], ["all", "new_both"]):
        with pytest.raises(RecipeError, match=r"unfreeze\[\d\]: 'new_.*' trains nothing: .* grown"):
            freeze_for_phases(tiny.model(), tiny.cpt(unfreeze=phases), Growth())


def test_what_no_phase_trains_is_not_trained_at_all() -> None:
    model = tiny.model()
    freeze_for_phases(model, tiny.cpt(unfreeze=["new_layers"]), GROWN)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in model.named_parameters() if n.startswith("model.layers.1.")}


# --- rows -----------------------------------------------------------------------------------------


def weights(model: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def learn(
    folder: Path,
    model: Any,
    stage: Any,
    count: int,
    growth: Growth = GROWN,
    phase_of: Any = None,
    optimizer: Any = None,
    first: int = 1,
) -> tuple[Any, list[Any]]:
    """Real updates, of which ``phase_of`` says the phase."""
    optimizer = optimizer or make_optimizer(model, stage, False, growth)
    phases = Unfreezing(model, optimizer, stage) if stage.unfreeze else None

    @contextmanager
    def learning(step: int) -> Iterator[Learning]:
        if phases is None:
            yield Learning()
            return
        with phases.during(phase_of(step + first - 1)):
            yield Learning()

    records = [tiny.document(12, seed=n) for n in range(first, first + count)]
    steps = tiny.steps(folder / f"{first}", records, 1, 64)
    hooks = Hooks(learning=learning)
    return optimizer, list(
        train_steps(Scorer(model), optimizer, NextToken(), steps, stage, 0, hooks=hooks)
    )


def stage(**fields: Any) -> Any:
    given = {"learning_rate": 1e-2, "weight_decay": 0.1, "lr_scheduler_type": "constant"}
    return tiny.cpt(**given | {"warmup_steps": 0} | fields)


@pytest.mark.parametrize("optim", ["adamw", "adamw_offload"])
@pytest.mark.parametrize("tied", [True, False])
def test_old_rows_keep_every_bit_while_new_ones_learn(
    tmp_path: Path, tied: bool, optim: str
) -> None:
    """Behind a phase that trained all rows too, whose momentum must not move them; with decay."""
    model = tiny.model(tie_word_embeddings=tied)
    spec = stage(optim=optim, unfreeze=["all", "new_both", "new_input"])
    freeze_for_phases(model, spec, GROWN)
    start = weights(model)
    optimizer, _ = learn(tmp_path, model, spec, 3, phase_of=lambda step: 0)
    before = weights(model)
    assert not torch.equal(before[EMBEDDING][OLD], start[EMBEDDING][OLD])
    learn(tmp_path, model, spec, 3, phase_of=lambda step: 1, optimizer=optimizer, first=4)
    after = weights(model)
    for name in before:
        if name not in (EMBEDDING, HEAD):
            assert torch.equal(after[name], before[name]), name
            continue
        assert torch.equal(after[name][OLD], before[name][OLD])
        assert bool((after[name][80:90] != before[name][80:90]).any(1).all())
    if not tied:
        learn(tmp_path, model, spec, 2, phase_of=lambda step: 2, optimizer=optimizer, first=7)
        last = weights(model)
        assert torch.equal(last[HEAD], after[HEAD])
        assert torch.equal(last[EMBEDDING][OLD], before[EMBEDDING][OLD])
        assert not torch.equal(last[EMBEDDING][80:90], after[EMBEDDING][80:90])


def test_negative_control_masked_gradients_alone_do_not_keep_old_rows() -> None:
    """Why blocks have optimizer states of their own: a zero gradient still decays and coasts."""
    parameter = torch.nn.Parameter(torch.ones(4, 2))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.1)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = parameter.detach().clone()
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert not torch.equal(parameter, before)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_in_blocks_learn_as_the_whole_parameter_does(tmp_path: Path, tied: bool) -> None:
    def trained(**fields: Any) -> tuple[dict[str, Tensor], list[Any]]:
        model = tiny.model(tie_word_embeddings=tied)
        spec = stage(embedding_lr=1e-2, lm_head_lr=1e-2, **fields)
        folder = tmp_path / f"{bool(fields)}"
        _, seen = learn(folder, model, spec, 4, phase_of=lambda step: 0)
        return weights(model), seen

    whole, blocks = trained(), trained(unfreeze=["all"])
    for name in whole[0]:
        assert torch.equal(blocks[0][name], whole[0][name]), name
    assert [m.values["grad_norm"] for m in blocks[1]] == [m.values["grad_norm"] for m in whole[1]]


def test_the_gradient_norm_is_of_what_learns(tmp_path: Path) -> None:
    model = tiny.model()
    spec = stage(unfreeze=["new_input", "all"], max_grad_norm=1e9)
    optimizer = make_optimizer(model, spec, False, GROWN)
    phases = Unfreezing(model, optimizer, spec)
    with phases.during(0):
        Scorer(model)(tiny.steps(tmp_path / "x", [tiny.document(40)], 1, 64).micro_batches(1)[0],
                      total=True).backward()  # fmt: skip
        whole = model.get_input_embeddings().weight.grad.clone()
        assert {n for n, p in model.named_parameters() if p.grad is not None} == {EMBEDDING}
        clear_rows(optimizer)
        left = model.get_input_embeddings().weight.grad
        assert not left[OLD].any()
        assert torch.equal(left[80:90], whole[80:90])
        assert whole[OLD].any()
    assert all(p.requires_grad for p in model.parameters())
    assert phases.shares[1] == 1
    assert phases.shares[0] == 10 * 32 / sum(p.numel() for p in model.parameters())


def test_rows_that_begin_late_are_corrected_as_if_they_began_now() -> None:
    """AdamW's first update has the size of the rate, whatever the gradient; no 10 times more."""
    model = tiny.model()
    spec = stage(unfreeze=["new_input", "all_input"], adam_beta2=0.999, weight_decay=0.0,
                 embedding_lr=1e-2)  # fmt: skip
    optimizer = make_optimizer(model, spec, False, GROWN)
    phases = Unfreezing(model, optimizer, spec)
    weight = model.get_input_embeddings().weight
    for step in range(12):
        before = weight.detach().clone()
        with phases.during(int(step == 11)):
            weight.grad = torch.full_like(weight, 1e-3 * (1 + step))
            clear_rows(optimizer)
            update(optimizer)
    moved = (weight.detach() - before)[OLD].abs()
    assert torch.allclose(moved, torch.full_like(moved, 1e-2), rtol=1e-3, atol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_between_phases_goes_on_bit_for_bit(tmp_path: Path, tied: bool) -> None:
    def phase(step: int) -> int:
        return (step - 1) // 2

    spec = stage(unfreeze=["new_input", "new_both", "all"])
    straight = tiny.model(tie_word_embeddings=tied)
    optimizer, _ = learn(tmp_path / "a", straight, spec, 3, phase_of=phase)
    progress = Progress(3, 36, "", "id", {}, 1, 2, 3)
    path = save_checkpoint(tmp_path / "checkpoints", straight, optimizer, progress, 1)
    learn(tmp_path / "a", straight, spec, 3, phase_of=phase, optimizer=optimizer, first=4)
    resumed = tiny.model(seed=9, tie_word_embeddings=tied)
    fresh = make_optimizer(resumed, spec, False, GROWN)
    assert load_checkpoint(path, resumed, fresh) == progress
    learn(tmp_path / "b", resumed, spec, 3, phase_of=phase, optimizer=fresh, first=4)
    ours, theirs = state_tensors(fresh), state_tensors(optimizer)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name, tensor in weights(resumed).items():
        assert torch.equal(tensor, weights(straight)[name]), name


def test_blocks_cover_every_row_once() -> None:
    model = tiny.model()
    found = [block for block in blocks_of(model, GROWN, split=True) if block.name == HEAD]
    assert [(block.rows, block.new) for block in found] == [
        ((0, 80), False), ((80, 90), True), ((90, 97), False),
    ]  # fmt: skip
    first = Growth((0, 5))
    rows = [b.rows for b in blocks_of(model, first, split=True) if b.name == EMBEDDING]
    assert rows == [(0, 5), (5, 97)]
    total = sum(block.size for block in blocks_of(model, GROWN, split=True))
    assert total == sum(p.numel() for p in model.parameters())


# --- rates ----------------------------------------------------------------------------------------


def rates(model: Any, spec: Any, growth: Growth) -> dict[str, float]:
    groups = make_optimizer(model, spec, False, growth).param_groups
    return {name: group["lr"] for group in groups for name in group["names"]}


def test_new_rows_of_cpt_learn_at_the_full_rate_by_default() -> None:
    found = rates(tiny.model(), tiny.cpt(learning_rate=1e-3), GROWN)
    assert found[f"{HEAD}[80:90]"] == found[f"{EMBEDDING}[80:90]"] == 1e-3
    assert found[f"{HEAD}[0:80]"] == found[f"{EMBEDDING}[90:97]"] == pytest.approx(1e-4)
    assert found["model.layers.1.mlp.up_proj.weight"] == 1e-3


def test_rates_of_new_rows_and_layers() -> None:
    spec = tiny.cpt(learning_rate=1e-3, new_rows_lr=5e-3, new_layers_lr=2e-3, lm_head_lr=0.0,
                    lr_groups={"self_attn": 7e-3})  # fmt: skip
    found = rates(tiny.model(), spec, GROWN)
    assert found[f"{HEAD}[80:90]"] == found[f"{EMBEDDING}[80:90]"] == 5e-3
    assert found[f"{HEAD}[0:80]"] == 0
    assert found["model.layers.1.mlp.up_proj.weight"] == 2e-3
    assert found["model.layers.0.mlp.up_proj.weight"] == 1e-3
    assert found["model.layers.1.self_attn.q_proj.weight"] == 7e-3  # a pattern is the last word


def test_one_rate_for_all_rows_needs_no_blocks() -> None:
    tied = rates(tiny.model(tie_word_embeddings=True), tiny.cpt(), GROWN)
    given = rates(tiny.model(), tiny.cpt(embedding_lr=1e-4, lm_head_lr=1e-4), GROWN)
    assert not [name for name in (*tied, *given) if "[" in name]


@pytest.mark.parametrize("key", ["new_rows_lr", "new_layers_lr"])
def test_a_rate_for_what_is_not_there_is_an_error(key: str) -> None:
    with pytest.raises(RecipeError, match=f"stages.cpt.{key}: .* has no new"):
        rates(tiny.model(), tiny.cpt(**{key: 1e-3}), Growth())


def test_blocks_and_8_bit_states_exclude_each_other() -> None:
    with pytest.raises(RecipeError, match="adamw_8bit"):
        make_optimizer(tiny.model(), tiny.cpt(optim="adamw_8bit"), False, GROWN)


# --- what the plan and the rules make of it -------------------------------------------------------


def test_a_jump_of_the_norm_between_phases_is_no_unstable_curve() -> None:
    def history(named: bool) -> list[Metrics]:
        rows = []
        for step in range(1, 361):
            phase = 1 + (step > 340)
            norm = (1.0 + 0.01 * (step % 3)) * (1 if phase == 1 else 1.5 ** (step - 340))
            values = {"loss": 2.0, "grad_norm": norm} | ({"phase": float(phase)} if named else {})
            rows.append(Metrics(step, step, values))
        return rows

    assert Unstable()(history(named=False)).fired
    assert not Unstable()(history(named=True)).fired


def test_the_plan_counts_frozen_weights_out_and_a_moving_average_in() -> None:
    shape = KNOWN_SHAPES["Qwen/Qwen2.5-7B"]
    assert sum(size for _, size in shape.named_weights()) == shape.parameters
    def parts(processes: int = 1, **fields: Any) -> Mapping[str, float]:
        return memory(shape, tiny.cpt(**fields), Setting(4096, processes=processes)).parts

    plain, frozen = parts(), parts(freeze=("embed_tokens", "lm_head"))
    rows = 2 * 152_064 * 3584
    assert plain["optimizer"] - frozen["optimizer"] == 8 * rows
    assert plain["gradients"] - frozen["gradients"] == 4 * rows
    assert "average" not in plain
    assert parts(average=Ema())["average"] == 4 * shape.parameters
    assert parts(processes=2, average=Ema())["average"] == 2 * shape.parameters
    assert "average" not in parts(average=Last())


def test_the_plan_warns_of_phases_and_averages_that_do_not_come() -> None:
    said = remarks(tiny.cpt(unfreeze="eeve"), 5, None)
    assert [r for r in said if "5 optimizer steps for 7" in r]
    few = remarks(tiny.cpt(average=Last(k=4), save_steps=5000), 6000, None)
    assert [r for r in few if "average is of 2 points, not 4" in r]


def test_phases_are_read_back_from_the_metrics() -> None:
    phases = tiny.cpt(unfreeze=["new_both", {"train": "all", "share": 3}]).unfreeze or ()
    rows = [
        {"step": step, "loss": 5.0 - step, "phase": 1 + (step > 2), "trained_share": 0.5}
        for step in range(1, 5)
    ]
    found = phases_of(phases, rows, 12)
    assert [(row["first_step"], row["last_step"]) for row in found] == [(1, 2), (3, 4)]
    assert [row["converged"] for row in found] == [True, True]  # of 3 and 9 steps
    assert not any(row["converged"] for row in phases_of(phases, rows, None))
    assert found[0]["loss_first"] == 3.5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("unfreeze: eeve", r"stages\.cpt\.unfreeze\[0\] \('new_input'\): .* nothing grows"),
        ("new_rows_lr: 1e-3", r"stages\.cpt\.new_rows_lr: .* nothing grows"),
        ("freeze: [nowhere]", r"stages\.cpt\.freeze: 'nowhere' matches no parameter"),
        ("train_only: [nowhere]", r"stages\.cpt\.train_only: 'nowhere' matches no parameter"),
    ],
)
def test_the_check_tells_before_anything_is_read(more: str, said: str) -> None:
    given = parse(RECIPE.replace("- name: cpt\n", f"- name: cpt\n    {more}\n"), "r.yaml")
    with pytest.raises(RecipeError, match=said):
        _groups(given, given.stages[0], Findings())


def test_where_checkpoints_are_averaged_their_steps_are_part_of_the_result() -> None:
    def changes(**fields: Any) -> bool:
        one, other = (numbers(tiny.cpt(save_steps=steps, **fields)) for steps in (10, 20))
        return one != other

    assert changes(average=Last())
    assert not changes(average=Ema())
    assert not changes()
