"""`samdan preview` from the command line: what it prints and how it exits."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.helpers import samdan

RECIPE = """\
samdan: 1
name: small
base: {path: nowhere}
stages:
  - {name: cpt, data: [{path: docs.jsonl}]}
  - {name: dpo, data: [{path: pairs.jsonl}]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "docs.jsonl").write_text('{"text": "문의는 010-1234-5678로 한다. \\u001b[2J"}\n')
    pair = '{"prompt": "며칠?", "chosen": "사흘입니다.", "rejected": "몰라."}\n'
    (tmp_path / "pairs.jsonl").write_text(pair, "utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, "utf-8")
    return tmp_path / "recipe.yaml"


def test_it_shows_every_source_and_masks(recipe: Path) -> None:
    done = samdan("preview", recipe)
    assert done.code == 0, done.err
    assert "stages.cpt.data.docs: 1 of 1 rows kept" in done.out
    assert "⟨전화번호⟩" in done.out
    assert "  rejected:" in done.out
    assert "\x1b" not in done.out
    only = samdan("preview", recipe, "--stage", "dpo")
    assert "stages.cpt" not in only.out
    assert "stages.dpo" in only.out


def test_wrong_input_exits_with_1_and_wrong_usage_with_2(recipe: Path) -> None:
    unknown = samdan("preview", recipe, "--stage", "sft")
    assert unknown.code == 1
    assert "no stage is called 'sft'" in unknown.err
    assert samdan("preview", recipe, "--samples", "0").code == 2
    assert samdan("preview", recipe.with_name("missing.yaml")).code == 1
    (recipe.parent / "docs.jsonl").unlink()
    gone = samdan("preview", recipe)
    assert gone.code == 1
    assert "docs.jsonl" in gone.err
