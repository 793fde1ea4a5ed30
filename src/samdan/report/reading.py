"""What a report says: changes and verdicts, token balances, the answer to "can I ship it".

Both the page and the terminal summary are written from here, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from samdan.report.numbers import fixed, mapping, number, places, sequence

Direction = Literal["better", "worse", "unclear", "unknown"]
Level = Literal["good", "care", "bad", "open"]
Report = Mapping[str, Any]
Stage = Mapping[str, Any]

BASE = "base"  # a reserved name: no stage of a recipe is called that


@dataclass(frozen=True, slots=True)
class Change:
    """One metric against what it is compared with, judged by whether its interval excludes zero."""

    metric: str
    old: float | None
    new: float | None
    low: float | None
    high: float | None
    higher_is_better: bool | None

    @property
    def delta(self) -> float | None:
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def direction(self) -> Direction:
        if self.delta is None or self.low is None or self.high is None:
            return "unknown"
        if self.low <= 0 <= self.high:
            return "unclear"
        if self.higher_is_better is None:
            return "unknown"
        return "better" if (self.low > 0) == self.higher_is_better else "worse"

    @property
    def size(self) -> float:
        """How much of the value has changed for certain: the end of the interval nearest zero.

        Relative to the larger of the two values, so that it compares between metrics and a tiny
        score that doubles within its noise does not outshine a large and certain change.
        """
        largest = max(abs(self.old or 0.0), abs(self.new or 0.0))
        if self.low is None or self.high is None or not largest:
            return 0.0
        return min(abs(self.low), abs(self.high)) / largest

    @property
    def decimals(self) -> int:
        return places((self.old, self.new), (self.delta, self.low, self.high))

    @property
    def shown(self) -> str:
        return fixed(self.delta, self.decimals, signed=True)

    @property
    def interval(self) -> str:
        return bounds(self.low, self.high, self.decimals, signed=True)


@dataclass(frozen=True, slots=True)
class Balance:
    """Where a source's tokens went; ``off`` is what is missing, None when it cannot be told."""

    given: float | None
    repeated: float
    trained: float | None
    masked: float
    dropped: float

    @property
    def off(self) -> float | None:
        if self.given is None or self.trained is None:
            return None
        return self.given + self.repeated - self.trained - self.masked - self.dropped


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence of ``words.WORDS`` and what is filled in."""

    key: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Overall:
    level: Level
    title: str
    reasons: tuple[Reason, ...]


def stages(report: Report) -> Sequence[Stage]:
    return [mapping(stage) for stage in sequence(report.get("stages"))]


def risen(report: Report) -> Sequence[Stage]:
    """The stages of the recipe: without the base's own pre-training, which they stand on."""
    return [stage for stage in stages(report) if stage.get("name") != BASE]


def base(report: Report) -> Stage:
    """The pre-training of a base that is trained from scratch, if there is one."""
    return next((stage for stage in stages(report) if stage.get("name") == BASE), {})


def changes(stage: Stage, against: Literal["before", "base"] = "before") -> list[Change]:
    found = mapping(stage.get("metrics"))
    return [change(str(name), mapping(metric), against) for name, metric in found.items()]


def change(name: str, metric: Mapping[str, Any], against: Literal["before", "base"]) -> Change:
    low, high = pair(mapping(metric.get("ci95")).get(f"vs_{against}"))
    better = metric.get("higher_is_better")
    return Change(
        name,
        number(metric.get(against)),
        number(metric.get("after")),
        low,
        high,
        better if isinstance(better, bool) else None,
    )


def pair(value: object) -> tuple[float | None, float | None]:
    found = sequence(value)
    if len(found) != 2:
        return None, None
    low, high = number(found[0]), number(found[1])
    return (low, high) if low is not None and high is not None else (None, None)


def bounds(low: float | None, high: float | None, decimals: int, signed: bool = False) -> str:
    if low is None or high is None:
        return ""
    return f"[{fixed(low, decimals, signed)}, {fixed(high, decimals, signed)}]"


def strongest(found: Iterable[Change], direction: Direction) -> list[Change]:
    """The changes of one direction, the relatively largest first."""
    return sorted((c for c in telling(found) if c.direction == direction), key=lambda c: -c.size)


def telling(found: Iterable[Change]) -> list[Change]:
    """Without perplexities whose bits per byte are there: the same evidence is not told twice."""
    every = list(found)
    names = {change.metric for change in every}
    twin = "/perplexity"
    return [
        change
        for change in every
        if not change.metric.endswith(twin)
        or change.metric.removesuffix(twin) + "/bpb" not in names
    ]


def total(value: object) -> float:
    """The sum of ``{reason: n}``, or a number that is a sum already."""
    if isinstance(value, Mapping):
        return sum(number(count) or 0.0 for count in value.values())
    return number(value) or 0.0


