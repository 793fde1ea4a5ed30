"""Where the numbers of a run go while it goes on: a snapshot, the terminal, and trackers.

A tracker works in a thread of its own: one that is slow, hangs or fails never holds up a step.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from samdan.run.ledger import Ledger
from samdan.run.now import Now
from samdan.run.trackers import Opened, opened, require
from samdan.trackers import Tracker

WAITING = 4096  # rows that a slow tracker may be behind; further ones are left out, and it is said
PATIENCE = 30.0  # seconds that a tracker has at the end to send what it has
_NO_NUMBERS = frozenset({"step", "of", "logging_steps"})


class Beside:
    """A tracker in a thread of its own."""

    def __init__(self, kind: str, make: Callable[[], Opened]) -> None:
        self.kind = kind
        self.fault: str | None = None
        self.left_out = 0
        self._make = make
        self._rows: queue.Queue[tuple[str, int, Mapping[str, float]] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name=f"report_to {kind}", daemon=True)
        self._thread.start()

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if self.fault is None:
            try:
                self._rows.put_nowait((stage, step, values))
            except queue.Full:
                self.left_out += 1

    def close(self, patience: float = PATIENCE) -> None:
        """Waits for what is still to be sent, but not for ever."""
        if self.fault is None:
            try:
                self._rows.put(None, timeout=patience)
            except queue.Full:
                self.fault = f"was still {WAITING} rows behind at the end"
                return
        self._thread.join(patience)
        if self._thread.is_alive():
            self.fault = f"did not finish within {patience:.0f} seconds; its last rows may be lost"

    def _work(self) -> None:
        try:
            tracker = self._make()
            while (row := self._rows.get()) is not None:
                tracker.log(*row)
            tracker.close()
        except Exception as error:  # a program of someone else's, which must not end the run
            self.fault = f"{type(error).__name__}: {error}"


class Sinks:
    """Takes the row of every optimizer step and what was measured after a stage."""

    def __init__(
        self,
        ledger: Ledger,
        trackers: Sequence[Tracker],
        say: Callable[[str], None],
        show: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """``show``: what is done with a row for a person."""
        self._ledger = ledger
        self._wanted = trackers
        self._say = say
        self._show = show
        self._now = Now(ledger)
        self._open: list[Beside] = []
        self._losses: list[float] = []  # since the last row that trackers were given
        self._last: dict[str, int] = {}

    def begin(self, name: str) -> None:
        """Opens the trackers. Raises EnvironmentFailure where the library of one is missing."""
        for tracker in self._wanted:
            require(tracker)
        for tracker in self._wanted:

            def make(tracker: Tracker = tracker) -> Opened:
                return opened(tracker, name, self._ledger.folder)

            self._open.append(Beside(tracker.kind, make))

    def row(self, row: Mapping[str, Any]) -> None:
        self._show({**row, "now": self._now(row)})
        self._last[row["stage"]] = row["step"]
        self._losses.append(row["loss"])
        heldout = any(name.startswith("heldout/") for name in row)
        if row["step"] % row["logging_steps"] == 0 or row["step"] == row["of"] or heldout:
            self._send(row["stage"], row["step"], {**row, "loss": fmean(self._losses)})
            self._losses.clear()

    def results(self, stage: str, metrics: Mapping[str, Any]) -> None:
        """``metrics``: of gate.json, after a stage was measured."""
        values = {f"eval/{name}": found.get("after") for name, found in metrics.items()}
        self._send(stage, self._last.get(stage, 0), values)

    def end(self) -> None:
        for tracker in self._open:
            tracker.close()
        self._tell()

    def _send(self, stage: str, step: int, values: Mapping[str, Any]) -> None:
        told = {
            name: float(value)
            for name, value in values.items()
            if name not in _NO_NUMBERS and isinstance(value, int | float) and math.isfinite(value)
        }
        for tracker in self._open:
            tracker.log(stage, step, told)
        self._tell()

    def _tell(self) -> None:
        """What failed, once; training goes on without it."""
        for tracker in [one for one in self._open if one.fault or one.left_out > 0]:
            why = tracker.fault or f"could not keep up; rows left out so far: {tracker.left_out}"
            text = f"report_to: {tracker.kind} {why}; the run goes on, metrics.jsonl has everything"
            self._ledger.record("tracker_failed", tracker=tracker.kind, text=why)
            self._say(text)
            if tracker.fault:
                self._open.remove(tracker)
            tracker.left_out = 0
