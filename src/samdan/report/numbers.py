"""Numbers as people read them, in English and in Korean."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Both = tuple[str, str]  # the same in English and in Korean

DASH = "\u2013"
EMPTY: Mapping[str, Any] = {}
_ENGLISH = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_KOREAN = ((1e12, "조"), (1e8, "억"), (1e4, "만"))


def number(value: object) -> float | None:
    """The finite number that a JSON value is, if it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else EMPTY


def sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()


def places(values: Iterable[float | None], changes: Iterable[float | None] = ()) -> int:
    """Decimals that show the values to four figures and the largest of the changes to two."""
    size = max((abs(value) for value in values if value is not None), default=0.0)
    change = max((abs(value) for value in changes if value is not None), default=0.0)
    by_size = next((i for i, bound in enumerate((1000, 100, 10)) if size >= bound), 3)
    by_change = 1 - math.floor(math.log10(change)) if change else 0
    return min(max(by_size, by_change), 6)


def fixed(value: float | None, decimals: int, signed: bool = False) -> str:
    if value is None:
        return DASH
    if (value and abs(value) < 10.0**-decimals / 2) or abs(value) >= 1e15:
        return f"{value:+.1e}" if signed else f"{value:.1e}"
    return f"{value:+,.{decimals}f}" if signed and value else f"{value:,.{decimals}f}"


def plain(value: object) -> str:
    """A setting or a limit: numbers short and exact, lists and objects as JSON."""
    if value is None:
        return DASH
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        shown = f"{value:.6g}"
        return shown.replace("e-0", "e-").replace("e+0", "e+")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) < 10**15 else f"{float_or_zero(value):.3e}"
    if isinstance(value, float):
        return DASH
    return json.dumps(value, ensure_ascii=False, default=str)


def float_or_zero(value: object) -> float:
    return number(value) or 0.0


def whole(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def amount(value: float | None) -> Both:
    """Large counts with each language's own units: 1.23M is 123만."""
    if value is None:
        return DASH, DASH
    return _unit(value, _ENGLISH), _unit(value, _KOREAN)


def duration(seconds: float | None) -> Both:
    if seconds is None or seconds < 0:
        return DASH, DASH
    if seconds < 60:
        shown = f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
        return f"{shown} s", f"{shown}초"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest:02d} s", f"{minutes}분 {rest:02d}초"
    days, hours = divmod(hours, 24)
    if not days:
        return f"{hours} h {minutes:02d} min", f"{hours}시간 {minutes:02d}분"
    return f"{days} d {hours} h", f"{days}일 {hours}시간"


def _unit(value: float, units: Sequence[tuple[float, str]]) -> str:
    for size, unit in units:
        if abs(value) >= size and abs(value) >= 10_000:
            scaled = value / size
            decimals = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            shown = f"{scaled:,.{decimals}f}"
            return (shown.rstrip("0").rstrip(".") if decimals else shown) + unit
    return f"{value:,.0f}"
