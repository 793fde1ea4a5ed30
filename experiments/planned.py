"""What `samdan plan --calibrate` says of a stage, next to what the run then takes.

    python -m experiments.planned                # the table of docs/plan.md, 20 quiet minutes
    python -m experiments.planned --only tiny    # tries the code

Every row is a run on a base with random weights of the shape and drawn text, in a process of its
own: a plan from the files alone, the run, and a plan with a fresh calibration. Compared are the
tokens that were expected before anything was prepared, the peak of memory while the stage trains
(resident, of the whole process), and the time of its steps but the first: by the clock, and by the
processor, which other work on the machine concerns less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from ruamel.yaml import YAML

from samdan.budget import Rates, Shape, seconds_of
from samdan.lm.chat import ChatFormat
from samdan.lm.tokenizer import train_tokenizer
from samdan.run.calibrating import random_model
from samdan.run.executor import execute
from samdan.run.ledger import Ledger
from samdan.run.loading import load_recipe
from samdan.run.planning import stage_plans, target_of

ROOT = Path(__file__).resolve().parent.parent
WORDS = 400  # of the made-up language
# Of `benchmarks.shapes`, hidden, layers, mlp, vocabulary, heads, key heads, tied; and smaller ones.
SHAPES = {
    "135m": Shape(576, 30, 1536, 49_152, 9, 3, True),
    "0.5b": Shape(896, 24, 4864, 151_936, 14, 2, True),
    "30m": Shape(384, 12, 1024, 24_576, 6, 2, True),
    "30m-untied": Shape(384, 8, 1024, 24_576, 6, 2, False),
    "tiny": Shape(64, 3, 160, 1024, 4, 2, True),
}


@dataclass(frozen=True)
class Row:
    """A run. ``records``: of the source; ``words``: of a record, at most."""

    name: str
    shape: str
    kind: str
    records: int
    words: int
    fields: Mapping[str, Any] = field(default_factory=dict)


def _batch(size: int, accumulation: int, length: int) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": accumulation,
        "max_length": length,
    }


ROWS = (
    Row("tiny cpt", "tiny", "cpt", 60, 60, _batch(2, 2, 64)),
    Row("135m cpt", "135m", "cpt", 15, 120, _batch(2, 1, 256)),
    Row("135m dpo", "135m", "dpo", 14, 40, _batch(4, 1, 320)),
    Row("135m sft, 3 micro-batches", "135m", "sft", 27, 60, _batch(2, 4, 320)),
    Row("0.5b cpt", "0.5b", "cpt", 35, 120, _batch(2, 1, 256)),
    Row("0.5b dpo", "0.5b", "dpo", 23, 40, _batch(4, 1, 320)),
    Row("30m cpt", "30m", "cpt", 60, 200, _batch(8, 1, 256)),
    Row("30m sft, LoRA", "30m", "sft", 40, 120, _batch(8, 1, 320) | {"lora": {"r": 16}}),
    Row("30m dpo", "30m", "dpo", 36, 60, _batch(8, 1, 320)),
    Row("30m untied cpt, checkpointing", "30m-untied", "cpt", 60, 200,
        _batch(16, 1, 256) | {"gradient_checkpointing": True}),
)  # fmt: skip


def main(given: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name this regular expression finds")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.row:
        (row,) = (row for row in ROWS if row.name == args.row)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["SAMDAN_CACHE"] = str(Path(folder) / "cache")
            print(json.dumps(compare(row, Path(folder))))
        return []
    found = []
    print("| run | tokens, from files | memory at its peak | steps by the clock | by processor |")
    print("|---|---|---|---|---|")
    for row in ROWS:
        if not re.search(args.only, row.name):
            continue
        words = [sys.executable, "-m", "experiments.planned", "--row", row.name]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(_line(found[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return found


def compare(row: Row, folder: Path) -> dict[str, Any]:
    """Planned and taken, of one run, in this process."""
    recipe = load_recipe(make(row, folder))
    run = folder / "run"
    stage = recipe.stages[0]
    (from_files,) = stage_plans(recipe, None, target_of("here"))
    clocks: list[tuple[float, float]] = []
    tokens: list[int] = []

    def progress(row: Mapping[str, Any]) -> None:
        clocks.append((time.perf_counter(), time.process_time()))
        tokens.append(row["tokens"])

    execute(recipe, run, say=lambda text: None, progress=progress)
    target = target_of("here", calibrate=True)
    (planned,) = stage_plans(recipe, Ledger(run), target)
    done = Ledger(run).done()[f"{row.kind}/train"]
    assert planned.amounts is not None
    assert planned.memory is not None
    assert from_files.amounts is not None
    steps = int(done.facts["steps"])
    (file,) = Path(os.environ["SAMDAN_CACHE"]).glob("calibration/*.json")
    saved = json.loads(file.read_text("utf-8"))
    # Nobody tells when the first step began, and the last is seldom a whole one.
    timed = replace(planned.amounts, tokens=tokens[-1] - tokens[0])
    by_clock, by_processor = (
        seconds_of(one, SHAPES[row.shape], stage, timed, steps - 1).train / (steps - 1)
        for one in (Rates(**saved["wall"]), Rates(**saved["processor"]))
    )
    taken = [list(_between(clocks, clock)) for clock in (0, 1)]
    return {
        "run": row.name,
        "tokens": [from_files.amounts.tokens, planned.amounts.tokens],
        "steps": [planned.steps, steps],
        "micro_batch_tokens": [planned.micro_batch_tokens, done.facts["micro_batch_tokens"]],
        "memory": [planned.memory.peak, done.facts["peak_memory"]],
        "parts": planned.memory.parts,
        "seconds": [by_clock, mean(taken[0])],
        "processor_seconds": [by_processor, mean(taken[1])],
        "each_step": taken,
    }


def _between(clocks: list[tuple[float, float]], clock: int) -> Iterator[float]:
    """Of every step but the first, whose beginning nobody tells."""
    for before, after in pairwise(clocks):
        yield after[clock] - before[clock]


def make(row: Row, folder: Path) -> Path:
    """Base, data and recipe of a run; returns the recipe."""
    drawn = random.Random(3)
    language = ["".join(drawn.choices("가나다라마바사아자차카타파하", k=drawn.randint(1, 4)))
                for _ in range(WORDS)]  # fmt: skip

    def text(most: int) -> str:
        return " ".join(drawn.choices(language, k=drawn.randint(most // 3, most)))

    rows = [_record(row.kind, text, row.words, number) for number in range(row.records)]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    base = folder / "base"
    _save_base(SHAPES[row.shape], [text(200) for _ in range(200)], base)
    stage = {
        "name": row.kind, "data": [{"path": "data.jsonl", "clean": None, "personal": None}],
        "num_train_epochs": 1, "dedup": None, "gates": [], "precision": "fp32",
        "heldout": {"share": 0.1, "max_records": 4}, **row.fields,
    }  # fmt: skip
    recipe = folder / "recipe.yaml"
    whole = {
        "samdan": 1, "name": "planned", "base": {"path": "base"}, "stages": [stage],
        "decontaminate": None,
    }  # fmt: skip
    with recipe.open("w", encoding="utf-8") as opened:
        YAML().dump(whole, opened)
    return recipe


def _record(kind: str, text: Any, words: int, number: int) -> dict[str, str]:
    if kind == "cpt":
        return {"text": f"{number} {text(words)}"}
    prompt = f"{number} {text(words)}"
    if kind == "sft":
        return {"prompt": prompt, "completion": text(words)}
    return {"prompt": prompt, "chosen": text(words), "rejected": f"{number} {text(words)}"}


def _save_base(shape: Shape, texts: list[str], folder: Path) -> None:
    tokenizer = train_tokenizer(texts, 900)
    ChatFormat(tokenizer).tokenizer.save_pretrained(folder)
    random_model(shape).save_pretrained(folder)


def _line(found: Mapping[str, Any]) -> str:
    def pair(name: str, unit: float, form: str) -> str:
        planned, taken = (value / unit for value in found[name])
        return f"{planned:{form}} / {taken:{form}} ({planned / taken - 1:+.0%})"

    return (
        f"| {found['run']} | {pair('tokens', 1, ',.0f')} | {pair('memory', 1e9, '.2f')} GB "
        f"| {pair('seconds', 1, '.1f')} s | {pair('processor_seconds', 1, '.1f')} s |"
    )


if __name__ == "__main__":
    main()
