"""Objectives and the loop: any split of a batch gives the same gradient; known first values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tiny
from samdan.lm.batch import Batch, Encoded, collate
from samdan.lm.scoring import Scorer
from samdan.recipe import DpoStage
from samdan.records import TrainError
from samdan.train import loop
from samdan.train.objectives import NextToken, Objective, Preference, objective_for
from samdan.train.reference import load_reference, reference_log_probs, save_reference

# Prompts and answers of very different lengths: where wrong normalisation shows.
TALKS = [tiny.conversation(p, a, i) for i, (p, a) in enumerate(
    [(3, 1), (10, 25), (2, 2), (7, 14), (1, 30), (20, 1), (5, 5), (4, 9)]
)]  # fmt: skip
PAIRS = [tiny.pair(p, c, r, i) for i, (p, c, r) in enumerate(
    [(3, 1, 9), (10, 20, 2), (2, 2, 2), (7, 14, 5), (1, 18, 30), (12, 1, 1), (5, 5, 11), (4, 9, 3)]
)]  # fmt: skip
VARIANTS = [
    ("sigmoid", 0.0),
    ("ipo", 0.0),
    ("hinge", 0.0),
    ("sigmoid_norm", 0.0),
    ("robust", 0.1),
]
MODEL = tiny.model(seed=1)


def reference(folder: Path, seed: int = 2) -> Tensor:
    """What a different model gives to the answers: ratios that are not 0."""
    data = tiny.steps(folder, PAIRS, 1, 1).data
    return reference_log_probs(Scorer(tiny.model(seed=seed)), data, capacity=64)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return reference(tmp_path_factory.mktemp("pairs"))


def learn(
    objective: Objective, micro: Sequence[Batch]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    MODEL.zero_grad()
    values = loop._accumulate(Scorer(MODEL), objective, micro, seed=0, step=1)
    return values, tiny.gradients(MODEL)


def split(records: Sequence[Encoded], groups: Sequence[Sequence[int]]) -> list[Batch]:
    return [collate([records[i] for i in group], group) for group in groups]


def ways() -> Iterator[list[list[int]]]:
    for size in (8, 4, 2, 1):
        yield [list(range(start, start + size)) for start in range(0, 8, size)]
    yield [[0], [7, 2, 5], [1, 3, 4, 6]]
    yield [[], [0, 1, 2, 3, 4, 5, 6], [], [7]]  # empty ones, as other processes may have


def assert_same(ours: Any, whole: Any) -> None:
    for name, value in whole[0].items():
        assert ours[0][name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert tiny.distance(ours[1], whole[1]) < 1e-5


@pytest.mark.parametrize("groups", list(ways()), ids=lambda g: "+".join(str(len(x)) for x in g))
def test_next_token_gradient_is_the_same_for_any_split(groups: list[list[int]]) -> None:
    whole = learn(NextToken(), split(TALKS, [range(8)]))
    assert_same(learn(NextToken(), split(TALKS, groups)), whole)


@pytest.mark.parametrize("groups", list(ways()), ids=lambda g: "+".join(str(len(x)) for x in g))
@pytest.mark.parametrize("nll", [0.0, 0.7])
def test_preference_gradient_is_the_same_for_any_split(
    groups: list[list[int]], nll: float, other: Tensor
) -> None:
    for loss_type, noise in VARIANTS:
        stage = tiny.dpo(loss_type=loss_type, label_smoothing=noise, nll_weight=nll, beta=0.5)
        objective = Preference(stage, other)
        whole = learn(objective, split(PAIRS, [range(8)]))
        assert_same(learn(objective, split(PAIRS, groups)), whole)


@settings(max_examples=15)
@given(st.permutations(range(8)), st.sets(st.integers(1, 7)))
def test_records_in_any_order_and_cut_anywhere_give_the_same_gradient(
    order: list[int], cuts: set[int]
) -> None:
    ends = [0, *sorted(cuts), 8]
    groups = [order[a:b] for a, b in itertools.pairwise(ends)]
    whole = learn(NextToken(), split(TALKS, [range(8)]))
    assert_same(learn(NextToken(), split(TALKS, groups)), whole)


@pytest.mark.parametrize("capacity", [1, 31, 40, 64, 1000])
def test_the_size_of_micro_batches_changes_no_weight(tmp_path: Path, capacity: int) -> None:
    """Through train_steps itself: two updates, then the parameters are compared."""

    def train(micro_batch_tokens: int) -> dict[str, Tensor]:
        model = tiny.model(seed=3)
        steps = tiny.steps(tmp_path / str(micro_batch_tokens), TALKS, 5, micro_batch_tokens)
        stage = tiny.sft(learning_rate=0.1, max_grad_norm=1.0, lr_scheduler_type="constant")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer.param_groups[0]["base_lr"] = 0.1
        done = list(loop.train_steps(Scorer(model), optimizer, NextToken(), steps, stage, seed=0))
        assert [m.step for m in done] == [1, 2]
        assert done[-1].tokens == sum(map(len, TALKS))
        return {name: p.detach() for name, p in model.named_parameters()}

    assert tiny.distance(train(capacity), train(10_000)) < 1e-5


def test_negative_control_a_mean_of_means_is_another_gradient(other: Tensor) -> None:
    """What trainers did for years: each micro-batch divides by its own weight."""
    groups = [[0, 1, 2, 3], [4, 5, 6, 7]]
    nll = Preference(tiny.dpo(nll_weight=1.0), other)
    for objective, records in ((NextToken(), TALKS), (nll, PAIRS)):
        _, whole = learn(objective, split(records, [range(8)]))
        parts = [learn(objective, [batch])[1] for batch in split(records, groups)]
        mean = {name: (parts[0][name] + parts[1][name]) / 2 for name in whole}
        assert tiny.distance(mean, whole) > 0.01


def test_the_pair_term_and_the_nll_term_are_normalised_separately(other: Tensor) -> None:
    weights = Preference(tiny.dpo(nll_weight=0.3), other).weights(collate(PAIRS))
    assert weights == {"pair": 8, "nll": sum(len(tiny.halves(p)[1]) for p in PAIRS)}
    values, _ = learn(Preference(tiny.dpo(nll_weight=0.3), other), [collate(PAIRS)])
    assert values["loss"] == pytest.approx(values["loss/pair"] + 0.3 * values["loss/nll"])


@pytest.mark.parametrize("loss_type", ["sigmoid", "sigmoid_norm"])
def test_preference_loss_before_the_first_update_is_ln_2(tmp_path: Path, loss_type: Any) -> None:
    own = reference(tmp_path, seed=1)
    stage = tiny.dpo(loss_type=loss_type)
    values, _ = learn(Preference(stage, own), split(PAIRS, [[0, 1, 2], [3, 4, 5, 6, 7]]))
    assert values["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert values["rewards/margin"] == pytest.approx(0, abs=1e-5)
    assert values["chosen_logp_change_per_token"] == pytest.approx(0, abs=1e-6)


def test_next_token_loss_of_an_untrained_model_is_about_ln_vocabulary() -> None:
    from samdan.lm.model import scratch_model
    from samdan.recipe import Architecture

    tokenizer = tiny.tokenizer()
    shape = Architecture(hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    scorer = Scorer(scratch_model(shape, tokenizer, seed=0))
    records = [tiny.document(40, i, len(tokenizer)) for i in range(8)]
    values = loop._accumulate(scorer, NextToken(), [collate(records)], seed=0, step=1)
    assert values["loss"] == pytest.approx(math.log(len(tokenizer)), rel=0.02)


def test_the_reference_does_not_depend_on_how_it_is_batched(tmp_path: Path) -> None:
    data = tiny.steps(tmp_path, PAIRS, 1, 1).data
    scorer = Scorer(tiny.model(seed=2))
    one, many = (reference_log_probs(scorer, data, capacity) for capacity in (1, 500))
    torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-4)
    save_reference(tmp_path / "reference.npy", one)
    assert torch.equal(load_reference(tmp_path / "reference.npy"), one)


def test_the_reference_pass_is_a_forward_of_the_shared_prompts(tmp_path: Path) -> None:
    """Its matrix products, counted: those of one forward, and fewer than with prompts twice."""
    from torch.utils.flop_counter import FlopCounterMode

    def products(work: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            work()
        return int(counter.get_total_flops())

    scorer = Scorer(MODEL)
    pairs = [tiny.pair(30, 8, 8, seed) for seed in range(6)]
    data = tiny.steps(tmp_path, pairs, 1, 1).data
    answers = [tiny.conversation(30, 8, seed) for seed in range(12)]
    asked = products(lambda: reference_log_probs(scorer, data, capacity=1000))
    assert asked == products(lambda: scorer(collate(pairs)))
    assert asked < 0.7 * products(lambda: scorer(collate(answers)))


def test_rewards_are_logged_as_means_over_pairs(other: Tensor) -> None:
    values, _ = learn(
        Preference(tiny.dpo(beta=0.5), other), split(PAIRS, [[0, 1], [2, 3, 4, 5, 6, 7]])
    )
    assert 0 <= values["rewards/accuracy"] <= 1
    assert values["rewards/margin"] == pytest.approx(
        values["rewards/chosen"] - values["rewards/rejected"], rel=1e-5
    )


def test_the_shift_from_the_reference_counts_both_answers_up_or_down(tmp_path: Path) -> None:
    own = reference(tmp_path, seed=1)  # the model's own log-probabilities: it has not moved
    everything = split(PAIRS, [[0, 1, 2], [3, 4, 5, 6, 7]])
    values, _ = learn(Preference(tiny.dpo(), own), everything)
    assert values["logp_shift_per_token"] == pytest.approx(0.0, abs=1e-5)
    moved = own + torch.tensor([[-3.0, 3.0]])  # chosen 3 nats up an answer, rejected 3 down
    values, _ = learn(Preference(tiny.dpo(), moved), everything)
    lengths = [(1, 9), (20, 2), (2, 2), (14, 5), (18, 30), (1, 1), (5, 11), (9, 3)]
    expected = sum(3 / c + 3 / r for c, r in lengths) / 2 / len(lengths)
    assert values["logp_shift_per_token"] == pytest.approx(expected, rel=1e-4)
    assert values["chosen_logp_change_per_token"] == pytest.approx(
        sum(3 / c for c, _ in lengths) / len(lengths), rel=1e-4
    )


def test_a_process_with_empty_micro_batches_only_brings_the_same_sums_as_the_others(
    other: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums over processes are laid side by side by name: a missing one would mix them up."""
    brought: list[list[str]] = []

    def add(values: dict[str, float]) -> dict[str, float]:
        brought.append(sorted(values))
        return {name: value or float(name != "too_large") for name, value in values.items()}

    monkeypatch.setattr(loop.parallel, "add_over_ranks", add)
    objective = Preference(tiny.dpo(nll_weight=1.0), other)
    learn(objective, [collate(PAIRS)])
    learn(objective, [collate([])])
    assert brought[:2] == brought[2:]


