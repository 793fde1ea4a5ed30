"""Numbers that identify a person: found by structure, check digit and the words before them.

Every pattern starts at a digit that no digit, letter or decimal point precedes, and is of bounded
length: a search is linear in the text. Hangul is no word character here: 010-1234-5678로 is found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from ipaddress import IPv4Address
from typing import Final

from samdan.personal import PersonalKind

Span = tuple[PersonalKind, int, int]

CONTEXT: Final = 30  # characters before a number in which its name is looked for
# Behind the first digit, looking back: not inside a longer number, a word or a decimal.
_L: Final = r"(?<![0-9A-Za-z_][0-9])(?<![0-9][-.,][0-9])"
_R: Final = r"(?![0-9A-Za-z_]|[-.][0-9])"
_DASH: Final = "[-‐‑–—−]"

# Where any of the patterns below can begin: ten digits, loosely joined, or four joined by points.
# One pass over the text instead of six; the patterns are then tried at these places only.
BEGIN: Final = re.compile(
    rf"[0-9]{_L}(?:(?=(?: ?{_DASH}? ?[0-9]){{9}})|(?=[0-9]{{0,2}}(?:\.[0-9]{{1,3}}){{3}}))"
)
RESIDENT: Final = re.compile(rf"[0-9]{{6}}( ?{_DASH} ?| )?[1-8][0-9]{{6}}{_R}")
RESIDENT_WORDS: Final = re.compile(
    r"주민|외국인\s?등록|등록\s?번호|RRN|[rR]esident|[sS]ocial|거소\s?신고"
)
COMPANY_WORDS: Final = re.compile(r"법인\s?(?:등기|등록)?\s?번호")  # and no 법무법인
BUSINESS: Final = re.compile(rf"[0-9]{{3}}({_DASH}?)[0-9]{{2}}\1[0-9]{{5}}{_R}")
BUSINESS_WORDS: Final = re.compile(r"사업자|BRN")
CARD: Final = re.compile(
    rf"[2-9](?:[0-9]{{3}}([- ]?)[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}"
    rf"|[0-9]{{3}}([- ]?)[0-9]{{6}}\2[0-9]{{4,5}}){_R}"
)
CARD_ISSUERS: Final = re.compile(
    r"4[0-9]{15}|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"
    r"|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|35(?:2[89]|[3-8][0-9])[0-9]{12}"
    r"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}|62[0-9]{14}|9[0-9]{15}"
)
LICENSE: Final = re.compile(
    rf"[12][0-9](?P<d>{_DASH}?)[0-9]{{2}}(?P=d)[0-9]{{6}}(?P=d)[0-9]{{2}}{_R}"
)
OLD_LICENSE: Final = re.compile(rf"[0-9]{{2}}{_DASH}[0-9]{{6}}{_DASH}[0-9]{{2}}{_R}")
OLD_OFFICE: Final = re.compile(
    r"(?:서울|부산|대구|인천|광주|대전|울산|경기|강원|충북|충남|전북|전남|경북|경남|제주)\s?[-–]?\s?$"
)
LICENSE_WORDS: Final = re.compile(r"면허|[dD]river")
PASSPORT: Final = re.compile(
    r"[MSRODG](?<![0-9A-Za-z_-][MSRODG])[0-9]{3}(?:[0-9]{5}|[A-Z][0-9]{4})(?![0-9A-Za-z_-])"
)
PASSPORT_WORDS: Final = re.compile(r"여권|[pP]assport|PASSPORT")

ACCOUNT: Final = re.compile(
    rf"(?:[0-9]{{2,7}}({_DASH}[0-9]{{1,8}}){{1,3}}|[0-9]{{10,16}}){_R}(?!,[0-9])"
)
ACCOUNT_DIGITS: Final = range(10, 17)
_BANK: Final = (
    r"(?:국민|신한|우리|하나|기업|농협|수협|축협|신협|산업|대구|부산|광주|전북|경남|제주|제일|SC제일|씨티|외환|한일"
    r"|상업|조흥|주택|서울|한미|평화|동남|KB|NH|IBK|KEB|iM|카카오|토스|케이|K|새마을|우체국)"
)
ACCOUNT_WORDS: Final = re.compile(
    rf"계좌|구좌|입금|송금|예금주|통장|{_BANK}\s?(?:은행|뱅크)|새마을금고|우체국\s?(?:예금|통장)"
    r"|[aA]ccount (?:number|no)"
)
BANK_BEFORE: Final = re.compile(rf"{_BANK}\s?[:)]?\s?$")
ACCOUNT_OWNER: Final = re.compile(rf"[ ,]{{0,2}}\(?\s?(?:예금주|{_BANK}\s?(?:은행|뱅크))")

IP: Final = re.compile(
    r"(?<![^/]/)[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z_]|[-.][0-9A-Za-z])"
)
IP_WORDS: Final = re.compile(
    r"(?<![A-Za-z])(?:IP|ip|Ip)(?![a-z])|아이피|주소|서버|접속|호스트|(?:[hH]ost|[sS]erver|[aA]ddress|ping|DNS|dns)"
    r"(?![A-Za-z])|://|@$"
)
VERSION_WORDS: Final = re.compile(
    r"(?:[vV]|[vV]er\.?|[vV]ersion|VERSION|버전|버젼|[rR]elease|릴리스|개정)[\s:=]{0,3}$|[-_]$|제\s?$|§\s?$"
)
# Name servers that everybody knows are nobody's address.
WELL_KNOWN_IPS: Final = frozenset(
    ("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "168.126.63.1", "168.126.63.2")
)


def numbers(text: str) -> Iterator[Span]:
    """Resident, foreigner, business, card, licence, passport and account numbers, and addresses."""
    for begin in BEGIN.finditer(text):
        start = begin.start()
        for kind in (_resident, _business, _card, _license, _account, _ip):
            yield from kind(text, start)
    if "여권" in text or "assport" in text or "ASSPORT" in text:
        for match in PASSPORT.finditer(text):
            if PASSPORT_WORDS.search(before(text, match.start())):
                yield "passport", *match.span()


def before(text: str, start: int, chars: int = CONTEXT) -> str:
    """What stands before a finding, not reaching over a mask: its label is no context."""
    return text[max(0, start - chars) : start].rpartition("⟩")[2]


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdigit())


def _resident(text: str, start: int) -> Iterator[Span]:
    match = RESIDENT.match(text, start)
    if match is None or not _born(digits := _digits(match[0])):
        return
    context = before(text, start)
    if COMPANY_WORDS.search(context) or _company(digits):
        return
    # Thirteen digits without a dash are mostly something else: they need a reason.
    named = RESIDENT_WORDS.search(context) is not None
    if (match[1] or "").strip() or named or (resident_checksum(digits) and not _barcode(digits)):
        yield "foreigner_number" if digits[6] in "5678" else "resident_number", *match.span()


def _business(text: str, start: int) -> Iterator[Span]:
    match = BUSINESS.match(text, start)
    if match is None or not business_checksum(_digits(match[0])):
        return
    if match[1] or BUSINESS_WORDS.search(before(text, start)):
        yield "business_number", *match.span()


def _card(text: str, start: int) -> Iterator[Span]:
    match = CARD.match(text, start)
    if match and CARD_ISSUERS.fullmatch(digits := _digits(match[0])) and luhn(digits):
        yield "card", *match.span()


def _born(digits: str) -> bool:
    """Whether the first seven digits are a day between 1900 and 2039."""
    century = 1900 if digits[6] in "1256" else 2000
    year = century + int(digits[:2])
    try:
        date(year, int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return False
    return year < 2040


def resident_checksum(digits: str) -> bool:
    """Holds for numbers given before October 2020; later ones have no check digit."""
    weighted = sum(int(d) * w for d, w in zip(digits, (*range(2, 10), *range(2, 6)), strict=False))
    base = 13 if digits[6] in "5678" else 11
    return (base - weighted % 11) % 10 == int(digits[12])


def _company(digits: str) -> bool:
    """A corporate registration number: the same shape, but the check digits tell them apart."""
    total = sum(int(d) * (1 + i % 2) for i, d in enumerate(digits[:12]))
    is_company = (10 - total % 10) % 10 == int(digits[12])
    # Registry office, then 11 to 15 for a company, 21 or 22 for an association.
    looks = digits[0] in "12" and digits[4:6] in ("11", "12", "13", "14", "15", "21", "22")
    return looks and is_company and not resident_checksum(digits)


def _barcode(digits: str) -> bool:
    """A Korean article number (880...) with its check digit."""
    total = sum(int(d) * (1 + 2 * (i % 2)) for i, d in enumerate(digits[:12]))
    return digits.startswith("880") and (10 - total % 10) % 10 == int(digits[12])


def business_checksum(digits: str) -> bool:
    """The check digit of a business registration number of ten digits."""
    total = sum(int(d) * w for d, w in zip(digits, (1, 3, 7, 1, 3, 7, 1, 3, 5), strict=False))
    total += int(digits[8]) * 5 // 10
    return (10 - total % 10) % 10 == int(digits[9])


def luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812)."""
    doubled = (int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits)))
    return sum(d // 10 + d % 10 for d in doubled) % 10 == 0 and len(set(digits)) > 2


def _license(text: str, start: int) -> Iterator[Span]:
    match = LICENSE.match(text, start)
    in_range = match is not None and 11 <= int(match[0][:2]) <= 28
    if match and in_range and (match["d"] or LICENSE_WORDS.search(before(text, start))):
        yield "driver_license", *match.span()
    old = OLD_LICENSE.match(text, start)
    if old and (office := OLD_OFFICE.search(text, max(0, start - 6), start)):
        yield "driver_license", office.start(), old.end()


def _account(text: str, start: int) -> Iterator[Span]:
    match = ACCOUNT.match(text, start)
    if match is None:
        return
    digits = _digits(match[0])
    if len(digits) in ACCOUNT_DIGITS and len(set(digits)) > 2:
        context = before(text, start)
        # 국민 and 하나 are words as well: without 은행, a number with dashes must follow.
        named = ACCOUNT_WORDS.search(context) or (match[1] and BANK_BEFORE.search(context))
        if named or ACCOUNT_OWNER.match(text, match.end()):
            yield "account", *match.span()


def _ip(text: str, start: int) -> Iterator[Span]:
    match = IP.match(text, start)
    if match is None or match[0] in WELL_KNOWN_IPS:
        return
    parts = match[0].split(".")
    if any(int(part) > 255 or (part[0] == "0" and part != "0") for part in parts):
        return
    address = IPv4Address(match[0])
    if not address.is_global or address.is_multicast:
        return
    # 14.0.0.143 is a version; numbers of four parts without a word are seldom addresses.
    context = before(text, start, 20)
    named = IP_WORDS.search(context) is not None or min(map(int, parts)) > 9
    if named and not VERSION_WORDS.search(context):
        yield "ip", *match.span()
