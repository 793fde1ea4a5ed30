"""Carries out the cases and the ordinary runs of ``experiments.rules``; a finished one is kept."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from experiments.rule_cases import (
    ORDINARY_GATES,
    Case,
    Fields,
    ordinary,
    recipe,
    write_made,
)
from samdan.data.engine import Engine
from samdan.demo.command import write_demo
from samdan.demo.world import write_world
from samdan.evals.score import reward_results
from samdan.evals.stats import compare, interval
from samdan.records import Comparison, EvalResult, SamdanError, Verdict
from samdan.rules import Gate
from samdan.run.executor import execute
from samdan.run.ledger import Ledger
from samdan.run.loading import load_recipe
from samdan.run.verdicts import verdict_row

HELD_UP_SECONDS = 3.0
SEED = 42
GATE: TypeAdapter[Any] = TypeAdapter(Gate)
Hook = Callable[[str, int], None]


def foundation(home: Path) -> Path:
    """The demo's run that all cases start from."""
    folder = home / "foundation"
    if not (home / "made" / "longer.jsonl").is_file():
        write_world(home / "world", SEED)
        write_made(home / "world", home / "made")
    if not (folder / "sft" / "model" / "config.json").is_file():
        written = write_demo(folder, SEED)
        execute(load_recipe(written), folder, until="sft", say=lambda text: None)
    return folder


def is_done(case: Case, home: Path) -> bool:
    return (home / "cases" / case.name / "result.json").is_file()


def carry_out(case: Case, home: Path) -> Fields:
    """The case with its rule and without; what fired, what changed, and what it helped."""
    given = home / "cases" / case.name
    result = given / "result.json"
    if result.is_file():
        found: Fields = json.loads(result.read_text("utf-8"))
        return found
    started = time.monotonic()
    seen = _run(case, case.stage, given / "watched", home)
    row: Fields = {"case": case.name, "rule": case.rule, "wrong": case.wrong, "metric": case.metric}
    row |= _happened(case, seen)
    if case.metric:
        _run(case, case.stage | case.control, given / "control", home)
        row |= _helped(case, given, home)
    row["seconds"] = round(time.monotonic() - started)
    result.write_text(json.dumps(row, ensure_ascii=False, indent=1), "utf-8")
    return row


def _run(case: Case, stage: Fields, folder: Path, home: Path) -> tuple[Ledger, str]:
    parent = foundation(home) / case.parent / "model"
    text = recipe(case.name, SEED, parent, [stage], case.tasks)
    return _execute(text, folder, home, _holding(case.held_up))


