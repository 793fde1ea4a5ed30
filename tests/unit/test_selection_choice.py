"""Budget, sampling, quotas, tails, dates: which documents are kept, and why others are not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import date
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdan.data.selection.choosing import REASONS, SCORES, choose, percentile_ranks, scaled
from samdan.data.selection.features import MEASURES, Features, joined
from samdan.data.selection.hashing import uniform
from samdan.records import DataError
from samdan.selecting import Dsir, Eta, Ets, EtsCom, Quality, Random, Recency, Select

DAY = date(2024, 1, 1).toordinal()
SURROGATE = {"path": "m"}


def features(count: int, dates: Sequence[int] = (), **values: Sequence[float]) -> Features:
    ids = np.arange(1, count + 1, dtype=np.uint64)
    days = np.asarray(dates or [0] * count, np.int64)
    return Features(ids, days, {k: np.asarray(v, np.float64) for k, v in values.items()})


def run(
    spec: Any,
    given_features: Features,
    tokens: Sequence[int] | None = None,
    keys: Sequence[str] | None = None,
    seed: int = 0,
) -> Any:
    counts = np.asarray([10] * len(given_features) if tokens is None else tokens, np.int64)
    return choose(spec, given_features, counts, keys, given_features.dates, seed)


def kept(chosen: Any) -> list[int]:
    return np.flatnonzero(chosen.mask).tolist()


def reasons(chosen: Any) -> list[str]:
    return [REASONS[number] for number in chosen.reason.tolist()]


def test_every_method_of_the_recipe_is_measured_and_scored() -> None:
    methods = {Ets, Eta, EtsCom, Dsir, Recency, Quality, Random}
    assert set(Select.__origin__.__args__) == methods  # type: ignore[attr-defined]
    assert set(MEASURES) == methods
    assert set(SCORES) == methods


# --- budget ---------------------------------------------------------------------------------------


def test_hard_sampling_takes_the_best_until_the_budget_is_reached() -> None:
    spec = Ets(tasks=("t",), tokens=25)
    chosen = run(spec, features(4, similarity=[0.1, 0.9, 0.5, 0.8]), tokens=[10, 10, 10, 10])
    assert kept(chosen) == [1, 2, 3]  # 10, 20, 30: the third crosses the budget and is the last
    assert chosen.tokens == 30
    assert chosen.threshold == 0.5
    assert reasons(chosen) == ["below_threshold", "", "", ""]


def test_a_budget_that_is_reached_exactly_takes_no_more() -> None:
    chosen = run(Ets(tasks=("t",), tokens=20), features(3, similarity=[3, 2, 1]))
    assert kept(chosen) == [0, 1]


@given(
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=40),
    share=st.floats(0.01, 1.0),
    soft=st.booleans(),
)
def test_the_budget_is_met_to_one_document(sizes: list[int], share: float, soft: bool) -> None:
    spec = Ets(tasks=("t",), share=share, sampling="soft" if soft else "hard")
    scores = [math.sin(i) for i in range(len(sizes))]
    chosen = run(spec, features(len(sizes), similarity=scores), tokens=sizes)
    last = int(np.flatnonzero(chosen.mask)[np.argmin(chosen.key[chosen.mask])])
    assert chosen.tokens >= share * sum(sizes) - 1e-6
    assert chosen.tokens - sizes[last] < share * sum(sizes)


def test_the_share_is_of_all_documents_also_of_those_left_out() -> None:
    spec = Ets(tasks=("t",), share=0.5, min_tokens=20)
    chosen = run(spec, features(4, similarity=[4, 3, 2, 1]), tokens=[10, 10, 30, 30])
    assert chosen.budget == 40
    assert kept(chosen) == [2, 3]
    assert reasons(chosen) == ["too_few_tokens", "too_few_tokens", "", ""]


def test_nothing_to_keep_is_an_error_with_the_reasons() -> None:
    with pytest.raises(DataError, match=r"none of 2 documents can be kept \(too_few_tokens 2\)"):
        run(Random(share=0.5, min_tokens=100), features(2))
    with pytest.raises(DataError, match="none of 0 documents"):
        run(Random(share=0.5), features(0))


def test_a_document_without_a_score_is_left_out() -> None:
    chosen = run(Ets(tasks=("t",), share=1.0), features(2, similarity=[math.nan, 0.5]))
    assert reasons(chosen) == ["no_score", ""]


# --- soft sampling --------------------------------------------------------------------------------


def chi_square(observed: Counter[Any], chances: dict[Any, float]) -> float:
    total = sum(observed.values())
    return sum((observed[k] - total * p) ** 2 / (total * p) for k, p in chances.items())


def drawn_pairs(spec: Recency, days: list[int], seeds: int) -> Counter[tuple[int, ...]]:
    """First and second document drawn, over many seeds."""
    table = features(len(days), days)
    pairs: Counter[tuple[int, ...]] = Counter()
    for seed in range(seeds):
        chosen = run(spec, table, seed=seed)
        order = np.argsort(-chosen.key)
        assert set(order[:2].tolist()) == set(kept(chosen))
        pairs[tuple(order[:2].tolist())] += 1
    return pairs


def test_soft_sampling_draws_without_replacement_by_weight() -> None:
    """Weights 1, 1/2, 1/4, 1/8: each pair's chance is w_i / W times w_j / (W - w_i)."""
    weights = [1, 1 / 2, 1 / 4, 1 / 8]
    days = [DAY - 10 * age for age in range(4)]
    pairs = drawn_pairs(Recency(tokens=20, half_life_days=10), days, 4000)
    whole = sum(weights)
    chances = {
        (i, j): weights[i] / whole * weights[j] / (whole - weights[i])
        for i, j in permutations(range(4), 2)
    }
    assert chi_square(pairs, chances) < 31.3  # 11 degrees of freedom, p = 0.001
    even = dict.fromkeys(chances, 1 / 12)
    assert chi_square(pairs, even) > 100


