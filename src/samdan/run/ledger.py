"""The run directory: where everything lies, what happened, and which steps are done.

The only place that knows paths. ``events.jsonl`` is appended to and flushed; the state of a run is
what its events say, so a crash can at worst lose the line that was being written.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from samdan.lm.files import appending, lines_of, open_regular, parse_json, read_regular
from samdan.records import DataError, EnvironmentFailure, Metrics
from samdan.redaction import redacted_values, secrets_of

# What a run's files can hold: a run of a million steps has 400 MB of metrics.
MAX_LINES_FILE = 1 << 33  # bytes
MAX_JSON_FILE = 1 << 30
# By kind of event, what whoever reads it takes for granted, and of what type the rest is if given.
_NUMBER = (int, float)
NEEDED: Mapping[str, Mapping[str, Any]] = {
    "ended": {"seconds": _NUMBER},
    "step_begin": {"step": str},
    "step_skipped": {"step": str},
    "step_done": {"step": str, "identity": str, "components": dict, "output": str},
    "failed": {"text": str},
    "measured_before": {"stage": str, "values": dict},
    "responded": {"stage": str, "of": str, "attempt": int, "rules": list, "responses": list,
                  "changes": dict},
    "attempt_chosen": {"stage": str, "of": str, "attempt": int, "number": int, "why": str},
}  # fmt: skip
IF_GIVEN: Mapping[str, Mapping[str, Any]] = {
    "begin": {"machine": dict},
    "step_done": {"seconds": _NUMBER, "facts": dict},
}


@dataclass(frozen=True)
class Done:
    """A finished step: what it was made of, and the hash of what it made."""

    identity: str
    components: Mapping[str, Any]
    output: str
    seconds: float
    facts: Mapping[str, Any]


class Ledger:
    """Reads and writes one run directory."""

    def __init__(self, folder: Path, writes: bool = True) -> None:
        """``writes``: False in all processes but the main one, where recording does nothing."""
        self.folder = folder
        self._writes = writes
        self._lock: Any = None
        self._metrics: Any = None

    # -- paths ---------------------------------------------------------------------------------
    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def recipe_file(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def now_file(self) -> Path:
        return self.folder / "now.json"

    def tokenizer(self) -> Path:
        return self.folder / "base" / "tokenizer"

    def vocabulary(self) -> Path:
        """The tokenizer with new tokens, where the recipe's ``grow`` asks for some."""
        return self.folder / "base" / "vocabulary"

    def model(self, stage: str) -> Path:
        return self.folder / stage / "model"

    def source(self, stage: str, label: str) -> Path:
        return self.folder / stage / "data" / label

    def clean(self, stage: str, label: str) -> Path:
        return self.source(stage, label) / "clean"

    def copies(self, stage: str) -> Path:
        return self.folder / stage / "copies"

    def templates(self, stage: str) -> Path:
        return self.copies(stage) / "templates.json"

    def guard(self) -> Path:
        return self.folder / "base" / "protected"

    def index(self, stage: str) -> Path:
        return self.folder / stage / "index"

    def manifest(self, stage: str) -> Path:
        return self.folder / stage / "data" / "manifest.json"

    def card(self, stage: str) -> Path:
        return self.folder / stage / "data" / "README.md"

    def reference(self, stage: str) -> Path:
        return self.folder / stage / "data" / "reference.npy"

    def checkpoints(self, stage: str) -> Path:
        return self.folder / stage / "checkpoints"

    def evaluation(self, stage: str) -> Path:
        return self.folder / stage / "eval.json"

    def grown(self) -> Path:
        """What the grown base was measured at before it trained."""
        return self.folder / "base" / "grown.json"

    def gate(self, stage: str) -> Path:
        return self.folder / stage / "gate.json"

    def attempt(self, stage: str, number: int) -> Path:
        """Where an earlier attempt of a stage is kept."""
        return self.folder / stage / f"attempt-{number}"

    def attempts(self, stage: str) -> list[Path]:
        """Earlier attempts of a stage, in order."""
        found = (self.folder / stage).glob("attempt-*")
        return sorted(found, key=lambda path: int(path.name.removeprefix("attempt-")))

    def votes(self) -> Path:
        return self.folder / "judge" / "votes.sqlite"

    def fresh_answers(self) -> Path:
        return self.folder / "judge" / "answers.json"

    def next_attempt(self, stage: str) -> int:
        """The number of the attempt that is under way."""
        return 1 + len(self.attempts(stage))

    def evaluation_cache(self, key: str) -> Path:
        return self.folder / "cache" / "eval" / f"{key}.json"

    # -- one process at a time -------------------------------------------------------------------
    def lock(self) -> None:
        """Claims the directory for this process. Raises EnvironmentFailure naming the holder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = appending(self.folder / ".lock")
        except OSError as error:
            raise EnvironmentFailure(
                f"--out {self.folder}: cannot be written: {error.strerror}"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "another process"
            raise EnvironmentFailure(
                f"{self.folder}: a run is going on here ({holder}); wait for it or choose another "
                f"--out"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._lock.flush()

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    # -- events ----------------------------------------------------------------------------------
    def record(self, event: str, **fields: Any) -> None:
        """Appends an event and makes sure that it is on disk."""
        if not self._writes:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = redacted_values(clean(fields), secrets_of(os.environ))
        line = json.dumps({"time": now, "event": event, **told}, ensure_ascii=False, default=str)
        needs_newline = _lacks_newline(self.events_file)
        with appending(self.events_file) as opened:
            opened.write(("\n" if needs_newline else "") + line + "\n")
            opened.flush()
            os.fsync(opened.fileno())

    def events(self) -> Iterator[dict[str, Any]]:
        """What happened, in order; lines that a crash or a disk has damaged are passed over."""
        yield from filter(_whole, read_lines(self.events_file))

    def done(self) -> dict[str, Done]:
        """The latest completion of every step."""
        found: dict[str, Done] = {}
        for event in self.events():
            if event["event"] == "step_done":
                found[event["step"]] = Done(
                    event["identity"],
                    event["components"],
                    event["output"],
                    float(event.get("seconds", 0.0)),
                    event.get("facts", {}),
                )
        return found

    def begun(self, step: str) -> dict[str, Any] | None:
        """What a step that began and did not end read, where it was written down."""
        found: dict[str, Any] | None = None
        for event in self.events():
            if event.get("step") == step and event.get("event") in ("step_begin", "step_done"):
                found = event.get("components") if event["event"] == "step_begin" else None
        return found

    def outputs(self) -> dict[str, str]:
        """The hash of what every finished step made."""
        return {name: entry.output for name, entry in self.done().items()}

    def measured_before(self, stage: str) -> dict[str, float]:
        """Held-out text before the stage's first step, where a rule asked for it."""
        found: dict[str, float] = {}
        for event in self.events():
            if event.get("event") == "measured_before" and event.get("stage") == stage:
                found = event["values"]
        return found

    # -- metrics ---------------------------------------------------------------------------------
    def add_metrics(self, step_name: str, stage: str, metrics: Metrics) -> None:
        if not self._writes:
            return
        if self._metrics is None:
            needs_newline = _lacks_newline(self.metrics_file)
            self._metrics = appending(self.metrics_file)
            if needs_newline:
                self._metrics.write("\n")
        row = {
            "step_name": step_name,
            "stage": stage,
            "step": metrics.step,
            "tokens": metrics.tokens,
        }
        self._metrics.write(
            json.dumps(row | clean(dict(metrics.values)), ensure_ascii=False) + "\n"
        )
        self._metrics.flush()

    def metrics(self, stage: str | None = None) -> Iterator[dict[str, Any]]:
        for row in read_lines(self.metrics_file):
            if stage is None or row.get("stage") == stage:
                yield row

    def cut_metrics(self, stage: str, after: int) -> None:
        """Forgets a stage's metrics behind a step: they will be measured again."""
        if not self._writes:
            return
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        rows = [r for r in self.metrics() if r.get("stage") != stage or r.get("step", 0) <= after]
        draft = self.metrics_file.with_suffix(".tmp")
        draft.unlink(missing_ok=True)
        with draft.open("x", encoding="utf-8", errors="backslashreplace") as opened:
            opened.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        draft.replace(self.metrics_file)