def balance(source: Mapping[str, Any]) -> Balance:
    return Balance(
        number(source.get("in")),
        number(source.get("repeated")) or 0.0,
        number(source.get("trained")),
        number(source.get("masked")) or 0.0,
        total(source.get("dropped")),
    )


def sources(stage: Stage) -> Mapping[str, Any]:
    return mapping(mapping(stage.get("tokens")).get("by_source"))


def off_balance(report: Report) -> list[str]:
    """Sources whose tokens do not add up, as ``stage/source``."""
    return [
        f"{stage.get('name')}/{name}"
        for stage in stages(report)
        for name, source in sources(stage).items()
        if balance(mapping(source)).off not in (None, 0.0)
    ]


def tokens_seen(stage: Stage) -> float | None:
    return number(mapping(stage.get("tokens")).get("seen"))


def all_tokens(report: Report) -> float | None:
    found = [seen for seen in map(tokens_seen, stages(report)) if seen is not None]
    return sum(found) if found else None


def throughput(report: Report) -> float | None:
    """Tokens a second over all stages that say both: all tokens over all training time."""
    seconds = tokens = 0.0
    for stage in stages(report):
        seen, rate = tokens_seen(stage), number(stage.get("tokens_per_second"))
        if seen and rate:
            tokens, seconds = tokens + seen, seconds + seen / rate
    return tokens / seconds if seconds else None


def verdicts(stage: Stage, kind: Literal["rules", "gates"]) -> list[Mapping[str, Any]]:
    """What a stage's monitors or gates concluded; a gate is not also listed as a monitor."""
    gates = [mapping(verdict) for verdict in sequence(stage.get("gates"))]
    if kind == "gates":
        return gates
    rules = [mapping(verdict) for verdict in sequence(stage.get("rules"))]
    return [verdict for verdict in rules if verdict not in gates]


def fired(found: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [verdict for verdict in found if verdict.get("fired") is True]


def gate_failed(stage: Stage) -> bool:
    said = stage.get("gate")
    return said == "failed" or (said is None and bool(fired(verdicts(stage, "gates"))))


def costs(report: Report) -> list[Change]:
    """Metrics that are clearly worse than the base when last measured."""
    last = {c.metric: c for stage in stages(report) for c in changes(stage, "base")}
    return strongest(last.values(), "worse")


def overall(report: Report) -> Overall:
    """Did it work, and can it be shipped: a level, a title, and the reasons in order of weight."""
    every = risen(report)
    broken = any(stage.get("status") == "failed" or gate_failed(stage) for stage in stages(report))
    unfinished = not every or any(stage.get("status") != "done" for stage in every)
    reasons = tuple(_reasons(report))
    if broken or report.get("status") == "stopped":
        return Overall("bad", "verdict.bad", reasons)
    if unfinished or report.get("status") != "done":
        return Overall("open", "verdict.open", reasons)
    if not any(map(changes, every)) or not any(verdicts(stage, "gates") for stage in every):
        return Overall("care", "verdict.unproven", reasons)
    if costs(report) or off_balance(report):
        return Overall("care", "verdict.care", reasons)
    return Overall("good", "verdict.good", reasons)


def _reasons(report: Report) -> Iterator[Reason]:
    every = risen(report)
    done = sum(stage.get("status") == "done" for stage in every)
    yield from _broken(stages(report))
    if done < len(every) or not every:
        yield Reason("why.progress", {"done": str(done), "all": str(len(every))})
    judged = sum(len(verdicts(stage, "gates")) for stage in every)
    if judged and not any(map(gate_failed, every)):
        yield Reason("why.gates", {"n": str(judged)})
    elif done and not judged:
        yield Reason("why.no_gates", {})
    worse = costs(report)
    if worse:
        named = ", ".join(f"{c.metric} ({c.shown})" for c in worse[:3])
        more = "why.worse" if len(worse) <= 3 else "why.worse_many"
        yield Reason(more, {"metrics": named, "n": str(len(worse))})
    elif done:
        measured = any(map(changes, every))
        yield Reason("why.not_worse" if measured else "why.unmeasured", {})
    unbalanced = off_balance(report)
    if unbalanced:
        yield Reason("why.unbalanced", {"sources": ", ".join(unbalanced)})


def _broken(every: Iterable[Stage]) -> Iterator[Reason]:
    for stage in every:
        name = str(stage.get("name"))
        rules = ", ".join(str(gate.get("rule")) for gate in fired(verdicts(stage, "gates")))
        if gate_failed(stage):
            yield Reason("why.gate_failed", {"stage": name, "gates": rules or "?"})
        elif stage.get("status") == "failed":
            yield Reason("why.stage_failed", {"stage": name})