def test_the_draw_follows_the_seed() -> None:
    table = features(50)
    first, again, other = (run(Random(share=0.2), table, seed=seed) for seed in (1, 1, 2))
    assert kept(first) == kept(again) != kept(other)


def test_random_takes_every_document_equally_often() -> None:
    counts: Counter[int] = Counter()
    for seed in range(2000):
        counts.update(kept(run(Random(tokens=10), features(5), seed=seed)))
    assert chi_square(counts, dict.fromkeys(range(5), 1 / 5)) < 18.5  # 4 degrees, p = 0.001


def test_soft_weights_of_a_similarity_are_scaled_to_one() -> None:
    """Scores 0.2, 0.3, 0.6 weigh 0, 0.25, 1: the first is drawn only when nothing else is left."""
    spec = Ets(tasks=("t",), tokens=10, sampling="soft")
    table = features(3, similarity=[0.2, 0.3, 0.6])
    counts: Counter[int] = Counter()
    for seed in range(2000):
        counts.update(kept(run(spec, table, seed=seed)))
    assert counts[0] == 0
    assert chi_square(counts, {1: 0.2, 2: 0.8}) < 10.9  # 1 degree, p = 0.001


def test_gumbel_noise_on_the_log_weight_is_dsir() -> None:
    spec = Dsir(tasks=("t",), tokens=10)
    table = features(2, log_weight=[math.log(3), 0.0])
    counts: Counter[int] = Counter()
    for seed in range(2000):
        counts.update(kept(run(spec, table, seed=seed)))
    assert chi_square(counts, {0: 0.75, 1: 0.25}) < 10.9
    hard = Dsir(tasks=("t",), tokens=10, sampling="hard")
    assert kept(run(hard, table)) == [0]


def test_the_uniform_draw_lies_between_zero_and_one_and_is_even() -> None:
    draw = uniform(np.arange(20_000, dtype=np.uint64), 3)
    assert 0 < draw.min() < draw.max() < 1
    counts = Counter((draw * 10).astype(int).tolist())
    assert chi_square(counts, dict.fromkeys(range(10), 0.1)) < 27.9  # 9 degrees, p = 0.001


# --- order ----------------------------------------------------------------------------------------


def any_spec(kind: str, soft: bool) -> Any:
    sampling = "soft" if soft else "hard"
    shared: dict[str, Any] = {"share": 0.4, "quota": {"at_most": 0.5}}
    return {
        "ets": lambda: Ets(tasks=("t",), sampling=sampling, **shared),
        "eta": lambda: Eta(surrogate=SURROGATE, sampling=sampling, min_tokens=2, **shared),
        "ets_com": lambda: EtsCom(
            tasks=("t",), surrogate=SURROGATE, sampling=sampling, min_tokens=2, **shared
        ),
        "dsir": lambda: Dsir(tasks=("t",), sampling=sampling, **shared),
        "recency": lambda: Recency(half_life_days=2, sampling=sampling, **shared),
        "quality": lambda: Quality(good=("g",), bad=("b",), sampling=sampling, **shared),
        "random": lambda: Random(**shared),
    }[kind]()


