"""Two runs beside each other: what their recipes differ in, what each cost, and which is better."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samdan.records import RecipeError
from samdan.report.numbers import amount, duration, mapping, number, whole
from samdan.report.reading import (
    Change,
    Report,
    Stage,
    all_tokens,
    pair,
    risen,
    stages,
    throughput,
    tokens_seen,
    verdicts,
)
from samdan.spec import parse_yaml, plain

ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Field:
    """A place in the recipe at which the two differ; None where one of them says nothing."""

    place: str
    first: str | None
    second: str | None


@dataclass(frozen=True, slots=True)
class Cost:
    """A figure of both runs: a key of ``words.WORDS`` and the value of each."""

    key: str
    first: tuple[str, str]
    second: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured after a stage of both: ``old`` is the first run's, ``new`` the second's."""

    first: str
    second: str
    changes: tuple[Change, ...]
    other_items: tuple[str, ...]  # metrics that were not measured on as many items in both
    only: tuple[tuple[str, int], ...]  # metrics that one run alone has, and which: 1 or 2


@dataclass(frozen=True, slots=True)
class Compared:
    fields: tuple[Field, ...]
    unread: tuple[int, ...]  # recipes that cannot be read: 1, 2
    costs: tuple[Cost, ...]
    last: Measured | None  # the models that one would ship
    stages: tuple[Measured, ...]  # earlier stages that both runs have


def compared(first: Report, second: Report) -> Compared:
    """Of the content of two report.json. Nothing in them has to be there."""
    trees = [_tree(report) for report in (first, second)]
    unread = tuple(n for n, tree in enumerate(trees, 1) if tree is None)
    flat = [dict(_flat(tree)) for tree in trees]
    fields = () if unread else _fields(flat[0], flat[1])
    ends = (_last(first), _last(second))
    last = None if ends[0] is None or ends[1] is None else _measured(ends[0], ends[1])
    named = {str(stage.get("name")): stage for stage in risen(second)}
    shared = [
        _measured(stage, named[str(stage.get("name"))])
        for stage in risen(first)
        if str(stage.get("name")) in named
        and (stage is not ends[0] or named[str(stage.get("name"))] is not ends[1])
    ]
    kept = tuple(one for one in shared if one.changes)
    return Compared(fields, unread, tuple(_costs(first, second)), last, kept)


# -- recipes ---------------------------------------------------------------------------------------


def _tree(report: Report) -> Any:
    written = report.get("recipe")
    if not isinstance(written, str) or not written.strip():
        return None
    try:
        return plain(parse_yaml(written, "recipe.yaml"))
    except RecipeError:
        return None


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf under its place; a list's entries under their names, else under their numbers."""
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from _flat(one, f"{place}.{key}" if place else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str) and _named(value):
        for name, one in _named(value).items():
            yield from _flat(one, f"{place}.{name}" if place else name)
    else:
        yield place, _shown(value)


def _named(value: Sequence[Any]) -> dict[str, Any]:
    """Entries by name, kind or place; empty for a list of plain values, compared as a whole."""
    if not all(isinstance(one, Mapping) for one in value):
        return {}
    found: dict[str, Any] = {}
    for place, one in enumerate(value, 1):
        name = str(one.get("name") or one.get("kind") or place)
        found[name if name not in found else f"{name}[{place}]"] = one
    return found


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "[]"
    return str(value)


def _fields(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Field, ...]:
    places = list(dict.fromkeys([*first, *second]))
    found = [
        Field(place, first.get(place), second.get(place))
        for place in places
        if first.get(place) != second.get(place)
    ]
    return tuple(_folders_together(found))


def _folders_together(fields: Sequence[Field]) -> Iterator[Field]:
    """Files of the same names in another folder are one difference, and not one for each file."""
    moved: dict[tuple[str, str], list[Field]] = {}
    for field in fields:
        if (ends := _moved(field)) is not None:
            moved.setdefault(ends, []).append(field)
    together = {ends: found for ends, found in moved.items() if len(found) > 1}
    for ends, found in together.items():
        yield Field(f"folder of {len(found)} paths", *ends)
    yield from (field for field in fields if _moved(field) not in together)