def last_status(events: Iterable[Mapping[str, Any]]) -> str | None:
    """How the latest attempt ended; None while it goes on, or when it was cut off."""
    status = None
    for event in events:
        if event["event"] in ("begin", "ended"):
            status = event.get("status")
    return status


def _whole(event: Mapping[str, Any]) -> bool:
    """Whether an event has what its kind is read for; a damaged one counts as cut off."""
    kind = event.get("event")
    if not isinstance(kind, str):
        return False
    given = {key: types for key, types in IF_GIVEN.get(kind, {}).items() if key in event}
    wanted = {**NEEDED.get(kind, {}), **given}
    return all(isinstance(event.get(key), types) for key, types in wanted.items())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """JSON lines; a line that a crash cut off is passed over.

    Raises DataError for what is no file, or too large to be one of a run.
    """
    try:
        with open_regular(path, follow=False) as opened:
            if (size := os.fstat(opened.fileno()).st_size) > MAX_LINES_FILE:
                raise DataError(f"{path}: has {size} bytes, more than any run writes")
            for line in lines_of(opened):
                try:
                    row = parse_json(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    yield row
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the run; empty when it is not there (yet), or not whole.

    Raises DataError for what is no file, or too large to be one of a run.
    """
    try:
        value = parse_json(read_regular(path, MAX_JSON_FILE, follow=False))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return value if isinstance(value, dict) else {}


def clean(value: Any) -> Any:
    """The value with what JSON cannot say (NaN, infinities) as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def _lacks_newline(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) != b"\n"


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._start