def _execute(text: str, folder: Path, home: Path, hook: Hook | None) -> tuple[Ledger, str]:
    """Paths of the recipe are those of ``home``, where it lies. Returns how the run ended."""
    path = home / f"{folder.parent.name}-{folder.name}.yaml"
    path.write_text(text, "utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "said.txt").open("a", encoding="utf-8") as said:
        try:
            execute(load_recipe(path), folder, say=lambda line: print(line, file=said),
                    injected=hook, engine=Engine(workers=1))  # fmt: skip
            return Ledger(folder), ""
        except SamdanError as error:
            return Ledger(folder), str(error)


def _holding(since: int | None) -> Hook | None:
    """Every step from ``since`` on takes longer, as on a device that somebody else uses too."""
    if since is None:
        return None

    def hold(where: str, step: int) -> None:
        if where == "gradients" and step >= since:
            time.sleep(HELD_UP_SECONDS)

    return hold


def _happened(case: Case, seen: tuple[Ledger, str]) -> Fields:
    """The first firing of the case's rule, and the responses."""
    ledger, ended = seen
    events = list(ledger.events())
    name = case.stage["name"]
    gates = [ledger.gate(name), *(folder / "gate.json" for folder in ledger.attempts(name))]
    verdicts = [row for path in gates if path.is_file()
                for row in json.loads(path.read_text("utf-8"))["verdicts"]]  # fmt: skip
    at = [e["at"] for e in events if e["event"] == "rule_fired" and e["rule"] == case.rule]
    fired = [v for v in verdicts if v["fired"] and v["rule"].startswith(case.rule)]
    skipped = sum(bool(row.get("skipped")) for row in ledger.metrics(name))
    stopped = "not finite" in ended and case.rule == "non_finite"
    kept = [e for e in events if e["event"] == "step_done" and e["step"] == f"{name}/train"]
    last = kept[-1]["facts"] if kept else {}
    best = last.get("kept_step") not in (None, last.get("steps")) and case.rule == "keep_best"
    hit = bool(at or fired or stopped or best or (skipped and case.rule == "skip_spikes"))
    changes = [{"responses": [r["kind"] for r in e["responses"]], "changes": e["changes"]}
               for e in events if e["event"] == "responded"]  # fmt: skip
    return {
        "fired": hit,
        "at": at[0] if at else None,
        "skipped": skipped,
        "kept_step": last.get("kept_step"),
        "steps": last.get("steps"),
        "responses": changes,
        "kept_attempt": [e["attempt"] for e in events if e["event"] == "attempt_chosen"],
        "ended": ended.partition(". The model is kept")[0],  # a path of this machine follows
    }


def _helped(case: Case, given: Path, home: Path) -> Fields:
    """The metric with the rule and without it, and the difference with its interval."""
    seen = measured(Ledger(given / "watched"), case)
    alone = measured(Ledger(given / "control"), case)
    before = measured(Ledger(given / "control"), case, "base")
    if seen is None or alone is None:
        return {"with": None, "without": alone.value if alone else None}
    paired = len(seen.numerators) == len(alone.numerators)
    low, high = (
        compare(alone, alone, seen, SEED).vs_before_ci if paired else _unpaired(alone, seen)
    )
    return {
        "before": before.value if before else None,
        "without": alone.value,
        "with": seen.value,
        "items": len(seen.numerators),
        "paired": paired,
        "difference": [low, high],
        "better": _better(case, seen),
    }


def _better(case: Case, result: EvalResult) -> bool | None:
    # A length has no good direction; here it is what was too long.
    return False if case.metric.endswith("/length") else result.higher_is_better


def _unpaired(a: EvalResult, b: EvalResult) -> tuple[float, float]:
    """Where a response changed which records are held out."""
    (low_a, high_a), (low_b, high_b) = interval(a), interval(b)
    middle = b.value - a.value
    reach = math.hypot((high_a - low_a) / 2, (high_b - low_b) / 2)
    return middle - reach, middle + reach


def measured(ledger: Ledger, case: Case, stage: str | None = None) -> EvalResult | None:
    """One metric of the stage's model (or of the base), a value per item."""
    name = stage or case.stage["name"]
    path = ledger.evaluation(name)
    if not path.is_file():
        return None
    evaluation = json.loads(path.read_text("utf-8"))
    label = case.metric.rpartition("/")[0]
    if case.metric.endswith("chosen_logp_change"):
        parent = json.loads(ledger.evaluation("base").read_text("utf-8"))
        pairs, reference = evaluation["items"][label], parent["items"][label]
        found = reward_results(label, pairs, reference, 0.1)
        return next(result for result in found if result.name == case.metric)
    row: Mapping[str, Any]
    for row in evaluation["results"]:
        if row["name"] == case.metric:
            return EvalResult(row["name"], tuple(row["numerators"]), tuple(row["denominators"]),
                              row["higher_is_better"], row["exponential"])  # fmt: skip
    return None


def judged_afterwards(ledger: Ledger, stage: str) -> list[Verdict]:
    """The gates of an ordinary stage on what its gate step compared."""
    rows = json.loads(ledger.gate(stage).read_text("utf-8"))["metrics"]
    found = {name: _comparison(name, row) for name, row in rows.items()}
    return [GATE.validate_python(gate)(found) for gate in ORDINARY_GATES[stage]]


def _comparison(name: str, row: Mapping[str, Any]) -> Comparison:
    of = row["ci95"]
    after, before, base = (_pair(of[key]) for key in ("after", "vs_before", "vs_base"))
    old, parent, new = (_known(row[key]) for key in ("base", "before", "after"))
    better = row["higher_is_better"]
    return Comparison(name, old, parent, new, row["n"], after, before, base, better)


def _pair(value: Sequence[float | None]) -> tuple[float, float]:
    return _known(value[0]), _known(value[1])


def _known(value: float | None) -> float:
    """JSON has no NaN: what is not known is written as null."""
    return math.nan if value is None else value


def carry_out_ordinary(seed: int, home: Path) -> Fields:
    """One ordinary run of all stages; which rules fired in it."""
    folder = home / "ordinary" / f"seed-{seed}"
    result = folder / "result.json"
    if result.is_file():
        found: Fields = json.loads(result.read_text("utf-8"))
        return found
    parent = foundation(home) / "base" / "model"
    text = recipe(f"ordinary-{seed}", seed, parent, ordinary(), ("answers", "refusal"))
    ledger, ended = _execute(text, folder, home, None)
    fired = [f"{e['step']}: {e['rule']}" for e in ledger.events() if e["event"] == "rule_fired"]
    verdicts = [v for stage in ORDINARY_GATES for v in judged_afterwards(ledger, stage)]
    rows = list(ledger.metrics())
    row = {
        "seed": seed,
        "monitors": fired,
        "gates": [verdict_row(verdict) for verdict in verdicts],
        "steps": len(rows),
        "skipped": sum(bool(row.get("skipped")) for row in rows),
        "ended": ended.partition(". The model is kept")[0],  # a path of this machine follows
    }
    result.write_text(json.dumps(row, ensure_ascii=False, indent=1), "utf-8")
    return row
