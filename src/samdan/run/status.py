"""`samdan status` and `report`: read the run directory, without torch or the recipe's parser."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

from samdan.lm.files import write_text
from samdan.records import DataError
from samdan.run.ledger import Ledger, last_status, read_json


def status_of(folder: Path) -> dict[str, Any]:
    """What the events and metrics say: steps done, what is going on, the last metrics."""
    ledger = _existing(folder)
    events = list(ledger.events())
    began = [
        event for event in events if event["event"] in ("step_begin", "step_done", "step_skipped")
    ]
    active = _is_held(folder)
    status = "running" if active else (last_status(events) or "interrupted")
    current = began[-1]["step"] if active and began and began[-1]["event"] == "step_begin" else None
    last = None
    for last in ledger.metrics():  # noqa: B007 - the last row is wanted
        pass
    return {
        "run": str(folder),
        "status": status,
        "current": current,
        "done": list(ledger.done()),
        "last_metrics": last,
        "message": next((e.get("text") for e in reversed(events) if e["event"] == "failed"), None),
    }


def shown(folder: Path, as_json: bool) -> str:
    """What ``samdan status`` prints."""
    state = status_of(folder)
    if as_json:
        return json.dumps(state, ensure_ascii=False, indent=1)
    return printable(as_text(state))


def printable(text: str) -> str:
    """Text from data without control characters that a terminal would obey."""
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def as_text(state: dict[str, Any]) -> str:
    lines = [
        f"{state['run']}: {state['status']}",
        f"done: {', '.join(state['done']) or 'nothing yet'}",
    ]
    if state["current"]:
        lines.append(f"now: {state['current']}")
    row = state["last_metrics"]
    if row:
        shown = (
            f"{k} {row[k]:.4g}"
            for k in ("loss", "lr", "tokens_per_second")
            if row.get(k) is not None
        )
        lines.append(f"last: {row['step_name']} step {row['step']}, {', '.join(shown)}")
    if state["message"] and state["status"] == "stopped":
        lines.append(f"why: {state['message']}")
    if state["status"] in ("interrupted", "preempted"):
        lines.append("run the same command again to go on")
    return "\n".join(lines)


def again(folder: Path) -> str:
    """Brings report.html up to date and returns what ``samdan report`` prints."""
    from samdan.report import render, summary

    ledger = _existing(folder)
    page, data = folder / "report.html", folder / "report.json"
    report = read_json(data)
    if not report or _is_held(folder):
        from samdan.run.accepted import accepted, effective
        from samdan.run.loading import load_recipe
        from samdan.run.reporting import write_report

        recipe = load_recipe(ledger.recipe_file)
        report = write_report(ledger, effective(recipe, accepted(ledger, recipe)))
    elif not page.is_file() or page.stat().st_mtime_ns < data.stat().st_mtime_ns:
        write_text(page, render(report))
    return f"{printable(summary(report))}\n{page}"


def _existing(folder: Path) -> Ledger:
    ledger = Ledger(folder)
    if not ledger.events_file.is_file():
        what = (
            "is no run directory (it has no events.jsonl)" if folder.is_dir() else "does not exist"
        )
        raise DataError(f"{folder}: {what}")
    return ledger


def _is_held(folder: Path) -> bool:
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
