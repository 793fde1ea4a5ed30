"""lm-evaluation-harness on a tiny random model, offline: local tasks, and its own on local data."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from samdan.evals.score import Subject, score_task
from samdan.lm.attention import NAME as ATTENTION
from samdan.lm.rounding import round_weights
from samdan.lm.scoring import Scorer
from samdan.records import DataError, EnvironmentFailure
from samdan.tasks import Harness, LocalData, MultipleChoice

CHOICE = """
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
output_type: multiple_choice
test_split: test
doc_to_text: "질문: {{question}} 답:"
doc_to_target: label
doc_to_choice: ["네", "아니요"]
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
ROLLING = """
task: local_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
"""
CHOICES = [" 참", " 짓"]
COPA = {"premise": "비가 왔다.", "question": "결과", "alternative_1": "땅이 젖었다.",
        "alternative_2": "해가 떴다."}  # fmt: skip


@pytest.fixture
def subject() -> Subject:
    pytest.importorskip("lm_eval", reason="the extra 'harness' is not installed")
    chat = tiny.chat()
    model = tiny.model(vocab_size=len(chat.tokenizer)).eval()
    return Subject(Scorer(model), chat, max_length=256)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return path


def folder(tmp_path: Path, *tasks: str) -> Path:
    rows = [{"question": f"{n} 더하기 {n}은 {n + n}인가?", "label": n % 2} for n in range(6)]
    data = write(tmp_path / "data.jsonl", rows)
    made = tmp_path / "tasks"
    made.mkdir()
    for number, task in enumerate(tasks):
        (made / f"{number}.yaml").write_text(task.replace("FILE", str(data)), "utf-8")
    return made


def test_local_tasks_come_back_with_a_value_per_item(tmp_path: Path, subject: Subject) -> None:
    path = str(folder(tmp_path, CHOICE, ROLLING))
    spec = Harness(name="h", tasks=("local_choice", "local_rolling"), path=path, limit=5)
    scored = score_task(spec, subject)
    found = {result.name: result for result in scored.results}
    assert found.keys() == {
        "h/local_choice_acc", "h/local_choice_acc_norm",
        "h/local_rolling_bits_per_byte", "h/local_rolling_byte_perplexity",
    }  # fmt: skip
    accuracy = found["h/local_choice_acc"]
    assert len(accuracy.numerators) == 5
    assert set(accuracy.numerators) <= {0.0, 1.0}
    assert accuracy.higher_is_better is True
    bits, perplexity = (found[f"h/local_rolling_{m}"] for m in ("bits_per_byte", "byte_perplexity"))
    assert len(bits.numerators) == 5
    assert bits.higher_is_better is False
    assert 2**bits.value == pytest.approx(perplexity.value)
    assert 0 < bits.value < 20
    first = scored.items[0]
    assert (first["task"], first["prompt"]) == ("local_choice", "질문: 0 더하기 0은 0인가? 답:")
    assert subject.scorer.model.config._attn_implementation == ATTENTION


@pytest.mark.parametrize("rounded", [False, True])
def test_it_runs_in_bf16(tmp_path: Path, subject: Subject, rounded: bool) -> None:
    path = str(folder(tmp_path, CHOICE, ROLLING))
    spec = Harness(name="h", tasks=("local_rolling",), path=path, limit=5)
    exact = score_task(spec, subject).results[0].value
    model = subject.scorer.model
    if rounded:
        round_weights(model)
    found = score_task(spec, replace(subject, scorer=Scorer(model, bf16=True))).results[0].value
    assert found != exact
    assert found == pytest.approx(exact, rel=2e-3)  # 4e-3 where log-probabilities are bf16


@pytest.mark.slow
def test_a_task_of_the_harness_reads_a_local_file(tmp_path: Path, subject: Subject) -> None:
    rows = [{**COPA, "label": n % 2} for n in range(4)]
    path = str(write(tmp_path / "copa.jsonl", rows))
    data = LocalData(task="kobest_copa", path=path)
    spec = Harness(name="kobest", tasks=("kobest_copa",), data=(data,))
    found = {result.name: result for result in score_task(spec, subject).results}
    assert found["kobest/kobest_copa_acc"].value == 0.5  # the same question with both labels
    assert len(found["kobest/kobest_copa_acc"].numerators) == 4
    assert len(found["kobest/kobest_copa_f1"].numerators) == 1  # a macro F1 is no mean over items
    assert math.isfinite(found["kobest/kobest_copa_f1"].value)


def test_the_same_model_scores_alike_in_the_harness_and_here(
    tmp_path: Path, subject: Subject
) -> None:
    rows = [{"question": f"{n} 더하기 {n}은 {n + n}인가?", "label": n % 2} for n in range(6)]
    mine = [
        {"prompt": f"질문: {row['question']} 답:", "choices": CHOICES, "answer": row["label"]}
        for row in rows
    ]
    own = score_task(MultipleChoice(name="m", path=str(write(tmp_path / "m.jsonl", mine))), subject)
    path = str(folder(tmp_path, CHOICE.replace("아니요", "짓").replace("네", "참")))
    theirs = score_task(Harness(name="h", tasks=("local_choice",), path=path), subject)
    # The harness divides by characters and we by bytes: the choices are of one length.
    norm = next(result for result in theirs.results if result.name.endswith("acc_norm"))
    assert norm.numerators == own.results[0].numerators


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tasks": ("no_such_task",)}, "knows no task no_such_task"),
        ({"tasks": ("kobest_copa",), "data": ({"task": "kobest_wic", "path": "x"},)}, "not among"),
        ({"tasks": ("kobest_copa",)}, "come from the Hub"),
    ],
)
def test_what_cannot_run_says_what_to_do(
    subject: Subject, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=r"evaluate\.h: ") as caught:
        score_task(Harness(name="h", **fields), subject)
    assert said in str(caught.value)


def test_a_task_file_that_runs_code_is_refused_unless_allowed(
    tmp_path: Path, subject: Subject
) -> None:
    path = folder(tmp_path, CHOICE.replace('"질문: {{question}} 답:"', "!function mine.text"))
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()\ndef text(doc):\n    return doc['question']\n"
    (path / "mine.py").write_text(code)
    spec = Harness(name="h", tasks=("local_choice",), path=str(path))
    with pytest.raises(DataError, match="allow_code"):
        score_task(spec, subject)
    assert not mark.exists()
    assert score_task(spec.model_copy(update={"allow_code": True}), subject).results
    assert mark.exists()


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    chat = tiny.chat()
    bare = Subject(Scorer(tiny.model(vocab_size=len(chat.tokenizer))), chat)
    with pytest.raises(EnvironmentFailure, match=r"samdan\[harness\]"):
        score_task(Harness(name="h", tasks=("kobest_copa",)), bare)
