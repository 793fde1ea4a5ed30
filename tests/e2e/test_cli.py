"""The commands as a person meets them: quick, one clear message, and the right exit code."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.helpers import RECIPE, make_world, samdan, stopped_before, write_rows

ANSI = "\x1b["


@pytest.fixture
def world(recipe: Path, tmp_path: Path) -> Path:
    """A copy of the tiny world that a test may change."""
    return Path(shutil.copytree(recipe.parent, tmp_path / "world"))


# -- speed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["--help", "status", "report"])
def test_quick_commands_take_less_than_03_seconds(
    command: str, reference: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The best of several, in seconds of the processor, with byte code as an installation has it.

    More where other programs share the cores, by their number: they slow each other down.
    """
    arguments = ["-m", "samdan", command, *([str(reference)] if command != "--help" else [])]
    compiled = tmp_path_factory.getbasetemp() / "byte-code"
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
    others = os.getloadavg()[0] / (os.cpu_count() or 1)
    limit = 0.3 if others < 0.5 else 0.3 * (1 + others)
    seconds = []
    for _ in range(8):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=env)
        after = os.times()
        seconds.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
        if seconds[-1] < limit:
            return
    raise AssertionError(f"{command} took {min(seconds):.2f} s of {limit:.2f} s")


@pytest.mark.parametrize(
    "command", ["--help", "status", "report", "plan --help", "watch --help", "compare --help"]
)
def test_quick_commands_import_no_heavy_library(command: str, reference: Path) -> None:
    words = command.split() + ([str(reference)] if command in ("status", "report") else [])
    code = (
        "import sys\n"
        f"sys.argv = ['samdan', *{words!r}]\n"
        "from samdan.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'peft', 'pyarrow',"
        " 'ruamel.yaml', 'samdan.spec'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


# -- usage -----------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_each_has_an_example() -> None:
    text = samdan("--help").out
    for command in ("demo", "run", "check", "plan", "status", "report", "eval", "chat"):
        assert command in text
        shown = samdan(command, "--help")
        assert shown.code == 0
        assert re.search(rf"samdan\s+{command}", shown.out), command


@pytest.mark.parametrize(
    "words",
    [["run"], ["no-such-command"], ["run", "a.yaml", "--no-such-option"], ["eval", "model"]],
)
def test_wrong_usage_exits_2(words: list[str]) -> None:
    done = samdan(*words)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_output_that_is_no_terminal_has_no_escapes(
    recipe: Path, reference: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(reference, tmp_path / "run")
    for words in (
        ["--help"],
        ["run", "--help"],
        ["status", reference],
        ["report", run],
        ["plan", recipe, "--out", run],
        ["run", recipe, "--out", run],
    ):
        done = samdan(*words)
        assert done.code == 0
        assert ANSI not in done.out + done.err
        assert "\r" not in done.out + done.err


# -- wrong recipes ---------------------------------------------------------------------------------

WRONG = {
    "an unknown key, with the nearest one": (
        ("- name: cpt", "- name: cpt\n    learning_rat: 1e-3"),
        "{file}:18:5: stages[0].learning_rat: unknown key; did you mean 'learning_rate'?",
    ),
    "another tool's key": (
        ("    learning_rate:", "    lora_r:"),
        "{file}:20:5: stages[0].lora_r: unknown key; here it is called 'lora'",
    ),
    "a duplicate key": (
        ("seed: 1", "seed: 1\nseed: 2"),
        "{file}:4:1: duplicate key",
    ),
    "a wrong type": (
        ("num_train_epochs: 2", "num_train_epochs: many"),
        "{file}:32:5: stages[1].num_train_epochs: found 'many', expected a valid number",
    ),
    "a truth value for a number": (
        ("num_train_epochs: 2", "num_train_epochs: true"),
        "{file}:32:5: stages[1].num_train_epochs: found True, expected a valid number",
    ),
    "a negative rate": (
        ("    learning_rate: 1e-3", "    learning_rate: -1e-3"),
        "{file}:20:5: stages[0].learning_rate: found -0.001, expected greater than 0",
    ),
    "bad YAML": (("stages:", "stages: ["), "not valid YAML"),
    "a tab": (("  - name: sft", "\t- name: sft"), "{file}:30:1: not valid YAML"),
    "an unknown kind": (
        ("  - name: sft", "  - name: second\n    kind: sfft"),
        "stages[1]: found kind 'sfft', expected one of 'cpt', 'sft', 'dpo'; did you mean 'sft'?",
    ),
    "two stages with one name": (
        ("name: sft", "name: cpt\n    kind: sft"),
        "two stages are called 'cpt'",
    ),
    "no target": (
        ("{path: qa.jsonl}", "{path: qa.jsonl, role: replay}"),
        "{file}:30:5: stages[1]: no source has role 'target'",
    ),
    "mixed weights": (
        ("{path: docs.jsonl}", "{path: docs.jsonl, weight: 0.5}"),
        "{file}:17:5: stages[0]: either every source has a 'weight' or none has",
    ),
    "smoothing without robust": (
        ("nll_weight: 0.1", "label_smoothing: 0.1"),
        "stages[2]: label_smoothing has no effect with loss_type 'sigmoid'; use 'robust'",
    ),
    "a group that matches nothing": (
        ("nll_weight: 0.1", "lr_groups: {no_such_name: 1e-5}"),
        "stages.dpo.lr_groups: 'no_such_name' matches no",
    ),
    "a group that is no regular expression": (
        ("nll_weight: 0.1", "lr_groups: {'(': 1e-5}"),
        "stages[2]: lr_groups: '(' is not a regular expression",
    ),
    "a missing path": (("{path: qa.jsonl}", "{path: qq.jsonl}"), "qq.jsonl"),
    "an empty file": (("{path: qa.jsonl}", "{path: empty.jsonl}"), "stages.sft.data.empty: "),
    "nothing left after the filters": (
        ("{path: docs.jsonl}", "{path: docs.jsonl, filters: [{kind: length, min_chars: 5000}]}"),
        "stages.cpt.data.docs: nothing is left to train on",
    ),
    "a source that is no supported file": (
        ("{path: qa.jsonl}", "{path: recipe.yaml}"),
        "this kind of file is not supported; supported are .txt, .md, .jsonl",
    ),
    "broken rows": (("{path: qa.jsonl}", "{path: broken.jsonl}"), "stages.sft.data.broken"),
    "a task without its file": (("path: choices.jsonl", "path: choice.jsonl"), "choice.jsonl"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe_gives_one_message_with_its_place(case: str, world: Path) -> None:
    (old, new), expected = WRONG[case]
    text = RECIPE.replace("name: small", "name: small\nseed: 1", 1)
    assert old in text
    file = world / "recipe.yaml"
    file.write_text(text.replace(old, new, 1), "utf-8")
    (world / "empty.jsonl").write_text("")
    write_rows(world / "broken.jsonl", [{"question": "?"}] * 20)
    done = samdan("run", file, "--out", world / "run")
    assert done.code == 1, done.err
    assert expected.format(file=file) in done.err
    assert done.err.count("samdan: ") == 1
    assert "Traceback" not in done.err
    assert "pydantic" not in done.err
    message = done.err[done.err.index("samdan: ") :]
    assert len(message.splitlines()) == 1, message


def test_a_missing_key_is_named_where_it_should_be(world: Path) -> None:
    file = world / "recipe.yaml"
    file.write_text(RECIPE.replace("    data: [{path: qa.jsonl}]\n", ""), "utf-8")
    done = samdan("check", file)
    assert done.code == 1
    assert done.err == f"samdan: {file}:29:5: stages[1].data: missing; this key is required\n"


def test_several_problems_are_all_told_one_line_each(world: Path) -> None:
    file = world / "recipe.yaml"
    text = RECIPE.replace("save_steps: 3", "save_steps: 0").replace("nll_weight", "nl_weight")
    file.write_text(text, "utf-8")
    done = samdan("check", file)
    assert done.code == 1
    assert (
        f"{file}:11:5: base.train.save_steps: found 0, expected greater than or equal to 1"
        in done.err
    )
    assert "stages[2].nl_weight: unknown key; did you mean 'nll_weight'?" in done.err
    assert len(done.err.splitlines()) == 2


def test_a_recipe_that_is_not_utf8_or_not_there_is_told(world: Path) -> None:
    file = world / "cp949.yaml"
    file.write_bytes("name: 가".encode("cp949"))
    done = samdan("check", file)
    assert done.code == 1
    assert done.err.startswith(f"samdan: {file}: not UTF-8")
    missing = samdan("run", world / "recipe.yml")
    assert missing.code == 1
    assert "there is no such file; did you mean" in missing.err
    assert len(missing.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", "stages.dop.beta=0.1"], "nothing is named 'stages.dop'; did you mean 'dpo'?"),
        (["--set", "stages.dpo.beta"], "expected KEY=VALUE"),
        (["--set", "stages.dpo.betta=0.1"], "unknown key; did you mean 'beta'?"),
        (["--set", "stages.dpo.beta=high"], "found 'high', expected a valid number"),
        (["--until", "spt"], "no stage is called 'spt'; there are: cpt, sft, dpo"),
    ],
)
def test_a_wrong_override_gives_one_message(words: list[str], expected: str, recipe: Path) -> None:
    done = samdan("plan", recipe, *words)
    assert done.code == 1
    assert expected in done.err
    assert len(done.err.splitlines()) == 1


# -- check -----------------------------------------------------------------------------------------


def test_check_accepts_a_good_recipe_and_shows_what_is_trained(recipe: Path) -> None:
    done = samdan("check", recipe)
    assert done.code == 0, done.err
    assert "accepted" in done.out
    assert re.search(r"user\s.*어디인가요.*assistant\s+⟦\S+입니다\.<\|im_end\|>⟧", done.out, re.S)
    assert re.search(r"⟦회사 .*<\|endoftext\|>⟧", done.out)
    assert "labels proved" in done.out


def test_check_refuses_too_many_records_that_would_be_cut(recipe: Path) -> None:
    done = samdan("check", recipe, "--set", "stages.sft.max_length=8")
    assert done.code == 1
    assert "are longer than max_length 8" in done.err
    assert "accepted" not in done.out


def test_check_refuses_a_template_whose_end_is_never_trained(world: Path, reference: Path) -> None:
    folder = shutil.copytree(reference / "base" / "model", world / "model")
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    file = with_base(world, "model")
    done = samdan("check", file)
    assert done.code == 1
    assert "stages.sft.data.qa: the tokenizer has no token that ends a turn" in done.err
    assert "would never stop" in done.err


def test_check_refuses_an_instruct_model_by_name_unless_it_is_meant(
    world: Path, reference: Path
) -> None:
    shutil.copytree(reference / "base" / "model", world / "Tiny-7B-Instruct")
    file = with_base(world, "Tiny-7B-Instruct")
    done = samdan("check", file)
    assert done.code == 1
    assert "looks instruction-tuned (its name contains 'Instruct')" in done.err
    meant = samdan("check", file, "--set", "base.allow_instruct=true")
    assert meant.code == 0, meant.err


def test_check_accepts_a_base_with_a_template(world: Path, reference: Path) -> None:
    shutil.copytree(reference / "base" / "model", world / "Tiny-7B")
    assert samdan("check", with_base(world, "Tiny-7B")).code == 0


def with_base(world: Path, name: str) -> Path:
    """The tiny recipe on a model in a folder instead of random weights."""
    stages = RECIPE[RECIPE.index("stages:") :]
    file = world / "existing.yaml"
    file.write_text(f"samdan: 1\nname: existing\nbase: {{path: {name}}}\n{stages}", "utf-8")
    return file


# -- plan, status, report --------------------------------------------------------------------------


def test_plan_of_a_fresh_run_does_everything(recipe: Path, tmp_path: Path) -> None:
    done = samdan("plan", recipe, "--out", tmp_path / "none")
    assert done.code == 0
    assert re.search(r"do\s+cpt/train\s+not done yet", done.out)
    assert "skip" not in done.out
    assert "estimated from a look at the files" in done.out
    assert not (tmp_path / "none").exists()


def test_plan_of_a_finished_run_does_nothing_and_knows_the_steps(
    recipe: Path, reference: Path
) -> None:
    done = samdan("plan", recipe, "--out", reference)
    assert done.code == 0
    assert re.search(r"skip\s+dpo/gate\s+done before", done.out)
    assert not re.search(r"^\s+do ", done.out, re.M)
    assert "estimated" not in done.out
    planned = json.loads(samdan("plan", recipe, "--out", reference, "--json").out)
    assert {stage["name"]: stage["steps"] for stage in planned["stages"]} == {
        "base": 9,
        "cpt": 10,
        "sft": 14,
        "dpo": 13,
    }
    assert not any(step["do"] for step in planned["steps"])


def test_plan_says_what_a_change_would_redo(recipe: Path, reference: Path) -> None:
    done = samdan("plan", recipe, "--out", reference, "--set", "stages.dpo.beta=0.2", "--json")
    planned = json.loads(done.out)["steps"]
    assert {step["step"]: step["why"] for step in planned if step["do"]} == {
        "dpo/train": "recipe: beta was 0.1, is 0.2",
        "dpo/evaluate": "dpo/train is done again",
        "dpo/gate": "dpo/evaluate is done again",
    }


def test_status_tells_what_is_done(reference: Path) -> None:
    text = samdan("status", reference).out
    assert f"{reference}: done" in text
    assert "dpo/gate" in text
    state = json.loads(samdan("status", reference, "--json").out)
    assert state["last_metrics"]["step"] == 13


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_folder_that_is_no_run_is_told(command: str, tmp_path: Path) -> None:
    for folder, expected in (
        (tmp_path, "is no run directory"),
        (tmp_path / "no", "does not exist"),
    ):
        done = samdan(command, folder)
        assert done.code == 1
        assert expected in done.err
        assert len(done.err.splitlines()) == 1


def test_report_works_on_a_run_that_is_half_done(reference: Path, tmp_path: Path) -> None:
    run = stopped_before(reference, "sft/train", tmp_path / "run")
    for name in ("report.json", "report.html"):
        (run / name).unlink()
    done = samdan("report", run)
    assert done.code == 0, done.err
    assert (run / "report.html").is_file()
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert [stage["status"] for stage in report["stages"]] == ["done", "done", "pending", "pending"]


# -- gates, eval, chat -----------------------------------------------------------------------------


def test_a_failing_gate_stops_the_run_and_everything_says_why(
    recipe: Path, reference: Path, tmp_path: Path
) -> None:
    run = stopped_before(reference, "cpt/gate", tmp_path / "run")
    limit = "stages.cpt.gates=[{kind: at_least, metric: knowledge/accuracy, value: 2}]"
    for _ in range(2):  # running again stops again, without training anything
        done = samdan("run", recipe, "--out", run, "--set", limit)
        assert done.code == 3
        assert done.err.count("the gate after stage 'cpt' failed: knowledge/accuracy is") == 1
        assert "Traceback" not in done.err
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert report["status"] == "stopped"
    assert "knowledge/accuracy" in report["message"]
    stage = next(stage for stage in report["stages"] if stage["name"] == "cpt")
    assert stage["gate"] == "failed"
    assert any(rule["fired"] and rule["limit"] == 2 for rule in stage["rules"])
    status = samdan("status", run).out
    assert f"{run}: stopped" in status
    assert "why: the gate after stage 'cpt' failed" in status
    assert not (run / "sft" / "model").exists()


def test_an_output_folder_that_cannot_be_written_exits_4(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = samdan("run", recipe, "--out", tmp_path / "file" / "run")
    assert done.code == 4
    assert len(done.err.splitlines()) == 1


def test_eval_measures_a_model_on_tasks(reference: Path, tmp_path: Path) -> None:
    make_world(tmp_path)
    tasks = tmp_path / "tasks.yaml"
    tasks.write_text("evaluate: [{kind: bpb, name: docs, path: docs.jsonl}]\n", "utf-8")
    done = samdan("eval", reference / "cpt" / "model", "--tasks", tasks, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["docs/bpb"]
    low, high = found["ci95"]
    assert low <= found["value"] <= high
    assert found["n"] == 60
    tasks.write_text("evaluate: [{kind: bpb, nam: docs, path: docs.jsonl}]\n", "utf-8")
    wrong = samdan("eval", reference / "cpt" / "model", "--tasks", tasks)
    assert wrong.code == 1
    assert "unknown key; did you mean 'name'?" in wrong.err
    nowhere = samdan("eval", tmp_path / "none", "--tasks", tasks)
    assert nowhere.code == 1
    assert "Traceback" not in nowhere.err


def test_chat_answers_every_line_of_standard_input_by_every_model(reference: Path) -> None:
    models = [reference / "sft" / "model", reference / "dpo" / "model"]
    asked = "가온은 어디 있나요?\n\n라온은?\n/quit\nnot asked\n"
    done = samdan("chat", *models, "--max-new-tokens", "4", stdin=asked)
    assert done.code == 0, done.err
    assert re.findall(r"^\[(\w+)\]", done.out, re.M) == ["sft", "dpo", "sft", "dpo"]


def test_chat_with_a_folder_that_is_not_there_exits_1(tmp_path: Path) -> None:
    done = samdan("chat", tmp_path / "none")
    assert done.code == 1
    assert "there is no such model folder" in done.err
    assert "Traceback" not in done.err


def test_bad_rows_below_the_limit_are_counted_and_put_aside(world: Path) -> None:
    with gzip.open(world / "docs.jsonl.gz", "wb") as opened:
        opened.write((world / "docs.jsonl").read_bytes() + b'{"text": \n{"text": "\xff"}\n')
    (world / "docs.jsonl").unlink()
    recipe = world / "recipe.yaml"
    recipe.write_text(RECIPE.replace("docs.jsonl", "docs.jsonl.gz"), "utf-8")
    refused = samdan("run", recipe, "--out", world / "run", "--until", "cpt")
    assert refused.code == 1
    assert "2 of 62 rows are bad (3.2%, allowed 1.0%)" in refused.err
    cleaned = world / "run" / "cpt" / "data" / "docs" / "clean"
    rows = (cleaned / "quarantine.jsonl").read_text("utf-8")
    assert [row["where"].rsplit(":")[-1] for row in map(json.loads, rows.splitlines())] == [
        "61",
        "62",
    ]


def test_check_and_plan_take_the_golden_recipe_without_network_or_gpu(root: Path) -> None:
    golden = root / "recipes" / "golden-qwen2.5-7b.yaml"
    checked = samdan("check", golden)
    assert checked.code == 0, checked.err
    assert checked.err == ""  # no library tells of its attempts
    assert "unverified  base: Qwen/Qwen2.5-7B is on the Hub, which cannot be reached" in checked.out
    assert "accepted, 6 not verified" in checked.out
    planned = samdan("plan", golden)
    assert planned.code == 0, planned.err
    assert "model: 7.62B parameters" in planned.out
    assert "unverified: stages.cpt.data.korean" in planned.out
