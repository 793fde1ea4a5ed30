"""What happens when a rule fires: the stage is changed by a response and goes again, or it stops.

A response is first written to ``events.jsonl``, then the stage's results move to ``attempt-N/``;
both are done again, or not at all, after a crash. The recipe as it is carried out is the recipe as
given plus the responses in the events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samdan.lm.files import write_json
from samdan.plan import numbers
from samdan.recipe import AnyStage
from samdan.records import SamdanError, Verdict
from samdan.responses import Response, Rule, first_with_room
from samdan.run.accepted import Responded, accepted, hash_of, shown
from samdan.run.context import Run
from samdan.run.ledger import clean, read_json
from samdan.run.verdicts import verdict_row
from samdan.train import parallel
from samdan.train.state import checkpoint_at

RATES = frozenset([
    "learning_rate", "embedding_lr", "lm_head_lr", "new_rows_lr", "new_layers_lr", "lr_groups",
])  # fmt: skip
RESULTS = ("eval.json", "gate.json", "model", "checkpoints")
Fired = Sequence[tuple[Rule, Verdict]]


class RuleFired(SamdanError):
    """Rules fired in a stage; ``failure`` is raised where nothing answers them."""

    def __init__(self, stage: str, fired: Fired, failure: SamdanError) -> None:
        super().__init__(str(failure))
        self.stage, self.fired, self.failure = stage, fired, failure


def respond(run: Run, fired: RuleFired) -> bool:
    """Answers what fired, if something is left to be tried; True when the stage goes again.

    Called by all processes; the main one decides.
    """
    given = run.given or run.recipe
    if fired.stage not in [stage.name for stage in given.stages]:
        return False  # a base has no parent to go back to
    before = len(run.responses.get(fired.stage, ()))
    parallel.barrier()
    if parallel.is_main():
        _decide(run, given.stage(fired.stage), fired)
    parallel.barrier()
    return len(accepted(run.ledger, given).get(fired.stage, [])) > before


def answer(run: Run, stage: AnyStage, fired: Fired) -> list[tuple[Response, dict[str, Any]]]:
    """One response for each rule that fired and has something left; none once all are spent."""
    before: Sequence[Responded] = run.responses.get(stage.name, ())
    if len(before) >= stage.max_responses or _settled(run, stage.name):
        return []
    spent: list[Any] = [row for response in before for row in response.responses]
    fields = fields_of(stage) | {"templates": read_json(run.ledger.templates(stage.name))}
    found = []
    for rule, verdict in fired:
        tried = first_with_room(rule, verdict, stage.kind, fields, spent)
        if tried is not None:
            spent.append(tried[0].model_dump(mode="json"))
            found.append(tried)
    return found


def fields_of(stage: AnyStage) -> dict[str, Any]:
    """The stage as responses see it."""
    fields = stage.model_dump(mode="json")
    for row, source in zip(fields["data"], stage.data, strict=True):
        row["label"] = source.label
    return fields | {"replay": stage.replay}


def _settled(run: Run, stage: str) -> bool:
    """Whether all attempts failed before, and one of them was chosen."""
    of = hash_of((run.given or run.recipe).stage(stage))
    return any(
        event["event"] == "attempt_chosen" and event.get("stage") == stage and event.get("of") == of
        for event in run.ledger.events()
    )


def _decide(run: Run, given: AnyStage, fired: RuleFired) -> None:
    stage = run.stage(fired.stage)
    answers = answer(run, stage, fired.fired)
    if not answers:
        _settle(run, given)
        return
    changes: dict[str, Any] = {}
    for _, found in answers:
        changes = _merged(changes, found)
    number = run.ledger.next_attempt(stage.name)
    record = Responded(
        stage.name,
        hash_of(given),
        number,
        tuple(verdict_row(verdict) for _, verdict in fired.fired),
        tuple(response.model_dump(mode="json") for response, _ in answers),
        changes,
        _checkpoint(run, stage.name, number, answers, changes, fired.fired),
    )
    event = "response_proposed" if run.dry_responses else "responded"
    run.ledger.record(event, **asdict(record))
    run.say(_told(record, run.dry_responses))


def _checkpoint(
    run: Run,
    stage: str,
    attempt: int,
    answers: Sequence[tuple[Response, Any]],
    changes: Mapping[str, Any],
    fired: Fired,
) -> str | None:
    """Where training goes on from, once the attempt is kept; None: from the parent's model."""
    since = min((verdict.since for _, verdict in fired if verdict.since is not None), default=None)
    asked = any(getattr(response, "back_to", "") == "checkpoint" for response, _ in answers)
    # With other data or another length, the cursor of a checkpoint would point elsewhere.
    if not asked or since is None or not changes.keys() <= RATES:
        return None
    found = checkpoint_at(run.ledger.checkpoints(stage), since)
    return f"{stage}/attempt-{attempt}/checkpoints/{found.name}" if found else None


