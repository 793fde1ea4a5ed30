"""What votes say: intervals against tables, strengths against closed forms, agreement, biases."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdan.preferences.agreement import alpha, kappa, left_won, longer_won, same
from samdan.preferences.gate import Preferred
from samdan.preferences.intervals import at_least, at_most, exact
from samdan.preferences.length import RIDGE, _fit, at_equal_length
from samdan.preferences.strength import bradley_terry, strengths
from samdan.preferences.summary import comparison, summarise
from samdan.preferences.votes import Match, Pair, Verdict, Vote, matches, verdicts
from samdan.recipe import DpoStage, Source
from samdan.records import Comparison

# -- the exact interval ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.30850),  # 1 - 0.025 ** (1 / 10)
        (10, 10, 0.69150, 1.0),
        (5, 10, 0.18709, 0.81291),  # tables of Clopper and Pearson
        (1, 20, 0.00127, 0.24873),
        (81, 263, 0.25274, 0.36762),  # Newcombe 1998, table I
        (15, 148, 0.05785, 0.16169),  # Newcombe 1998
    ],
)
def test_the_interval_is_that_of_the_tables(
    successes: int, n: int, low: float, high: float
) -> None:
    assert exact(successes, n) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 60), st.data())
def test_at_its_ends_the_interval_leaves_the_tail_that_it_may(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = exact(successes, n)
    assert low <= successes / n <= high
    if successes:
        assert at_least(successes, n, low) == pytest.approx(0.025, rel=1e-6)
    if successes < n:
        assert at_most(successes, n, high) == pytest.approx(0.025, rel=1e-6)


def test_no_trial_says_nothing_and_more_successes_than_trials_is_an_error() -> None:
    assert all(math.isnan(bound) for bound in exact(0, 0))
    with pytest.raises(ValueError, match="3 successes of 2"):
        exact(3, 2)


# -- strengths -------------------------------------------------------------------------------------


def test_two_models_have_the_log_odds_of_their_games() -> None:
    first, second = bradley_terry([[0, 30], [10, 0]], prior=0)
    assert first - second == pytest.approx(math.log(3), abs=1e-6)
    assert first + second == pytest.approx(0)


def test_strengths_that_made_the_games_are_found_again() -> None:
    true = [0.9, 0.1, -1.0]
    wins = [
        [0 if i == j else 1000 / (1 + math.exp(true[j] - true[i])) for j in range(3)]
        for i in range(3)
    ]
    assert bradley_terry(wins, prior=0) == pytest.approx(true, abs=1e-6)


def test_a_model_that_never_lost_has_a_finite_strength_and_one_that_never_played_a_middle_one() -> (
    None
):
    best, worst, absent = bradley_terry([[0, 5, 0], [0, 0, 0], [0, 0, 0]])
    assert best > absent > worst
    assert best < 5


def pair(number: int, *answers: str, a: str = "sft", b: str = "dpo") -> Pair:
    return Pair(f"prompt {number}", a, b, *(answers or ("short", "rather longer")))


def test_intervals_of_strengths_hold_the_points_and_shrink_with_prompts() -> None:
    rng = random.Random(1)

    def spread(prompts: int) -> float:
        pairs = {(made := pair(number)).id: made for number in range(prompts)}
        judged = {key: Verdict("b" if rng.random() < 0.7 else "a", 1, True) for key in pairs}
        weak, strong = strengths(pairs, judged, ["base", "sft", "dpo"])
        assert (weak.model, strong.model) == ("sft", "dpo")
        assert strong.points > weak.points
        assert strong.ci95[0] <= strong.points <= strong.ci95[1]
        return strong.ci95[1] - strong.ci95[0]

    assert spread(200) < spread(20)


def test_nothing_judged_has_no_strengths() -> None:
    assert strengths({}, {}, ["sft", "dpo"]) == []


# -- agreement -------------------------------------------------------------------------------------


def test_alpha_is_that_of_the_published_example() -> None:
    """Krippendorff 2011, section C: four observers, twelve units, missing data; nominal 0.743."""
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [
        [str(said) for said in unit if said is not None] for unit in zip(*observers, strict=True)
    ]
    assert alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_one_for_agreement_and_about_zero_for_chance() -> None:
    assert alpha([["a", "a"], ["b", "b", "b"], ["tie"]]) == 1
    rng = random.Random(0)
    assert abs(alpha([[rng.choice("ab") for _ in range(2)] for _ in range(4000)])) < 0.05
    assert math.isnan(alpha([["a"], ["b"]]))
    assert math.isnan(alpha([["a", "a"], ["a", "a"]]))


def test_kappa_is_that_of_the_textbook() -> None:
    """50 items: 20 times both yes, 15 both no, 5 and 10 apart: 0.4."""
    said = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert kappa(said) == pytest.approx(0.4)
    assert math.isnan(kappa([]))
    assert math.isnan(kappa([("y", "y")]))


def test_same_counts_couples() -> None:
    found = same([["a", "a", "b"], ["b", "b"], ["tie"]])
    assert (found.count, found.n) == (2, 4)


# -- biases ----------------------------------------------------------------------------------------


def vote(key: str, choice: str, left: str = "a", rater: str = "kim", by: str = "person") -> Vote:
    return Vote(key, rater, choice, left, by)  # type: ignore[arg-type]


def test_sides_and_lengths_are_counted_among_decided_votes() -> None:
    longer, equal = pair(1), pair(2, "abc", "xyz")
    pairs = {one.id: one for one in (longer, equal)}
    votes = [
        vote(longer.id, "a", left="a"),
        vote(longer.id, "b", left="a"),
        vote(longer.id, "b", left="b"),
        vote(longer.id, "tie"),
        vote(equal.id, "bad"),
        vote(equal.id, "b", left="b"),
    ]
    left = left_won(votes)
    assert (left.count, left.n) == (3, 4)
    long = longer_won(votes, pairs)
    assert (long.count, long.n) == (2, 3)


# -- verdicts and matches --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "verdict", "agreed"),
    [
        (["a"], "a", True),
        (["a", "b"], "tie", False),
        (["a", "b", "b"], "b", False),
        (["tie", "tie", "a"], "a", False),
        (["bad", "bad", "tie"], "bad", False),
        (["bad", "tie"], "tie", False),
    ],
)
def test_votes_on_a_pair_are_one_verdict(choices: list[str], verdict: str, agreed: bool) -> None:
    found = verdicts(vote("p", choice, rater=str(n)) for n, choice in enumerate(choices))
    assert found == {"p": Verdict(verdict, len(choices), agreed)}  # type: ignore[arg-type]


def test_a_match_counts_pairs_and_gives_share_and_rate() -> None:
    pairs = {(made := pair(number)).id: made for number in range(6)}
    choices = ["b", "b", "b", "a", "tie", "bad"]
    judged = verdicts(vote(key, choice) for key, choice in zip(pairs, choices, strict=True))
    (match,) = matches(pairs, judged)
    assert match == Match("sft", "dpo", 1, 3, 1, 1)
    assert (match.share, match.rate) == (0.75, pytest.approx(4 / 6))


def test_a_pair_is_named_by_its_content() -> None:
    assert pair(1).id == pair(1).id
    assert len({pair(1).id, pair(2).id, pair(1, "other", "x").id, pair(1, a="base").id}) == 4
    Pair("\ud800", "a", "b", "", "").id.encode()  # answers of a broken tokenizer


def test_the_summary_tells_people_and_judges_apart() -> None:
    pairs = {(made := pair(number)).id: made for number in range(4)}
    keys = list(pairs)
    votes = [
        *(vote(key, "b", rater="kim") for key in keys[:3]),
        vote(keys[0], "a", rater="lee"),
        vote("gone", "a"),
        # The judge holds to its verdict on the first pair and turns around on the second.
        *(vote(keys[0], "b", side, "model:j", "model") for side in ("a", "b")),
        *(vote(keys[1], side, side, "model:j", "model") for side in ("a", "b")),
    ]
    found = summarise(pairs, votes, ["sft", "dpo"])
    people, judge = found["people"], found["judges"]["model:j"]
    assert people["raters"] == {"kim": 3, "lee": 1}
    assert (people["votes"], people["pairs"], found["other"]) == (4, 3, 1)
    assert people["agreement"]["pairs"] == 1
    assert people["agreement"]["same"] == {"count": 0, "n": 1, "share": 0.0}
    assert people["matches"][0]["wins_b"] == 2
    assert people["matches"][0]["ties"] == 1
    assert (judge["both_orders"], judge["inconsistent"], judge["turned_around"]) == (2, 1, 1)
    assert judge["with_people"]["pairs"] == 2
    assert judge["with_people"]["same"]["count"] == 0
    assert judge["left_won"]["share"] == 0.75


# -- the gate --------------------------------------------------------------------------------------


def found(wins: int, losses: int, ties: int = 0) -> dict[str, Comparison]:
    match = Match("sft", "dpo", losses, wins, ties, 0)
    return {"votes/over_before": comparison("votes/over_before", match)}


def test_without_votes_the_gate_fires_and_says_how_to_vote() -> None:
    verdict = Preferred()({})
    assert verdict.fired
    assert verdict.message.startswith("no pair of answers is judged by people, 20 are needed")
    assert "samdan judge serve RUN" in verdict.message
    assert "only 19 pairs" in Preferred()(found(19, 0)).message
    assert Preferred()(found(19, 0)).fired


def test_the_gate_asks_the_share_or_the_end_of_its_interval() -> None:
    assert not Preferred()(found(12, 8)).fired
    assert Preferred()(found(8, 12)).fired
    assert Preferred(at_least=0.7)(found(12, 8)).fired
    assert Preferred(certain=True)(found(12, 8)).fired
    assert not Preferred(certain=True)(found(18, 2)).fired
    assert not Preferred(min_pairs=5)(found(3, 1, 1)).fired
    assert Preferred(over="base")(found(20, 0)).fired  # other models were compared


def test_a_gate_on_ties_alone_fires() -> None:
    verdict = Preferred()(found(0, 0, 20))
    assert verdict.fired
    assert "undecided" in verdict.message


def test_a_stage_takes_the_gate() -> None:
    gate = {"kind": "preferred", "over": "before", "at_least": 0.5}
    stage = DpoStage(data=(Source(path="a.jsonl"),), gates=(gate,))  # type: ignore[arg-type]
    assert stage.gates == (Preferred(),)


# --- at equal length ------------------------------------------------------------------------------


def games(*rows: tuple[int, str], a: str = "sft", b: str = "dpo") -> tuple[Any, Any]:
    """(how much longer the answer of ``b`` is, who won) to pairs and verdicts."""
    pairs = [Pair(f"질문 {n}", a, b, "가" * 100, "나" * (100 + longer))
             for n, (longer, _) in enumerate(rows)]  # fmt: skip
    votes = [won for _, won in rows]
    judged = {p.id: Verdict(won, 1, True) for p, won in zip(pairs, votes, strict=True)}  # type: ignore[arg-type]
    return {pair.id: pair for pair in pairs}, judged


def test_a_model_that_wins_by_length_alone_wins_half_at_equal_length() -> None:
    """The longer answer wins 17 of 20, whosever it is; b is the longer one in three of four."""
    rows = [(80, "b")] * 51 + [(80, "a")] * 9 + [(-80, "a")] * 17 + [(-80, "b")] * 3
    (found,) = at_equal_length(*games(*rows))
    assert found.rate == pytest.approx(0.5, abs=0.03)
    assert sum(won == "b" for _, won in rows) / len(rows) == 0.675
    assert found.effect > 1
    assert found.ci95[0] < 0.5 < found.ci95[1]


def test_a_model_that_wins_whatever_the_length_still_wins() -> None:
    rng = random.Random(1)
    rows = [(rng.randint(-60, 60), "b" if rng.random() < 0.8 else "a") for _ in range(200)]
    (found,) = at_equal_length(*games(*rows))
    assert found.rate == pytest.approx(0.8, abs=0.07)
    assert abs(found.effect) < 0.5
    assert found.n == 200
    assert found.ci95[0] > 0.7


def test_at_equal_length_the_regression_is_that_of_a_library() -> None:
    sklearn = pytest.importorskip("sklearn.linear_model")
    rng = random.Random(2)
    rows = [(rng.uniform(-1, 1), float(rng.random() < 0.6)) for _ in range(120)]
    theirs = sklearn.LogisticRegression(C=1 / RIDGE, fit_intercept=False, tol=1e-10)
    theirs.fit([[1.0, x] for x, _ in rows], [won for _, won in rows])
    assert _fit(rows) == pytest.approx(tuple(theirs.coef_[0]), abs=1e-5)


def test_few_pairs_or_one_length_say_nothing_at_equal_length() -> None:
    (few,) = at_equal_length(*games((10, "b"), (-10, "a"), (30, "b")))
    (same,) = at_equal_length(*games(*[(5, "b")] * 20))
    assert math.isnan(few.rate)
    assert math.isnan(same.rate)
    assert at_equal_length(*games((10, "tie"))) == []