@given(data=st.data(), kind=st.sampled_from(["ets", "eta", "ets_com", "dsir", "recency"]))
def test_the_order_of_the_documents_does_not_matter(data: st.DataObject, kind: str) -> None:
    spec = any_spec(kind, data.draw(st.booleans()))
    n = data.draw(st.integers(4, 15))
    few = st.integers(1, 4).map(float)  # few values: many ties
    columns = {
        name: data.draw(st.lists(few, min_size=n, max_size=n))
        for name in ("similarity", "perplexity", "entropy", "log_weight")
    }
    days = data.draw(st.lists(st.integers(DAY, DAY + 3), min_size=n, max_size=n))
    tokens = data.draw(st.lists(st.integers(2, 20), min_size=n, max_size=n))
    keys = data.draw(st.lists(st.sampled_from("ab"), min_size=n, max_size=n))
    order = np.asarray(data.draw(st.permutations(range(n))))
    table = features(n, days, **columns)
    moved = Features(
        table.ids[order], table.dates[order], {k: v[order] for k, v in table.values.items()}
    )
    first = run(spec, table, tokens, keys)
    second = run(
        spec, moved, [tokens[i] for i in order], [keys[i] for i in order]
    )
    assert first.mask[order].tolist() == second.mask.tolist()
    assert first.reason[order].tolist() == second.reason.tolist()
    np.testing.assert_array_equal(first.score[order], second.score)


def test_parts_are_joined_in_order() -> None:
    whole = features(5, similarity=[1, 2, 3, 4, 5])
    parts = [
        Features(whole.ids[p], whole.dates[p], {"similarity": whole.values["similarity"][p]})
        for p in (slice(0, 0), slice(0, 2), slice(2, 5))
    ]
    again = joined(parts)
    np.testing.assert_array_equal(again.ids, whole.ids)
    np.testing.assert_array_equal(again.values["similarity"], whole.values["similarity"])


def test_features_survive_a_file(tmp_path: Any) -> None:
    whole = features(3, [1, 2, 3], similarity=[0.1, math.nan, 0.3], entropy=[1, 2, 3])
    whole.save(tmp_path / "part.npz")
    again = Features.load(tmp_path / "part.npz")
    np.testing.assert_array_equal(again.ids, whole.ids)
    np.testing.assert_array_equal(again.dates, whole.dates)
    for name in whole.values:
        np.testing.assert_array_equal(again.values[name], whole.values[name])


# --- quotas ---------------------------------------------------------------------------------------


def test_a_quota_passes_over_what_would_exceed_it() -> None:
    spec = Ets(tasks=("t",), tokens=40, quota={"at_most": 0.5})
    table = features(6, similarity=[6, 5, 4, 3, 2, 1])
    chosen = run(spec, table, keys=["a", "a", "a", "b", "b", "b"])
    assert kept(chosen) == [0, 1, 3, 4]
    assert reasons(chosen)[2] == "over_quota"
    assert reasons(chosen)[5] == "below_threshold"
    assert kept(run(Ets(tasks=("t",), tokens=40), table)) == [0, 1, 2, 3]


def test_quotas_that_cannot_be_met_leave_the_budget_short() -> None:
    spec = Random(tokens=100, quota={"at_most": 0.25})
    chosen = run(spec, features(20), keys=["a", "b"] * 10)
    assert chosen.tokens == 40  # two keys of at most 25 tokens, in documents of 10
    assert chosen.reasons() == {"over_quota": 16}


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40), at_most=st.floats(0.1, 1.0)
)
def test_no_key_exceeds_its_quota(sizes: list[int], at_most: float) -> None:
    keys = [str(i % 3) for i in range(len(sizes))]
    spec = Random(share=0.6, quota={"at_most": at_most})
    chosen = run(spec, features(len(sizes)), sizes, keys)
    used: Counter[str] = Counter()
    for place in kept(chosen):
        used[keys[place]] += sizes[place]
    assert max(used.values(), default=0) <= at_most * chosen.budget


# --- novelty --------------------------------------------------------------------------------------


def test_percentile_ranks_by_hand() -> None:
    values = np.asarray([5.0, 1.0, 5.0, math.nan, 9.0, 0.0])
    inside = np.asarray([True, True, True, True, True, False])
    # Of four: 1 is below nothing, half of itself: 0.125; the two 5s: (1 + 1) / 4; 9: 3.5 / 4.
    np.testing.assert_array_equal(
        percentile_ranks(values, inside), [0.5, 0.125, 0.5, math.nan, 0.875, math.nan]
    )


def test_scaled_by_hand() -> None:
    inside = np.asarray([True, True, True, False])
    np.testing.assert_array_equal(
        scaled(np.asarray([2.0, 4.0, 3.0, 9.0]), inside), [0.0, 1.0, 0.5, 1.0]
    )
    np.testing.assert_array_equal(scaled(np.asarray([2.0, 2.0]), inside[:2]), [1.0, 1.0])


def test_both_tails_of_perplexity_are_trimmed() -> None:
    spec = Eta(use=("ppl",), surrogate=SURROGATE, share=1.0, trim=(0.1, 0.9), min_tokens=1)
    chosen = run(spec, features(10, perplexity=list(range(10, 110, 10))))
    assert reasons(chosen) == ["perplexity_tail"] + [""] * 8 + ["perplexity_tail"]
    whole = spec.model_copy(update={"trim": (0.0, 1.0)})
    assert run(whole, features(10, perplexity=list(range(10)))).mask.all()


