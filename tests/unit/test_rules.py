"""Rules fire when they should, stay silent when they should, and never pass on what is missing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest

from samdan.recipe import CptStage, DpoStage, Source, gates_of
from samdan.records import Comparison, Metrics
from samdan.rules import (
    AtLeast,
    AtMost,
    Displaced,
    Drifted,
    Improved,
    LossSpike,
    NonFinite,
    Refusing,
    Retained,
    Unbalanced,
)

NAN = float("nan")


def history(losses: Sequence[float], **last: float) -> list[Metrics]:
    rows = [Metrics(i + 1, 0, {"loss": loss}) for i, loss in enumerate(losses)]
    return [*rows[:-1], Metrics(len(rows), 0, {"loss": losses[-1], **last})]


def compared(
    base: float, before: float, after: float, half: float = 0.01, higher: bool = False
) -> dict[str, Comparison]:
    def around(value: float) -> tuple[float, float]:
        return (value - half, value + half)

    row = Comparison(
        "a/bpb",
        base,
        before,
        after,
        100,
        around(after),
        around(after - before),
        around(after - base),
        higher,
    )
    return {"a/bpb": row}


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_non_finite_fires_on_the_loss_and_on_the_gradient(bad: float) -> None:
    assert NonFinite()(history([1.0, bad])).fired
    verdict = NonFinite()(history([1.0, 1.0], grad_norm=bad))
    assert verdict.fired
    assert verdict.message == "grad_norm is not finite at step 2"


def test_non_finite_is_silent_on_numbers() -> None:
    assert not NonFinite()(history([1.0], grad_norm=1e30)).fired


def test_a_spike_that_lasts_fires() -> None:
    verdict = LossSpike()(history([2.0 + 0.01 * (i % 3) for i in range(60)] + [5.0] * 4))
    assert verdict.fired
    assert verdict.value > verdict.limit == 6.0


@pytest.mark.parametrize(
    "losses",
    [
        [2.0] * 60 + [5.0] * 3,  # shorter than the patience
        [2.0] * 60 + [5.0, 5.0, 2.0, 5.0],  # interrupted
        [5.0 - 0.05 * i for i in range(60)],  # going down
        [2.0] * 60 + [2.05] * 4,  # within the floor under a flat curve's deviation
        [2.0] * 20 + [50.0] * 4,  # too few steps to judge
        [2.0],
    ],
)
def test_no_spike_that_lasts_is_silent(losses: list[float]) -> None:
    assert not LossSpike()(history(losses)).fired


def test_improved_wants_an_interval_without_zero() -> None:
    rule = Improved(metric="a/bpb")
    assert not rule(compared(2.0, 2.0, 1.9)).fired
    assert rule(compared(2.0, 2.0, 1.995)).fired
    assert rule(compared(2.0, 2.0, 2.1)).fired
    assert not rule(compared(0.5, 0.5, 0.6, higher=True)).fired
    assert rule(compared(0.5, 0.5, 0.4, higher=True)).fired


def test_improved_says_why_one_item_proves_nothing() -> None:
    (row,) = compared(2.0, 2.0, 1.0).values()
    row = dataclasses.replace(row, n=1, vs_before_ci=(NAN, NAN))
    verdict = Improved(metric="a/bpb")({"a/bpb": row})
    assert verdict.fired
    assert "raise 'heldout.share'" in verdict.message


def test_retained_allows_the_tolerance_and_what_is_not_certain() -> None:
    rule = Retained(metric="a/bpb", tolerance=0.03)
    assert not rule(compared(2.0, 2.0, 2.05)).fired  # 2.5% worse
    assert rule(compared(2.0, 2.0, 2.1)).fired  # 5% worse
    assert not rule(compared(2.0, 2.0, 2.1, half=0.2)).fired  # could be chance
    assert not rule(compared(2.0, 2.0, 1.0)).fired
    assert rule(compared(0.5, 0.5, 0.4, higher=True)).fired


def test_retained_looks_at_base_or_parent() -> None:
    found = compared(base=2.0, before=3.0, after=2.9)
    assert Retained(metric="a/bpb")(found).fired
    assert not Retained(metric="a/bpb", against="before")(found).fired


@pytest.mark.parametrize(
    ("value", "fired"), [(0.79, True), (0.8, False), (0.81, False), (NAN, True)]
)
def test_at_least(value: float, fired: bool) -> None:
    verdict = AtLeast(metric="a/bpb", value=0.8)(compared(0, 0, value))
    assert verdict.fired == fired
    assert "limit 0.8" in verdict.message


@pytest.mark.parametrize(
    ("value", "fired"), [(0.79, False), (0.8, False), (0.81, True), (NAN, True)]
)
def test_at_most(value: float, fired: bool) -> None:
    assert AtMost(metric="a/bpb", value=0.8)(compared(0, 0, value)).fired == fired


@pytest.mark.parametrize(
    "rule",
    [
        Improved(metric="b/bpb"),
        Retained(metric="b/bpb"),
        AtLeast(metric="b/bpb", value=0),
        AtMost(metric="b/bpb", value=9),
        Drifted(metric="b/bpb"),
        Unbalanced(metrics=("b/bpb",)),
        Refusing(metric="b/bpb"),
        Displaced(metric="b/bpb"),
    ],
    ids=lambda rule: rule.kind,
)
def test_what_was_not_measured_fires_and_names_what_was(rule: Improved) -> None:
    verdict = rule(compared(1, 1, 1))
    assert verdict.fired
    assert verdict.message == "b/bpb was not measured; measured: a/bpb"


@pytest.mark.parametrize(
    "rule",
    [
        Improved(metric="a/bpb"),
        Retained(metric="a/bpb"),
    ],
)
def test_a_measurement_that_is_not_a_number_is_no_success(rule: Improved) -> None:
    assert rule(compared(2.0, 2.0, NAN)).fired


def test_default_gates_ask_targets_to_improve_and_replay_to_be_kept() -> None:
    sources = (Source(path="a.jsonl"), Source(path="b.jsonl", role="replay"))
    gates = gates_of(CptStage(data=sources))
    assert [(gate.kind, gate.metric) for gate in gates] == [
        ("improved", "a/bpb"),
        ("retained", "b/bpb"),
    ]
    assert gates_of(DpoStage(data=sources[:1]))[0].metric == "a/accuracy"
    assert gates_of(CptStage(data=sources, gates=())) == ()


def test_drifted_allows_a_band_and_what_is_not_certain() -> None:
    rule = Drifted(metric="a/bpb", at_most=1.6, at_least=0.6)
    assert not rule(compared(0, 100.0, 150.0)).fired
    assert rule(compared(0, 100.0, 170.0)).fired
    assert rule(compared(0, 100.0, 50.0)).fired
    assert not rule(compared(0, 100.0, 170.0, half=80)).fired
    assert rule(compared(0, 0.0, 0.5)).fired  # from none to some
    assert not rule(compared(0, 0.0, 0.0, half=0)).fired
    assert rule(compared(0, 100.0, NAN)).fired


def test_unbalanced_names_what_fell_while_others_rose() -> None:
    def task(name: str, before: float, after: float) -> dict[str, Comparison]:
        (row,) = compared(0, before, after, higher=True).values()
        return {name: dataclasses.replace(row, name=name)}

    rule = Unbalanced(metrics=("a/exact", "b/exact"))
    verdict = rule(task("a/exact", 0.5, 0.7) | task("b/exact", 0.6, 0.4))
    assert verdict.fired
    assert verdict.about == ("b/exact",)
    assert not rule(task("a/exact", 0.5, 0.7) | task("b/exact", 0.6, 0.59)).fired
    assert not rule(task("a/exact", 0.5, 0.4) | task("b/exact", 0.6, 0.4)).fired  # all fell


def test_refusing_trusts_a_change_before_a_level() -> None:
    rule = Refusing(metric="a/bpb")
    assert rule(compared(0, 0.02, 0.10, half=0.03)).fired
    assert not rule(compared(0, 0.02, 0.10, half=0.09)).fired  # could be chance
    assert not rule(compared(0, 0.10, 0.12, half=0.01)).fired
    assert rule(compared(0, 0.30, 0.30, half=0.05)).fired  # too many in all


def test_displaced_wants_a_certain_loss() -> None:
    rule = Displaced(metric="a/bpb", limit=0.3)
    assert not rule(compared(0, 0, -0.2)).fired
    assert rule(compared(0, 0, -0.4)).fired
    assert not rule(compared(0, 0, -0.4, half=0.5)).fired
