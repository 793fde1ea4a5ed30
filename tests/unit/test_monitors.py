"""Monitors on curves that went wrong and on curves that did not."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from samdan.records import Metrics
from samdan.rules import Displacing, Diverging, Forgetting, Rebound, SkipSpikes, Slow, Unstable


def falling(steps: int, seed: int = 0, noise: float = 0.05) -> list[Metrics]:
    """An ordinary curve: exponential decay with noise."""
    rng = random.Random(seed)
    return [
        Metrics(
            step,
            0,
            {
                "loss": 2 + 2 * math.exp(-step / 80) + rng.gauss(0, noise),
                "grad_norm": 1 + abs(rng.gauss(0, 0.2)),
                "tokens_per_second": 1000 * rng.uniform(0.8, 1.2),
            },
        )
        for step in range(1, steps + 1)
    ]


def measured(
    rows: Sequence[Metrics], every: int, name: str, values: Sequence[float]
) -> list[Metrics]:
    """The same rows with a measurement at every so many steps, and one before the first."""
    found = {0: Metrics(0, 0, {name: values[0]})} | {row.step: row for row in rows}
    for number, value in enumerate(values[1:], 1):
        step = number * every
        more = {name: value, "progress": step / rows[-1].step}
        found[step] = Metrics(step, 0, {**found[step].values, **more})
    return [found[step] for step in sorted(found) if step <= (len(values) - 1) * every]


@pytest.mark.parametrize("seed", range(20))
def test_no_rule_fires_on_an_ordinary_curve(seed: int) -> None:
    rows = falling(400, seed)
    for rule in (Unstable(), Slow()):
        assert not any(rule(rows[:end]).fired for end in range(1, 401, 7))
    skips = [
        SkipSpikes()(rows[:at], rows[at].values["loss"], rows[at].values["grad_norm"])
        for at in range(1, 400)
    ]
    assert not any(skips)


def test_a_curve_that_keeps_jumping_is_unstable() -> None:
    rng = random.Random(1)
    rows = falling(300)
    jumping = [
        Metrics(r.step, 0, {**r.values, "loss": r.values["loss"] + 9 * (rng.random() < 0.08)})
        if r.step > 100
        else r
        for r in rows
    ]
    # The jumps themselves widen the band, so the limit is a share that single jumps do not reach.
    rule = Unstable(sigmas=3.0, share=0.03)
    verdict = rule(jumping)
    assert verdict.fired
    assert verdict.since is not None
    assert verdict.since > 90
    one = [Metrics(r.step, 0, {**r.values, "loss": 20.0}) if r.step == 200 else r for r in rows]
    assert not rule(one).fired


def test_a_rising_gradient_norm_is_seen_too() -> None:
    rows = falling(300)
    norms = [1.0 if row.step <= 264 else 2.0 ** (row.step - 264) for row in rows]
    wild = [
        Metrics(row.step, 0, {**row.values, "grad_norm": norm})
        for row, norm in zip(rows, norms, strict=True)
    ]
    assert Unstable(share=0.03)(wild).fired


def test_rebound_fires_when_held_out_text_gets_worse_while_the_loss_falls() -> None:
    rows = falling(100)
    curve = [2.0, 1.8, 1.6, 1.5, 1.51, 1.55, 1.6]
    verdicts = [
        Rebound()(measured(rows, 10, "target/bpb", curve[:n])) for n in range(1, len(curve) + 1)
    ]
    assert [v.fired for v in verdicts] == [False] * 6 + [True]
    assert verdicts[-1].since == 30
    assert verdicts[-1].value == pytest.approx(1.55 / 1.5 - 1)


@pytest.mark.parametrize(
    "curve",
    [
        [2.0, 1.8, 1.6, 1.5, 1.6, 1.5, 1.49],  # one bad measurement
        [2.0, 1.8, 1.7, 1.65, 1.66, 1.66, 1.665],  # less than the limit
        [2.0, 2.1, 2.2, 2.3],  # never better than at the start: that is the gate's to say
    ],
)
def test_rebound_is_silent(curve: list[float]) -> None:
    rows = falling(100)
    for n in range(1, len(curve) + 1):
        assert not Rebound()(measured(rows, 10, "target/bpb", curve[:n])).fired


def test_rebound_is_silent_where_the_training_loss_rises_as_well() -> None:
    """That is a stage that learns nothing, not one that learns by heart."""
    rows = [Metrics(r.step, 0, {**r.values, "loss": 2 + r.step / 50}) for r in falling(100)]
    assert not Rebound()(measured(rows, 10, "target/bpb", [2.0, 1.5, 1.6, 1.7, 1.8])).fired


def test_forgetting_is_counted_from_before_the_first_step() -> None:
    rows = falling(100)
    fired = [
        Forgetting(wait=0.2)(measured(rows, 10, "replay/bpb", curve)).fired
        for curve in (
            [1.0, 1.4, 1.4],  # right behind the warm-up
            [1.0, 1.4, 1.4, 1.01],  # it heals
            [1.0, 1.4, 1.4, 1.3],
            [1.0, 0.9, 0.95, 1.02, 1.029],
        )
    ]
    assert fired == [False, False, True, False]


def test_what_comes_back_when_the_rate_decays_is_not_forgotten() -> None:
    """Held-out general text of the demo's CPT, an ordinary run that ends 3% better."""
    curve = [0.198, 0.2187, 0.2084, 0.1929]
    for n in range(2, 5):
        assert not Forgetting()(measured(falling(100), 25, "replay/bpb", curve[:n])).fired