def test_a_step_without_a_label_is_an_error() -> None:
    silent = tiny.conversation(5, 0)
    with pytest.raises(TrainError, match="nothing to learn from"):
        learn(NextToken(), [collate([silent])])


@pytest.mark.parametrize("poisoned", ["loss", "gradient norm"])
def test_a_non_finite_step_stops_before_the_update(
    tmp_path: Path, poisoned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(seed=4)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["base_lr"] = 0.1

    def break_gradient(where: str, step: int) -> None:
        if where == "gradients" and poisoned == "gradient norm":
            next(model.parameters()).grad[0, 0] = float("nan")

    class Poisoned(NextToken):
        def loss_sums(self, scorer: Scorer, batch: Batch) -> Any:
            sums = super().loss_sums(scorer, batch)
            factor = float("inf") if poisoned == "loss" else 1.0
            return type(sums)({"nll": sums.losses["nll"] * factor})

    steps = tiny.steps(tmp_path, TALKS, 8, 1000)
    hooks = loop.Hooks(injected=break_gradient)
    running = loop.train_steps(
        Scorer(model), optimizer, Poisoned(), steps, tiny.sft(), seed=0, hooks=hooks
    )
    with pytest.raises(TrainError, match=f"the {poisoned} is not finite at step 1"):
        next(running)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_after_running_out_of_memory_the_step_is_the_same_in_smaller_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tiny.steps(tmp_path, TALKS, 8, 1000)
    _, whole = learn(NextToken(), steps.micro_batches(1))
    honest = NextToken.loss_sums

    def hungry(self: NextToken, scorer: Scorer, batch: Batch) -> Any:
        if batch.num_tokens > 70:
            raise torch.OutOfMemoryError("pretended")
        return honest(self, scorer, batch)

    monkeypatch.setattr(NextToken, "loss_sums", hungry)
    MODEL.zero_grad()
    smaller, _, _ = loop._with_less_memory(Scorer(MODEL), NextToken(), steps, seed=0, step=1)
    assert smaller.micro_batch_tokens < 70
    assert tiny.distance(tiny.gradients(MODEL), whole) < 1e-5


def test_where_another_process_ran_out_of_memory_all_take_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tiny.steps(tmp_path, TALKS, 8, 1000)
    _, whole = learn(NextToken(), steps.micro_batches(1))
    others = iter([1.0, 0.0])
    monkeypatch.setattr(
        loop.parallel,
        "add_over_ranks",
        lambda mine: mine | ({"too_large": next(others)} if "too_large" in mine else {}),
    )
    MODEL.zero_grad()
    smaller, _, values = loop._with_less_memory(Scorer(MODEL), NextToken(), steps, seed=0, step=1)
    assert smaller.micro_batch_tokens == 500
    assert values["loss"] > 0
    assert tiny.distance(tiny.gradients(MODEL), whole) < 1e-5


def test_another_error_is_no_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: NextToken, scorer: Scorer, batch: Batch) -> Any:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(NextToken, "loss_sums", broken)
    steps = tiny.steps(tmp_path, TALKS, 8, 1000)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        loop._with_less_memory(Scorer(MODEL), NextToken(), steps, seed=0, step=1)


def test_objectives_belong_to_stages(other: Tensor) -> None:
    assert isinstance(objective_for(tiny.cpt(), None), NextToken)
    assert isinstance(objective_for(tiny.sft(), None), NextToken)
    assert isinstance(objective_for(tiny.dpo(), other), Preference)
    assert issubclass(type(tiny.dpo()), DpoStage)