def _told(record: Responded, dry: bool) -> str:
    names = ", ".join(response["kind"] for response in record.responses)
    why = "; ".join(row["message"] for row in record.rules)
    if dry:
        what = f"Would respond with {names}: {shown(record.changes)} (--dry-run-responses)"
    else:
        start = f" from {Path(record.checkpoint).name}" if record.checkpoint else ""
        what = f"Response: {names}: {shown(record.changes)}; the stage goes again{start}"
    return f"{record.stage}: {why}. {what}"


def keep_attempts(run: Run, responses: Mapping[str, Sequence[Responded]]) -> None:
    """Moves what a responded-to attempt made out of the way; idempotent, so a crash may come."""
    if not parallel.is_main():
        return
    for rows in responses.values():
        for row in rows:
            folder = run.ledger.attempt(row.stage, row.attempt)
            if not (folder / "attempt.json").is_file():
                _keep(run, row.stage, folder, asdict(row))


def _keep(run: Run, stage: str, folder: Path, why: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    home = run.ledger.model(stage).parent
    for name in RESULTS:
        if (home / name).exists():
            (home / name).rename(folder / name)
    rows = list(run.ledger.metrics(stage))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines, "utf-8")
    done = {name: asdict(entry) for name, entry in run.ledger.done().items()}
    mine = {name: row for name, row in done.items() if name.startswith(f"{stage}/")}
    settings = numbers(run.stage(stage))
    write_json(folder / "attempt.json", clean({**why, "settings": settings, "done": mine}))


def _settle(run: Run, given: AnyStage) -> None:
    """All attempts failed: the one with the fewest failed gates stays, of several the one whose
    values lie nearest to the limits, of equals the earliest."""
    before: Sequence[Responded] = run.responses.get(given.name, ())
    if not before or not run.ledger.gate(given.name).is_file() or _settled(run, given.name):
        return
    attempts = [row.attempt for row in before]
    now = run.ledger.next_attempt(given.name)
    failed = {
        number: _failed(_gate_of(run, given.name, number, now)) for number in (*attempts, now)
    }
    beyond = {number: _beyond(_gate_of(run, given.name, number, now)) for number in failed}
    best = min(sorted(failed), key=lambda number: (failed[number], beyond[number]))
    why = "; ".join(
        f"attempt {number}: {_counted(failed[number], beyond[number])}" for number in sorted(failed)
    )
    place = (*attempts, now).index(best) + 1
    if best != now:
        last = run.ledger.attempt(given.name, now)
        _keep(run, given.name, last, {"attempt": now, "stage": given.name})
        _bring_back(run, given.name, run.ledger.attempt(given.name, best))
    run.ledger.record(
        "attempt_chosen",
        stage=given.name,
        of=hash_of(given),
        attempt=place,
        number=best,
        why=why,
    )
    run.say(f"{given.name}: no response is left; attempt {best} is kept ({why})")


def _bring_back(run: Run, stage: str, folder: Path) -> None:
    home = run.ledger.model(stage).parent
    for name in RESULTS:
        if (folder / name).exists():
            (folder / name).rename(home / name)
    for name, row in read_json(folder / "attempt.json").get("done", {}).items():
        run.ledger.record("step_done", step=name, **row)


def _gate_of(run: Run, stage: str, number: int, now: int) -> dict[str, Any]:
    """What an attempt's gates said; empty where it never reached them."""
    place = run.ledger.gate(stage)
    return read_json(place if number == now else run.ledger.attempt(stage, number) / "gate.json")


def _failed(gate: Mapping[str, Any]) -> float:
    """Gates that failed; an attempt that never reached them is the worst."""
    return float(len(gate["why"])) if "why" in gate else float("inf")


def _beyond(gate: Mapping[str, Any]) -> float:
    """How far the failed gates' values lie beyond their limits, in limits, added up."""
    total = 0.0
    for verdict in gate.get("verdicts", []):
        if verdict["fired"]:
            value, limit = verdict["value"], verdict["limit"]
            if value is None or limit is None:  # not measured, or not a number
                return float("inf")
            total += abs(value - limit) / (abs(limit) or 1.0)
    return total


def _counted(failed: float, beyond: float) -> str:
    if failed == float("inf"):
        return "stopped before its gates"
    return f"{failed:.0f} gates failed, by {beyond:.2g} limits"


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    both = {**first, **second}
    if "data" in first and "data" in second:
        labels = first["data"].keys() | second["data"].keys()
        both["data"] = {
            label: {**first["data"].get(label, {}), **second["data"].get(label, {})}
            for label in sorted(labels)
        }
    return both
