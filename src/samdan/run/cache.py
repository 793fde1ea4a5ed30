"""A base that was trained from random weights is kept beside the runs and used again.

Keyed by the step's identity, which holds every input; ``SAMDAN_CACHE`` names the folder, an empty
value turns the cache off.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from samdan.lm.files import cache_folder, write_json
from samdan.lm.model import weights_hash
from samdan.run.context import Run
from samdan.run.steps import Result
from samdan.train import parallel


def load_cached_base(run: Run, identity: str) -> Result | None:
    """Copies a trained base into the run, if this one was trained before and is unchanged."""
    folder = _entry(identity)
    if folder is None or not (folder / "result.json").is_file():
        return None
    saved = json.loads((folder / "result.json").read_text("utf-8"))
    if weights_hash(folder / "model") != saved["output"]:
        run.say("base/train: the cached base is damaged; training it again")
        return None
    final = run.ledger.model("base")
    if parallel.is_main():
        shutil.rmtree(final, ignore_errors=True)
        shutil.copytree(folder / "model", final)
        _restore_metrics(run, folder)
        run.say("base/train: taken from the cache of trained bases")
    parallel.barrier()
    return Result(saved["output"], saved["facts"] | {"cached": True})


def store_base(run: Run, identity: str, result: Result) -> None:
    """Keeps the base for other runs; a full or read-only disk is no reason to fail."""
    folder = _entry(identity)
    if folder is None:
        return
    draft = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.copytree(run.ledger.model("base"), draft / "model")
        rows = list(run.ledger.metrics("base"))
        write_json(draft / "metrics.json", rows)
        write_json(draft / "result.json", {"output": result.output, "facts": result.facts})
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        run.say(f"base/train: not kept for other runs ({error.strerror})")


def _restore_metrics(run: Run, folder: Path) -> None:
    run.ledger.cut_metrics("base", 0)
    with run.ledger.metrics_file.open("a", encoding="utf-8") as opened:
        for row in json.loads((folder / "metrics.json").read_text("utf-8")):
            opened.write(json.dumps(row, ensure_ascii=False) + "\n")


def _entry(identity: str) -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "bases" / identity[:32]