def _moved(field: Field) -> tuple[str, str] | None:
    """The two folders of a path whose end is the same."""
    if not field.place.endswith("path") or field.first is None or field.second is None:
        return None
    a, b = field.first.split("/"), field.second.split("/")
    if a[-1] != b[-1]:
        return None
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return "/".join(a) or "/", "/".join(b) or "/"


# -- costs -----------------------------------------------------------------------------------------


def _costs(first: Report, second: Report) -> Iterator[Cost]:
    told = [
        {
            "wall": duration(number(report.get("wall_seconds"))),
            "tokens": amount(all_tokens(report)),
            "rate": amount(throughput(report)),
            "gates.n": _same(_gates(report)),
            "retries": _same(_retries(report)),
            "device": _same(str(mapping(report.get("machine")).get("device") or ABSENT)),
        }
        for report in (first, second)
    ]
    for key in told[0]:
        yield Cost(key, told[0][key], told[1][key])


def per_stage(first: Report, second: Report) -> Iterator[tuple[str, Stage, Stage]]:
    """Every stage that one of the runs has, with what the report of each says of it."""
    named = [{str(stage.get("name")): stage for stage in stages(r)} for r in (first, second)]
    for name in dict.fromkeys([*named[0], *named[1]]):
        yield name, named[0].get(name, {}), named[1].get(name, {})


def spent(stage: Stage) -> tuple[str, str]:
    """Time and tokens of a stage."""
    time, tokens = duration(number(stage.get("seconds"))), amount(tokens_seen(stage))
    return f"{time[0]}, {tokens[0]} tokens", f"{time[1]}, {tokens[1]} 토큰"


def _same(value: str) -> tuple[str, str]:
    return value, value


def _gates(report: Report) -> str:
    gates = [gate for stage in stages(report) for gate in verdicts(stage, "gates")]
    passed = sum(gate.get("fired") is not True for gate in gates)
    return f"{passed} / {len(gates)}" if gates else ABSENT


def _retries(report: Report) -> str:
    return whole(sum(max(0.0, (number(s.get("attempts")) or 1) - 1) for s in stages(report)))


# -- metrics ---------------------------------------------------------------------------------------


def _last(report: Report) -> Stage | None:
    return next((s for s in reversed(risen(report)) if mapping(s.get("metrics"))), None)


def _measured(first: Stage, second: Stage) -> Measured:
    a, b = mapping(first.get("metrics")), mapping(second.get("metrics"))
    shared = [str(name) for name in a if name in b]
    other = [n for n in shared if number(mapping(a[n]).get("n")) != number(mapping(b[n]).get("n"))]
    only = [(str(n), 1) for n in a if n not in b] + [(str(n), 2) for n in b if n not in a]
    return Measured(
        str(first.get("name")),
        str(second.get("name")),
        tuple(difference(name, mapping(a[name]), mapping(b[name])) for name in shared),
        tuple(other),
        tuple(only),
    )


def difference(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Change:
    """From the first run's value to the second's, with a 95% interval.

    The interval is put together of those of the two values (MOVER, Zou and Donner 2008), as if they
    were independent: the answers to the same items are not, so it is rather too wide than too
    narrow.
    """
    old, new = number(first.get("after")), number(second.get("after"))
    low_a, high_a = pair(mapping(first.get("ci95")).get("after"))
    low_b, high_b = pair(mapping(second.get("ci95")).get("after"))
    better = second.get("higher_is_better")
    low = high = None
    if None not in (old, new, low_a, high_a, low_b, high_b):
        a, b = float(old or 0), float(new or 0)
        low = b - a - math.hypot(b - float(low_b or 0), float(high_a or 0) - a)
        high = b - a + math.hypot(float(high_b or 0) - b, a - float(low_a or 0))
    return Change(name, old, new, low, high, better if isinstance(better, bool) else None)

