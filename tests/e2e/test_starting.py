"""A user without a recipe: init, doctor, import-recipe, the schema, completion; and a bad plan."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from e2e.helpers import RECIPE, make_world, samdan, write_rows
from samdan.lm.chat import ChatFormat


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base and data of all three kinds, the questions with Korean column names."""
    made = make_world(tmp_path / "world").parent
    tokenizer = tiny.tokenizer()
    ChatFormat(tokenizer).tokenizer.save_pretrained(made / "base")
    tiny.model(vocab_size=len(tokenizer)).save_pretrained(made / "base")
    write_rows(made / "q.jsonl", ({"질문": f"{i}은?", "답변": f"{i}입니다."} for i in range(40)))
    return made


def test_init_writes_a_recipe_that_check_accepts(folder: Path) -> None:
    out = folder / "first.yaml"
    words = ["--base", folder / "base", "--documents", folder / "docs.jsonl", "--general",
             folder / "general.jsonl", "--questions", folder / "q.jsonl", "--pairs",
             folder / "pairs.jsonl", "--adapts-to", "language", "--out", out]  # fmt: skip
    made = samdan("init", *words)
    assert made.code == 0, made.err
    assert made.out == f"{out}\n"
    assert re.search(r"q\.jsonl: 40 records, about \d+ tokens", made.err)
    text = out.read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=samdan.schema.json\n")
    assert "columns: {prompt: 질문, completion: 답변}" in text
    assert "{path: general.jsonl, role: replay}" in text
    assert json.loads((folder / "samdan.schema.json").read_text("utf-8"))["properties"]["stages"]
    checked = samdan("check", out)
    assert checked.code == 0, checked.err
    again = samdan("init", *words)
    assert (again.code, "--force" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no base; name one with --base"),
        (["--base", "a/b"], "no data; name at least one of"),
        (["--base", "a/b", "--documents", "nowhere"], "there is no"),
        (["--base", "a/b", "--pairs", "{folder}/docs.jsonl"], "holds no record that a dpo stage"),
        (["--base", "a/b", "--device", "tpu"], "found 'tpu'"),
    ],
)
def test_init_without_a_terminal_never_asks(
    words: list[str], expected: str, folder: Path
) -> None:
    given = [word.format(folder=folder) for word in words]
    done = samdan("init", *given, "--out", folder / "none.yaml")
    assert done.code == 1
    assert expected in done.err
    assert not (folder / "none.yaml").exists()


def test_init_asks_on_a_terminal(folder: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "samdan", "init", "--out", str(folder / "asked.yaml"),
               "--documents", str(folder / "docs.jsonl")]  # fmt: skip
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    os.write(ours, b"base\n\nqa.jsonl\n\n")  # base, no general text, questions, no pairs
    said = b""
    while process.poll() is None or b"next: samdan check" not in said:
        try:
            said += os.read(ours, 4096)
        except OSError:  # the other end was closed
            break
    os.close(ours)
    assert process.wait(60) == 0, said.decode()
    text = (folder / "asked.yaml").read_text("utf-8")
    assert "base: {path: base}" in text
    assert "- name: sft" in text
    assert "- name: dpo" not in text


def test_doctor_tells_what_the_machine_has() -> None:
    done = samdan("doctor")
    assert done.code in (0, 4)
    for part in ("Python", "torch", "processor", "bf16", "memory free", "disk free", "Qwen2.5-7B"):
        assert part in done.out, part
    lines = json.loads(samdan("doctor", "--json").out)
    assert {line["level"] for line in lines} <= {"ok", "note", "wrong"}
    assert str(Path.home()) not in done.out


def test_import_recipe_writes_a_stage_and_lists(tmp_path: Path) -> None:
    theirs = tmp_path / "sft.yaml"
    theirs.write_text(
        "model_name_or_path: a/b\nstage: sft\ndataset: d\ncutoff_len: 64\nmystery: 1\n", "utf-8"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text('{"d": {"file_name": "d.json"}}', "utf-8")
    printed = samdan("import-recipe", theirs, "--from", "llamafactory")
    assert printed.code == 0, printed.err
    assert "path: data/d.json" in printed.out
    out = tmp_path / "ours.yaml"
    written = samdan("import-recipe", theirs, "--from", "llamafactory", "--out", out)
    assert "cutoff_len: 64  ->  max_length: 64" in written.out
    assert "mystery: 1: not known here" in written.out
    planned = samdan("plan", out)
    assert planned.code == 1  # its data are not there
    assert "wrong: stages.sft.data:" in planned.err
    assert samdan("import-recipe", theirs, "--from", "nobody").code == 2
    missing = samdan("import-recipe", tmp_path / "no.yaml", "--from", "trl")
    assert (missing.code, "No such file" in missing.err) == (1, True)


def test_a_plan_of_a_path_that_leads_nowhere_exits_with_1(tmp_path: Path) -> None:
    recipe = make_world(tmp_path / "world")
    recipe.write_text(RECIPE.replace("qa.jsonl", "gone.jsonl"), "utf-8")
    done = samdan("plan", recipe)
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert re.match(r"wrong: stages\.sft\.data: .*gone\.jsonl", line)
    assert "cpt (cpt)" in done.out  # the rest is planned all the same
    value = json.loads(samdan("plan", recipe, "--json").out)
    assert [bool(stage["missing"]) for stage in value["stages"]] == [False, False, True, False]


def test_a_plan_with_a_card_of_the_table_tells_time_and_cost(tmp_path: Path) -> None:
    recipe = make_world(tmp_path / "world")
    done = samdan("plan", recipe, "--device", "h100", "--price", "2.5", "--processes", "2")
    assert done.code == 0, done.err
    for part in ("NVIDIA H100", "of each of 2 devices", "45% to 20%", "at 2.5 an hour", "passes"):
        assert part in done.out, part
    wrong = samdan("plan", recipe, "--device", "h100", "--calibrate")
    assert (wrong.code, "leave one" in wrong.err) == (1, True)


def test_a_calibrated_plan_tells_the_time_here(tmp_path: Path) -> None:
    recipe = make_world(tmp_path / "world")
    env = {"SAMDAN_CACHE": str(tmp_path / "cache")}
    done = samdan("plan", recipe, "--calibrate", "--json", "--price", "1", env=env)
    assert done.code == 0, done.err
    value = json.loads(done.out)
    assert value["total"]["seconds"][0] == value["total"]["seconds"][1] > 0
    assert value["total"]["cost"][0] > 0
    assert all(stage["memory"]["peak"] > 0 for stage in value["stages"])
    assert list((tmp_path / "cache" / "calibration").glob("*.json"))


def test_schema_goes_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    assert samdan("schema", "--out", out).code == 0
    assert out.read_text("utf-8") == samdan("schema").out


def test_the_shell_completes_commands_and_options() -> None:
    env = {"_SAMDAN_COMPLETE": "complete_bash", "COMP_WORDS": "samdan imp", "COMP_CWORD": "1"}
    done = samdan(env=env)
    assert done.out.split() == ["import-recipe"]
    env |= {"COMP_WORDS": "samdan plan --cal", "COMP_CWORD": "2"}
    assert "--calibrate" in samdan(env=env).out.split()
