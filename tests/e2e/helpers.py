"""A tiny world of made-up facts, programs that start quickly, and how runs are looked at."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from samdan.run.ledger import read_lines

RECIPE = """\
samdan: 1
name: small
base:
  scratch: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1}
  tokenizer: {vocab_size: 400}
  data: [{path: general.jsonl}]
  train:
    max_length: 64
    per_device_train_batch_size: 2
    gradient_accumulation_steps: 1
    save_steps: 3
    dropout: 0.1
    precision: fp32
    heldout: {share: 0.1}
stages:
  - name: cpt
    data: [{path: docs.jsonl}, {path: general.jsonl, role: replay}]
    max_length: 64
    learning_rate: 1e-3
    per_device_train_batch_size: 2
    gradient_accumulation_steps: 2
    micro_batch_tokens: 64
    save_steps: 4
    eval_steps: 5
    dropout: 0.1
    precision: fp32
    heldout: {share: 0.1}
    gates: []
  - name: sft
    data: [{path: qa.jsonl}]
    num_train_epochs: 2
    max_length: 64
    learning_rate: 1e-3
    per_device_train_batch_size: 4
    gradient_accumulation_steps: 2
    save_steps: 4
    dropout: 0.1
    precision: fp32
    heldout: {share: 0.1}
    gates: []
  - name: dpo
    data: [{path: pairs.jsonl}]
    max_length: 64
    learning_rate: 1e-3
    per_device_train_batch_size: 4
    nll_weight: 0.1
    save_steps: 4
    dropout: 0.1
    precision: fp32
    heldout: {share: 0.1}
    gates: []
decontaminate: null  # all sentences of this world look alike
evaluate:
  - {kind: multiple_choice, name: knowledge, path: choices.jsonl}
samples: [가온은 어디 있나요?]
"""
STAGES = ("base", "cpt", "sft", "dpo")
_NAMES = [
    first + second for first in "가나다라마바사아" for second in ("온", "람", "별", "솔", "빛")
]
_CITIES = ("서울", "부산", "대구", "인천", "광주")


def make_world(folder: Path, count: int = 60) -> Path:
    """Documents, conversations, pairs and questions about made-up companies; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(7)
    home = {name: rng.choice(_CITIES) for name in _NAMES}
    names = [_NAMES[i % len(_NAMES)] for i in range(count)]
    write_rows(
        folder / "docs.jsonl",
        (
            {"text": f"회사 {n}의 본사는 {home[n]}에 있다. {1950 + i}년에 섰다."}
            for i, n in enumerate(names)
        ),
    )
    write_rows(
        folder / "general.jsonl",
        ({"text": f"{n} lives in a town. It is day {i} of the year."} for i, n in enumerate(names)),
    )
    write_rows(
        folder / "qa.jsonl",
        (
            {"prompt": f"{n}의 본사는 어디인가요? {i}", "completion": f"{home[n]}입니다."}
            for i, n in enumerate(names)
        ),
    )
    write_rows(
        folder / "pairs.jsonl",
        (
            {"prompt": f"{n}은 어디 있나요? {i}", "chosen": f"{home[n]}입니다.", "rejected": "몰라"}
            for i, n in enumerate(names)
        ),
    )
    write_rows(
        folder / "choices.jsonl",
        (
            {"prompt": f"회사 {n}의 본사는 ", "choices": _CITIES, "answer": _CITIES.index(home[n])}
            for n in names[:6]
        ),
    )
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE, "utf-8")
    return recipe


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


# -- programs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """How a program ended; a negative code is the signal that killed it."""

    code: int
    out: str
    err: str


