"""LLaMA-Factory as a side of the training benchmarks: what is its own, mostly without it.

``SAMDAN_LLAMAFACTORY=PYTHON`` names the interpreter of an environment that has it, for the tests
that run it (docs/performance.md says how to make one).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("psutil", reason="the extra 'bench' is not installed")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import train, train_handed, train_scale, train_turns, train_work  # noqa: E402
from benchmarks.shapes import SHAPES, build  # noqa: E402
from benchmarks.train_handed import LLAMAFACTORY, PACKED, Factory  # noqa: E402
from benchmarks.train_llamafactory import packed, without_audio, without_first  # noqa: E402
from benchmarks.train_pipe import Told  # noqa: E402
from benchmarks.train_records import Record, read, spread_evenly  # noqa: E402
from benchmarks.train_side import Spec  # noqa: E402

import tiny  # noqa: E402

JOBS = ("cpt", "sft", "dpo")
OTHER = os.environ.get("SAMDAN_LLAMAFACTORY", "")
LIGHT = ("train_pipe", "train_records", "train_callback", "train_llamafactory")


def spec_of(job: str, folder: Path, **fields: Any) -> Spec:
    work = train_scale.make_workload(job, train_scale.TINY, None, None)
    train_work.save(folder, work.records, work.per_step)
    given = {"program": "samdan", "options": {}} | fields
    return Spec(job, "tiny", False, str(folder), work.per_step, work.steps, 250, **given)


def record(length: int, trained: int, first: int = 0) -> Record:
    """Token ids from ``first`` on, of which the last ``trained`` are learned from."""
    tokens = np.arange(first, first + length, dtype=np.uint32)
    return Record(tokens, np.arange(length) >= length - trained, 0, length)


# --- without samdan -------------------------------------------------------------------------------


def test_what_another_interpreter_runs_imports_nothing_of_samdan() -> None:
    heavy = {"samdan", "transformers", "trl", "psutil", "pydantic", "llamafactory"}
    program = (
        f"import sys, {', '.join(f'benchmarks.{name}' for name in LIGHT)}\n"
        f"print(*sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.split() == []


@pytest.mark.parametrize("job", JOBS)
def test_records_are_read_without_samdan_as_it_reads_them(job: str, tmp_path: Path) -> None:
    spec = spec_of(job, tmp_path)
    ours, theirs = train_work.records_of(spec.data()), read(tmp_path)
    assert len(ours) == len(theirs) == 12
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.tokens.tolist() == other.tokens.tolist()
        assert mine.trained.tolist() == other.trained.tolist()
        assert (mine.prefix, mine.span) == (other.prefix, other.span)


def test_a_piece_of_a_record_is_refused(tmp_path: Path) -> None:
    spec_of("cpt", tmp_path)
    pieces = np.load(tmp_path / "index" / "pieces.npy")
    pieces[0, 3] -= 1
    np.save(tmp_path / "index" / "pieces.npy", pieces)
    with pytest.raises(ValueError, match="expected whole records of shard 0"):
        read(tmp_path)


def test_labels_stand_under_their_tokens_and_the_first_has_none() -> None:
    assert record(4, 2, 7).row() == ([7, 8, 9, 10], [-100, -100, 9, 10])
    assert record(3, 3, 7).row() == ([7, 8, 9], [-100, 8, 9])


def test_an_answer_follows_its_prompt() -> None:
    given = tiny.pair(3, 2, 1)
    ids = given.tokens.tolist()
    pair = Record(given.tokens, given.trained, given.prefix, given.span)
    chosen, rejected = pair.answers()
    assert chosen == (ids[:5], [-100] * 3 + ids[3:5])
    assert rejected == (ids[:3] + ids[5:], [-100] * 3 + ids[5:])


def test_a_packed_row_tells_its_records_apart() -> None:
    row = packed([record(3, 2, 20), record(2, 1, 40)])
    assert row["input_ids"] == [20, 21, 22, 40, 41, 0, 0, 0]  # padded to a multiple of 8
    assert row["labels"] == [-100, 21, 22, -100, 41, -100, -100, -100]
    assert row["attention_mask"] == [1, 1, 1, 2, 2, 0, 0, 0]
    assert row["position_ids"] == [0, 1, 2, 0, 1, 0, 0, 0]


def test_records_are_spread_over_rows_of_nearly_one_length() -> None:
    records = [record(size, 1) for size in (5, 9, 3, 7, 4)]
    rows = spread_evenly(records, 2)
    assert sorted(len(one) for row in rows for one in row) == [3, 4, 5, 7, 9]
    assert [sum(map(len, row)) for row in rows] == [13, 15]
    assert all(spread_evenly(records, 5))


def test_the_first_tokens_label_is_taken() -> None:
    assert without_first({"labels": torch.ones(2, 3)})["labels"].tolist() == [[-100, 1, 1]] * 2


def test_audio_that_does_not_load_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)  # an import of it fails
    without_audio()
    assert sys.modules["torchaudio"] is not None


# --- what it is told and handed -------------------------------------------------------------------


def test_another_interpreter_runs_the_program_itself_and_finds_only_the_benchmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "mine")
    own = spec_of("sft", tmp_path)
    other = replace(own, program=LLAMAFACTORY, python="/env/bin/python")
    file = tmp_path / "spec.json"
    assert train_turns.command(own, file)[:3] == [sys.executable, "-m", "benchmarks.train_side"]
    assert train_turns.command(other, file) == [
        "/env/bin/python", "-m", "benchmarks.train_llamafactory", str(file),
    ]  # fmt: skip
    paths = train_turns.environment(own)["PYTHONPATH"].split(os.pathsep)
    assert paths == [str(ROOT), str(ROOT / "src"), "mine"]
    assert train_turns.environment(other)["PYTHONPATH"] == str(ROOT)
    assert train_turns.environment(other)["PYTHONSAFEPATH"] == "1"
    assert Told(**json.loads(json.dumps(asdict(other)))).python == "/env/bin/python"


@pytest.mark.parametrize("job", JOBS)
def test_weights_and_settings_are_handed_over(job: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    plain = spec_of(job, tmp_path)
    records = train_work.records_of(plain.data())
    assert train_handed.llamafactory(plain, None, records, tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()
    factory = Factory(Path("python"), packed=True)
    sides = train_handed.llamafactory(plain, factory, records, tmp_path / "handed")
    assert list(sides) == [LLAMAFACTORY, PACKED]
    assert sides[PACKED].options == sides[LLAMAFACTORY].options | {"neat_packing": True}
    assert sides[LLAMAFACTORY].python == str(Path.cwd() / "python")
    stored = load_file(tmp_path / "handed" / "model.safetensors")
    drawn = build(SHAPES["tiny"], torch.device("cpu"), torch.float32, "sdpa").state_dict()
    assert stored.keys() == drawn.keys() - {"lm_head.weight"}  # tied
    assert all(torch.equal(stored[name], drawn[name]) for name in stored)
    settings = json.loads((tmp_path / "handed" / "settings.json").read_text("utf-8"))
    assert settings["max_grad_norm"] == 1.0
    assert settings["beta"] == (0.1 if job == "dpo" else None)
    pad = AutoTokenizer.from_pretrained(tmp_path / "handed").pad_token_id
    assert pad > 0
    assert not any(pad in one.tokens for one in records)


def test_padding_takes_an_id_that_stands_nowhere() -> None:
    few = [tiny.document(3)]
    few[0].tokens[:] = (1, 2, 4)
    assert train_handed.unused(few, 5) == 3
    few[0].tokens[:] = (1, 2, 2)
    with pytest.raises(SystemExit, match="all 3 token ids stand in the records"):
        train_handed.unused(few, 3)


def test_its_headline_is_of_the_epoch_for_dpo_and_none_where_it_was_left_out() -> None:
    ratios = {LLAMAFACTORY: {"step": {"median": 3.0}, "epoch": {"median": 2.0}}}
    traces = {LLAMAFACTORY: train_turns.Trace({"versions": {"llamafactory": "0.9.5"}})}
    dpo = train_handed.figures({"ratios": ratios, "ratio_is_of": "epoch"}, traces)
    assert dpo == {
        "ratio_vs_llamafactory": 2.0,
        "versions_llamafactory": {"llamafactory": "0.9.5"},
    }
    sft = train_handed.figures({"ratios": ratios, "ratio_is_of": "step"}, traces)
    assert sft["ratio_vs_llamafactory"] == 3.0
    missing = train_handed.figures({"ratios": {}, "ratio_is_of": "step"}, {})
    assert missing == {"ratio_vs_llamafactory": None, "versions_llamafactory": None}


# --- processes ------------------------------------------------------------------------------------


def test_an_interpreter_that_is_not_there_is_left_out_with_the_reason(tmp_path: Path) -> None:
    missing = spec_of("sft", tmp_path, program=LLAMAFACTORY, python=str(tmp_path / "python"))
    with pytest.raises(train_turns.SideError, match=r"llamafactory did not start: .*No such file"):
        train_turns.run_round({LLAMAFACTORY: missing})
    failed: dict[str, str] = {}
    assert train_turns.run_round({LLAMAFACTORY: missing}, failed=failed) == {}
    assert "No such file" in failed[LLAMAFACTORY]


@pytest.mark.slow  # two processes with torch
def test_a_side_whose_library_is_missing_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    own = spec_of("sft", tmp_path)
    bare = replace(own, program=LLAMAFACTORY, python=sys.executable)
    failed: dict[str, str] = {}
    agreement = train_turns.Agreement(bf16=False)
    sides = {"samdan": own, LLAMAFACTORY: bare}
    traces = train_turns.run_round(sides, agreement, failed=failed)
    assert list(traces) == ["samdan"]
    assert len(traces["samdan"].turns) == own.steps
    assert "No module named 'llamafactory'" in failed[LLAMAFACTORY]
    with pytest.raises(train_turns.SideError, match="samdan did not start"):
        train_turns.run_round({"samdan": replace(own, python="nowhere")}, failed={})


def headline(capsys: pytest.CaptureFixture[str], job: str, *options: str) -> dict[str, Any]:
    train.main(job, ["--tiny", "--fp32", *options])
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


@pytest.mark.slow  # four processes, each with torch
def test_the_result_says_who_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    found = headline(capsys, "sft", "--llamafactory", "nowhere/python")
    assert "nowhere/python" in found["left_out"][LLAMAFACTORY]
    assert (found["ratio_vs_llamafactory"], found["versions_llamafactory"]) == (None, None)
    assert found["sides"].keys() == {"samdan", "trl_default", "trl_best", "plain"}


@pytest.mark.slow
@pytest.mark.skipif(not OTHER, reason="SAMDAN_LLAMAFACTORY names no interpreter")
@pytest.mark.parametrize("job", JOBS)
def test_llamafactory_learns_the_same(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    packing = ["--neat-packing"] if job == "sft" else []
    found = headline(capsys, job, "--llamafactory", OTHER, *packing)
    assert found["left_out"] == {}
    assert all(apart < 1e-5 for apart in found["loss_differences"].values())
    for name in (LLAMAFACTORY, *([PACKED] if packing else [])):
        side = found["sides"][name]
        assert side["loss"] == pytest.approx(found["sides"]["samdan"]["loss"], rel=1e-5)
        assert found["memory_ratios"][name] > 0
        assert found["ratios"][name][found["ratio_is_of"]]["median"] > 0
    assert found["flags"][LLAMAFACTORY] == {"batch": 1, "gradient_checkpointing": True}
    middle = found["ratios"][LLAMAFACTORY][found["ratio_is_of"]]["median"]
    assert found["ratio_vs_llamafactory"] == middle
    assert found["versions_llamafactory"]["llamafactory"]
