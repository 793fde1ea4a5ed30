"""Finds personal data and secrets, and masks them with the name of their kind.

A mask is ``⟨전화번호⟩`` where the text holds Hangul, else ``⟨phone number⟩``. The brackets U+27E8
and U+27E9 are one token each in Qwen2.5's vocabulary, occur nowhere in 55 million characters of
real text, and mean nothing in Markdown, HTML or code. Nothing is found in a mask: it has no digit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from samdan.data.addresses import addresses
from samdan.data.credentials import credentials
from samdan.data.numbers import Span, numbers
from samdan.data.phones import phones
from samdan.personal import PersonalData, PersonalKind

# Korean and English label, in the order in which a kind wins over others that it overlaps.
LABELS: Final[Mapping[PersonalKind, tuple[str, str]]] = {
    "private_key": ("개인키", "private key"),
    "jwt": ("인증토큰", "token"),
    "password": ("비밀번호", "password"),
    "api_key": ("인증키", "API key"),
    "email": ("이메일", "e-mail address"),
    "resident_number": ("주민등록번호", "resident number"),
    "foreigner_number": ("외국인등록번호", "foreigner number"),
    "card": ("카드번호", "card number"),
    "driver_license": ("운전면허번호", "driver's licence"),
    "passport": ("여권번호", "passport number"),
    "business_number": ("사업자등록번호", "business number"),
    "phone": ("전화번호", "phone number"),
    "account": ("계좌번호", "account number"),
    "ip": ("IP주소", "IP address"),
    "address": ("주소", "address"),
}
RANK: Final = {kind: rank for rank, kind in enumerate(LABELS)}
HANGUL: Final = re.compile("[가-힣]")

LOCAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}$")
DOMAIN: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,6}([A-Za-z]{2,18})"
    r"(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)
# Names that RFC 2606 keeps for examples, and those that examples use all the same.
NOBODY: Final = re.compile(
    r"(?:.*\.)?(?:(?:my|your)?(?:example|domain|site|company)|test|bar|somewhere)(?:\.[a-z]{2,3}){1,2}"
    r"|.*\.(?:example|invalid|test|local|localhost)"
)
# image@2x.png and Component@1.vue are files.
_ENDINGS: Final = (
    "png jpg jpeg gif svg webp ico bmp css scss js jsx ts tsx mjs json html htm xml yaml yml java"
    " class jar vue py pyc txt pdf zip gz tar mp4 mp3 woff properties"
)
FILE_ENDINGS: Final = frozenset(_ENDINGS.split())


@dataclass(frozen=True, slots=True)
class Found:
    """Where a kind of personal data stands; never its value, which must not get into a log."""

    kind: PersonalKind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text with masks, how many of each kind, and the kind that drops the document, if any."""

    text: str
    counts: Mapping[str, int]
    dropped_because: str | None


def find(text: str) -> list[Found]:
    """Everything that is found, in order and without overlaps."""
    return _without_overlaps(
        [*credentials(text), *emails(text), *numbers(text), *phones(text), *addresses(text)]
    )


def _without_overlaps(spans: Iterable[Span]) -> list[Found]:
    """Of findings that overlap, the kind that is surer wins, then the longer one."""
    chosen: list[Found] = []
    for kind, start, end in sorted(spans, key=lambda s: (s[1], s[2])):
        new = Found(kind, start, end)
        if chosen and start < chosen[-1].end:
            old = chosen[-1]
            if (RANK[new.kind], old.end - old.start) < (RANK[old.kind], end - start):
                chosen[-1] = new
            continue
        chosen.append(new)
    return chosen


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses of people; not git@host, and no names that are kept for examples."""
    at = text.find("@")
    while at >= 0:
        local = LOCAL.search(text, max(0, at - 64), at)
        domain = DOMAIN.match(text, at + 1)
        if local and domain and local[0] != "git" and _is_mail(domain):
            yield "email", local.start(), domain.end()
        at = text.find("@", at + 1)


def _is_mail(domain: re.Match[str]) -> bool:
    name, ending = domain[0].lower(), domain[1].lower()
    return ending not in FILE_ENDINGS and NOBODY.fullmatch(name) is None


class Redactor:
    """Applies a policy to texts."""

    def __init__(self, spec: PersonalData) -> None:
        self.spec = spec

    def __call__(self, text: str) -> Redacted:
        """Masks what the policy does not keep; redacting again finds nothing more."""
        counts: Counter[str] = Counter()
        language = 0 if HANGUL.search(text) else 1
        # What a mask frees may be found in its turn; every round leaves fewer characters to find.
        while found := [f for f in find(text) if self.spec.action(f.kind) != "keep"]:
            pieces, position = [], 0
            for item in found:
                counts[item.kind] += 1
                pieces += [text[position : item.start], f"⟨{LABELS[item.kind][language]}⟩"]
                position = item.end
            text = "".join([*pieces, text[position:]])
        dropped = next((kind for kind in self.spec.drop if counts[kind]), None)
        return Redacted(text, dict(sorted(counts.items())), dropped)
