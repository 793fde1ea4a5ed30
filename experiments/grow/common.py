"""What the experiments on growing share: a small base, its adaptation, intervals over seeds.

Everything is an ordinary run of samdan in a folder of ``home``, so a case that was done is not done
again, and one that was stopped goes on. Text comes from the folder ``data`` (jsonl.gz with
``text``): the base reads English and some Korean about programming, the target is Korean court
decisions, which its tokenizer splits into small pieces.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdan.lm.files import write_json
from samdan.recipe import parse
from samdan.run.executor import execute
from samdan.run.ledger import Ledger

SEEDS = (1, 2, 3)
# Student's t for 95% at n - 1 degrees of freedom.
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
# Name: file, characters that are taken, and how long a paragraph may be.
TEXTS = {
    "en": ("en-tech-rust.jsonl.gz", 1_000_000),
    "ko": ("ko-tech-rust.jsonl.gz", 150_000),
    "law": ("ko-law-precedents.jsonl.gz", 600_000),
}
LONGEST, SHORTEST = 300, 80  # characters of a paragraph: every model reads it in one piece
MODEL = {
    "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "intermediate_size": 384, "initializer_range": 0.06, "tie_word_embeddings": False,
}  # fmt: skip
VOCAB = 2000
Tree = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """Bits per byte of held-out text, by source and step, and what it cost."""

    bpb: Mapping[str, Mapping[int, float]]
    """``{"law": {0: .., 50: ..}}``; step 0 is the grown model before training."""
    base: Mapping[str, float]
    """The same of the base as it came."""
    steps: int
    tokens: int
    seconds: float


def arguments(doc: str | None) -> argparse.Namespace:
    """``home``, where runs and results of all cases are kept, and ``data``."""
    given = argparse.ArgumentParser(description=doc)
    given.add_argument("home", type=Path)
    given.add_argument("results", type=Path, help="JSON that is written after every case")
    given.add_argument("--data", type=Path, default=Path("../shared/data/corpus"))
    given.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    return given.parse_args()


def write_texts(home: Path, data: Path) -> None:
    """Paragraphs of the corpora to ``home/data``, once."""
    for name, (file, chars) in TEXTS.items():
        target = home / "data" / f"{name}.jsonl"
        if target.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        rows, size = [], 0
        for paragraph in _paragraphs(data / file):
            if size >= chars:
                break
            rows.append(json.dumps({"text": paragraph}, ensure_ascii=False) + "\n")
            size += len(paragraph)
        target.write_text("".join(rows), "utf-8")


def _paragraphs(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as opened:
        for line in opened:
            for block in json.loads(line)["text"].split("\n"):
                text = block.strip()
                while len(text) >= SHORTEST:
                    cut = text.rfind(" ", SHORTEST, LONGEST) if len(text) > LONGEST else len(text)
                    cut = cut if cut > 0 else LONGEST
                    yield text[:cut]
                    text = text[cut:].strip()


def _source(home: Path, name: str, **fields: Any) -> Tree:
    path = (home / "data" / f"{name}.jsonl").resolve()
    return {"path": str(path), "name": name, "clean": None, "personal": None} | fields


def base(home: Path, data: Path, seed: int, **shape: Any) -> Path:
    """The folder of a base trained from random weights on English and a little Korean.

    ``shape``: fields of ``base.scratch`` other than the usual ones.
    """
    write_texts(home, data)
    named = "".join(f"-{key}-{value}" for key, value in sorted(shape.items()))
    folder = home / f"base-{seed}{named}"
    train = {
        "learning_rate": 3e-3, "max_length": 256, "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1, "weight_decay": 0.1, "precision": "fp32", "dedup": None,
        "num_train_epochs": 2, "save_steps": 1000, "eval_steps": 1000,
        "heldout": {"share": 0.02, "max_records": 100},
    }  # fmt: skip
    tree = {
        "samdan": 1, "name": "base", "seed": seed, "decontaminate": None,
        "base": {
            "scratch": MODEL | shape, "tokenizer": {"vocab_size": VOCAB},
            "data": [_source(home, "en"), _source(home, "ko")], "train": train,
        },
        # A recipe has a stage. This one does next to nothing, and not on the target: the
        # tokenizer is trained on the text of all stages.
        "stages": [_stage([_source(home, "en")], max_steps=1)],
    }  # fmt: skip
    execute(parse(json.dumps(tree), "base"), folder, say=lambda text: None)
    return Ledger(folder).model("base").resolve()


def _stage(data: Sequence[Tree], **fields: Any) -> Tree:
    """CPT at this scale. Rules only measure: held-out text before the first step and when due."""
    return {
        "name": "cpt", "data": list(data), "num_train_epochs": 1, "learning_rate": 1e-3,
        "max_length": 256, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
        "warmup_steps": 0.05, "precision": "fp32", "dedup": None, "skip_spikes": None,
        "heldout": {"share": 0.05, "max_records": 100}, "save_steps": 1000, "eval_steps": 50,
        "rules": [{"kind": "forgetting", "tolerance": 1000.0}], "gates": [], "max_responses": 0,
    } | fields  # fmt: skip


def adapt(
    home: Path,
    name: str,
    seed: int,
    model: Path,
    grow: Tree | None = None,
    replay: float | None = 0.1,
    **fields: Any,
) -> Measured:
    """One CPT stage on the court decisions, with English as replay, and what is measured of it.

    ``fields``: of the stage. Runs in ``home/name-seed`` and goes on where it was stopped.
    """
    sources = [_source(home, "law")]
    if replay is not None:
        sources.append(_source(home, "en", role="replay"))
        fields = {"replay_share": replay} | fields
    tree: Tree = {
        "samdan": 1, "name": "grow", "seed": seed, "decontaminate": None,
        "base": {"path": str(model)} | ({"grow": grow} if grow else {}),
        "stages": [_stage(sources, **fields)],
    }  # fmt: skip
    folder = home / f"{name}-{seed}"
    execute(parse(json.dumps(tree), name), folder, say=lambda text: None)
    return measured(folder)


def measured(run: Path, stage: str = "cpt") -> Measured:
    """What a finished run of ``adapt`` says."""
    ledger = Ledger(run)
    rows = list(ledger.metrics(stage))
    points = [(0, ledger.measured_before(stage)), *((row["step"], row) for row in rows)]
    bpb: dict[str, dict[int, float]] = {}
    for step, values in points:
        for key, value in values.items():
            if key.startswith("heldout/") and key.endswith("/bpb"):
                bpb.setdefault(key.split("/")[1], {})[step] = float(value)
    for name, value in _evaluated(ledger, stage).items():
        bpb.setdefault(name, {})[rows[-1]["step"]] = value
    return Measured(
        bpb,
        _evaluated(ledger, "base"),
        rows[-1]["step"],
        rows[-1]["tokens"],
        ledger.done()[f"{stage}/train"].seconds,
    )


def _evaluated(ledger: Ledger, model: str) -> dict[str, float]:
    """Bits per byte of every held-out set; paragraphs fit into one piece, so it is the same
    number as while training."""
    results = json.loads(ledger.evaluation(model).read_text("utf-8"))["results"]
    return {
        row["name"].removesuffix("/bpb"): sum(row["numerators"]) / sum(row["denominators"])
        for row in results
        if row["name"].endswith("/bpb")
    }


class Study:
    """Results by case and seed in one JSON file, written after each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.results: dict[str, dict[str, dict[str, float]]] = (
            json.loads(path.read_text("utf-8")) if path.is_file() else {}
        )

    def measure(self, case: str, seed: int, make: Callable[[], Mapping[str, float]]) -> None:
        """Calls ``make`` unless this case was measured with this seed."""
        known = self.results.setdefault(case, {})
        if str(seed) not in known:
            known[str(seed)] = dict(make())
            write_json(self._path, self.results)
        print(f"{case}, seed {seed}: " + ", ".join(
            f"{key} {value:.4g}" for key, value in known[str(seed)].items()
        ), flush=True)  # fmt: skip

    def values(self, case: str, key: str) -> list[float]:
        """By seed, in the order of the seeds."""
        found = self.results[case]
        return [found[seed][key] for seed in sorted(found, key=int)]

    def table(self, cases: Sequence[str], keys: Mapping[str, str], digits: int = 3) -> str:
        """Markdown: mean and 95% interval over the seeds. ``keys``: result to its heading."""
        lines = [f"| | {' | '.join(keys.values())} |", "|---" * (len(keys) + 1) + "|"]
        for case in cases:
            cells = []
            for key in keys:
                values = [found[key] for found in self.results[case].values() if key in found]
                cells.append(shown(values, digits) if values else "-")
            lines.append(f"| {case} | {' | '.join(cells)} |")
        return "\n".join(lines)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95% interval (Student's t); infinite for one value."""
    if len(values) < 2:
        return statistics.fmean(values), math.inf
    half = T95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half


def paired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Mean difference of two cases on the same seeds, and half the width of its interval."""
    return interval([a - b for a, b in zip(ours, theirs, strict=True)])


def print_paired(study: Study, pairs: Iterable[tuple[str, str]], keys: Sequence[str]) -> None:
    """Differences of the cases of each pair, a line a key."""
    for ours, theirs in pairs:
        for key in keys:
            mean, half = paired(study.values(ours, key), study.values(theirs, key))
            print(f"{ours}, {key}, against {theirs}: {mean:+.4f} ± {half:.4f}")


def shown(values: Sequence[float], digits: int = 3) -> str:
    mean, half = interval(values)
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if math.isfinite(half) else "")
