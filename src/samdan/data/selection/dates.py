"""Dates as documents write them, to day numbers."""

from __future__ import annotations

import calendar
import re
from datetime import date
from typing import Final

UNDATED: Final = 0  # date.toordinal() of a real date is at least 1
# 2021-03-04, 2021.3.4., 2021/03, 2021년 3월 4일, 20210304, 2021, with or without a time behind.
_DATE: Final = re.compile(
    r"\s*(\d{4})(?:\s*(?:년|[-./])\s*(\d{1,2})(?:\s*(?:월|[-./])\s*(\d{1,2})\s*(?:일|\.)?)?"
    r"\s*(?:월|\.)?|(\d{2})(\d{2})|\s*년)?(?![\d-])"
)


def day_number(text: str) -> int:
    """The proleptic day number of a date; UNDATED when it is none.

    A month stands for its last day and a year for its last: the latest that it may mean.
    """
    match = _DATE.match(text)
    if match is None:
        return UNDATED
    year = int(match[1])
    month = int(match[2] or match[4] or 12)
    if not (year >= 1 and 1 <= month <= 12):
        return UNDATED
    last = calendar.monthrange(year, month)[1]
    day = int(match[3] or match[5] or last)
    return date(year, month, day).toordinal() if 1 <= day <= last else UNDATED


def year_of(day: int) -> str:
    """The year of a day number; ``undated`` for none."""
    return "undated" if day == UNDATED else str(date.fromordinal(day).year)
