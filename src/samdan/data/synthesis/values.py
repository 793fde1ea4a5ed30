"""Dates, numbers and units as Korean and English write them; exact, never rounded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Final, Literal

from samdan.spec import parse_yaml, plain

Kind = Literal["name", "text", "date", "number", "boolean"]
Language = Literal["ko", "en"]

MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
MYRIADS: Final = ("", "만", "억", "조", "경")
# Words for a value that is not there: nobody called 미상 wrote a book. They are quoted.
NO_VALUE: Final = frozenset(
    {"미상", "불명", "없음", "미정", "해당 없음", "알 수 없음", "비공개", "unknown", "none", "n/a",
     "tbd", "not applicable", "-", "?"}
)  # fmt: skip
MAX_NAME_CHARS: Final = 40  # something longer is taken for a text, not for a name

_ISO = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T[\d:.]+)?)?)?(?:Z|[+-]\d{2}:\d{2})?$")
_WRITTEN = re.compile(r"(\d{4})\s*[년./]\s*(?:(\d{1,2})\s*[월./]?\s*(?:(\d{1,2})\s*일?\.?)?)?$")
_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?$")
_MEASURED = re.compile(r"([+-]?[\d,]+(?:\.\d+)?)\s*([^\d\s.,+-].*)$")
_SENTENCE = re.compile(r"[.!?。]$|(니|한|된|있|없|했|는)다$|\s.{8,}(다|요|함|음|됨)$")


@dataclass(frozen=True, slots=True)
class Unit:
    """How a unit is written: in Korean, and in English for one and for many."""

    ko: str
    one: str
    many: str
    declared: bool


def parse_date(text: str) -> tuple[int, int, int] | None:
    """Year, month and day (0: not given) of a date; None for anything else."""
    found = _ISO.match(text) or _WRITTEN.match(text)
    if not found:
        return None
    year, month, day = (int(part or 0) for part in found.groups())
    try:
        date(year, month or 1, day or 1)
    except ValueError:
        return None
    return year, month, day


def parse_number(text: str) -> tuple[str, str] | None:
    """A number without separators and its unit; None for anything else."""
    if _NUMBER.match(text):
        return text.replace(",", ""), ""
    found = _MEASURED.match(text)
    if found and _NUMBER.match(found[1]):
        return found[1].replace(",", ""), found[2].strip()
    return None


def kind_of(text: str) -> tuple[Kind, str, str]:
    """Kind, value and unit of something whose file does not say what it is.

    Figures without a known unit stay a name and are written as they are: they may be a code.
    """
    if re.match(r"\d{4}\D", text) and (found := parse_date(text)) and found[1]:
        return "date", text, ""
    measured = parse_number(text)
    if measured and measured[1] in units() and not units()[measured[1]].declared:
        return "number", *measured
    if len(text) > MAX_NAME_CHARS or text.lower() in NO_VALUE or _SENTENCE.search(text):
        return "text", text, ""
    return "name", text, ""


def fault_of(text: str, kind: str) -> str:
    """Why a value is not of the kind that its file says; empty when it is."""
    if kind == "date" and parse_date(text) is None:
        return f"found {text!r}, expected a date such as 2019-03-05, 2019-03 or 2019"
    if kind == "number" and parse_number(text) is None:
        return f"found {text!r}, expected a number such as 1200, 1,200.5 or '350 km'"
    if kind == "boolean" and text.lower() not in ("true", "false", "1", "0"):
        return f"found {text!r}, expected true or false"
    return ""


def renderings(text: str, kind: str, unit: str, language: Language) -> tuple[str, ...]:
    """The ways of writing a value, the plainest first."""
    if kind == "date" and (found := parse_date(text)):
        return _dates(*found, language)
    if kind == "number" and (measured := parse_number(text)):
        return _numbers(measured[0], unit or measured[1], language)
    if kind == "boolean":
        yes = text.lower() in ("true", "1")
        return (("예" if yes else "아니요") if language == "ko" else ("yes" if yes else "no"),)
    return (text,)


def _dates(year: int, month: int, day: int, language: Language) -> tuple[str, ...]:
    if language == "ko":
        parts = [f"{year}년", f"{month}월" if month else "", f"{day}일" if day else ""]
        return (" ".join(filter(None, parts)),)
    if not month:
        return (str(year),)
    name = MONTHS[month - 1]
    return (f"{name} {day}, {year}", f"{day} {name} {year}") if day else (f"{name} {year}",)


def _numbers(number: str, unit: str, language: Language) -> tuple[str, ...]:
    sign = "-" if number.startswith("-") else ""
    whole, _, fraction = number.lstrip("+-").partition(".")
    grouped = f"{int(whole):,}"
    written = [sign + grouped + ("." + fraction if fraction else "")]
    if language == "ko" and not fraction and 10_000 <= int(whole) < 10**20:
        written.append(sign + _by_myriads(int(whole)))
    return tuple(_with_unit(text, unit, language) for text in written)


def _by_myriads(number: int) -> str:
    """12,345,678 as 1,234만 5,678."""
    parts: list[str] = []
    for name in MYRIADS:
        number, rest = divmod(number, 10_000)
        if rest:
            parts.insert(0, f"{rest:,}{name}")
    return " ".join(parts)


def _with_unit(number: str, unit: str, language: Language) -> str:
    if not unit:
        return number
    known = units().get(unit)
    if language == "ko":
        name = known.ko if known else unit
        apart = number[-1] in MYRIADS[1:] or (name[0].isascii() and name != "%")
        return f"{number}{' ' if apart else ''}{name}"
    name = (known.one if number in ("1", "-1") else known.many) if known else unit
    return f"{number}{'' if name == '%' else ' '}{name}"


@lru_cache(maxsize=1)
def units() -> Mapping[str, Unit]:
    """Every spelling of a unit that ``units.yaml`` knows."""
    text = (resources.files("samdan.data.synthesis") / "units.yaml").read_text("utf-8")
    tree = plain(parse_yaml(f"units:\n{text}", "units.yaml"))["units"]
    return {
        str(name): Unit(row["ko"], row["en"][0], row["en"][1], row.get("declared", False))
        for row in tree
        for name in row["names"]
    }
