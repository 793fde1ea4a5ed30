"""Filters on length, words to look for, patterns and dates."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from samdan.filters.base import DocumentFilter
from samdan.filters.view import TextView
from samdan.records import Document, Drop
from samdan.spec import Share, Whole

# Gambling, massage, loan and adult advertising: what fills Korean comment sections and link farms.
SPAM_KO: Final = (
    "카지노", "토토사이트", "사설토토", "바카라", "먹튀", "슬롯사이트", "홀덤", "파워볼",
    "스웨디시", "출장마사지", "출장안마", "조건만남", "성인용품", "작업대출", "당일대출",
    "소액결제 현금화",
)  # fmt: skip
_DATE: Final = re.compile(r"(\d{4})(?:[-./년 ]{1,2}(\d{1,2})(?:[-./월 ]{1,2}(\d{1,2}))?)?(?!\d)")
_COMPACT: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?!\d)")



def _is_a_day(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"'{value}' is not a day as in 2024-03-01: {error}") from None
    return value


# Kept as text: days compare as text, and go into identities as they were written.
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_is_a_day)]


class Length(DocumentFilter):
    """Drops documents shorter or longer than given, in characters."""

    kind: Literal["length"] = "length"
    min_chars: Whole = 1
    max_chars: Whole | None = None

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        length = len(view.text)
        return self.below(document, length, self.min_chars, "characters") or self.above(
            document, length, self.max_chars, "characters"
        )


class HangulShare(DocumentFilter):
    """Drops documents in which too few of the letters are Hangul."""

    kind: Literal["hangul_share"] = "hangul_share"
    at_least: Share = 0.2
    """Hangul letters over all letters; 0.2 keeps Korean technical text with code in it."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        return self.below(document, view.scripts.hangul_share, self.at_least)


class Keywords(DocumentFilter):
    """Drops documents that hold too many of the words of a list."""

    kind: Literal["keywords"] = "keywords"
    words: tuple[str, ...] = SPAM_KO
    """Found anywhere in the text, also inside other words; capitals count."""
    at_most: Whole = 2
    """Different ones. Of the default list, 2 of 8,410 court precedents hold two and none more."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        found = [word for word in self.words if word in view.text]
        drop = self.above(document, len(found), self.at_most)
        return drop and self.dropped(document, f"{drop.detail}: {', '.join(found[:5])}")


class Matches(DocumentFilter):
    """Keeps only documents in which a regular expression is found."""

    kind: Literal["matches"] = "matches"
    pattern: str
    field: str = "text"
    """``text``, or a column that travels with the document, such as ``path``."""

    @model_validator(mode="after")
    def _compiles(self) -> Matches:
        compiled(self.pattern)
        return self

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        value = _field(document, view, self.field)
        if compiled(self.pattern).search(value):
            return None
        return self.dropped(document, f"'{self.pattern}' not found in {self.field}")


class NotMatches(DocumentFilter):
    """Drops documents in which a regular expression is found."""

    kind: Literal["not_matches"] = "not_matches"
    pattern: str
    field: str = "text"
    """``text``, or a column that travels with the document, such as ``path``."""

    @model_validator(mode="after")
    def _compiles(self) -> NotMatches:
        compiled(self.pattern)
        return self

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        found = compiled(self.pattern).search(_field(document, view, self.field))
        if found is None:
            return None
        return self.dropped(document, f"'{found[0][:80]}' found in {self.field}")


class Dated(DocumentFilter):
    """Keeps documents of a span of time, by a column that travels with them."""

    kind: Literal["dated"] = "dated"
    since: Day | None = None
    """First day that is kept, ``YYYY-MM-DD``."""
    before: Day | None = None
    """First day that is not kept any more: a cut-off for what is held out by time."""
    field: str = "date"
    undated: Literal["drop", "keep"] = "drop"
    """What happens to documents without a date that can be read."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        given = document.meta.get(self.field, "")
        span = days(given)
        if span is None:
            found = f"no date in '{given[:40]}'" if given else f"no {self.field}"
            return None if self.undated == "keep" else self.dropped(document, found)
        first, last = span
        # A date without a day is a span: only what lies wholly inside is kept.
        if self.since is not None and first < self.since:
            return self.dropped(document, f"{self.field} {first} < {self.since}")
        if self.before is not None and last >= self.before:
            return self.dropped(document, f"{self.field} {last} >= {self.before}")
        return None


def days(value: str) -> tuple[str, str] | None:
    """First and last day (``YYYY-MM-DD``) that a date at the start of ``value`` can mean.

    Reads ``2024-03-01``, ``2024.3.1``, ``20240301``, ``2024년 3월 1일``, ``2024-03`` and ``2024``,
    with anything behind; None for everything else.
    """
    found = _COMPACT.match(value.strip()) or _DATE.match(value.strip())
    if found is None:
        return None
    year, month, day = found.groups()
    if month is not None and not 1 <= int(month) <= 12:
        return None
    if day is not None and not 1 <= int(day) <= 31:
        return None
    first = f"{year}-{int(month or 1):02}-{int(day or 1):02}"
    return first, f"{year}-{int(month or 12):02}-{int(day or 31):02}"


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern; raises ValueError for what is no regular expression."""
    try:
        return re.compile(pattern)  # `re` keeps those it has seen
    except re.error as error:
        raise ValueError(f"'{pattern}' is not a regular expression: {error}") from None


def _field(document: Document, view: TextView, name: str) -> str:
    return view.text if name == "text" else document.meta.get(name, "")
