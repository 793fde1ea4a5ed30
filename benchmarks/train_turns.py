"""The sides of a training benchmark as processes that take turns, and do their losses agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.train_figures import Step, differences
from benchmarks.train_side import Spec
from benchmarks.watch import ROOT

Facts = dict[str, Any]
T = TypeVar("T")
FEWEST = 2  # measured steps, whatever the time
# Relative. In fp32 what is left is the order of sums; in bf16 the order of roundings.
TOLERANCE = {False: 1e-4, True: 2e-2}


class SideError(Exception):
    """A side's process ended before its turn did; carries the end of what it wrote to stderr."""


def command(spec: Spec, file: Path) -> list[str]:
    """Under this interpreter the side that imports samdan; under another the program alone."""
    program = f"benchmarks.train_{spec.program}" if spec.python else "benchmarks.train_side"
    return [spec.python or sys.executable, "-m", program, str(file)]


def environment(spec: Spec) -> dict[str, str]:
    """Another interpreter finds `benchmarks`, but neither samdan nor what is installed for it.

    Nor the folder that it is started in, whose files may have a library's name.
    """
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return (
        os.environ
        | {
            "PYTHONPATH": str(ROOT) if spec.python else os.pathsep.join(filter(None, paths)),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        | ({"PYTHONSAFEPATH": "1"} if spec.python else {})
    )


class Running:
    """One side's process, from its start to the end of the block."""

    def __init__(self, name: str, spec: Spec) -> None:
        self.name, self.spec = name, spec

    def __enter__(self) -> Running:
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._errors = self._stack.enter_context((folder / "stderr").open("w+"))
        (folder / "spec.json").write_text(json.dumps(asdict(self.spec)), "utf-8")
        try:
            self._process = subprocess.Popen(
                command(self.spec, folder / "spec.json"), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=self._errors, env=environment(self.spec), text=True,
            )  # fmt: skip
        except OSError as error:
            self._stack.close()
            raise SideError(f"{self.name} did not start: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._stack.close()

    def turn(self) -> Facts:
        """Lets the side do its next thing; returns what it took. Raises SideError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is found below
        return self.heard()

    def heard(self) -> Facts:
        """What the side says without being asked: that it is ready."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            raise SideError(f"{self.name} ended with {code}:\n{self._errors.read()[-3000:]}")
        facts: Facts = json.loads(line)
        return facts


@dataclass
class Trace:
    """What a side said in one round: ready, begun, then one entry a step, the warm-up first."""

    about: Facts
    begun: Facts = field(default_factory=dict)
    turns: list[Facts] = field(default_factory=list)

    @property
    def peak_mb(self) -> float:
        return float(max(facts["peak_mb"] for facts in [self.about, self.begun, *self.turns]))

    def steps(self, tokens: Sequence[int]) -> list[Step]:
        """The measured steps; the reference pass is dealt to all steps by their ``tokens``."""
        reference = self.begun.get("reference") or {"seconds": 0.0, "cpu_seconds": 0.0}
        whole = sum(tokens)
        return [
            Step(
                facts["seconds"],
                facts["cpu_seconds"],
                facts["loss"],
                reference["seconds"] * own / whole,
                reference["cpu_seconds"] * own / whole,
            )
            for facts, own in list(zip(self.turns, tokens, strict=False))[1:]
        ]


class Agreement:
    """Holds every side's loss to samdan's, which is heard first. Raises SystemExit."""

    def __init__(self, bf16: bool) -> None:
        self.tolerance = TOLERANCE[bf16]
        self.losses: dict[str, dict[str, float]] = {}

    def hear(self, what: str, name: str, loss: float) -> None:
        heard = self.losses.setdefault(what, {})
        heard[name] = loss
        apart = differences(heard).get(name, 0.0)
        if not apart <= self.tolerance:
            raise SystemExit(
                f"{what}: {name} computes a loss of {loss:.6g} where samdan computes "
                f"{heard['samdan']:.6g}; they must agree within {self.tolerance:g} of it before "
                f"anything is timed"
            )

    def largest(self) -> dict[str, float]:
        """The largest relative difference of each comparison."""
        return {
            what: max(differences(heard).values(), default=0.0)
            for what, heard in self.losses.items()
        }


def run_round(
    specs: Mapping[str, Spec],
    agreement: Agreement | None = None,
    enough: Callable[[int, float], bool] = lambda measured, seconds: False,
    failed: dict[str, str] | None = None,
) -> dict[str, Trace]:
    """All given sides at once, each waiting while another works; the order turns every step.

    ``enough`` is asked after every measured step: so many are done, the last one took all sides so
    many seconds. With ``failed`` a peer that does not start or begin is noted there and left out.
    Raises SideError, and SystemExit where losses differ.
    """
    with ExitStack() as stack:
        sides = _each(specs, lambda name: stack.enter_context(Running(name, specs[name])), failed)
        traces = _each(sides, lambda name: Trace(sides[name].heard()), failed)

        def begin(name: str) -> Trace:
            begun = sides[name].turn()
            if agreement is not None:
                agreement.hear("check", name, begun["checked_loss"])
            return replace(traces[name], begun=begun)

        traces = _each(traces, begin, failed)
        for number in range(next(iter(specs.values())).steps):
            started = time.perf_counter()
            names = list(traces)
            for name in names if number % 2 == 0 else reversed(names):
                traces[name].turns.append(facts := sides[name].turn())
                if number == 0 and agreement is not None:
                    agreement.hear("first step", name, facts["loss"])
            if number and enough(number, time.perf_counter() - started):
                break
    return traces


def _each(
    names: Iterable[str], act: Callable[[str], T], failed: dict[str, str] | None
) -> dict[str, T]:
    """What ``act`` returns for every name; with ``failed``, peers whose turn fails go there."""
    found: dict[str, T] = {}
    for name in names:
        try:
            found[name] = act(name)
        except SideError as error:
            if failed is None or name == "samdan":
                raise
            leave_out(name, error, failed)
    return found


def leave_out(name: str, error: SideError, failed: dict[str, str]) -> None:
    failed[name] = last_line(error)
    print(f"left out: {name}: {failed[name]}", flush=True)


def run_alone(
    specs: Mapping[str, Spec], agreement: Agreement, failed: dict[str, str]
) -> dict[str, Trace]:
    """The same, but one process after another: for models of which only one fits the memory.

    A peer that ends early, most often for want of memory, is noted in ``failed`` and left out from
    then on.
    """
    found: dict[str, Trace] = {}
    for name, spec in specs.items():
        if name in failed:
            continue
        try:
            found |= run_round({name: spec}, agreement)
        except SideError as error:
            if name == "samdan":
                raise
            leave_out(name, error, failed)
    return found


def last_line(error: SideError) -> str:
    return str(error).strip().splitlines()[-1][:200]
