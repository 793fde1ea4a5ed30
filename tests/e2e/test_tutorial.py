"""The tutorial's and the README's commands, carried out in order in an empty folder.

The base is a tiny model from random weights and stages are three steps long; everything else is as
it is shown. `make`, `pip` and what waits for a person (`init` without flags, `watch`) have tests of
their own.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from commands import FENCE, ROOT, Command, lines_of, simple
from e2e.helpers import make_world
from samdan.lm.chat import ChatFormat

ELSEWHERE = re.compile(r"(make|source|pip) |samdan (init *(#.*)?$|watch )")
SHORT = r"\g<0>    max_steps: 3\n    gates: []\n"


def base(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    ChatFormat(tokenizer).tokenizer.save_pretrained(folder)
    tiny.model(vocab_size=len(tokenizer)).save_pretrained(folder)


def carried_out(script: list[str], folder: Path) -> str:
    """The lines in one shell that ends at the first that fails; what they printed."""
    head = ["set -euo pipefail", f'samdan() {{ "{sys.executable}" -m samdan "$@"; }}',
            f'python() {{ "{sys.executable}" "$@"; }}']  # fmt: skip
    ran = subprocess.run(
        ["bash", "-c", "\n".join([*head, *script])],
        cwd=folder,
        env={
            **os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1",
            "SAMDAN_CACHE": "", "PYTHONUTF8": "1",
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return ran.stdout + ran.stderr


def typed(text: str) -> list[str]:
    return [
        line
        for language, block in FENCE.findall(text)
        if language in ("", "console")
        for line in lines_of(block)
        if not ELSEWHERE.match(line)
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", ["tutorial.md", "tutorial.ko.md"])
def test_the_tutorial(page: str, tmp_path: Path) -> None:
    pytest.importorskip("docx")
    text = (ROOT / "docs" / page).read_text("utf-8")
    base(tmp_path / "runs" / "demo" / "base" / "model")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (recipe,) = [b for language, b in FENCE.findall(text) if language == "yaml"]
    short = re.sub(r"^  - name: \w+\n", SHORT, recipe, flags=re.MULTILINE)
    (tmp_path / "company.yaml").write_text(short, "utf-8")
    script = typed(text)
    assert [line for line in script if line.startswith("samdan run")]
    said = carried_out(script, tmp_path)
    assert "company.yaml: accepted" in said
    assert "20 of the first 20 rows are good" in said
    assert (tmp_path / "runs" / "company" / "report.html").is_file()
    assert re.search(r"skip sft/train +done before", said)
    assert re.search(r"do +dpo/train +", said)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readmes_ten_lines(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    part = text.partition("## From documents to a model")[2].partition("## ")[0]
    (recipe,) = [b for language, b in FENCE.findall(part) if language == "yaml"]
    assert len(recipe.splitlines()) == 10
    world = make_world(tmp_path / "world").parent
    base(tmp_path / "base")
    (tmp_path / "docs").mkdir()
    (world / "docs.jsonl").rename(tmp_path / "docs" / "handbook.jsonl")
    (tmp_path / "general.jsonl.gz").write_bytes(
        gzip.compress((world / "general.jsonl").read_bytes())
    )
    for name in ("qa.jsonl", "pairs.jsonl"):
        (world / name).rename(tmp_path / name)
    recipe = recipe.replace("Qwen/Qwen2.5-7B", "base")
    short = re.sub(r"^  - name: \w+\n", SHORT, recipe, flags=re.MULTILINE)
    # All sentences of this world look alike.
    (tmp_path / "recipe.yaml").write_text(f"{short}decontaminate: null\n", "utf-8")
    # A machine may lack something that doctor reports with exit code 4; chat reads its questions.
    script = [
        f"{' '.join(words)} </dev/null" + (" || [ $? = 4 ]" if "doctor" in words else "")
        for line in typed(part)
        for words in simple(line)
    ]
    assert [line.split()[1] for line in script if line.startswith("samdan")][-1] == "export"
    assert len(script) == 8
    carried_out(script, tmp_path)
    assert (tmp_path / "runs" / "hanbit" / "dpo" / "model" / "model.safetensors").is_file()


def test_readmes_have_the_same_commands_and_numbers() -> None:
    english, korean = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.ko.md"))
    code = english.partition("## The code")[0], korean.partition("## 코드")[0]
    blocks = [
        [list(simple(line)) for language, block in FENCE.findall(text) for line in lines_of(block)]
        for text in code
    ]
    assert blocks[0] == blocks[1]
    rows = [
        [re.findall(r"[+-]?\d+(?:\.\d+)?[%x]?", line.partition(" | ")[2])
         for line in text.splitlines() if line.startswith("|")]
        for text in code
    ]  # fmt: skip
    assert rows[0] == rows[1]
    links = [sorted(set(re.findall(r"\]\((docs/[\w.-]+)", text))) for text in code]
    assert [x.replace(".ko.", ".") for x in links[1]] == [x.replace(".ko.", ".") for x in links[0]]


def test_a_command_is_said_with_its_page() -> None:
    assert str(Command("README.md", ("samdan", "doctor"), False)) == "README.md: samdan doctor"
