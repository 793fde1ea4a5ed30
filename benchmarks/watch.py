"""A program in a fresh process: its time, its processor time and its memory, workers included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.train_pipe import processor_seconds

ROOT = Path(__file__).resolve().parent.parent
EVERY_SECONDS = 0.05
MEGABYTE = 1e6


@dataclass(frozen=True)
class Watched:
    """What a program said (the last line it printed) and what it took of memory."""

    said: dict[str, Any]
    peak_mb: float  # resident memory of the process and all below it, added up, at its highest
    own_mb: float  # the same without pages of files: what a mapped file holds can be given back


def watched(module: str, *arguments: str) -> Watched:
    """Runs ``python -m module`` and watches it. Raises RuntimeError with its errors if it fails."""
    command = [sys.executable, "-m", module, *arguments]
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, text=True)
        most, most_own = _peaks(process)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} failed:\n{err.read()[-4000:]}")
        said = json.loads(out.read().splitlines()[-1])
    return Watched(said, round(most / MEGABYTE, 1), round(most_own / MEGABYTE, 1))


def _peaks(process: subprocess.Popen[str]) -> tuple[int, int]:
    most = most_own = 0
    root = psutil.Process(process.pid)
    while process.poll() is None:
        total = own = 0
        try:
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        for one in family:
            try:
                memory = one.memory_info()
            except psutil.NoSuchProcess:
                continue
            total += memory.rss
            own += memory.rss - memory.shared
        most, most_own = max(most, total), max(most_own, own)
        time.sleep(EVERY_SECONDS)
    return most, most_own


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What the work returns, and its seconds by the clock and of the processor, workers too.

    Workers count when they have ended.
    """
    before, started = processor_seconds(), time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    return found, {"seconds": seconds, "cpu_seconds": processor_seconds() - before}


def resident_mb() -> float:
    """Of this process, now."""
    return float(psutil.Process().memory_info().rss / MEGABYTE)


def say(facts: dict[str, Any]) -> None:
    """The last line of a watched program."""
    print(json.dumps(facts, ensure_ascii=False), flush=True)


def middle(values: Sequence[float]) -> float:
    """The median; of an even number the lower one."""
    return sorted(values)[(len(values) - 1) // 2]


def machine() -> dict[str, Any]:
    """The processor, its cores that may be used, and how busy they were when asked."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": sys.version.split()[0],
    }
