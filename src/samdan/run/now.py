"""Where the training stands: ``now.json``, which `samdan status` and `samdan watch` read.

A few numbers of the last moments, written whole at most once a second. Nothing depends on it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from samdan.lm.files import write_json
from samdan.run.ledger import Ledger, clean

EVERY = 1.0  # seconds between two snapshots
RECENT = 128  # steps over which time left, loss and speed are taken
POINTS = 48  # of a curve that shows where the loss goes
_HELDOUT = "heldout/"


class Trend:
    """A curve of any length as at most ``POINTS`` means of equal parts."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._part: list[float] = []
        self._size = 1

    def add(self, value: float) -> None:
        self._part.append(value)
        if len(self._part) < self._size:
            return
        self._means.append(fmean(self._part))
        self._part.clear()
        if len(self._means) == POINTS:
            self._means = [fmean(pair) for pair in zip(self._means[::2], self._means[1::2],
                                                       strict=True)]  # fmt: skip
            self._size *= 2

    @property
    def values(self) -> list[float]:
        return [*self._means, *([fmean(self._part)] if self._part else [])]


class Now:
    """Takes the row of every optimizer step and keeps the snapshot up to date."""

    def __init__(
        self,
        ledger: Ledger,
        memory: Callable[[], Mapping[str, int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._memory = memory or usage
        self._clock = clock
        self._written = -math.inf
        self._begin("")

    def _begin(self, stage: str) -> None:
        self._stage = stage
        self._trend = Trend()
        self._heldout: dict[str, dict[str, list[float]]] = {}
        self._moments: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self._losses: deque[float] = deque(maxlen=RECENT)
        self._speeds: deque[float] = deque(maxlen=RECENT)
        self._used: Mapping[str, int] = {}

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``row``: stage, step, of, tokens, rules and what the step measured; returns the state."""
        if row["stage"] != self._stage:
            self._begin(row["stage"])
            self._look_back(row["step"])
        self._take(row)
        self._moments.append((self._clock(), row["step"]))
        due = self._moments[-1][0] - self._written >= EVERY or row["step"] == row["of"]
        if due:
            self._used = self._memory()
        state = self._state(row)
        if due:
            self._written = self._moments[-1][0]
            # A full disk stops the run where something is lost by it; this is for looking at.
            with contextlib.suppress(OSError):
                write_json(self._ledger.now_file, state)
        return state

    def _look_back(self, step: int) -> None:
        """What was measured of the stage before: at its start, and before a resume."""
        start = self._ledger.measured_before(self._stage)
        if start:
            self._take({"step": 0, **start})
        if step > 1:
            for row in self._ledger.metrics(self._stage):
                if row["step"] < step:
                    self._take(row)
            self._speeds.clear()

    def _take(self, row: Mapping[str, Any]) -> None:
        loss, speed = row.get("loss"), row.get("tokens_per_second")
        if isinstance(loss, float) and math.isfinite(loss):
            self._trend.add(loss)
            self._losses.append(loss)
        if isinstance(speed, float):
            self._speeds.append(speed)
        for key, value in row.items():
            if key.startswith(_HELDOUT):
                name = key.removeprefix(_HELDOUT)
                curve = self._heldout.setdefault(name, {"step": [], "value": []})
                curve["step"].append(row["step"])
                curve["value"].append(value)

    def _state(self, row: Mapping[str, Any]) -> dict[str, Any]:
        (began, first), (now, step) = self._moments[0], self._moments[-1]
        each = (now - began) / (step - first) if step > first else None
        return clean(
            {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                **{key: row.get(key) for key in ("stage", "step", "of", "tokens", "lr")},
                "loss": fmean(list(self._losses)[-16:]) if self._losses else None,
                "losses": self._trend.values,
                "tokens_per_second": median(self._speeds) if self._speeds else None,
                "seconds_per_step": each,
                "seconds_left": None if each is None else each * (row["of"] - step),
                "heldout": {
                    name: {key: values[-POINTS:] for key, values in curve.items()}
                    for name, curve in self._heldout.items()
                },
                "memory": dict(self._used),
                "rules": list(row.get("rules", ())),
            }
        )


def usage() -> dict[str, int]:
    """Bytes that this process uses of the host's memory, and of its GPU's where it has one."""
    found = {}
    for path, line, key in (
        ("/proc/self/status", "VmRSS:", "host"),
        ("/proc/meminfo", "MemTotal:", "host_total"),
    ):
        with contextlib.suppress(OSError):
            for row in Path(path).read_text().splitlines():
                if row.startswith(line):
                    found[key] = int(row.split()[1]) * 1024
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found |= {"device": total - free, "device_total": total}
    return found