def test_without_trimming_the_noisiest_document_is_the_first() -> None:
    """What FinPythia's reviewers saw in -ppl, and why both tails are cut."""
    noise = features(20, perplexity=[*range(10, 29), 100_000])
    plain = Eta(use=("ppl",), surrogate=SURROGATE, tokens=10, trim=(0.0, 1.0), min_tokens=1)
    assert kept(run(plain, noise)) == [19]
    assert kept(run(plain.model_copy(update={"trim": (0.05, 0.95)}), noise)) == [18]


def test_short_documents_do_not_move_the_tails() -> None:
    spec = Eta(use=("ppl",), surrogate=SURROGATE, share=1.0, trim=(0.2, 0.8), min_tokens=100)
    table = features(6, perplexity=[1e6, 1e6, 1, 2, 3, 4])
    chosen = run(spec, table, tokens=[9, 9, 100, 100, 100, 100])
    assert reasons(chosen) == [
        "too_few_tokens", "too_few_tokens", "perplexity_tail", "", "", "perplexity_tail",
    ]  # fmt: skip


def test_eta_is_one_measure_or_the_mean_of_two_ranks() -> None:
    table = features(4, perplexity=[1, 2, 3, 4], entropy=[3.0, 4.0, 1.0, 2.0])
    shared: dict[str, Any] = {"share": 1.0, "trim": (0.0, 1.0), "min_tokens": 1}
    entropy = run(Eta(use=("ent",), **shared), table)
    assert entropy.score.tolist() == [3.0, 4.0, 1.0, 2.0]
    both = run(Eta(surrogate=SURROGATE, **shared), table)
    # Ranks 1/8, 3/8, 5/8, 7/8 of perplexity and 5/8, 7/8, 1/8, 3/8 of entropy.
    assert both.score.tolist() == [3 / 8, 5 / 8, 3 / 8, 5 / 8]


def test_ets_com_is_the_mean_of_three_ranks() -> None:
    table = features(
        2, similarity=[0.9, 0.1], perplexity=[10, 20], entropy=[2.0, 1.0]
    )
    spec = EtsCom(
        tasks=("t",), surrogate=SURROGATE, share=1.0, trim=(0.0, 1.0), min_tokens=1
    )
    np.testing.assert_allclose(run(spec, table).score, [1.75 / 3, 1.25 / 3])


# --- recency --------------------------------------------------------------------------------------


def test_the_newest_come_first_and_the_score_counts_half_lives() -> None:
    spec = Recency(tokens=20, half_life_days=100, sampling="hard")
    chosen = run(spec, features(3, [DAY, DAY - 200, DAY - 50]))
    assert kept(chosen) == [0, 2]
    assert chosen.score.tolist() == [0.0, -2.0, -0.5]


def test_ages_count_from_as_of_and_the_future_is_new() -> None:
    spec = Recency(share=1.0, half_life_days=10, as_of=date.fromordinal(DAY))
    assert run(spec, features(3, [DAY - 10, DAY, DAY + 10])).score.tolist() == [-1.0, 0.0, 0.0]


def test_cutoffs_are_inclusive() -> None:
    spec = Recency(
        share=1.0,
        half_life_days=10,
        not_before=date.fromordinal(DAY),
        not_after=date.fromordinal(DAY + 2),
    )
    chosen = run(spec, features(4, [DAY - 1, DAY, DAY + 2, DAY + 3]))
    assert reasons(chosen) == ["before_cutoff", "", "", "after_cutoff"]
    assert chosen.score[1] == -0.2  # from the newest that is allowed


def test_undated_documents_follow_the_policy() -> None:
    days = [DAY, 0, DAY - 30, DAY - 10]
    policies = {"drop": math.nan, "oldest": -3.0, "median": -1.0}
    for policy, expected in policies.items():
        spec = Recency(share=1.0, half_life_days=10, undated=policy)
        chosen = run(spec, features(4, days))
        np.testing.assert_equal(chosen.score[1], expected)
        assert reasons(chosen)[1] == ("undated" if policy == "drop" else "")


def test_a_corpus_without_dates_is_an_error() -> None:
    with pytest.raises(DataError, match="undated 3"):
        run(Recency(share=1.0, half_life_days=10), features(3))
    with pytest.raises(DataError, match="no_score 3"):
        run(Recency(share=1.0, half_life_days=10, undated="oldest"), features(3))


# --- quality --------------------------------------------------------------------------------------


def test_quality_is_sorted_by_probability() -> None:
    spec = Quality(good=("g",), bad=("b",), tokens=10)
    assert kept(run(spec, features(3, quality=[0.2, 0.9, 0.5]))) == [1]
