"""How fast data are prepared, in how much memory, and next to datatrove.

``python -m benchmarks.prepare [--quick]``: every step of ``samdan prepare`` in a fresh process, at
sizes two orders of magnitude apart (``--quick``: a factor of four); then FineWeb2's Korean filters
and the search for near copies by samdan and by datatrove, in turn, on the same documents. Texts are
those of ``../shared/data`` where it lies beside the checkout, else generated ones. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import (
    identity,
    originals,
    shared_data,
    sized,
    with_copies,
    without_trailing_space,
    write_lines,
    write_parquet,
)
from benchmarks.watch import ROOT, machine, middle, watched

SEED = 7
VERBS = ("clean", "copies", "protect", "prepare", "mix")
# Each side of the comparison: our part of 4 MB cannot be shared by two, and a second worker of
# theirs would load a second analyser, which is no part of what a megabyte takes.
PEER_WORKERS = 1
COPIES = 0.05  # of the documents that both programs look for copies in
VOCABULARY = 8000  # of the tokenizer that is trained where no real one is at hand
Row = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """Sizes in megabytes of UTF-8 text."""

    sizes: tuple[float, ...]
    peer: float
    rounds: int


FULL = Scale((10, 100, 1000), 8, 3)
QUICK = Scale((5, 20), 1, 1)


def measure_steps(texts: Sequence[str], tokenizer: Path, size: float, workers: int) -> Row:
    """All steps at one size, and what a run takes to begin when they are done."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        number, num_bytes = write_lines(sized(texts, int(size * 1e6), SEED), folder / "texts")
        recipe = folder / "recipe.yaml"
        recipe.write_text(json.dumps(_recipe(folder / "texts", tokenizer)), "utf-8")
        place = str(recipe), str(folder / "run")
        steps = {}
        for verb in VERBS:
            seen = watched("benchmarks.prepare_step", *place, verb, str(workers))
            took = seen.said | {"peak_mb": seen.peak_mb, "own_mb": seen.own_mb}
            steps[verb] = {name: round(value, 3) for name, value in took.items()}
            print(f"{size:g} MB, {verb}: {steps[verb]}", flush=True)
        start = watched("benchmarks.prepare_step", *place, "start", str(workers)).said
    print(f"{size:g} MB, start: {start}", flush=True)
    return {"mb": num_bytes / 1e6, "documents": number, "steps": steps, "start": start}


def _recipe(texts: Path, tokenizer: Path) -> dict[str, Any]:
    filters = [{"kind": "preset", "name": "technical-ko"}]
    source = {"path": str(texts), "name": "texts", "filters": filters}
    return {
        "samdan": 1,
        "name": "measured",
        "seed": SEED,
        "base": {"path": "no/model", "tokenizer": {"path": str(tokenizer)}},
        "stages": [{"name": "cpt", "data": [source]}],
    }


def speeds(row: Row, workers: int) -> dict[str, dict[str, float]]:
    """Megabytes a second and core by step: by the clock (over all workers), and of processor."""
    return {
        verb: {
            "wall": round(row["mb"] / took["seconds"] / workers, 3),
            "cpu": round(row["mb"] / took["cpu_seconds"], 3),
        }
        for verb, took in [*row["steps"].items(), ("all", _summed(row))]
    }


def _summed(row: Row) -> dict[str, float]:
    steps = row["steps"].values()
    return {name: sum(step[name] for step in steps) for name in ("seconds", "cpu_seconds")}


def linearity(first: Row, last: Row) -> dict[str, float]:
    """Processor time a megabyte at the largest size over that at the smallest: 1 is linear."""

    def cost(row: Row, verb: str) -> float:
        took = _summed(row) if verb == "all" else row["steps"][verb]
        return float(took["cpu_seconds"] / row["mb"])

    return {verb: round(cost(last, verb) / cost(first, verb), 3) for verb in (*VERBS, "all")}


def memory_ratio(first: Row, last: Row) -> dict[str, float]:
    """Peak memory at the largest size over that at the smallest: 1 is flat."""
    ratios = {
        verb: round(last["steps"][verb]["peak_mb"] / first["steps"][verb]["peak_mb"], 3)
        for verb in VERBS
    }
    most = [max(step["peak_mb"] for step in row["steps"].values()) for row in (first, last)]
    return ratios | {"all": round(most[1] / most[0], 3)}


# --- next to datatrove ----------------------------------------------------------------------------


