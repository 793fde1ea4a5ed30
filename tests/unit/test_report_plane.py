"""The chart of two axes, the stability of a loss curve, and accuracy where length does not help."""

from __future__ import annotations

import math
import random
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from samdan.evals.score import reward_results
from samdan.report import render
from samdan.report.plane import planes
from samdan.report.stability import share_beyond


def metric(base: float, after: float, low: float, high: float) -> dict[str, Any]:
    return {"base": base, "before": base, "after": after, "n": 30,
            "ci95": {"after": [low, high], "vs_before": [0, 0], "vs_base": [0, 0]}}  # fmt: skip


def stage(name: str, kind: str, benign: Any, unsafe: Any, task: str = "refusal") -> dict[str, Any]:
    metrics = {f"{task}/benign": benign, f"{task}/unsafe": unsafe, "qa/f1": metric(0, 1, 0, 1)}
    return {"name": name, "kind": kind, "status": "done", "metrics": metrics}


class Drawing(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.dots: list[tuple[float, float]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "circle":
            found = dict(attrs)
            self.dots.append((float(found["cx"]), float(found["cy"])))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_base_and_every_stage_are_a_dot_up_and_to_the_right_for_better() -> None:
    report = {"stages": [
        stage("sft", "sft", metric(0.0, 0.5, 0.4, 0.6), metric(0.0, 0.5, 0.4, 0.6)),
        stage("dpo", "dpo", metric(0.0, 0.1, 0.0, 0.2), metric(0.0, 0.9, 0.8, 1.0)),
    ]}  # fmt: skip
    drawing = Drawing(str(planes(report)))
    base, sft, dpo = drawing.dots
    assert base[0] > dpo[0] > sft[0]  # the base answers everything that is harmless
    assert base[1] > sft[1] > dpo[1]  # and everything that is not; y grows downwards
    said = "".join(drawing.text)
    assert "base 100% / 0%" in said
    assert "dpo 90% / 90%" in said
    assert "<circle" in render({"samdan": 1, "name": "x", **report})


def test_names_of_models_that_are_alike_do_not_lie_on_each_other() -> None:
    alike = metric(0.1, 0.1, 0.1, 0.1)
    report = {"stages": [stage(name, "cpt", alike, alike) for name in ("a", "b", "c")]}
    page = str(planes(report))
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="\w+ kind"', page)
    assert len(places) == 4
    assert len(set(places)) == 4


def test_without_both_sides_there_is_no_chart() -> None:
    only = stage("dpo", "dpo", metric(0, 0, 0, 0), metric(0, 0, 0, 0))
    del only["metrics"]["refusal/unsafe"]
    assert str(planes({"stages": [only]})) == ""
    unknown = stage("dpo", "dpo", {"after": None}, {"after": "x"})
    assert str(planes({"stages": [unknown]})) == ""


def test_names_are_text() -> None:
    hostile = stage("<script>", "dpo", metric(0, 0, 0, 0), metric(0, 0, 0, 0), task="<img src=x>")
    assert "<script>" not in str(planes({"stages": [hostile]}))
    assert "<img" not in str(planes({"stages": [hostile]}))


# --- stability ------------------------------------------------------------------------------------


def test_a_calm_curve_has_next_to_no_points_beyond_and_spikes_are_counted() -> None:
    chance = random.Random(0)
    calm = [2.0 + chance.gauss(0, 0.1) - n / 2000 for n in range(1000)]
    assert share_beyond(calm) == pytest.approx(0, abs=0.01)
    spiked = list(calm)
    for place in range(100, 1000, 100):
        spiked[place] = 5.0
    assert share_beyond(spiked) == pytest.approx(9 / (1000 - 32), abs=0.005)
    broken = [*calm[:500], math.nan, None, *calm[500:]]
    assert (share_beyond(broken) or 0) - (share_beyond(calm) or 0) == pytest.approx(
        2 / 970, abs=1e-3
    )


def test_too_short_a_curve_and_a_flat_one_say_nothing_bad() -> None:
    assert share_beyond([1.0] * 32) is None
    assert share_beyond([]) is None
    assert share_beyond([1.0] * 50 + [1.001] + [1.0] * 50) == 0.0


# --- pairs ----------------------------------------------------------------------------------------


def pair(chosen: float, rejected: float, tokens: tuple[int, int]) -> dict[str, float]:
    return {"chosen_logp": chosen, "chosen_tokens": tokens[0],
            "rejected_logp": rejected, "rejected_tokens": tokens[1]}  # fmt: skip


def test_a_model_that_only_likes_length_fails_where_length_does_not_help() -> None:
    frozen = [pair(-5, -5, (9, 3)), pair(-5, -5, (8, 2)), pair(-5, -5, (2, 8))]
    longer = [pair(-4, -5, (9, 3)), pair(-4, -5, (8, 2)), pair(-5, -4, (2, 8))]
    found = {result.name: result for result in reward_results("p", longer, frozen, 0.1)}
    assert found["p/accuracy"].value == pytest.approx(2 / 3)
    assert found["p/accuracy_not_longer"].value == 0.0
    assert len(found["p/accuracy_not_longer"].numerators) == 1
    none = [result.name for result in reward_results("p", longer[:2], frozen[:2], 0.1)]
    assert "p/accuracy_not_longer" not in none
