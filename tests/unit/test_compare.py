"""`samdan compare`: recipes field by field, costs, and metrics with intervals."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from samdan.records import DataError
from samdan.report.compare import compared, difference
from samdan.report.compare_view import as_page, as_text
from samdan.run.comparing import compare

RECIPE = """samdan: 1
name: x
base: {path: /data/base}
stages:
  - name: cpt
    data: [{path: /data/a.md}, {path: /data/b.md, role: replay}]
    learning_rate: 1e-5
  - {name: sft, data: [{path: /data/c.jsonl}]}
"""


def metric(after: float, half: float, n: int = 100, higher: bool = True) -> dict[str, Any]:
    return {"after": after, "n": n, "higher_is_better": higher,
            "ci95": {"after": [after - half, after + half]}}  # fmt: skip


def report() -> dict[str, Any]:
    stages = [
        {"name": name, "kind": name, "status": "done", "seconds": 60.0, "tokens": {"seen": 1000},
         "tokens_per_second": 100.0, "gates": [], "attempts": 1,
         "metrics": {"qa/exact": metric(0.5, 0.05), "text/bpb": metric(1.0, 0.01, higher=False)}}
        for name in ("cpt", "sft")
    ]  # fmt: skip
    return {"name": "x", "status": "done", "wall_seconds": 130.0, "recipe": RECIPE,
            "stages": stages, "machine": {"device": "cpu"}}  # fmt: skip


@pytest.fixture
def other() -> dict[str, Any]:
    found = copy.deepcopy(report())
    found["recipe"] = RECIPE.replace("1e-5", "2e-5").replace("/data/", "/elsewhere/data/")
    found["recipe"] += "seed: 7\n"
    metrics = found["stages"][1]["metrics"]
    metrics["qa/exact"] = metric(0.7, 0.05, n=90)
    metrics["text/bpb"] = metric(1.2, 0.01, higher=False)
    metrics["new/exact"] = metric(0.1, 0.1)
    found["wall_seconds"] = 250.0
    return found


def test_fields_are_compared_by_name_and_moved_folders_are_one_difference(
    other: dict[str, Any],
) -> None:
    fields = {f.place: (f.first, f.second) for f in compared(report(), other).fields}
    assert fields == {
        "folder of 4 paths": ("/", "/elsewhere"),
        "stages.cpt.learning_rate": ("1e-05", "2e-05"),
        "seed": (None, "7"),
    }


def test_a_file_of_another_name_is_told() -> None:
    second = copy.deepcopy(report())
    second["recipe"] = RECIPE.replace("/data/c.jsonl", "/data/d.jsonl")
    (field,) = [f for f in compared(report(), second).fields if f.place.endswith("path")]
    assert (field.first, field.second) == ("/data/c.jsonl", "/data/d.jsonl")


def test_the_interval_of_a_difference_is_that_of_independent_values() -> None:
    change = difference("qa/exact", metric(0.5, 0.03), metric(0.6, 0.04))
    assert change.delta == pytest.approx(0.1)
    assert change.low == pytest.approx(0.05)
    assert change.high == pytest.approx(0.15)
    assert change.direction == "better"
    assert difference("x", metric(0.5, 0.03), metric(0.51, 0.04)).direction == "unclear"
    assert difference("x", metric(0.5, 0.03), {"after": 0.9}).direction == "unknown"
    worse = difference("x", metric(0.5, 0.01, higher=False), metric(0.6, 0.01, higher=False))
    assert worse.direction == "worse"


def test_the_text(other: dict[str, Any]) -> None:
    text = as_text(("runs/a", report()), ("runs/b", other))
    for line in (
        "A  runs/a: done, 2 min 10 s.",
        "B  runs/b: done, 4 min 10 s.",
        "Fields in which the recipes differ: 3",
        "stages.cpt.learning_rate  1e-05 -> 2e-05",
        "+  qa/exact  0.500 -> 0.700  +0.200  [+0.129, +0.271]",
        "-  text/bpb  1.000 -> 1.200  +0.200  [+0.186, +0.214]",
        "new/exact was measured in B only",
        "not measured on as many items in both: qa/exact",
    ):
        assert line in text


def test_the_page_answers_and_names_nothing_outside(other: dict[str, Any]) -> None:
    page = as_page(("runs/<a>", report()), ("runs/b", other), "ko")
    assert '<html lang="ko">' in page
    assert "B is better in some things, worse in others" in page
    assert "runs/&lt;a&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "B is better than A" not in page
    del other["stages"][1]["metrics"]["text/bpb"]
    assert "B is better than A" in as_page(("a", report()), ("b", other))
    assert "No clear difference" in as_page(("a", report()), ("b", report()))


@pytest.mark.parametrize("wrong", [None, {}, [], "text", -1, True])
def test_any_part_may_be_missing_or_odd(wrong: Any, other: dict[str, Any]) -> None:
    other["recipe"] = ""
    whole = {**report(), "recipe": ""}
    for key in other:
        broken = {**other, key: wrong}
        assert as_text(("a", broken), ("b", whole))
        assert as_page(("a", whole), ("b", broken))
    for key in other["stages"][1]:
        broken = copy.deepcopy(other)
        broken["stages"][1][key] = wrong
        assert as_text(("a", whole), ("b", broken))
        assert as_page(("a", broken), ("b", whole))


def test_a_recipe_that_cannot_be_read_is_told(other: dict[str, Any]) -> None:
    other["recipe"] = "a: [1"
    text = as_text(("a", report()), ("b", other))
    assert "The recipe of run B cannot be read" in text
    assert "qa/exact" in text


def test_the_command(tmp_path: Path, other: dict[str, Any]) -> None:
    for name, found in (("a", report()), ("b", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "events.jsonl").write_text('{"event": "ended", "status": "done"}\n')
        (tmp_path / name / "report.json").write_text(json.dumps(found))
    a, b, out = tmp_path / "a", tmp_path / "b", tmp_path / "ab.html"
    assert str(out) in compare(a, b, out)
    assert re.match("<!DOCTYPE html>", out.read_text("utf-8"))
    assert json.loads(compare(a, b, as_json=True))["last"]["first"] == "sft"
    with pytest.raises(DataError, match="the same run"):
        compare(a, a)
    with pytest.raises(DataError, match="does not exist"):
        compare(a, tmp_path / "nothing")
    with pytest.raises(DataError, match="is a folder"):
        compare(a, b, tmp_path)
