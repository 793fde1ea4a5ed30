"""Lines to fill in and needles: which are asked for, what is shown, what counts as right."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import tiny
from samdan.answers.lines import lines_to_fill
from samdan.answers.needles import haystack, needle
from samdan.evals import contexts
from samdan.evals.items import items_of
from samdan.evals.score import score_task
from samdan.evals.subject import Subject
from samdan.infilling import Fim
from samdan.lm.chat import ChatFormat
from samdan.lm.infilling import Infilling, add_tokens
from samdan.lm.scoring import Scorer
from samdan.recipe import parse
from samdan.records import DataError, RecipeError
from samdan.run import check
from samdan.tasks import Task

ADAPTER: TypeAdapter[Any] = TypeAdapter(Task)
CODE = "# Title\nSome prose of words.\n```python\ndef f(x):\n    return x + 1\n\n```\nMore prose.\n"


def task(**fields: Any) -> Any:
    return ADAPTER.validate_python(fields)


def write(folder: Path, rows: list[Any]) -> str:
    path = folder / "items.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def subject() -> Subject:
    tokenizer = tiny.tokenizer()
    add_tokens(tokenizer, Fim().names)
    chat = ChatFormat(tokenizer)
    model = tiny.model(vocab_size=len(chat.tokenizer)).eval()
    return Subject(Scorer(model), chat, max_length=256)


# --- lines ----------------------------------------------------------------------------------------


@given(st.text(max_size=300), st.booleans(), st.integers(0, 3))
def test_a_line_and_what_stands_around_it_are_the_text(text: str, code: bool, seed: int) -> None:
    for item in lines_to_fill([text], seed, code, 5, 2):
        assert item["prefix"] + item["middle"] + item["suffix"] == text
        assert item["middle"] == item["middle"].strip() != ""
        assert len(item["middle"].splitlines()) == 1


def test_of_a_page_only_lines_of_code_are_asked_for() -> None:
    found = lines_to_fill([CODE], 0, True, 99, 4)
    assert [item["middle"] for item in found] == ["def f(x):", "return x + 1"]
    assert found[1]["prefix"].endswith("def f(x):\n    ")  # the indent says where the line lies
    everything = lines_to_fill([CODE], 0, False, 99, 4)
    assert "Some prose of words." in [item["middle"] for item in everything]


def test_a_source_file_has_no_fences_and_is_code_throughout() -> None:
    found = lines_to_fill(["def f(x):\n    return x\n"], 0, True, 9, 4)
    assert [item["middle"] for item in found] == ["def f(x):", "return x"]


def test_short_lines_and_lines_of_signs_are_not_asked_for() -> None:
    assert lines_to_fill(["}\n----------\n x \n"], 0, True, 9, 2) == []


# --- needles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_question_is_the_beginning_of_the_sentence(language: str) -> None:
    one = needle(language, random.Random(0))
    assert one.sentence.startswith(one.question + one.answer)
    assert one.answer.strip().isdigit()


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.integers(0, 60),
    st.integers(0, 80),
    st.floats(0, 1),
)
def test_hay_fills_the_budget_without_a_line_twice(
    sizes: list[int], first: int, budget: int, depth: float
) -> None:
    before, behind = haystack(sizes, first, budget, depth)
    taken = before + behind
    total = sum(sizes[n] for n in taken)
    assert len(set(taken)) == len(taken)
    assert total <= budget
    left = [size for n, size in enumerate(sizes) if n not in taken]
    assert all(total + size > budget for size in left)
    place = sum(sizes[n] for n in before)
    assert abs(place - depth * total) <= max(sizes) / 2 + 1e-9


def test_depth_0_is_the_beginning_and_depth_1_the_end() -> None:
    assert haystack([1] * 10, 0, 10, 0.0)[0] == []
    assert haystack([1] * 10, 0, 10, 1.0)[1] == []


# --- the tasks ------------------------------------------------------------------------------------


def test_infilling_is_right_when_the_answer_is_the_line(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def answer(model: Any, chat: Any, prompts: Any, *more: Any, **named: Any) -> Any:
        asked.extend(prompts)
        infilling = Infilling(Fim(), subject.chat, "here")
        assert infilling.eot in named["stops"]
        return [(" return x + 1\n", True), ("return x + 1\nand more", False), ("no", True)]

    monkeypatch.setattr(contexts, "generate", answer)
    row = {"prefix": "def f(x):\n    ", "middle": "return x + 1", "suffix": "\n"}
    path = write(tmp_path, [row] * 3)
    spec = task(kind="infill", name="fill", path=path, order="spm")
    scored = score_task(spec, subject)
    assert {r.name: r.numerators for r in scored.results} == {
        "fill/exact": (1, 0, 0), "fill/first_line": (1, 1, 0), "fill/stops": (1, 0, 1),
    }  # fmt: skip
    expected = Infilling(Fim(), subject.chat, "here").prompt(row["prefix"], row["suffix"], "spm")
    assert asked == [expected] * 3


def test_a_model_may_be_asked_with_the_prefix_alone(subject: Subject, tmp_path: Path) -> None:
    path = write(tmp_path, [{"text": CODE}])
    spec = task(kind="infill", name="fill", path=path, order="prefix_only", max_new_tokens=4)
    scored = score_task(spec, subject)
    assert [r.name for r in scored.results] == ["fill/first_line"]
    assert len(scored.items) == 2
    prompts, stops = contexts._prompts(spec, contexts._lines(spec, items_of(spec)), subject)
    assert stops is None
    # The indent is the model's to write: it is one token with the word behind it.
    assert subject.chat.tokenizer.decode(prompts[1]).endswith("def f(x):\n")


def test_the_context_is_cut_on_both_sides(subject: Subject, tmp_path: Path) -> None:
    row = {"prefix": "a" * 50, "middle": "line", "suffix": "b" * 50}
    spec = task(kind="infill", name="fill", path=write(tmp_path, [row]), context_chars=10)
    (item,) = contexts._lines(spec, items_of(spec))
    assert (item["prefix"], item["suffix"]) == ("a" * 10, "b" * 10)


def test_what_must_not_be_trained_on_is_the_whole_text(tmp_path: Path) -> None:
    row = {"prefix": "one ", "middle": "two", "suffix": " three"}
    spec = task(kind="infill", name="fill", path=write(tmp_path, [row]))
    assert items_of(spec)[0]["text"] == "one two three"


def test_a_tokenizer_without_the_tokens_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    chat = tiny.chat()
    plain = Subject(Scorer(tiny.model(vocab_size=len(chat.tokenizer))), chat)
    spec = task(kind="infill", name="fill", path=write(tmp_path, [{"text": CODE}]))
    with pytest.raises(RecipeError, match=r"evaluate\.fill\.tokens: '<\|fim_prefix\|>' is no"):
        score_task(spec, plain)


def test_check_finds_missing_tokens_before_anything_is_trained(tmp_path: Path) -> None:
    spec = task(kind="infill", name="fill", path=write(tmp_path, [{"text": CODE}]))
    with pytest.raises(RecipeError, match=r"evaluate\.fill\.tokens"):
        check._task(spec, tiny.chat(), check.Findings())
    plain = task(kind="infill", name="fill", path=spec.path, order="prefix_only")
    check._task(plain, tiny.chat(), check.Findings())


def test_needles_are_counted_by_length_and_depth(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a made-up model that finds whatever does not stand at the beginning."""
    lines = [f"line {n}\n" for n in range(80)]
    path = write(tmp_path, [{"text": "".join(lines)}])
    spec = task(kind="needle", name="needle", path=path, language="en",
                lengths=[128, 256], depths=[0.0, 1.0], per_cell=3)  # fmt: skip
    records: list[Any] = []

    def hits(given: Any, subject: Any) -> list[float]:
        records.extend(given)
        decode = subject.chat.tokenizer.decode
        return [float(not decode(r.tokens).startswith("The secret")) for r in given]

    monkeypatch.setattr(contexts, "greedy_hits", hits)
    scored = score_task(spec, subject)
    values = {r.name: (r.value, len(r.numerators)) for r in scored.results}
    assert values == {
        "needle/accuracy": (0.5, 12), "needle/at_128": (0.5, 6), "needle/at_256": (0.5, 6),
        "needle/depth_0": (0.0, 6), "needle/depth_100": (1.0, 6),
    }  # fmt: skip
    for record, item in zip(records, scored.items, strict=True):
        assert 0.8 * item["length"] < len(record) <= item["length"]
        asked = subject.chat.tokenizer.decode(record.tokens[record.trained])
        assert asked.strip() in item["prompt"]


