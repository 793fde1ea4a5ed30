"""Kills a run at random moments until it is done, and compares its weights with a calm one's.

``make soak`` kills the demo at least 50 times; the tests kill a tiny run ten times. The seed of the
moments is printed, and ``--seed`` repeats them (as far as a machine's speed allows).

    python tests/soak.py --kills 50 --between 4 16 --seed 7
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

OFTEN = [
    f"--set={place}.save_steps=10"
    for place in ("base.train", "stages.cpt", "stages.sft", "stages.dpo")
]


class Started(Protocol):
    """A process and whatever it started."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """SIGKILL, to all of them."""


Start = Callable[[], Started]


class Group(subprocess.Popen[bytes]):
    """A program in a process group of its own, which is killed as a whole."""

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)


@dataclass
class Soaked:
    """What happened: when each process was killed, and how the last one ended."""

    kills: list[float] = field(default_factory=list)
    code: int = 0


def soak(start: Start, rng: random.Random, kills: int, between: Sequence[float]) -> Soaked:
    """Starts, kills after a random time, and starts again; after ``kills`` it is left to end.

    A process that ends by itself before it is killed with anything but 0 is not started again.
    """
    found = Soaked()
    while len(found.kills) < kills:
        process = start()
        delay = rng.uniform(*between)
        try:
            found.code = process.wait(delay)
            return found  # done, or failed, before its time
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            found.kills.append(delay)
    found.code = start().wait()
    return found


def weights(run: Path) -> dict[str, str]:
    """sha256 of every model of a run."""
    return {
        file.relative_to(run).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(run.glob("*/model/*.safetensors"))
    }


def command(recipe: Path, run: Path, log: Path, more: Sequence[str] = ()) -> Start:
    """Starts ``samdan run`` in a process group of its own."""

    def start() -> Started:
        with log.open("ab") as out:
            return Group(
                [sys.executable, "-m", "samdan.cli", "run", recipe, "--out", run, *more],
                stdout=out, stderr=out, start_new_session=True,
                env={**os.environ, "SAMDAN_CACHE": ""},
            )  # fmt: skip

    return start


def main() -> None:
    from samdan.demo.command import write_demo

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--between", type=float, nargs=2, default=(4.0, 16.0), metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--out", type=Path, default=None, help="where the runs go (default: /tmp)")
    args = parser.parse_args()
    folder = args.out or Path(tempfile.mkdtemp(prefix="samdan-soak-"))
    print(f"seed {args.seed}, {args.kills} kills, every {args.between} s, in {folder}", flush=True)
    recipe = write_demo(folder / "demo", seed=42)
    calm, shaken = folder / "calm", folder / "shaken"
    log = folder / "log.txt"
    began = time.monotonic()
    code = command(recipe, calm, log, OFTEN)().wait()
    if code:
        raise SystemExit(f"the undisturbed run ended with {code}; see {log}")
    print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
    rng = random.Random(args.seed)
    began = time.monotonic()
    found = soak(command(recipe, shaken, log, OFTEN), rng, args.kills, args.between)
    print(f"killed {len(found.kills)} times in {time.monotonic() - began:.0f} s", flush=True)
    if found.code:
        raise SystemExit(f"the run ended with {found.code}; see {log}")
    if len(found.kills) < args.kills:
        raise SystemExit(f"done after {len(found.kills)} kills: take shorter times (--between)")
    one, other = weights(calm), weights(shaken)
    if one != other or not one:
        raise SystemExit(f"the weights differ: {one} {other}")
    print(f"the weights of {len(one)} models are those of the undisturbed run, bit for bit")


if __name__ == "__main__":
    main()
