"""Tasks give the same results wherever they run, and are not done twice."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from samdan.data.clean import clean_source
from samdan.data.engine import Engine, Job, carry_out
from samdan.recipe import CptStage, Source
from samdan.records import DataError, EnvironmentFailure
from work import square

SOURCE = Source(path="corpus", name="c")
STAGE = CptStage(data=(SOURCE,))
ALONE, TOGETHER = Engine(workers=1), Engine(workers=2)


def job(folder: Path, count: int = 5, **of_third: Any) -> Job:
    tasks = [{"x": x, "log": str(folder / "log")} for x in range(count)]
    tasks[2] |= of_third
    folder.mkdir(exist_ok=True)
    return Job(square, tasks, folder / "job")


def log(folder: Path) -> list[str]:
    return sorted((folder / "log").read_text().split())


@pytest.mark.parametrize("engine", [ALONE, TOGETHER], ids=["alone", "together"])
def test_facts_come_in_the_order_of_the_tasks(tmp_path: Path, engine: Engine) -> None:
    work = job(tmp_path)
    assert carry_out(work, engine) == [{"y": x**2} for x in range(5)]
    assert [(work.place(x) / "out.txt").read_text() for x in range(5)] == [
        str(x**2) for x in range(5)
    ]


def test_finished_tasks_are_not_done_again_and_others_are(tmp_path: Path) -> None:
    work = job(tmp_path)
    carry_out(work, ALONE)
    (work.place(3) / "facts.json").unlink()  # as if it had been cut off
    assert carry_out(work, TOGETHER) == [{"y": x**2} for x in range(5)]
    assert log(tmp_path) == ["0", "1", "2", "3", "3", "4"]


def test_a_task_with_another_argument_is_another_task(tmp_path: Path) -> None:
    carry_out(job(tmp_path), ALONE)
    changed = job(tmp_path, x=7)
    assert carry_out(changed, ALONE)[2] == {"y": 49}
    assert log(tmp_path) == ["0", "1", "2", "3", "4", "7"]


@pytest.mark.parametrize("engine", [ALONE, TOGETHER], ids=["alone", "together"])
def test_an_error_of_a_task_is_raised_and_what_is_finished_is_kept(
    tmp_path: Path, engine: Engine
) -> None:
    with pytest.raises(DataError, match="2 is bad"):
        carry_out(job(tmp_path, bad=True), engine)
    assert job(tmp_path).is_done(0)
    assert not job(tmp_path).is_done(2)
    carry_out(job(tmp_path), ALONE)
    assert log(tmp_path).count("0") == 1


def test_a_killed_worker_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="a worker of the preparation was killed"):
        carry_out(job(tmp_path, dies=True), TOGETHER)


def test_a_wish_to_stop_is_heard_between_tasks(tmp_path: Path) -> None:
    calls = iter([None, None, KeyboardInterrupt])

    def poll() -> None:
        if next(calls) is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(job(tmp_path), ALONE, poll)
    assert log(tmp_path) == ["0", "1"]


# --- a corpus of several parts -------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 MB in three files: several tasks of both passes."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(3):
        with (folder / f"{number}.jsonl").open("w", encoding="utf-8") as opened:
            for row in range(1500):
                text = f"문서 {number}-{row}의 본문은 길다. " * 60
                opened.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return folder


def cleaned(corpus: Path, folder: Path, engine: Engine) -> tuple[dict[str, Any], dict[str, str]]:
    """The manifest, and the hash of every file that holds records."""
    manifest = clean_source(STAGE, SOURCE.model_copy(update={"path": str(corpus)}), folder, engine)
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jsonl", ".npy"))
    return manifest, {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def local(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cleaned(corpus, tmp_path_factory.mktemp("local"), ALONE)


def test_the_number_of_workers_changes_no_byte(corpus: Path, local: Any, tmp_path: Path) -> None:
    assert local[0]["records_kept"] == 4500
    assert len(local[0]["parts"]) >= 3
    assert cleaned(corpus, tmp_path, TOGETHER) == local


@pytest.mark.timeout(300)
def test_a_real_ray_makes_the_same_bytes(corpus: Path, local: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'cluster' is not installed")
    pytest.importorskip("datatrove", reason="the extra 'cluster' is not installed")
    assert cleaned(corpus, tmp_path, Engine("ray", workers=2)) == local


FAKE_SBATCH = """#!{python}
# Runs an array job on this machine, one index after the other, as Slurm would.
import os, re, subprocess, sys
script = open(sys.argv[-1]).read()
array = re.search(r"--array=0-([0-9]+)", script)
last = int(array[1]) if array else 0
name = os.path.join(os.environ["FAKE_SLURM"], "job.sh")
open(name, "w").write(re.sub(r"srun .*?-n 1 ", "", script))
of_slurm = {{"SLURM_NODELIST": "localhost", "SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_CPU": "1"}}
for index in range(last + 1):
    env = os.environ | of_slurm | ({{"SLURM_ARRAY_TASK_ID": str(index)}} if array else {{}})
    env["PATH"] = os.path.dirname(sys.executable) + ":" + env["PATH"]
    subprocess.run(["bash", name], env=env, check=True, stdout=subprocess.DEVNULL)
print("Submitted batch job 7")
"""


@pytest.mark.timeout(300)
def test_slurm_makes_the_same_bytes(
    corpus: Path, local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an sbatch that carries out what it is given: the scripts are the real ones."""
    pytest.importorskip("datatrove", reason="the extra 'cluster' is not installed")
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(FAKE_SBATCH.format(python=sys.executable))
    scontrol = sbatch.with_name("scontrol")
    scontrol.write_text("#!/bin/sh\necho localhost\n")
    for program in (sbatch, scontrol):
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    assert cleaned(corpus, tmp_path / "run", Engine("slurm")) == local


def test_without_slurm_the_engine_is_refused(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datatrove", reason="the extra 'cluster' is not installed")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentFailure, match="no 'sbatch'"):
        cleaned(corpus, tmp_path, Engine("slurm"))