def test_forgetting_without_a_start_does_not_guess() -> None:
    rows = measured(falling(100), 10, "replay/bpb", [1.0, 2.0, 2.0, 2.0])[1:]
    assert not Forgetting()(rows).fired


def pairs(change: float, margin: float, steps: int = 60) -> list[Metrics]:
    values = {"loss": 0.5, "chosen_logp_change_per_token": change, "rewards/margin": margin}
    return [Metrics(step, 0, values) for step in range(1, steps + 1)]


def test_displacement_needs_a_loss_of_probability_and_a_margin() -> None:
    assert Displacing()(pairs(-0.4, 1.0)).fired
    assert not Displacing()(pairs(-0.2, 1.0)).fired
    assert not Displacing()(pairs(-0.4, -1.0)).fired
    assert not Displacing()(pairs(-0.4, 1.0, steps=30)).fired


def shifts(shift: float, steps: int = 60) -> list[Metrics]:
    return [Metrics(step, 0, {"loss": 0.3, "logp_shift_per_token": shift})
            for step in range(1, steps + 1)]  # fmt: skip


def test_running_away_from_the_reference_is_a_mean_of_many_steps() -> None:
    rule = Diverging()
    assert rule(shifts(rule.limit + 0.1)).fired
    assert not rule(shifts(rule.limit - 0.1)).fired
    assert not rule(shifts(2 * rule.limit, steps=rule.window - 1)).fired
    once = [*shifts(0.2, 59), Metrics(60, 0, {"loss": 0.3, "logp_shift_per_token": 30.0})]
    assert not rule(once).fired
    assert not rule(falling(100)).fired  # a stage without a reference


def test_a_collapse_of_speed_is_told_and_stops_nothing() -> None:
    slow = [
        Metrics(r.step, 0, {**r.values, "tokens_per_second": 250.0}) if r.step > 100 else r
        for r in falling(140)
    ]
    verdict = Slow()(slow)
    assert verdict.fired
    assert verdict.response == "none"
    assert Slow().stops == "never"
    assert not Slow()(slow[:112]).fired  # less than half of the window


def test_a_single_update_far_outside_is_skipped_and_does_not_widen_the_band() -> None:
    rows = falling(200)
    rule = SkipSpikes()
    assert rule(rows, 20.0, 50.0)
    assert not rule(rows, 20.0, 1.0)  # a hard batch
    assert not rule(rows, 2.0, 50.0)  # clipping is enough
    assert not rule(rows[:60], 20.0, 50.0)  # half a window is not judged
    spiked = [*rows, Metrics(201, 0, {"loss": 500.0, "grad_norm": 1.0, "skipped": 1.0})]
    assert rule(spiked, 20.0, 50.0)
    counted = [*rows, Metrics(201, 0, {"loss": 500.0, "grad_norm": 1.0})]
    assert not rule(counted, 20.0, 50.0)