def test_a_model_that_knows_the_number_is_right(subject: Subject, tmp_path: Path) -> None:
    """Exact: a wrong digit is a miss. Here every token that is asked for is likeliest or not."""
    path = write(tmp_path, [{"text": "a line of hay\n" * 60}])
    spec = task(kind="needle", name="needle", path=path, lengths=[64], depths=[0.5], per_cell=2)
    with torch.no_grad():
        subject.scorer.model.lm_head.weight.zero_()  # always token 0: never right
    assert score_task(spec, subject).results[0].value == 0.0


def test_too_little_hay_is_an_error(subject: Subject, tmp_path: Path) -> None:
    path = write(tmp_path, [{"text": "short\n"}])
    spec = task(kind="needle", name="needle", path=path, lengths=[1024])
    with pytest.raises(DataError, match=r"evaluate\.needle: the documents hold .* and 1024"):
        score_task(spec, subject)


def test_the_source_of_a_task_must_be_there() -> None:
    recipe = """\
samdan: 1
name: small
base: {path: /base}
stages: [{name: cpt, data: [{path: docs.jsonl, name: docs}]}]
evaluate: [{kind: needle, name: needle, source: dosc}]
"""
    with pytest.raises(RecipeError, match="no CPT stage has a source 'dosc'"):
        parse(recipe, "recipe")
    with pytest.raises(ValidationError, match="either 'source'"):
        task(kind="infill", name="fill")
    with pytest.raises(ValidationError, match="stands here twice"):
        task(kind="needle", name="n", path="x", lengths=[64, 64])
