"""`samdan merge`: every command of its page, and what it says when it refuses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import growing
import tiny
from samdan.cli import app
from samdan.records import SamdanError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "merging.md"
COMMANDS = re.findall(r"^(?:\$ )?samdan (merge .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
REFUSED = re.findall(r"^samdan: (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that the page names."""
    for seed, name in enumerate(("a/dpo", "b/dpo", "korean/cpt")):
        growing.base(tmp_path / "runs" / name / "model", seed=seed)
    growing.base(tmp_path / "runs" / "deep" / "dpo" / "model", num_hidden_layers=3)
    for seed, name in enumerate(("base", "chat"), 5):
        growing.base(tmp_path / "models" / name, seed=seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(command: str) -> str:
    found = CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_every_command_of_the_page_does_what_it_says(models: Path) -> None:
    assert len(COMMANDS) == 5
    for command in COMMANDS[:4]:
        assert "parameters" in call(command)
    for name in ("mean", "weighted", "arc", "chat"):
        from transformers import AutoModelForCausalLM

        folder = models / "merged" / name
        assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers == 2
        assert "Made with samdan" in (folder / "README.md").read_text("utf-8")
        assert str(models) not in (folder / "README.md").read_text("utf-8")
    with pytest.raises(SamdanError) as caught:
        call(COMMANDS[4])
    assert str(caught.value) == REFUSED[0]


def test_nothing_is_overwritten_and_wrong_values_are_named(models: Path) -> None:
    for command, said in (
        ("merge slerp runs/a/dpo/model runs/b/dpo/model --out runs/a", "exists already"),
        ("merge slerp runs/a/dpo/model runs/b/dpo/model --t 2 --out x", "--t: found 2.0, expected"),
        ("merge slerp runs/a/dpo/model ./nowhere --out x", "there is no folder ./nowhere"),
        (
            "merge linear runs/a/dpo/model runs/b/dpo/model --weight 1 --out x",
            "1 weights for 2 models",
        ),
    ):
        with pytest.raises(SamdanError) as caught:
            call(command)
        assert said in str(caught.value)
    assert (models / "runs" / "a" / "dpo").is_dir()
    assert not (models / "x").exists()


def test_a_vocabulary_that_grew_is_told(models: Path) -> None:
    grown = tiny.tokenizer()
    grown.add_tokens(["한빛전자"])
    folder = models / "runs" / "korean" / "cpt" / "model"
    grown.save_pretrained(growing.base(folder, padding=1))
    said = call("merge task runs/korean/cpt/model --base models/base --tuned models/chat --out c")
    assert f"{len(tiny.tokenizer())} merged, 1 kept" in said
    assert "the tokenizers differ (token '한빛전자'" in said
