"""`samdan plan` as text."""

from __future__ import annotations

from pathlib import Path

from samdan.budget import GIB
from samdan.plan import steps
from samdan.recipe import Recipe
from samdan.run.accepted import accepted, effective, planned, shown
from samdan.run.fingerprints import fingerprints
from samdan.run.growth_plan import size_lines
from samdan.run.judging import vote_fingerprints
from samdan.run.ledger import Ledger
from samdan.run.planning import StagePlan, as_json, model_shape, stage_plans, step_states


def print_plan(
    recipe: Recipe, out: Path | None, until: str | None, as_json_text: bool, processes: int = 1
) -> None:
    folder = out or Path("runs") / recipe.name
    ledger = Ledger(folder)
    unverified: list[str] = []
    found = fingerprints(recipe, unverified) | vote_fingerprints(ledger, recipe)
    responses = accepted(ledger, recipe)
    recipe = effective(recipe, responses)
    chosen = steps(recipe, found, until, planned(responses))
    states = step_states(chosen, ledger, recipe.seed)
    plans = stage_plans(recipe, ledger if ledger.events_file.is_file() else None, processes)
    if as_json_text:
        print(as_json(recipe, states, plans))
        return
    shape = model_shape(recipe)
    if shape is not None:
        print(f"model: {_count(shape.parameters)} parameters")
        for line in size_lines(shape, recipe.grow):
            print(line)
    else:
        print("model: its shape is not known here, so there is no memory estimate")
    for plan in plans:
        _print_stage(plan, processes)
        for response in responses.get(plan.name, ()):
            print(f"  changed by a response: {shown(response.changes)}")
    print("\nsteps:")
    for step, why in states:
        print(f"  {'do  ' if why else 'skip'} {step.name:28} {why or 'done before'}")
    for line in unverified:
        print(f"unverified: {line}")


def _print_stage(plan: StagePlan, processes: int) -> None:
    how = "" if plan.exact else " (estimated from file sizes)"
    print(f"\n{plan.name} ({plan.kind}){how if plan.tokens is not None else ''}")
    if plan.tokens is not None:
        print(f"  tokens {plan.tokens:,}   steps {plan.steps:,}   warm-up {plan.warmup:,}")
    if plan.memory:
        parts = "   ".join(f"{name} {size / GIB:.2f}" for name, size in plan.memory.items())
        total = sum(plan.memory.values())
        one = "" if processes == 1 else f" of each of {processes} processes"
        print(f"  memory in GiB{one}, one sequence at a time: {parts}   sum {total / GIB:.2f}")
        fitting = plan.fits if total > 10 * GIB else {}
        for card, ways in fitting.items():
            print(f"    {card:12} {', '.join(ways) or 'nothing fits'}")
    for number, phase in enumerate(plan.phases, 1):
        most = "at most " if phase["until"] else ""
        print(f"  phase {number}: {phase['train']}, {most}{phase['steps']:,} steps")
    for number, line in enumerate(plan.advice):
        print(f"  {'advice:' if number == 0 else '       '} {line}")
    for remark in plan.remarks:
        print(f"  note: {remark}")


def _count(number: int) -> str:
    return f"{number / 1e9:.2f}B" if number >= 1e9 else f"{number / 1e6:.1f}M"
