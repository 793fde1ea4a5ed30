"""The benchmark of preparation runs at its smallest, and its texts are what it says they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="the extra 'bench' is not installed")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import corpus, prepare, watch  # noqa: E402

from samdan.data.duplicates import duplicates  # noqa: E402
from samdan.data.minhash import signatures  # noqa: E402
from samdan.removing import Dedup  # noqa: E402

KEYS = {
    "mb_per_s_per_core", "seconds", "peak_mb", "memory_ratio", "linearity", "vs_datatrove",
    "start_seconds", "machine",
}  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return corpus.originals(None)[:40]


def test_a_corpus_of_any_size_is_the_same_text_and_holds_no_copies(texts: list[str]) -> None:
    size = 3 * sum(len(text.encode()) for text in texts)
    made = list(corpus.sized(texts, size, 1))
    assert made == list(corpus.sized(texts, size, 1))
    assert made[:10] == list(corpus.sized(texts, size // 2, 1))[:10]
    assert made[:10] != list(corpus.sized(texts, size, 2))[:10]
    assert len(made) > 2 * len(texts)
    assert sum(len(text.encode()) for text in made) >= size
    found = duplicates([signatures(made, Dedup())], Dedup())
    assert found.kept.mean() > 0.95


def test_planted_copies_are_found(texts: list[str]) -> None:
    made = corpus.with_copies(texts, 0.1, 1)
    assert len(made) == len(texts) + 4
    found = duplicates([signatures(made, Dedup())], Dedup())
    assert not found.kept[len(texts) :].any()


def test_the_smallest_run_says_what_the_documentation_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "measure_steps", _measured)
    arguments = ["prepare", "--sizes", "1", "4", "--peer", "0", "--workers", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    prepare.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.keys() >= KEYS
    assert found["linearity"]["all"] == 1.25  # 5 s a step for 4 MB, 1 s for 1
    assert found["memory_ratio"]["all"] == 2
    assert found["mb_per_s_per_core"]["clean"] == {"wall": 0.5, "cpu": 0.8}


def _measured(_texts: object, _tokenizer: object, size: float, _workers: int) -> prepare.Row:
    cpu, peak = (1.0, 100.0) if size == 1 else (5.0, 200.0)
    step = {"seconds": size, "cpu_seconds": cpu, "peak_mb": peak}
    steps = dict.fromkeys(prepare.VERBS, step)
    return {"mb": size, "steps": steps, "start": {"seconds": 0.1}}


def test_a_program_is_watched_in_a_process_of_its_own(texts: list[str], tmp_path: Path) -> None:
    made = corpus.with_copies(texts, 0.1, 1)
    corpus.write_parquet(made, tmp_path / "texts", 1)  # in order: the first of two stays
    arguments = "samdan", "dedup", str(tmp_path / "texts"), str(tmp_path / "out"), "1"
    seen = watch.watched("benchmarks.prepare_peer", *arguments)
    assert sorted(map(corpus.identity, texts)) == seen.said["kept"]
    assert seen.said["cpu_seconds"] > 0
    assert seen.peak_mb > seen.own_mb > 0
    with pytest.raises(RuntimeError, match="prepare_peer nobody"):
        watch.watched("benchmarks.prepare_peer", "nobody", *arguments[1:])


@pytest.mark.slow  # a process for every step, each with torch
def test_a_corpus_is_prepared_and_measured(texts: list[str], tmp_path: Path) -> None:
    tokenizer = prepare.tokenizer_in(None, texts, tmp_path)
    row = prepare.measure_steps(texts, tokenizer, 0.02, 1)
    assert row["steps"].keys() == set(prepare.VERBS)
    assert all(step["peak_mb"] > 0 and step["cpu_seconds"] > 0 for step in row["steps"].values())
    assert row["start"]["optimizer_steps"] >= 1
