"""Tasks of a recipe through a whole run: built-in sets, samples, probes, gates, nothing twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from e2e.helpers import events, python, write_rows

TASKS = """\
evaluate:
  - {kind: multiple_choice, name: knowledge, path: choices.jsonl}
  - {kind: instructions, max_items: 6, max_new_tokens: 3}
  - {kind: refusal, language: en, max_new_tokens: 3}
  - {kind: open, name: talk, max_new_tokens: 3, temperature: 0.8, top_p: 0.9}
  - {kind: probes, name: facts, source: docs}
  - {kind: qa, name: asked, path: asked.jsonl, max_new_tokens: 3}
"""


@pytest.fixture
def world(recipe: Path, tmp_path: Path) -> Path:
    """The tiny recipe with one CPT stage and the tasks above."""
    folder = Path(shutil.copytree(recipe.parent, tmp_path / "world"))
    text = recipe.read_text("utf-8")
    stages, rest = text[: text.index("  - name: sft")], text[text.index("decontaminate:") :]
    old = rest[rest.index("evaluate:") : rest.index("samples:")]
    rest = rest.replace(old, TASKS).replace("decontaminate: null", "#")
    stages = stages.replace(
        "gates: []", "gates: [{kind: at_most, metric: talk/length, value: 1000000}]"
    )
    (folder / "recipe.yaml").write_text(stages + rest, "utf-8")
    row = {"context": "본사는 서울에 있다.", "question": "본사는?", "answers": ["서울"]}
    write_rows(folder / "asked.jsonl", [row])
    dated = ({"text": f"가온의 {n}호 공장이 문을 연 해는 {1950 + n}년이다."} for n in range(60))
    write_rows(folder / "docs.jsonl", dated)
    return folder / "recipe.yaml"


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_a_run_measures_gates_and_reports_every_kind_of_task(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = python("-m", "samdan.cli", "run", str(world), "--out", str(run))
    assert first.code == 0, first.err
    metrics = load(run / "report.json")["stages"][-1]["metrics"]
    quality = {"stops", "length", "repetition", "format", "refusal"}
    for name, own in {"instructions": {"prompts", "checks", "loose", "hangul"},
                      "refusal": {"benign", "unsafe"}, "talk": {"hangul", "one_level"},
                      "asked": {"exact", "f1"}}.items():  # fmt: skip
        assert {f"{name}/{metric}" for metric in own | quality} <= metrics.keys()
    assert "facts/accuracy" in metrics
    assert metrics["talk/length"]["higher_is_better"] is None
    assert 0 <= metrics["knowledge/accuracy"]["mcnemar"]["vs_before"] <= 1
    base, after = (load(run / stage / "eval.json")["items"] for stage in ("base", "cpt"))
    assert base.keys() == after.keys()
    assert [item["prompt"] for item in base["talk"]] == [item["prompt"] for item in after["talk"]]
    assert len(after["talk"]) == 24
    assert all({"prompt", "said", "stopped"} <= item.keys() for item in after["talk"])
    page = (run / "report.html").read_text("utf-8")
    assert "unsafe requests refused" in page
    (verdict,) = load(run / "cpt" / "gate.json")["verdicts"]
    assert verdict["rule"] == "at_most(talk/length)"

    again = python("-m", "samdan.cli", "run", str(world), "--out", str(run))
    assert again.code == 0, again.err
    done = [e["step"] for e in events(run) if e["event"] == "step_begin"]
    assert len(done) == len(set(done))  # nothing was done a second time


def test_a_probe_of_a_source_that_is_not_there_is_refused(world: Path, tmp_path: Path) -> None:
    text = world.read_text("utf-8").replace("source: docs", "source: dosc")
    world.write_text(text, "utf-8")
    refused = python("-m", "samdan.cli", "check", str(world))
    assert refused.code == 1
    assert "no CPT stage has a source 'dosc'" in refused.err


HARNESS = """\
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{prompt}}"
doc_to_target: answer
doc_to_choice: choices
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.slow
def test_metrics_of_the_harness_stand_in_the_report_and_gate(world: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra 'harness' is not installed")
    (world.parent / "tasks").mkdir()
    file = HARNESS.replace("FILE", str(world.parent / "choices.jsonl"))
    (world.parent / "tasks" / "local.yaml").write_text(file, "utf-8")
    task = "evaluate:\n  - {kind: harness, name: h, tasks: [local_choice], path: tasks}\n"
    text = world.read_text("utf-8").replace(TASKS, task)
    text = text.replace("at_most, metric: talk/length, value: 1000000", "at_least, metric: METRIC")
    text = text.replace("METRIC", "h/local_choice_acc, value: 1.1")
    world.write_text(text, "utf-8")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    run = tmp_path / "run"
    done = python("-m", "samdan.cli", "run", str(world), "--out", str(run), env=offline)
    assert done.code == 3, done.err
    metric = load(run / "report.json")["stages"][-1]["metrics"]["h/local_choice_acc"]
    assert metric["n"] == 6
    assert load(run / "cpt" / "gate.json")["verdicts"][0]["rule"] == "at_least(h/local_choice_acc)"
