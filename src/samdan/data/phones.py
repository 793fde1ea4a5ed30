"""Telephone numbers: Korean ones by their plan, others by country code or the word before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from samdan.data.numbers import Span, before

_L: Final = r"(?<![0-9_][0-9])(?<![0-9][-.,][0-9])"
_R: Final = r"(?![0-9A-Za-z_]|[-.][0-9])"
_SEP: Final = r"(?: ?[-‐‑–—−] ?|[. ])"
_AREA: Final = r"(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4])"
_NET: Final = r"(?:70|80|50[2-8]|30[1-8])"
_MORE: Final = r"(?: ?[~∼] ?[0-9]{1,4}(?![0-9]))?"  # 02-123-4567~9

MOBILE: Final = re.compile(
    rf"0{_L}1[016789](?:(?:{_SEP}|\) ?)[0-9]{{3,4}}{_SEP}|(?<![A-Za-z]...)[0-9]{{3,4}})"
    rf"[0-9]{{4}}{_R}"
)
FIXED: Final = re.compile(
    rf"0{_L}(?:{_AREA}|{_NET})(?:{_SEP}|\) ?)[1-9][0-9]{{2,3}}{_SEP}[0-9]{{4}}{_MORE}{_R}"
)
SERVICE: Final = re.compile(
    r"1(?<![0-9A-Za-z_./-]1)(?:5(?:22|33|44|66|77|88|99)"
    rf"|6(?:00|11|22|33|44|55|61|66|68|70|77|80|88|99)|8(?:00|11|33|44|55|66|70|77|99))-([0-9]{{4}}){_R}"
)
COUNTRY: Final = re.compile(
    rf"\+(?<![0-9A-Za-z+]\+)82{_SEP}?(?:\(0\) ?|0)?(?:1[016789]|{_AREA}|{_NET}){_SEP}?"
    rf"[0-9]{{3,4}}{_SEP}?[0-9]{{4}}{_R}"
)
ABROAD: Final = re.compile(
    r"\+(?<![0-9A-Za-z+]\+)(?!82)[1-9][0-9]{0,2}[ .-]?\(?[0-9]{1,4}\)?"
    rf"(?:[ .-][0-9]{{2,4}}){{2,4}}{_R}"
)
AMERICAN: Final = re.compile(
    rf"\((?<![0-9A-Za-z_]\()[2-9][0-9]{{2}}\) ?[2-9][0-9]{{2}}[-.][0-9]{{4}}{_R}"
)
# Only behind a word: numbers without area code, and without separators.
LOCAL: Final = re.compile(
    rf"[0-9]{_L}(?:[0-9]{{2,3}}[-.](?:[0-9]{{3}}[-.])?[0-9]{{4}}|(?<=0)[0-9]{{8,10}}){_MORE}{_R}"
)
WORDS: Final = re.compile(
    r"(?:전화|연락처|휴대폰|핸드폰|폰번호|팩스|콜센터|문의처|TEL|[tT]el|FAX|[fF]ax|HP|H\.P"
    r"|[mM]obile|[pP]hone|[cC]all|☎|☏|📞|📱)"
    r"(?:번호|[nN]umber|[nN]o)?\.?[^0-9\n⟩]{0,8}$"
)


def phones(text: str) -> Iterator[Span]:
    """Mobile, fixed, internet and service numbers of Korea; others with + or behind a word."""
    for pattern in (MOBILE, FIXED, COUNTRY):
        for match in pattern.finditer(text):
            yield "phone", _opened(text, match.start()), match.end()
    for match in SERVICE.finditer(text):
        # 1588-1599 and ISO 1600-2008 are years.
        if not 1500 <= int(match[1]) <= 2099 or WORDS.search(before(text, match.start())):
            yield "phone", *match.span()
    for match in ABROAD.finditer(text):
        if 9 <= sum(char.isdigit() for char in match[0]) <= 15:
            yield "phone", *match.span()
    for match in AMERICAN.finditer(text):
        yield "phone", *match.span()
    for match in LOCAL.finditer(text):
        if WORDS.search(before(text, match.start())):
            yield "phone", *match.span()


def _opened(text: str, start: int) -> int:
    """(02) 123-4567 begins with its parenthesis."""
    opens = text[start - 1 : start] == "(" and ")" in text[start : start + 5]
    return start - 1 if opens else start
