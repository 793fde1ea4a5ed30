"""Files that a person names on the command line: what is wrong with them is said, with the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from samdan.cli import app
from samdan.lm.tokenizer import load_tokenizer, tokenizer_hash, train_tokenizer
from samdan.records import DataError, RecipeError
from samdan.run.api import load_tasks
from samdan.run.loading import load_recipe


@pytest.mark.parametrize("load", [load_recipe, load_tasks])
def test_a_file_in_cp949_is_an_error_that_names_it(load, tmp_path: Path) -> None:
    file = tmp_path / "한글.yaml"
    file.write_bytes("evaluate: 안녕\n".encode("cp949"))
    with pytest.raises(RecipeError, match=r"한글\.yaml: not UTF-8 .*save it as UTF-8"):
        load(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evaluate: []\n", ":1:1: evaluate: found an empty list"),
        ("other: 1\n", ":1:1: other: unknown key"),
        ("evaluate:\n  - {kind: bpb, name: a, path: x}\n", None),
        (
            "evaluate:\n  - {kind: bbp, name: a, path: x}\n",
            r":2:5: evaluate\[0\]: found kind 'bbp'.*did you mean 'bpb'",
        ),
    ],
)
def test_a_file_of_tasks_is_read_like_a_recipe(
    text: str, expected: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "tasks.yaml"
    file.write_text(text, "utf-8")
    if expected is None:
        assert [task.path for task in load_tasks(file)] == [str(tmp_path / "x")]
        return
    with pytest.raises(RecipeError, match=expected):
        load_tasks(file)


def test_a_base_that_is_not_there_is_wrong_input_and_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nobase") as caught:
        load_tokenizer(str(tmp_path / "nobase"))
    assert caught.value.exit_code == 1


def test_an_answer_of_less_than_one_token_is_wrong_usage() -> None:
    found = CliRunner().invoke(app, ["chat", "nowhere", "--max-new-tokens", "-3"])
    assert found.exit_code == 2
    assert "--max-new-tokens" in found.output


def test_a_tokenizer_that_splits_particles_is_the_same_beside_its_model(tmp_path: Path) -> None:
    """transformers would split as Qwen2 does: other ids, and a model that babbles."""
    texts = ["가람물산의 본사는 부산에 있다.", "노을상사의 대표 제품은 우산이다."] * 40
    made = train_tokenizer(texts, 400, split_particles=True)
    folder = tmp_path / "model"
    made.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "qwen2", "vocab_size": 400}', "utf-8")
    text = "노을상사의 본사: 부산입니다."
    loaded = load_tokenizer(str(folder))
    assert loaded(text)["input_ids"] == made(text)["input_ids"]
    assert tokenizer_hash(loaded) == tokenizer_hash(made)
