"""Files that a person names on the command line: what is wrong with them is said, with the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import tiny
from samdan.cli import app
from samdan.lm.attention import Layout, Span
from samdan.lm.chat import ChatFormat
from samdan.lm.model import load_model, scratch_model
from samdan.lm.tokenizer import load_tokenizer, tokenizer_hash, train_tokenizer
from samdan.lm.unlearned import unlearned
from samdan.recipe import Architecture
from samdan.records import DataError, RecipeError
from samdan.run.api import load_tasks
from samdan.run.check import check
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


def _input_gradient(model, token: int) -> float:
    """Of the token's row of the input embeddings, where another token is predicted behind it."""
    ids = torch.tensor([[5, token, 6, 7]])
    layout = Layout([Span(0, 4)])
    positions = torch.arange(4)[None]
    out = model(input_ids=ids, position_ids=positions, layout=layout, use_cache=False)
    out.logits[0, 1:3].logsumexp(-1).sum().backward()
    return float(model.get_input_embeddings().weight.grad[token].abs().sum())


def test_the_padding_token_learns_as_input_too(tmp_path: Path) -> None:
    """It often ends a turn; torch gives the row that a config calls padding no gradient."""
    tiny.model(pad_token_id=3, tie_word_embeddings=False).save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path))
    assert loaded.config.pad_token_id == 3
    assert _input_gradient(loaded, 3) > 0
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    spec = Architecture(**shape, tie_word_embeddings=False)
    scratch = scratch_model(spec, train_tokenizer(tiny.TEXTS, 300), seed=0)
    assert _input_gradient(scratch, scratch.config.pad_token_id) > 0


def test_a_row_that_was_never_learned_is_found_by_its_size(tmp_path: Path) -> None:
    model = tiny.model()
    with torch.no_grad():
        model.get_input_embeddings().weight[9] = 0
        model.get_input_embeddings().weight[10] *= 1e-4
    model.save_pretrained(tmp_path)
    tokens = {"<|zero|>": 9, "<|small|>": 10, "<|fine|>": 11, "<|beyond|>": 10_000}
    assert unlearned(tmp_path, tokens) == ["<|zero|>", "<|small|>"]


def test_check_tells_what_of_a_base_is_not_trained(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(tiny.TEXTS, 300)
    ChatFormat(tokenizer).tokenizer.save_pretrained(tmp_path / "base")
    model = tiny.model("Qwen2Moe", vocab_size=len(tokenizer), moe_intermediate_size=16,
                       shared_expert_intermediate_size=16, num_experts=2, num_experts_per_tok=1,
                       attention_dropout=0.1)  # fmt: skip
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("<|im_start|>")] = 0
    model.save_pretrained(tmp_path / "base")
    rows = [{"prompt": "가?", "completion": "나."}] * 3
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "samdan: 1\nname: moe\nbase: {path: base}\nstages: [{name: sft, data: [{path: qa.jsonl}]}]"
    )
    said = "\n".join(check(load_recipe(tmp_path / "recipe.yaml")).unverified)
    assert "mixture of experts" in said
    assert "attention_dropout 0.1" in said
    assert "<|im_start|>, whose embedding the base never learned" in said
    assert "<|im_end|>" not in said
