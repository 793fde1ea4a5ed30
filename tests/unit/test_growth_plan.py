"""What a plan and a report say of a base that grows in depth."""

from __future__ import annotations

from typing import Any

import pytest

from samdan.budget import KNOWN_SHAPES, Shape
from samdan.plan import steps
from samdan.recipe import Recipe, parse
from samdan.report import render
from samdan.run.growth_plan import grown, remark, size_lines, sizes

QWEN = KNOWN_SHAPES["Qwen/Qwen2.5-7B"]
BILLION = 10**9


def recipe(depth: str, stage: str = "cpt") -> Recipe:
    return parse(
        f"""
samdan: 1
name: deeper
base: {{path: Qwen/Qwen2.5-7B, grow: {{depth: {depth}}}}}
stages: [{{name: {stage}, data: [{{path: a.jsonl}}]}}]
""",
        "r.yaml",
    )


@pytest.mark.parametrize(
    ("depth", "layers", "billions"),
    [
        ("{kind: solar, drop: 7}", 42, 10.88),
        ("{kind: solar, drop: 10}", 36, 9.48),
        ("{kind: llama_pro, blocks: 4}", 32, 8.55),
        ("{kind: llama_pro, blocks: 7}", 35, 9.25),
    ],
)
def test_sizes_of_a_real_model(depth: str, layers: int, billions: float) -> None:
    """The reference's own arithmetic on Qwen2.5-7B."""
    found = sizes(QWEN, recipe(depth).grow)
    assert found["grown"]["layers"] == layers
    assert found["grown"]["parameters"] / BILLION == pytest.approx(billions, abs=0.006)
    [line] = size_lines(QWEN, recipe(depth).grow)
    assert f"{billions}B parameters" in line
    assert f"{layers} layers instead of 28" in line


def test_a_budget_is_judged_by_all_cpt_tokens_of_the_grown_model() -> None:
    solar = recipe("{kind: solar}")
    shape = grown(QWEN, solar.grow)
    assert remark(solar, shape, {"cpt": 70 * BILLION}) is None
    told = remark(solar, shape, {"a": 20 * BILLION, "b": 20 * BILLION})
    assert "40,000,000,000 CPT tokens are 3.7 for each parameter" in str(told)
    assert remark(solar, shape, {"a": 70 * BILLION, "b": None}) is None
    assert "no CPT stage trains them" in str(remark(solar, shape, {}))
    flat = parse(
        "{samdan: 1, name: x, base: {path: m}, stages: [{name: cpt, data: [{path: a}]}]}", ""
    )
    assert remark(flat, shape, {}) is None


def test_nothing_is_said_of_an_unknown_shape() -> None:
    shape: Shape | None = None
    assert sizes(shape, recipe("{kind: solar}").grow) == {}
    assert remark(recipe("{kind: solar}"), None, {"cpt": 1}) is None


def test_healing_is_a_step_between_growing_and_training() -> None:
    planned = {step.name: step for step in steps(recipe("{kind: solar}"), {})}
    names = list(planned)
    assert names.index("base/grow") < names.index("base/healing") < names.index("cpt/train")
    assert planned["base/healing"].reads[:2] == ("base/grow", "base/evaluate")
    assert "base/grow" in planned["cpt/train"].reads
    assert planned["base/evaluate"].reads[0] == "base/load"


def test_the_depth_is_part_of_what_growing_is() -> None:
    fields = [
        dict({s.name: s for s in steps(recipe(depth), {})}["base/grow"].fields)
        for depth in ("{kind: solar}", "{kind: solar, drop: 7}")
    ]
    assert fields[0] != fields[1]


def report(grown_bpb: float, interval: list[float]) -> dict[str, Any]:
    return {
        "samdan": 1,
        "name": "deeper",
        "status": "done",
        "stages": [],
        "growth": {
            "facts": {"depth": "solar", "layers": [4, 6], "parameters": [100, 150]},
            "healing": {
                "law/bpb": {
                    "base": 2.0,
                    "grown": {"value": grown_bpb, "ci95": interval},
                    "after": {"cpt": {"value": 1.5, "ci95": [-0.6, -0.4]}},
                }
            },
            "curves": {"law/bpb": {"tokens": [0, 500, 1000], "value": [2.5, 1.9, 1.5]}},
        },
    }


def test_the_page_shows_what_broke_and_what_healed() -> None:
    page = render(report(2.5, [0.4, 0.6]))
    start = page.index('id="growth"')
    section = page[start : page.index("</section>", start)]
    assert "solar" in section
    assert section.index("not yet trained") < section.index(">cpt<")
    assert section.count('class="pill bad"') == 1
    assert section.count('class="pill good"') == 1
    assert "학습한 토큰 수에 따라" in section
    assert "<svg" in section


def test_a_base_that_did_not_grow_has_no_such_section() -> None:
    page = render({**report(2.0, [0.0, 0.0]), "growth": {}})
    assert 'id="growth"' not in page
