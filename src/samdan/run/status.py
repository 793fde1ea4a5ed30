"""`samdan status` and `report`: read the run directory, without torch or the recipe's parser."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from samdan.lm.files import open_regular, parse_json, write_text
from samdan.printing import json_text, printable
from samdan.records import DataError
from samdan.report.live import lines
from samdan.report.numbers import duration
from samdan.run.ledger import Ledger, last_status, read_json
from samdan.run.strangers import understood

STALE = 60.0  # seconds after which a snapshot says how old it is


def status_of(folder: Path) -> dict[str, Any]:
    """What the events and metrics say: steps done, what is going on, the last metrics.

    ``now``: the snapshot that the training writes while it goes on (loss, held-out text, time left,
    memory, rules and how near they are), whatever of it can be read; ``now_age``: its seconds.
    """
    ledger = _existing(folder)
    events = [event for event in ledger.events() if "event" in event]
    began = [
        event for event in events if event["event"] in ("step_begin", "step_done", "step_skipped")
    ]
    active = is_held(folder)
    status = "running" if active else (last_status(events) or "interrupted")
    going = began[-1] if active and began and began[-1].get("event") == "step_begin" else {}
    now = read_json(ledger.now_file)
    is_now = going.get("step") == f"{now.get('stage')}/train"
    return {
        "run": str(folder),
        "status": status,
        "current": going.get("step"),
        "since": going.get("time"),
        "done": list(ledger.done()),
        "last_metrics": last_line(ledger.metrics_file),
        "now": now if is_now else {},
        "now_age": _age(now.get("time")) if is_now else None,
        "fired": [e for e in events if e["event"] == "rule_fired"][-3:],
        "message": next((e.get("text") for e in reversed(events) if e["event"] == "failed"), None),
    }


def last_line(path: Path, size: int = 1 << 16) -> dict[str, Any] | None:
    """The last whole JSON line of a file, read from its end: a run may have millions."""
    if not path.is_file():
        return None
    with open_regular(path, follow=False) as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - size))
        tail = opened.read(size).decode("utf-8", "replace")
    for line in reversed(tail.splitlines()):
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return None


def _age(time: object) -> float | None:
    try:
        then = datetime.fromisoformat(str(time))
        return round((datetime.now(UTC) - then).total_seconds(), 1)
    except (ValueError, TypeError):
        return None


def shown(folder: Path, as_json: bool) -> str:
    """What ``samdan status`` prints."""
    with understood(folder):
        state = status_of(folder)
        if as_json:
            return json_text(state)
        return printable(as_text(state))


def as_text(state: dict[str, Any]) -> str:
    return "\n".join(_told(state))


def _told(state: dict[str, Any]) -> Iterator[str]:
    yield f"{state['run']}: {state['status']}"
    done = state["done"]
    yield f"done: {len(done)} steps, the last {done[-1]}" if done else "done: nothing yet"
    if state["current"]:
        since = _age(state["since"])
        yield f"now: {state['current']}" + (f", for {duration(since)[0]}" if since else "")
    if state["now"]:
        yield from lines(state["now"])
        if (state["now_age"] or 0) > STALE:
            yield f"  (as of {duration(state['now_age'])[0]} ago)"
    elif row := state["last_metrics"]:
        shown = (
            f"{k} {row[k]:.4g}"
            for k in ("loss", "lr", "tokens_per_second")
            if isinstance(row.get(k), int | float)
        )
        yield f"last: {row.get('step_name')} step {row.get('step')}, {', '.join(shown)}"
    for event in state["fired"]:
        yield (
            f"fired: {event.get('rule')} at step {event.get('at')} of {event.get('step')}: "
            f"{event.get('message')}"
        )
    if state["message"] and state["status"] == "stopped":
        yield f"why: {state['message']}"
    if state["status"] in ("interrupted", "preempted"):
        yield "run the same command again to go on"


def again(folder: Path, lang: Literal["en", "ko"] | None = None) -> str:
    """Brings report.html up to date and returns what ``samdan report`` prints.

    ``lang``: the page opens in it whatever the browser's language is.
    """
    with understood(folder):
        return _again(folder, lang)


def _again(folder: Path, lang: Literal["en", "ko"] | None) -> str:
    from samdan.report import render, summary

    ledger = _existing(folder)
    page, data = folder / "report.html", folder / "report.json"
    report = read_json(data)
    if not report or is_held(folder):
        from samdan.run.accepted import accepted, effective
        from samdan.run.loading import load_recipe
        from samdan.run.reporting import write_report

        recipe = load_recipe(ledger.recipe_file)
        report = write_report(ledger, effective(recipe, accepted(ledger, recipe)))
    if lang is not None:
        write_text(page, render(report, lang))
    elif not page.is_file() or page.stat().st_mtime_ns < data.stat().st_mtime_ns:
        write_text(page, render(report))
    return printable(f"{summary(report)}\n{page}")


def _existing(folder: Path) -> Ledger:
    ledger = Ledger(folder)
    if not ledger.events_file.is_file():
        what = (
            "is no run directory (it has no events.jsonl)" if folder.is_dir() else "does not exist"
        )
        raise DataError(f"{folder}: {what}")
    return ledger


def is_held(folder: Path) -> bool:
    """Whether a process is carrying out this run."""
    lock = folder / ".lock"
    if not lock.is_file():
        return False
    with lock.open("r") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
