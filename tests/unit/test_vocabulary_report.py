"""`samdan vocab report`: counts that a person can check, and what an extension saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import growing
import tiny
from samdan.cli import app
from samdan.growing import Vocab
from samdan.growing.saving import Size, break_even, saved
from samdan.records import DataError, RecipeError
from samdan.run.vocabulary import Asked, is_held_out, lines_of, report

RUN = CliRunner()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    tiny.tokenizer().save_pretrained(folder / "one")
    tiny.tokenizer(320).save_pretrained(folder / "two")
    growing.write_rows(folder / "law.jsonl", growing.korean(300, 0))
    growing.write_rows(folder / "en.jsonl", ["The quick brown fox jumps over the lazy dog."] * 3)
    return folder


def asked(world: Path, *texts: str, **more: Any) -> Asked:
    names = (str(world / "one"), str(world / "two"))
    return Asked(names, tuple(str(world / text) for text in texts), **more)


def test_every_count_is_that_of_the_text(world: Path) -> None:
    found = report(asked(world, "law.jsonl", "en.jsonl"))
    one, two = found["tokenizers"]
    texts = growing.korean(300, 0)
    (law,) = [group for group in one["groups"] if group["source"] == "law"]
    encoder = tiny.tokenizer()
    tokens = sum(len(encoder(text).input_ids) for text in texts)
    assert law["language"] == "ko"
    assert law["documents"] == 300
    assert law["chars"] == sum(map(len, texts))
    assert law["words"] == sum(len(text.split()) for text in texts)
    assert law["bytes"] == sum(len(text.encode()) for text in texts)
    assert law["tokens"] == tokens
    assert law["per_chars"] == tokens / law["chars"]
    known = {"가", "힣"} | {char for char in "한빛전자" if len(encoder(char).input_ids) == 1}
    assert one["hangul_syllables"] >= len(known - {"가", "힣"})
    syllables = [char for text in texts for char in text if "가" <= char <= "힣"]
    single = sum(len(encoder(char).input_ids) == 1 for char in syllables) / len(syllables)
    assert one["single_token_hangul"] == pytest.approx(single)
    assert two["languages"]["ko"]["saved"] < 0  # fewer tokens to choose from
    assert two["languages"]["ko"]["break_even"] is None
    word, parts, times = one["most_split"][0]
    assert parts == len(encoder(f" {word}").input_ids)
    assert times == sum(text.split().count(word) for text in texts)


def test_an_extension_is_measured_on_what_it_did_not_learn(world: Path) -> None:
    spec = Vocab(merges=60, min_count=15)
    law = str(world / "law.jsonl")
    found = report(asked(world, "law.jsonl", "en.jsonl", extend=spec, learn=(law,)))
    first, grown, _ = found["tokenizers"]
    held = [text for text in growing.korean(300, 0) if is_held_out(text)]
    assert 0 < len(held) < 60
    groups = {group["source"]: group for group in grown["groups"]}
    assert groups["law"]["documents"] == len(held)
    assert groups["law"]["saved"] > 0.2
    assert groups["en"]["saved"] == 0
    assert grown["vocabulary"] == first["vocabulary"] + found["learned"]["new_tokens"]
    assert found["learned"]["rarest"] >= 15
    share = grown["languages"]["ko"]["saved"]
    assert grown["languages"]["ko"]["break_even"]["served"] == pytest.approx(6e9 / share)
    assert any("break-even in ko" in line for line in lines_of(found))


def test_break_even_counts_a_trained_token_as_three_served_ones() -> None:
    assert break_even(0.25, 1000) == (12000, 4000)
    assert break_even(0.0) is None
    assert break_even(-0.1) is None
    assert saved(Size(tokens=100), Size(tokens=75)) == 0.25
    assert Size().per("chars") == 0


def test_the_command_prints_a_table_or_json(world: Path) -> None:
    given = ["vocab", "report", str(world / "one"), "--text", str(world / "law.jsonl")]
    shown = RUN.invoke(app, given)
    assert shown.exit_code == 0
    assert "/char" in shown.output
    assert "law" in shown.output
    found = json.loads(RUN.invoke(app, [*given, "--json"]).stdout)
    assert found["tokenizers"][0]["groups"][0]["source"] == "law"


def test_mistakes_are_said_with_what_to_change(world: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no text"):
        report(Asked((str(world / "one"),), (str(tmp_path / "empty.jsonl"),)))
    with pytest.raises(DataError, match="there is no"):
        report(Asked((str(world / "one"),), (str(tmp_path / "missing.jsonl"),)))
    with pytest.raises(DataError, match="cannot be loaded as a tokenizer"):
        report(Asked((str(tmp_path),), (str(world / "law.jsonl"),)))
    given = ["vocab", "report", str(world / "one"), "--text", str(world / "law.jsonl")]
    wrong = RUN.invoke(app, [*given, "--extend", "9", "--set", "min_count=1"])
    assert isinstance(wrong.exception, RecipeError)
    assert "min_count" in str(wrong.exception)
    alone = RUN.invoke(app, [*given, "--set", "min_count=5"])
    assert "give --extend" in str(alone.exception)
