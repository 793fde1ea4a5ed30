"""The run directory to report.json and report.html; works on a half-finished run, without torch."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samdan import __version__
from samdan.lm.files import open_regular, parse_json, read_regular, write_text
from samdan.recipe import AnyStage, Recipe, ScratchBase
from samdan.redaction import redacted_values, secrets_of
from samdan.report import data_card, render
from samdan.report.stability import share_beyond
from samdan.run.accepted import shown
from samdan.run.curves import Curves, Reader
from samdan.run.examples import examples
from samdan.run.growth_report import growth_facts
from samdan.run.judging import votes_told
from samdan.run.ledger import Done, Ledger, clean, last_status, read_json
from samdan.run.loading import MAX_RECIPE
from samdan.run.phases import phases_of
from samdan.schedule import warmup_length

MAX_HEADER = 100_000_000  # bytes of a safetensors header, as the format itself bounds it
SETTINGS = (
    "learning_rate", "num_train_epochs", "per_device_train_batch_size",
    "gradient_accumulation_steps", "warmup_steps", "lr_scheduler_type", "max_length",
    "embedding_lr", "lm_head_lr", "new_rows_lr", "new_layers_lr", "weight_decay", "dropout",
    "beta", "loss_type", "nll_weight",
)  # fmt: skip


def write_report(ledger: Ledger, recipe: Recipe) -> dict[str, Any]:
    """Assembles and writes both files; returns the content of report.json.

    A data card is written beside its data, but never through a link out of the run.
    """
    report = redacted_values(assemble(ledger, recipe), secrets_of(os.environ))
    text = json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_text(ledger.folder / "report.json", text)
    write_text(ledger.folder / "report.html", render(report))
    for stage in report["stages"]:
        place = ledger.card(stage["name"]).parent.resolve()
        if stage["data"] and place.is_relative_to(ledger.folder.resolve()):
            card = data_card(recipe.name, stage["name"], stage["data"])
            write_text(ledger.card(stage["name"]), card)
    return report


def assemble(
    ledger: Ledger, recipe: Recipe, curves: Mapping[str, Curves] | None = None
) -> dict[str, Any]:
    """What report.json holds. ``curves``: by stage, where they have been read already."""
    if curves is None:
        curves = Reader(ledger.metrics_file).read()
    events = list(ledger.events())
    done = ledger.done()
    ended = [event for event in events if event["event"] == "ended"]
    began = [event for event in events if event["event"] == "begin"]
    failures = [event for event in events if event["event"] == "failed"]
    stages = [
        _stage(ledger, stage, done, curves.get(stage.name) or Curves())
        for stage in recipe.all_stages()
    ]
    status = last_status(events) or "running"
    message = failures[-1]["text"] if failures and status == "stopped" else _gate_message(stages)
    return clean(
        {
            "samdan": 1,
            "version": __version__,
            "name": recipe.name,
            "status": status,
            "message": message if status != "done" else "",
            "wall_seconds": round(sum(float(event["seconds"]) for event in ended), 1),
            "seed": recipe.seed,
            "notes": list(recipe.notes),
            "machine": began[-1].get("machine", {}) if began else {},
            "model": _model(ledger, recipe),
            "recipe": _text(ledger.recipe_file),
            "stages": stages,
            "growth": growth_facts(ledger, recipe),
            "samples": examples(ledger, recipe),
            "votes": votes_told(ledger),
            "lineage": _lineage(events, done),
            "events": _events(events),
        }
    )


def _stage(
    ledger: Ledger, stage: AnyStage, done: Mapping[str, Done], curves: Curves
) -> dict[str, Any]:
    name = stage.name
    trained = done.get(f"{name}/train")
    gate = read_json(ledger.gate(name)) if f"{name}/gate" in done else {}
    manifest = read_json(ledger.manifest(name))
    facts = trained.facts if trained else {}
    dropped: dict[str, int] = {}
    for account in manifest.get("by_source", {}).values():
        for reason, number in account["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + number
    dumped = stage.model_dump(mode="json")
    phases = getattr(stage, "unfreeze", None) or ()
    rows = list(ledger.metrics(name)) if phases else []
    if facts.get("steps"):  # as it really was, not as it was asked for
        dumped["warmup_steps"] = warmup_length(stage, int(facts["steps"]))
    return {
        "name": name,
        "kind": stage.kind,
        "status": _status(trained, gate, bool(curves.steps), name == "base"),
        "seconds": trained.seconds if trained else None,
        "steps": facts.get("steps"),
        "loss_beyond_3_sigma": share_beyond(curves.values("loss")),
        "tokens_per_second": _median(curves.values("tokens_per_second")),
        "settings": {k: dumped[k] for k in SETTINGS if dumped.get(k) is not None}
        | {"units_per_step": stage.units_per_step}
        | {k: ", ".join(dumped[k]) for k in ("train_only", "freeze") if dumped[k]}
        | {k: facts[k] for k in ("precision", "micro_batch_tokens") if k in facts},
        "tokens": {
            "seen": manifest.get("tokens_seen", 0),
            "by_source": manifest.get("by_source", {}),
            "dropped": dropped,
        },
        "data": data_facts(ledger, stage),
        "metrics": gate.get("metrics", {}),
        "lengths": gate.get("lengths", {}),
        "phases": phases_of(phases, rows, facts.get("steps")),
        "average": facts.get("average", {}),
        "rules": list(facts.get("rules", [])) + gate.get("verdicts", []),
        "gates": gate.get("verdicts", []),
        "attempts": ledger.next_attempt(name),
        **_attempts(ledger, name, gate),
        "gate": gate.get("gate", "none"),
        "model": f"{name}/model" if trained else None,
        "curve": curves.curve(),
        "heldout_curve": _heldout_curve(ledger.measured_before(name), curves),
    }


def data_facts(ledger: Ledger, stage: AnyStage) -> dict[str, dict[str, Any]]:
    """What the data card says of each source that is prepared."""
    found = {}
    for source in stage.data:
        cleaned = read_json(ledger.clean(stage.name, source.label) / "manifest.json")
        prepared = read_json(ledger.source(stage.name, source.label) / "manifest.json")
        if cleaned and prepared:
            found[source.label] = {
                "role": source.role,
                "records_in": prepared["records_in"],
                "trained": prepared["records_trained"],
                "heldout": prepared["records_heldout"],
                "tokens": prepared["tokens_trained"],
                "dropped": prepared["records_dropped"],
                "lengths": prepared["lengths"],
                "cleaned": cleaned["cleaned"],
                "personal": cleaned["personal"],
                "notes": _notes(prepared),
                **cleaned["census"],
            }
    return found


def _notes(prepared: Mapping[str, Any]) -> list[str]:
    """What was found of the evaluation, and what a selection kept, in a sentence each."""
    notes = []
    if found := prepared["contamination"]:
        notes.append(
            f"Evaluation items and held-out records found in it: {found['dirty']} of "
            f"{found['items']} (contamination.json names them)"
        )
    if chosen := prepared["selection"]:
        before, after = chosen["before"], chosen["after"]
        notes.append(
            f"Selected by {chosen['method']}: {after['documents']} of {before['documents']} "
            f"documents, {after['tokens']} of {before['tokens']} tokens (selection.md)"
        )
    if found := prepared.get("infilling"):
        notes.append(
            f"Read with the middle last: {found['psm'] + found['spm']} of {found['documents']} "
            f"documents (psm {found['psm']}, spm {found['spm']}); {found['too_long']} do not fit "
            f"into one pack"
        )
    return notes


def _status(trained: Done | None, gate: Mapping[str, Any], began: bool, is_base: bool) -> str:
    if gate.get("gate") == "failed":
        return "failed"
    if trained is not None and (gate or is_base):
        return "done"
    return "running" if trained is not None or began else "pending"


def _heldout_curve(before: Mapping[str, float], curves: Curves) -> dict[str, Any]:
    start = Curves()
    start.add_heldout({"step": 0, **before})
    found = {name: {k: list(v) for k, v in one.items()} for name, one in start.heldout.items()}
    for name, curve in curves.heldout.items():
        whole = found.setdefault(name, {"step": [], "value": []})
        for key, values in curve.items():
            whole[key] += values
    return found


def _model(ledger: Ledger, recipe: Recipe) -> dict[str, Any]:
    scratch = isinstance(recipe.base, ScratchBase)
    name = "base" if scratch else recipe.stages[0].name
    config = read_json(ledger.model(name) / "config.json")
    found = {
        "layers": config.get("num_hidden_layers"),
        "hidden_size": config.get("hidden_size"),
        "vocab_size": config.get("vocab_size"),
        "origin": "scratch" if isinstance(recipe.base, ScratchBase) else recipe.base.path,
    }
    weights = ledger.model(name) / "model.safetensors"
    if weights.is_file():
        found["parameters"] = _parameters(weights)
    return {key: value for key, value in found.items() if value is not None}


def _parameters(weights: Path) -> int:
    """Counted from the header of a safetensors file."""
    with open_regular(weights) as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = parse_json(opened.read(min(size, MAX_HEADER)))
    return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")


def _lineage(events: list[dict[str, Any]], done: Mapping[str, Done]) -> list[dict[str, Any]]:
    last_begin = max((i for i, e in enumerate(events) if e["event"] == "begin"), default=0)
    reused = {e["step"] for e in events[last_begin:] if e["event"] == "step_skipped"}
    return [
        {
            "step": name,
            "identity": entry.identity,
            "output": entry.output,
            "inputs": [
                key.removeprefix("result of ")
                for key in entry.components
                if key.startswith("result of ")
            ],
            "seconds": entry.seconds,
            "status": "reused" if name in reused else "done",
        }
        for name, entry in done.items()
    ]


def _events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = (
        "step_begin", "rule_fired", "responded", "response_proposed", "attempt_chosen",
        "checkpoint_damaged", "disk_filling", "attempt_kept", "preempted", "failed",
    )  # fmt: skip
    return [
        {
            "time": event.get("time"),
            "event": event["event"],
            "step": event.get("step", ""),
            "text": _told(event),
        }
        for event in events
        if event.get("event") in told
    ][-200:]


def _told(event: Mapping[str, Any]) -> str:
    if "changes" in event:
        names = ", ".join(response["kind"] for response in event["responses"])
        return f"{names}: {shown(event['changes'])}"
    return str(event.get("why") or event.get("text") or event.get("message") or "")


def _attempts(ledger: Ledger, stage: str, gate_now: Mapping[str, Any]) -> dict[str, Any]:
    """What responses ended: why, what they changed, what had been measured, and which one stays."""
    found: list[dict[str, Any]] = []
    for folder in ledger.attempts(stage):
        kept, gate = read_json(folder / "attempt.json"), read_json(folder / "gate.json")
        if kept:
            found.append(
                {
                    "attempt": kept["attempt"],
                    "rules": kept.get("rules", []),
                    "responses": [row["kind"] for row in kept.get("responses", [])],
                    "changes": shown(kept["changes"]) if kept.get("changes") else "",
                    "checkpoint": kept.get("checkpoint"),
                    "metrics": gate.get("metrics", {}),
                    "gate": gate.get("gate", "none"),
                }
            )
    if not found:
        return {"history": []}
    kept = {"attempt": 1 + int(found[-1]["attempt"]), "why": _outcome(gate_now)}
    for event in ledger.events():
        if event["event"] == "attempt_chosen" and event["stage"] == stage:
            kept = {"attempt": event["number"], "why": event["why"]}
        elif event["event"] == "responded" and event["stage"] == stage:
            kept = {"attempt": int(event["attempt"]) + 1, "why": _outcome(gate_now)}
    return {"history": found, "kept": kept}


def _outcome(gate: Mapping[str, Any]) -> str:
    if not gate:
        return "it is the latest, and not yet judged"
    return "its gates passed" if gate["gate"] == "passed" else "it is the latest"


def _gate_message(stages: list[dict[str, Any]]) -> str:
    return "; ".join(
        verdict["message"] for stage in stages for verdict in stage["gates"] if verdict["fired"]
    )


def _median(values: list[float | None]) -> float | None:
    numbers = sorted(value for value in values if value is not None)
    return numbers[len(numbers) // 2] if numbers else None


def _text(path: Path) -> str:
    return read_regular(path, MAX_RECIPE).decode("utf-8", "replace") if path.is_file() else ""
