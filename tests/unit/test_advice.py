"""What the plan says about a stage's schedule and about positions, with its source."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from samdan.advice import TABLE, advise, original_peak, row_of
from samdan.budget import position_remarks
from samdan.recipe import CptStage, DpoStage, Lora, Source
from samdan.rope import Rope

DATA = (Source(path="docs.jsonl", name="docs"),)


def cpt(**fields: Any) -> CptStage:
    return CptStage(data=DATA, **fields)


def peak(tokens: float, **fields: Any) -> str:
    return advise(cpt(**fields), int(tokens), 1000, 7_000_000_000)[0]


def test_the_table_has_a_row_for_every_budget_and_rates_rise_with_it() -> None:
    for row, following in pairwise(TABLE):
        assert row.tokens < following.tokens
        assert row.low < row.high == following.low
    assert row_of(1e6).words == "below 5B"
    assert row_of(5e9).words == "5B to 50B"
    assert row_of(1e13).words == "above 100B"


@pytest.mark.parametrize(
    ("rate", "found"), [(1e-6, "below"), (1e-5, "within"), (3e-5, "within"), (3e-4, "above")]
)
def test_a_rate_is_compared_with_the_row_of_its_budget(rate: float, found: str) -> None:
    said = peak(1e9, learning_rate=rate)
    assert said.startswith("peak 1e-5 to 3e-5 for below 5B tokens (1/30 to 1/10 of")
    assert f"is {found}" in said


def test_large_budgets_may_keep_the_peak_of_the_base() -> None:
    assert "is within" in peak(5e11, learning_rate=3e-4)
    assert "is below" in peak(5e11, learning_rate=1e-5)


def test_adapters_learn_at_ten_times_the_rate() -> None:
    said = peak(1e9, learning_rate=1e-4, lora=Lora())
    assert said.startswith("peak 1e-4 to 3e-4")
    assert "times ten for adapters" in said


def test_the_peak_of_the_base_is_assumed_unless_this_run_trained_it() -> None:
    assert original_peak(7_000_000_000) == (3e-4, False)
    assert original_peak(70_000_000_000) == (1.5e-4, False)
    assert original_peak(None) == (3e-4, False)
    assert original_peak(1_000_000, 1e-3) == (1e-3, True)
    said = advise(cpt(), 10**6, 100, 10**6, known=1e-3)[0]
    assert "of the base's own peak 1e-3)" in said
    assert "taken to be" in peak(1e9)


def test_the_warm_up_as_it_will_be_is_told() -> None:
    assert "100 of 1,000 (10.0%)" in advise(cpt(), 10**9, 1000, None)[1]
    assert "none where the shift is weak" in advise(cpt(adapts_to="domain"), 10**9, 1000, None)[1]


def test_the_course_is_judged_by_its_kind() -> None:
    def course(**fields: Any) -> str:
        return advise(cpt(**fields), 10**9, 1000, None)[2]

    assert "decay_share 0.2 is within" in course(lr_scheduler_type="wsd")
    assert "decay_share 0.5 is outside" in course(lr_scheduler_type="wsd", decay_share=0.5)
    assert course(lr_scheduler_type="constant").startswith("constant: only at a very low rate")
    assert course().startswith("cosine to a tenth of the peak (min_lr_ratio 0.1)")


# --- positions ------------------------------------------------------------------------------------


def test_a_long_phase_says_how_far_the_model_will_reach() -> None:
    long = cpt(name="long", max_length=16_384, rope=Rope(theta=1e6))
    after = DpoStage(data=DATA, max_length=8192)
    found = position_remarks([cpt(), long, after], 4096)
    assert found == {
        "long": ["positions: RoPE, theta 1e+06, for texts of up to 16,384 tokens (before: 4,096)"]
    }


def test_packs_that_the_model_was_not_made_for_are_told() -> None:
    found = position_remarks([cpt(max_length=8192)], 4096)
    assert "longer than the 4,096 positions" in found["cpt"][0]
    assert position_remarks([cpt(max_length=8192)], None) == {}


def test_yarn_reaches_as_far_as_its_factor() -> None:
    yarn = Rope(type="yarn", factor=4.0, original_max_position_embeddings=4096)
    found = position_remarks([cpt(rope=yarn, max_length=8192)], 4096)
    assert found["cpt"][0].startswith("positions: YaRN, factor 4, for texts of up to 16,384 tokens")
