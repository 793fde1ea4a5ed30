"""`samdan plan` as text."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from samdan.budget import GIB, SourceAmounts
from samdan.budget.seconds import HIGH, LOW, Seconds
from samdan.plan import steps
from samdan.recipe import Recipe
from samdan.run.accepted import accepted, effective, planned, shown
from samdan.run.fingerprints import fingerprints
from samdan.run.growth_plan import size_lines
from samdan.run.judging import vote_fingerprints
from samdan.run.ledger import Ledger
from samdan.run.machine import free_disk
from samdan.run.planning import (
    HERE,
    StagePlan,
    Target,
    as_json,
    model_shape,
    stage_plans,
    step_states,
    totals,
)

GB = 1e9


def print_plan(
    recipe: Recipe, out: Path | None, until: str | None, as_json_text: bool, target: Target
) -> bool:
    """Prints the plan; False where the run would be refused: a path leads nowhere."""
    folder = out or Path("runs") / recipe.name
    ledger = Ledger(folder)
    unverified: list[str] = []
    found = fingerprints(recipe, unverified) | vote_fingerprints(ledger, recipe)
    responses = accepted(ledger, recipe)
    recipe = effective(recipe, responses)
    chosen = steps(recipe, found, until, planned(responses))
    states = step_states(chosen, ledger, recipe.seed)
    plans = stage_plans(recipe, ledger if ledger.events_file.is_file() else None, target)
    missing = [plan.missing for plan in plans if plan.missing]
    if as_json_text:
        print(as_json(recipe, states, plans, target))
    else:
        for line in _head(recipe, target):
            print(line)
        for plan in plans:
            for line in _stage(plan, target):
                print(line)
            for response in responses.get(plan.name, ()):
                print(f"  changed by a response: {shown(response.changes)}")
        for line in _total(plans, folder, target):
            print(line)
        print("\nsteps:")
        for step, why in states:
            print(f"  {'do  ' if why else 'skip'} {step.name:28} {why or 'done before'}")
        for line in unverified:
            if not any(line in text for text in missing):
                print(f"unverified: {line}")
    for line in missing:
        print(f"wrong: {line}", file=sys.stderr)
    return not missing


def _head(recipe: Recipe, target: Target) -> Iterator[str]:
    shape = model_shape(recipe)
    if shape is not None:
        yield f"model: {_count(shape.parameters)} parameters"
        yield from size_lines(shape, recipe.grow)
    else:
        yield "model: its shape is not known here, so there is no memory estimate"
    where = "this machine: " if target.name == HERE else "device: "
    free = " free" if target.name == HERE and target.kind == "cpu" else ""
    many = "" if target.processes == 1 else f", {target.processes} of them"
    yield f"{where}{target.title}, {target.bytes / GIB:.1f} GiB{free}{many}"


def _stage(plan: StagePlan, target: Target) -> Iterator[str]:
    amounts = plan.amounts
    how = "" if amounts is None or amounts.exact else ": estimated from a look at the files"
    yield f"\n{plan.name} ({plan.kind}){how}"
    if amounts is not None and plan.steps is not None:
        yield (
            f"  tokens {amounts.tokens:,}   steps {plan.steps:,}   warm-up {plan.warmup:,}   "
            f"epochs {plan.epochs:g}   predicted {amounts.predicted:.0%} of the tokens"
        )
        yield from _sources(amounts.sources)
    yield from _memory(plan, target)
    if plan.disk is not None:
        many = round(plan.disk.checkpoints / plan.disk.checkpoint) if plan.disk.checkpoint else 0
        yield (
            f"  disk in GB: {many} checkpoints of {plan.disk.checkpoint / GB:.2f}   "
            f"model {plan.disk.model / GB:.2f}   data {plan.disk.data / GB:.2f}"
        )
    yield from _time(plan, target)
    for number, phase in enumerate(plan.phases, 1):
        most = "at most " if phase["until"] else ""
        yield f"  phase {number}: {phase['train']}, {most}{phase['steps']:,} steps"
    for number, line in enumerate(plan.advice):
        yield f"  {'advice:' if number == 0 else '       '} {line}"
    for remark in plan.remarks:
        yield f"  note: {remark}"


def _sources(named: Mapping[str, SourceAmounts]) -> Iterator[str]:
    wide = max(len(name) for name in [*named, "source"])
    yield f"  {'source':{wide}}  role       tokens         passes  repeated       dropped"
    for name, row in named.items():
        left = ", ".join(f"{reason} {count:,}" for reason, count in row.dropped.items())
        yield (
            f"  {name:{wide}}  {row.role:9}  {row.held:<13,}  {row.passes:<6.2f}  "
            f"{row.repeated:<13,}  {left or '-'}"
        )


def _memory(plan: StagePlan, target: Target) -> Iterator[str]:
    if plan.memory is None:
        return
    parts = "   ".join(
        f"{name} {size / GIB:.2f}" for name, size in plan.memory.parts.items() if size
    )
    one = "" if target.processes == 1 else f" of each of {target.processes} devices"
    yield (
        f"  memory {plan.memory.peak / GIB:.2f} GiB at its peak{one}, {plan.micro_batch_tokens:,} "
        f"tokens at a time, of"
    )
    yield f"    {parts}"
    if plan.memory.host:
        yield f"  and {plan.memory.host / GIB:.2f} GiB of the host's memory for optimizer states"
    if plan.memory.peak > 10 * GIB:
        for card, ways in plan.fits.items():
            yield f"    {card:30} {'; '.join(ways) or 'nothing fits'}"


def _time(plan: StagePlan, target: Target) -> Iterator[str]:
    if plan.seconds is None:
        return
    fewest, most = plan.seconds
    same = fewest.total == most.total
    basis = (
        "from a calibration on this machine"
        if same
        else f"at {HIGH:.0%} to {LOW:.0%} of the card's bf16 peak; --calibrate there for a number"
    )
    several = "" if target.processes == 1 else ", without what the devices say to each other"
    parts = ", ".join(_parts(fewest, most))
    yield f"  time {_span(fewest.total, most.total)} ({parts}): {basis}{several}"
    if plan.cost is not None:
        yield f"  cost {_money(plan.cost)} at {target.price:g} an hour and device"


def _parts(fewest: Seconds, most: Seconds) -> Iterator[str]:
    for name, what in (
        ("train", "training"),
        ("measuring", "held-out text"),
        ("reference", "reference pass"),
    ):
        low, high = getattr(fewest, name), getattr(most, name)
        if high:
            yield f"{what} {_span(low, high)}"


def _total(plans: list[StagePlan], folder: Path, target: Target) -> Iterator[str]:
    found = totals(plans)
    parts = []
    if found["seconds"] is not None:
        parts.append(f"time {_span(*found['seconds'])} without preparation and evaluation")
    if found["cost"] is not None:
        parts.append(f"cost {_money(found['cost'])}")
    if found["memory"] is not None:
        parts.append(f"memory {found['memory'] / GIB:.2f} GiB")
    if found["disk"] is not None:
        free = free_disk(folder)
        here = f" of {free / GB:.0f} GB free" if target.name == HERE else ""
        parts.append(f"disk {found['disk'] / GB:.2f} GB{here}")
        if here and found["disk"] > free:
            parts.append("NOT ENOUGH DISK")
    if parts:
        yield "\nall stages: " + "   ".join(parts)


def _span(low: float, high: float) -> str:
    return _duration(low) if low == high else f"{_duration(low)} to {_duration(high)}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _money(cost: tuple[float, float] | list[float]) -> str:
    low, high = cost
    return f"{low:,.2f}" if low == high else f"{low:,.2f} to {high:,.2f}"


def _count(number: int) -> str:
    return f"{number / 1e9:.2f}B" if number >= 1e9 else f"{number / 1e6:.1f}M"
