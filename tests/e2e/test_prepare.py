"""`samdan prepare`: the data steps alone, killed and started again, and the card they leave."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tiny
from e2e.helpers import events, samdan

RECIPE = """\
samdan: 1
name: corpus
base: {path: nowhere, tokenizer: {path: tokenizer}}
stages:
  - name: cpt
    data:
      - {path: docs, name: docs, license: CC-BY-4.0, filters: [{kind: length, min_chars: 100}]}
    heldout: {share: 0.05}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over 15 MB in five files, some documents too short, some of them copies."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "docs").mkdir()
    for number in range(5):
        with (folder / "docs" / f"{number}.jsonl").open("w", encoding="utf-8") as opened:
            for row in range(800):
                long = f"문서 {number}-{row % 790}의 본문은 길다. " * 70
                text = "짧다" if row % 10 == 9 else long
                opened.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    tiny.tokenizer().save_pretrained(folder / "tokenizer")
    (folder / "recipe.yaml").write_text(RECIPE, "utf-8")
    return folder / "recipe.yaml"


def made(run: Path) -> dict[str, str]:
    """The hash of everything that training would read."""
    files = [*(run / "cpt" / "data").glob("docs/*.*"), *(run / "cpt" / "index").iterdir()]
    return {
        str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.suffix in (".bin", ".npy")
    }


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    done = samdan("prepare", corpus, "--out", run, "--workers", "1")
    assert done.code == 0, done.err
    return run


def test_the_data_steps_are_done_and_no_model_is_looked_for(undisturbed: Path) -> None:
    done = [event["step"] for event in events(undisturbed, "step_done")]
    assert done == [
        "base/tokenizer", "cpt/clean/docs", "cpt/copies", "base/protect", "cpt/prepare/docs",
        "cpt/mix",
    ]  # fmt: skip
    assert not (undisturbed / "cpt" / "model").exists()


def test_the_card_accounts_for_every_record(undisturbed: Path) -> None:
    facts = json.loads((undisturbed / "report.json").read_text())["stages"][0]["data"]["docs"]
    # Of every file's 800 rows 80 are short; rows 790 to 799 say what rows 0 to 9 said.
    assert facts["records_in"] == 4000
    assert facts["dropped"] == {"length": 400, "duplicate": 45}
    assert facts["records_in"] == facts["trained"] + facts["heldout"] + 445
    assert facts["license"] == {"CC-BY-4.0": 3600}
    card = (undisturbed / "cpt" / "data" / "README.md").read_text("utf-8")
    assert "- Dropped, by rule: length 400, duplicate 45" in card


def test_every_dropped_record_is_listed_with_rule_and_value(undisturbed: Path) -> None:
    parts = undisturbed.glob("cpt/data/docs/clean/screen/*/fates.jsonl")
    fates = [json.loads(line) for part in parts for line in part.read_text("utf-8").splitlines()]
    assert len(fates) == 400
    assert {fate["reason"] for fate in fates} == {"length"}
    assert all("2" in fate["detail"] and "100" in fate["detail"] for fate in fates)
    assert len({fate["where"] for fate in fates}) == 400


@pytest.mark.parametrize("pass_", ["read", "screen"])
def test_a_killed_preparation_goes_on_and_ends_with_the_same_bytes(
    corpus: Path, undisturbed: Path, tmp_path: Path, pass_: str
) -> None:
    run = tmp_path / "run"
    words = ["-m", "samdan", "prepare", str(corpus), "--out", str(run), "--workers", "1"]
    killed = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    tasks = run / "cpt" / "data" / "docs" / "clean" / pass_
    deadline = time.monotonic() + 200
    while not (finished := sorted(tasks.glob("[0-9]*/facts.json"))) and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = {file: file.stat().st_mtime_ns for file in finished}
    assert kept
    again = samdan("prepare", corpus, "--out", run)
    assert again.code == 0, again.err
    assert made(run) == made(undisturbed)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert "cpt/clean/docs: done before, skipped" in samdan("prepare", corpus, "--out", run).err