def python(*arguments: str, env: Mapping[str, str] | None = None, timeout: float = 240) -> Finished:
    """A Python program from the very start, imports and all."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


OFFLINE = Path(__file__).parent / "offline"
SECRETS = {
    name: f"canary{number}x{name[:2].lower()}7q4w9e2r5t"
    for number, name in enumerate((
        "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD", "TEACHER_KEY",
    ))
} | {"SAMDAN_TEST_DATABASE": "postgres://kim:canary9pw7q4w9e2r5t@db.example/x"}  # fmt: skip


def cut(log: Path) -> dict[str, str]:
    """An environment in which nothing leaves the machine; what tries to is written to ``log``.

    In every process that is begun in it: by Python's audit hook, and where there is a compiler by
    libc's own functions, which libraries in other languages call too.
    """
    folders = [str(OFFLINE), os.environ.get("PYTHONPATH", "")]
    made = {"PYTHONPATH": os.pathsep.join(filter(None, folders)), "OFFLINE_LOG": str(log)}
    library = _cutting_library()
    return made | ({"LD_PRELOAD": str(library)} if library else {})


@functools.cache
def _cutting_library() -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    made = Path(tempfile.mkdtemp(prefix="samdan-cut-")) / "cut.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(OFFLINE / "cut.c"), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return made


# Libraries take seconds to import: a server imports them once and forks a process for each command.
_FORKING = multiprocessing.get_context("forkserver")


@functools.cache
def _start_server() -> None:
    _FORKING.set_forkserver_preload(["e2e.preload"])
    before = os.environ.get("PYTHONPATH")
    folders = [str(Path(__file__).parents[1]), *([before] if before else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ.update({"PYTHONPATH": before} if before else {})


class Program:
    """``samdan ARGUMENTS`` in a process of its own, which is forked after the imports."""

    def __init__(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="samdan-e2e-"))
        (self._folder / "in").write_text(stdin, "utf-8")
        _start_server()
        words = [str(argument) for argument in arguments]
        self.process = _FORKING.Process(
            target=_command, args=(words, dict(env or {}), self._folder)
        )
        self.process.start()

    @property
    def out(self) -> str:
        """What it wrote to standard output so far."""
        return self._so_far("out")

    @property
    def err(self) -> str:
        """What it wrote to standard error so far."""
        return self._so_far("err")

    def _so_far(self, name: str) -> str:
        file = self._folder / name
        return file.read_text("utf-8", errors="replace") if file.exists() else ""

    def wait(self, timeout: float = 120) -> Finished:
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise AssertionError(f"did not end in {timeout} seconds; said: {self.err}")
        finished = Finished(code, (self._folder / "out").read_text("utf-8"), self.err)
        shutil.rmtree(self._folder)
        return finished


def samdan(
    *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Finished:
    """Runs a samdan command to its end."""
    return Program(*arguments, env=env, stdin=stdin).wait()


def killed_when_said(recipe: Path, run: Path, text: str) -> int:
    """Runs the recipe until it says what begins with ``text``, and kills it there."""
    _start_server()
    process = _FORKING.Process(target=_until_said, args=(recipe, run, text))
    process.start()
    process.join(120)
    return process.exitcode


def _until_said(recipe: Path, run: Path, text: str) -> None:
    from samdan.run.executor import execute
    from samdan.run.loading import load_recipe

    def say(line: str) -> None:
        if line.startswith(text):
            os.kill(os.getpid(), signal.SIGKILL)

    execute(load_recipe(recipe), run, say=say)


def _command(words: list[str], env: dict[str, str], folder: Path) -> None:
    os.environ.update(env)
    if "OFFLINE_LOG" in env:  # a forked process has begun long ago
        runpy.run_path(str(OFFLINE / "sitecustomize.py"))
    for descriptor, name, flags in (
        (0, "in", os.O_RDONLY),
        (1, "out", os.O_WRONLY | os.O_CREAT),
        (2, "err", os.O_WRONLY | os.O_CREAT),
    ):
        os.dup2(os.open(folder / name, flags), descriptor)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.argv = ["samdan", *words]
    from samdan.cli import main

    main()


# -- looking at runs -------------------------------------------------------------------------------


def weights(run: Path, stage: str) -> str:
    """sha256 of a stage's exported weights."""
    return hashlib.sha256((run / stage / "model" / "model.safetensors").read_bytes()).hexdigest()


def all_weights(run: Path, stages: Sequence[str] = STAGES) -> dict[str, str]:
    return {stage: weights(run, stage) for stage in stages}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def events(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    found = read_lines(run / "events.jsonl")  # passes over what a crash cut off
    return [event for event in found if kind is None or event["event"] == kind]


def samples_seen(run: Path) -> dict[str, str]:
    """The hash chain over what each stage was trained on."""
    done = events(run, "step_done")
    return {e["step"]: e["facts"]["samples"] for e in done if e["step"].endswith("/train")}


def done_again(run: Path) -> dict[str, str]:
    """Steps that the last command carried out, and why."""
    found = events(run)
    start = max(i for i, e in enumerate(found) if e["event"] == "begin")
    return {e["step"]: e["why"] for e in found[start:] if e["event"] == "step_begin"}


def stopped_before(finished: Path, step: str, copy: Path) -> Path:
    """A copy of a finished run as it was just before a step began."""
    shutil.copytree(finished, copy)
    found = events(copy)
    cut = next(i for i, e in enumerate(found) if e["event"] == "step_begin" and e["step"] == step)
    write_rows(copy / "events.jsonl", found[:cut])
    done = {e["step"] for e in found[:cut] if e["event"] == "step_done"}
    write_rows(
        copy / "metrics.jsonl",
        (row for row in rows_of(copy / "metrics.jsonl") if row["step_name"] in done),
    )
    for stage in STAGES:
        if f"{stage}/train" not in done:
            shutil.rmtree(copy / stage / "model", ignore_errors=True)
            for name in ("eval.json", "gate.json"):
                (copy / stage / name).unlink(missing_ok=True)
    return copy


def losses(run: Path) -> dict[tuple[str, int], float]:
    """The loss of every step, as it was written down."""
    rows = rows_of(run / "metrics.jsonl")
    return {(row["stage"], row["step"]): row["loss"] for row in rows}


def assert_same(run: Path, reference: Path) -> None:
    """The same samples, losses and weights in every stage."""
    assert samples_seen(run) == samples_seen(reference)
    assert losses(run) == losses(reference)
    assert all_weights(run) == all_weights(reference)


def fault(text: str) -> dict[str, str]:
    """The environment in which a run breaks; see ``run/faults.py``."""
    return {"SAMDAN_FAULT": text}
