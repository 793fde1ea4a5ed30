"""What a report says: changes and their verdicts, token balances, and the answer to "can I ship it".

Both the page and the terminal summary are written from here, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from samdan.report.numbers import fixed, mapping, number, places, sequence

Direction = Literal["better", "worse", "unclear", "unknown"]
Level = Literal["good", "care", "bad", "open"]
Report = Mapping[str, Any]
Stage = Mapping[str, Any]


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
        """Relative to the larger of the two values: comparable between metrics, never infinite."""
        largest = max(abs(self.old or 0.0), abs(self.new or 0.0))
        return abs(self.delta or 0.0) / largest if largest else 0.0

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
    return sorted((c for c in found if c.direction == direction), key=lambda c: -c.size)


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
    return [mapping(verdict) for verdict in sequence(stage.get(kind))]


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
    every = stages(report)
    done = [stage for stage in every if stage.get("status") == "done"]
    broken = [s for s in every if s.get("status") == "failed" or gate_failed(s)]
    unbalanced = off_balance(report)
    measured = any(changes(stage) for stage in every)
    gates = [gate for stage in every for gate in verdicts(stage, "gates")]
    worse = costs(report)
    reasons = _broken(broken)
    if len(done) < len(every) or not every:
        reasons.append(Reason("why.progress", {"done": str(len(done)), "all": str(len(every))}))
    if not broken and gates:
        reasons.append(Reason("why.gates", {"n": str(len(gates))}))
    elif not broken and done:
        reasons.append(Reason("why.no_gates", {}))
    if worse:
        named = ", ".join(f"{c.metric} ({c.shown})" for c in worse[:3])
        key = "why.worse" if len(worse) <= 3 else "why.worse_many"
        reasons.append(Reason(key, {"metrics": named, "n": str(len(worse))}))
    elif done:
        reasons.append(Reason("why.not_worse" if measured else "why.unmeasured", {}))
    if unbalanced:
        reasons.append(Reason("why.unbalanced", {"sources": ", ".join(unbalanced)}))
    proven = measured and bool(gates)
    level = _level(report, bool(broken), len(done) < len(every) or not every)
    if level != "good":
        return Overall(level, f"verdict.{level}", tuple(reasons))
    if not proven:
        return Overall("care", "verdict.unproven", tuple(reasons))
    if worse or unbalanced:
        return Overall("care", "verdict.care", tuple(reasons))
    return Overall("good", "verdict.good", tuple(reasons))


def _level(report: Report, broken: bool, unfinished: bool) -> Level:
    if broken or report.get("status") == "stopped":
        return "bad"
    return "open" if unfinished or report.get("status") != "done" else "good"


def _broken(found: Iterable[Stage]) -> list[Reason]:
    reasons = []
    for stage in found:
        name = str(stage.get("name"))
        names = ", ".join(str(v.get("rule")) for v in fired(verdicts(stage, "gates")))
        if gate_failed(stage):
            reasons.append(Reason("why.gate_failed", {"stage": name, "gates": names or "?"}))
        else:
            reasons.append(Reason("why.stage_failed", {"stage": name}))
    return reasons
