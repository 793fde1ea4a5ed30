"""Runs targets on changed inputs and says what is wrong: traceback, hang, silent loss, bad exit.

A target is a context that gives a function of a random generator. The function makes one changed
input, hands it to samdan and returns how that ended; it raises ``Wrong`` where something is lost or
an outcome is not of the documented kind. Every other exception is a finding too.
"""

from __future__ import annotations

import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

Case = Callable[[random.Random], str]
Target = Callable[[], AbstractContextManager[Case]]
MAX_SECONDS = 30  # of processor time for a case
MAX_WALL_SECONDS = 900  # a reader's own process may take 300, and other programs use the machine


class Wrong(AssertionError):
    """Something is lost, or an outcome is not of the documented kind."""


class Hang(BaseException):
    """A case took too long. No Exception: nothing may take it for an ordinary failure."""


@dataclass
class Found:
    """What a target was put through."""

    cases: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By what and where: the seed of its first case, and the traceback."""


def run(name: str, target: Target, cases: int, seed: int, seconds: float) -> Found:
    """At most ``cases`` cases, and no new one ``seconds`` after the first."""
    found = Found()
    with target() as case:
        start = time.monotonic()
        until = start + seconds
        for number in range(cases):
            if time.monotonic() > until:
                break
            key = f"{name}:{seed}:{number}"
            try:
                with _time_limit():
                    found.outcomes[case(random.Random(key))] += 1
            except (Exception, Hang) as error:
                found.failures.setdefault(_where(error), (key, traceback.format_exc()))
                found.outcomes["FAILED"] += 1
            found.cases += 1
        found.seconds = time.monotonic() - start
    return found


def again(target: Target, key: str) -> str:
    """One case by its key, without a safety net."""
    with target() as case:
        return case(random.Random(key))


def summary(found: Mapping[str, Found]) -> str:
    lines = []
    for name, one in found.items():
        counts = ", ".join(f"{what} {n}" for what, n in one.outcomes.most_common(6))
        lines.append(f"{name:12} {one.cases:6} cases {one.seconds:6.0f} s   {counts}")
    total = sum(one.cases for one in found.values())
    bad = sum(len(one.failures) for one in found.values())
    return "\n".join([*lines, f"{total} cases, {bad} different failures"])


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang(f"more than {MAX_SECONDS} seconds of processor time, or {MAX_WALL_SECONDS}")

    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, MAX_SECONDS),
        (signal.SIGALRM, signal.ITIMER_REAL, MAX_WALL_SECONDS),
    )
    before = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/samdan/" in f.filename] or frames
    last = ours[-1]
    return f"{type(error).__name__} in {last.filename.rpartition('/')[2]}:{last.name}"
