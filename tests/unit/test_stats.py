"""Intervals say what they claim: coverage, pairing, and silence where there is nothing to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdan.evals.stats import compare, deciles, interval, wilson
from samdan.records import EvalResult


def accuracy(values: list[float]) -> EvalResult:
    return EvalResult("facts/accuracy", tuple(values), (1.0,) * len(values), True)


def bits(values: list[float], over: list[float], exponential: bool = False) -> EvalResult:
    return EvalResult("docs/bpb", tuple(values), tuple(over), False, exponential)


def width(bounds: tuple[float, float]) -> float:
    return bounds[1] - bounds[0]


# --- shares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 100, 0.7222, 0.8749),
    ],
)
def test_wilson_gives_the_published_numbers(
    successes: int, n: int, low: float, high: float
) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 300), st.data())
def test_wilson_holds_the_share_and_stays_between_0_and_1(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    assert (low, high) == pytest.approx(tuple(1 - x for x in wilson(n - successes, n)[::-1]))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_wilson_covers_the_true_share_in_about_95_of_100_cases(share: float) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.binomial(200, share, 4000)
    hits = [low <= share <= high for low, high in (wilson(int(s), 200) for s in drawn)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_a_share_of_yes_and_no_gets_wilsons_interval() -> None:
    assert interval(accuracy([1.0] * 10)) == wilson(10, 10)
    assert interval(accuracy([1.0, 0.0, 0.5])) != wilson(1.5, 3)


# --- the bootstrap --------------------------------------------------------------------------------


def test_the_bootstrap_covers_the_true_ratio_in_about_95_of_100_cases() -> None:
    """Bits over bytes of documents of different length: a ratio of sums."""
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(120):
        size = rng.uniform(50, 500, 60)
        result = bits((size * rng.normal(0.9, 0.1, 60)).tolist(), size.tolist())
        low, high = interval(result, seed=trial)
        hits += low <= 0.9 <= high
    assert 0.90 <= hits / 120 <= 0.98


def test_intervals_depend_on_the_seed_alone() -> None:
    rng = np.random.default_rng(2)
    result = bits(rng.normal(3, 1, 40).tolist(), [1.0] * 40)
    assert interval(result, seed=4) == interval(result, seed=4)
    assert interval(result, seed=4) != interval(result, seed=5)


def test_more_items_give_a_narrower_interval() -> None:
    values = np.random.default_rng(3).normal(3, 1, 1600).tolist()
    few, many = (interval(bits(values[:n], [1.0] * n)) for n in (100, 1600))
    assert width(few) / width(many) == pytest.approx(4, rel=0.35)


def test_a_perplexitys_interval_is_the_exponential_of_its_logarithms() -> None:
    values = np.random.default_rng(4).normal(2, 0.3, 50).tolist()
    plain = interval(bits(values, [1.0] * 50))
    raised = interval(bits(values, [1.0] * 50, exponential=True))
    assert raised == pytest.approx(tuple(math.exp(x) for x in plain), rel=1e-3)


# --- comparisons ----------------------------------------------------------------------------------


def test_the_same_items_are_compared_in_pairs() -> None:
    """Documents differ much more than the models do: unpaired, the gain would drown."""
    rng = np.random.default_rng(5)
    hard = rng.normal(4, 1.5, 80)
    before = bits(hard.tolist(), [1.0] * 80)
    after = bits((hard - 0.2 + rng.normal(0, 0.05, 80)).tolist(), [1.0] * 80)
    got = compare(before, before, after, seed=0)
    low, high = got.vs_before_ci
    assert low < -0.2 < high < 0
    unpaired = math.hypot(width(interval(before)), width(interval(after)))
    assert width(got.vs_before_ci) < unpaired / 10
    assert (got.n, got.higher_is_better) == (80, False)
    assert got.after - got.before == pytest.approx(-0.2, abs=0.03)


def test_a_model_compared_with_itself_has_no_difference() -> None:
    result = accuracy([1.0, 0.0, 1.0, 1.0, 0.0])
    got = compare(result, result, result, seed=0)
    assert got.vs_before_ci == got.vs_base_ci == (0.0, 0.0)
    assert got.after_ci == wilson(3, 5)


def test_models_that_answered_different_items_are_not_compared() -> None:
    got = compare(accuracy([1.0] * 5), accuracy([0.0] * 4), accuracy([1.0] * 5), seed=0)
    assert all(map(math.isnan, got.vs_before_ci))
    assert got.vs_base_ci == (0.0, 0.0)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_items_have_no_interval(values: list[float]) -> None:
    result = accuracy(values)
    assert all(map(math.isnan, interval(result)))
    got = compare(result, result, result, seed=0)
    for bounds in (got.after_ci, got.vs_before_ci, got.vs_base_ci):
        assert all(map(math.isnan, bounds))


def test_items_without_weight_give_nothing_not_an_error() -> None:
    assert math.isnan(bits([0.0, 0.0], [0.0, 0.0]).value)
    assert all(map(math.isnan, interval(bits([0.0, 0.0], [0.0, 0.0]))))


def test_deciles_are_values_that_were_seen() -> None:
    assert deciles([float(n) for n in range(1, 101)]) == [10.0, 50.0, 90.0]
    assert deciles([7.0]) == [7.0, 7.0, 7.0]