def measure_peer(texts: Sequence[str], size: float, rounds: int) -> dict[str, Any]:
    """Both programs in turn; what both keep is compared before their times are."""
    plain = map(without_trailing_space, sized(texts, int(size * 1e6), SEED + 1))
    chosen = with_copies(list(plain), COPIES, SEED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_parquet(chosen, folder / "texts", PEER_WORKERS)
        found = {job: _compared(job, folder, rounds) for job in ("filters", "dedup")}
    planted = [identity(text) for text in chosen]
    megabytes = sum(len(text.encode()) for text in chosen) / 1e6
    about = {"mb": megabytes, "documents": len(planted), "planted": round(COPIES * len(planted))}
    return about | found


def _compared(job: str, folder: Path, rounds: int) -> dict[str, Any]:
    took: dict[str, list[Mapping[str, Any]]] = {"samdan": [], "datatrove": []}
    for _ in range(rounds):
        for side, rows in took.items():
            out = folder / f"{side}-{job}"
            arguments = side, job, str(folder / "texts"), str(out), str(PEER_WORKERS)
            seen = watched("benchmarks.prepare_peer", *arguments)
            rows.append(seen.said | {"peak_mb": seen.peak_mb})
            shutil.rmtree(out)
    kept = {name: rows[0]["kept"] for name, rows in took.items()}
    found: dict[str, Any] = {
        "kept": {name: len(ids) for name, ids in kept.items()},
        "differ": len(set(kept["samdan"]) ^ set(kept["datatrove"])),
    }
    found["cpu_rounds"] = {
        name: [round(row["cpu_seconds"], 2) for row in rows] for name, rows in took.items()
    }
    for measure in ("seconds", "cpu_seconds", "peak_mb"):
        found[measure] = {
            name: round(middle([row[measure] for row in rows]), 2) for name, rows in took.items()
        }
    for name, measure in (("wall", "seconds"), ("cpu", "cpu_seconds")):
        found[name] = round(found[measure]["datatrove"] / found[measure]["samdan"], 2)
    print(f"{job} next to datatrove: {found}", flush=True)
    return found


# --- all of it ------------------------------------------------------------------------------------


def tokenizer_in(data: Path | None, texts: Sequence[str], folder: Path) -> Path:
    """Qwen2.5's vocabulary where it is at hand; else a small one, trained on some of the texts."""
    if data is not None:
        return data / "tokenizers" / "qwen2.5"
    from samdan.lm.tokenizer import train_tokenizer

    train_tokenizer(texts[:500], VOCABULARY).save_pretrained(folder)
    return folder


def measured(
    data: Path | None, scale: Scale, workers: int, next_to_datatrove: bool = True
) -> dict[str, Any]:
    """Everything that the last line says."""
    before = machine()
    texts = originals(data)
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = tokenizer_in(data, texts, Path(temporary))
        rows = [measure_steps(texts, tokenizer, size, workers) for size in scale.sizes]
    peer = measure_peer(texts, scale.peer, scale.rounds) if next_to_datatrove else {}
    first, last = rows[0], rows[-1]
    return {
        "mb_per_s_per_core": speeds(last, workers),
        "seconds": {f"{row['mb']:.0f}": _summed(row)["seconds"] for row in rows},
        "peak_mb": {
            f"{row['mb']:.0f}": max(step["peak_mb"] for step in row["steps"].values())
            for row in rows
        },
        "memory_ratio": memory_ratio(first, last),
        "linearity": linearity(first, last),
        "start_seconds": {f"{row['mb']:.0f}": round(row["start"]["seconds"], 3) for row in rows},
        "vs_datatrove": {
            job: {"wall": peer[job]["wall"], "cpu": peer[job]["cpu"]}
            for job in ("filters", "dedup")
            if job in peer
        },
        "datatrove": peer,
        "sizes": rows,
        "texts": "generated" if data is None else "real",
        "workers": workers,
        "machine": before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 and 20 MB")
    parser.add_argument("--data", type=Path, default=shared_data(ROOT), help="real data")
    parser.add_argument("--sizes", type=float, nargs="+", help="megabytes, ascending")
    parser.add_argument("--peer", type=float, help="megabytes for the comparison; 0: none")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    plain = QUICK if given.quick else FULL
    peer = plain.peer if given.peer is None else given.peer
    scale = Scale(tuple(given.sizes or plain.sizes), peer, given.rounds or plain.rounds)
    found = measured(given.data, scale, given.workers, peer > 0)
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
