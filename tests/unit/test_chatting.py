"""Models side by side: what is written bit by bit is what is answered in one go."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

import tiny
from samdan.commands import chat as command
from samdan.evals.generate import Sampling, generate, stream
from samdan.records import DataError, Message, RecipeError
from samdan.run.chatting import models_of, sampling_of


@pytest.mark.parametrize("sampling", [None, Sampling(1.5, 0.9, "7")])
@pytest.mark.parametrize("question", ["안녕하세요?", "a", "서울은 어디에 있나요 " * 9])
def test_what_is_streamed_is_what_is_generated(question: str, sampling: Sampling | None) -> None:
    chat = tiny.chat()
    model = tiny.model(vocab_size=len(chat.tokenizer))
    prompt = chat.prompt([Message("user", question)])
    ((whole, ended),) = generate(model, chat, [prompt], 24, sampling=sampling)
    parts = list(stream(model, chat, prompt, 24, sampling))
    assert (parts[-1].text, parts[-1].ended) == (whole, ended)
    assert ended or parts[-1].tokens == 24
    assert not any(part.text.endswith("\ufffd") or part.ended for part in parts[:-1])


def test_drawn_answers_differ_by_seed_and_repeat_with_it() -> None:
    chat = tiny.chat()
    model = tiny.model(vocab_size=len(chat.tokenizer))
    prompt = chat.prompt([Message("user", "안녕")])
    texts = [list(stream(model, chat, prompt, 12, Sampling(2.0, 1.0, s)))[-1].text for s in "0012"]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_a_run_stands_for_all_of_its_models(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "samdan: 1\nname: x\nbase: {path: /models/base}\n"
        "stages: [{name: cpt, data: [{path: a.txt}]}, {name: sft, data: [{path: b.jsonl}]}]\n",
        "utf-8",
    )
    (tmp_path / "cpt" / "model").mkdir(parents=True)
    (tmp_path / "cpt" / "model" / "config.json").write_text("{}", "utf-8")
    assert models_of(str(tmp_path)) == [
        ("base", "/models/base"),
        ("cpt", str(tmp_path / "cpt" / "model")),
    ]


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such model folder"):
        models_of(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no config\.json\) nor a run \(no recipe\.yaml"):
        models_of(str(tmp_path))
    assert models_of("Qwen/Qwen2.5-7B") == [("Qwen2.5-7B", "Qwen/Qwen2.5-7B")]


@pytest.mark.parametrize(("temperature", "top_p"), [(-1, 1), (6, 1), (1, 0), (1, 1.5)])
def test_a_wrong_temperature_is_refused(temperature: float, top_p: float) -> None:
    with pytest.raises(RecipeError, match="expected a temperature from 0 to 5"):
        sampling_of(temperature, top_p, 0)


@pytest.mark.parametrize(("width", "beside"), [(80, True), (40, False)])
def test_columns_on_a_wide_terminal_rows_on_a_narrow_one(width: int, beside: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    console.print(command._table(["sft", "dpo"], ["하나\x1b[31m", "둘"], width))
    lines = out.getvalue().splitlines()
    assert any("sft" in line and "dpo" in line for line in lines) == beside
    assert any("하나" in line and "둘" in line for line in lines) == beside
    assert "\x1b[31m" not in out.getvalue(), "a model's text does not colour the terminal"
    assert all(len(line) <= width for line in lines)
