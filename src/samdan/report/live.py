"""A stage while it trains, as lines for a terminal: what `samdan run` and `status` show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from samdan.report.markup import one_line
from samdan.report.numbers import amount, duration, fixed, mapping, number, places, sequence, whole

Now = Mapping[str, Any]
_BLOCKS = "▁▂▃▄▅▆▇█"
MOST_CURVES = 6
GIB = 2**30


def spark(values: Sequence[float | None], most: int = 24) -> str:
    """The curve as one line of blocks; what is not finite is a cross."""
    shown = list(values)[-most:]
    known = [value for value in shown if value is not None]
    if len(known) < 2:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    last = len(_BLOCKS) - 1
    return "".join("×" if v is None else _BLOCKS[round(last * (v - low) / span)] for v in shown)


def bar(share: float, width: int) -> str:
    filled = round(max(0.0, min(1.0, share)) * width)
    return "█" * filled + "░" * (width - filled)


def lines(now: Now, width: int = 80) -> Iterator[str]:
    """``now``: the content of now.json. Any part of it may be missing."""
    yield _progress(now, width)
    losses = [number(value) for value in sequence(now.get("losses"))]
    loss = number(now.get("loss"))
    if loss is not None:
        yield _fact("loss", f"{fixed(loss, places([loss]))}  {spark(losses)}")
    heading = "held-out"
    for name, curve in list(mapping(now.get("heldout")).items())[:MOST_CURVES]:
        told = _heldout(str(name), [number(v) for v in sequence(mapping(curve).get("value"))])
        if told:
            yield _fact(heading, told)
            heading = ""
    yield _fact("speed", _speed(now))
    yield from _rules([mapping(rule) for rule in sequence(now.get("rules"))])


def _fact(name: str, value: str) -> str:
    return f"  {name:<9}{value}".rstrip()


def _progress(now: Now, width: int) -> str:
    step, of = number(now.get("step")) or 0.0, number(now.get("of"))
    name = one_line(now.get("stage"))
    if not of:
        return f"{name}  step {whole(step)}"
    left = number(now.get("seconds_left"))
    told = f"{name}  step {whole(step)} of {whole(of)}  {step / of:.0%}"
    rest = f"{duration(left)[0]} left" if left is not None else ""
    room = min(30, width - len(told) - len(rest) - 4)
    drawn = f"  {bar(step / of, room)}" if room >= 8 else ""
    return f"{told}{drawn}  {rest}".rstrip()


def _heldout(name: str, values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    decimals = places(known)
    told = f"{one_line(name)} {fixed(known[-1], decimals)}"
    if len(known) > 1:
        told += f"  first {fixed(known[0], decimals)}, lowest {fixed(min(known), decimals)}"
    return f"{told}  {spark(values)}".rstrip()


def _speed(now: Now) -> str:
    parts = []
    speed = number(now.get("tokens_per_second"))
    if speed is not None:
        parts.append(f"{amount(speed)[0]} tokens/s")
    tokens = number(now.get("tokens"))
    if tokens is not None:
        parts.append(f"{amount(tokens)[0]} tokens so far")
    for key, label in (("device", "GPU memory"), ("host", "memory")):
        if memory_of(now, key):
            parts.append(f"{label} {memory_of(now, key)}")
    return ", ".join(parts)


def memory_of(now: Now, key: str) -> str:
    """Of ``device`` or ``host``: what is used of what there is; empty where nobody knows."""
    memory = mapping(now.get("memory"))
    used, there = number(memory.get(key)), number(memory.get(f"{key}_total"))
    if used is None:
        return ""
    return f"{used / GIB:.1f}" + (f" / {there / GIB:.1f} GiB" if there else " GiB")


def _rules(rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each rule and how near it is to its limit, the nearest first."""
    heading = "rules"
    for rule in sorted(rules, key=_nearness, reverse=True):
        name, near = one_line(rule.get("rule")), number(rule.get("near"))
        if rule.get("fired") is True:
            told = f"{name:<12} FIRED: {one_line(rule.get('message') or '')}"
        elif near is None:
            told = f"{name:<12} {'':10}   too early to judge"
        else:
            value, limit = (number(rule.get(key)) for key in ("value", "limit"))
            told = f"{name:<12} {bar(near, 10)} {near:>4.0%} of the way to its limit"
            told += f" ({_short(value)}, limit {_short(limit)})" if limit else ""
        yield _fact(heading, told)
        heading = ""


def _nearness(rule: Mapping[str, Any]) -> float:
    near = number(rule.get("near"))
    return 2.0 if rule.get("fired") is True else -1.0 if near is None else near


def _short(value: float | None) -> str:
    return fixed(value, 2)
