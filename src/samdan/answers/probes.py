"""Closed-book questions out of documents, without a teacher: which date, number or name was it?

A sentence is cut before a date, a number or a name; the model ranks what stood there among others
of the same kind. The document itself is not shown, so what is measured is what the weights hold.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from samdan.answers.text import sentences, without_code

FEWEST_BEFORE: Final = 20  # bytes: with less, nothing tells what is asked
MOST_BEFORE: Final = 300
CHOICES: Final = 4
_UNIT: Final = (
    r"(?:%|(?:퍼센트|명|억\s?원|만\s?원|원|건|회|곳|대|층|쪽|살|배|분|초|시간|일|주|개월|년간|개)"
    # A particle or nothing may follow, so that 1 회사 is no number of times.
    r"(?=$|[^가-힣]|은|는|이|가|을|를|에|의|으?로|도|만|과|와|씩|당|부터|까지|정도|입|였|동안|간|미만|초과|중)|"
    r"(?:km|m|cm|mm|kg|g|GB|MB|KB|TB|Hz|ms|people|percent|years|days|hours|minutes|seconds|dollars)"
    r"(?![A-Za-z]))"
)
_PATTERNS: Final = (
    ("dates", re.compile(
        r"(?:1[5-9]|20)\d{2}년(?:\s?\d{1,2}월)?(?:\s?\d{1,2}일)?|\b(?:1[5-9]|20)\d{2}[-./]\d{1,2}[-./]\d{1,2}\b"
        r"|\b\d{1,2}월\s?\d{1,2}일|\b(?:January|February|March|April|May|June|July|August|September|"
        r"October|November|December)\s\d{1,2}(?:,\s\d{4})?|(?<=\bin\s)(?:1[5-9]|20)\d{2}\b")),
    ("numbers", re.compile(rf"(?<![\w.,/-])(?<!, )\d[\d,]*(?:\.\d+)?\s?{_UNIT}")),
    ("names", re.compile(
        r"「[^「」\n]{2,30}」|『[^『』\n]{2,30}』|[가-힣]{2,10}(?:주식회사|법원|대학교|연구원|연구소|위원회|재단)"
        r"|(?<=[\s(\"'])[A-Z][a-z]+(?:\s[A-Z][a-z]+)+\b"
        r"|(?<=[\s(\"'])[A-Z][A-Za-z]*[a-z][A-Z][A-Za-z]*\b(?![./])")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Found:
    document: int
    kind: str
    shape: str
    before: str
    answer: str


def probes(texts: Sequence[str], seed: int, per_document: int, most: int) -> list[dict[str, Any]]:
    """Items ``{"prompt", "choices", "answer", "kind", "document"}`` for ``multiple_choice``.

    Wrong choices are answers of the same kind and shape elsewhere in the documents; dates and
    numbers without three such others are varied in their digits, names without them left out.
    """
    chance = random.Random(f"{seed}/probes")
    found = list(_findings(texts))
    pool: dict[tuple[str, str], list[str]] = {}
    for one in found:
        pool.setdefault((one.kind, one.shape), []).append(one.answer)
    chance.shuffle(found)
    items: list[dict[str, Any]] = []
    taken: dict[int, int] = {}
    asked: set[str] = set()
    for one in found:
        if taken.get(one.document, 0) >= per_document or one.before in asked:
            continue
        others = _others(one, pool[(one.kind, one.shape)], texts[one.document], chance)
        if len(others) < CHOICES - 1:
            continue
        choices = [one.answer, *others]
        chance.shuffle(choices)
        asked.add(one.before)
        taken[one.document] = taken.get(one.document, 0) + 1
        items.append({
            "prompt": one.before, "choices": choices, "answer": choices.index(one.answer),
            "kind": one.kind, "document": one.document,
        })  # fmt: skip
        if len(items) == most:
            break
    return sorted(items, key=lambda item: int(item["document"]))


def counts(items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many probes there are of each kind."""
    kinds = [str(item["kind"]) for item in items]
    return {kind: kinds.count(kind) for kind, _ in _PATTERNS if kind in kinds}


def _findings(texts: Sequence[str]) -> Iterator[_Found]:
    for document, text in enumerate(texts):
        for sentence in sentences(without_code(text)):
            one = _first(document, sentence) if _is_prose(sentence) else None
            if one is not None:
                yield one


def _is_prose(sentence: str) -> bool:
    """No row of a table, no path, no line of code: what stands there follows from nothing."""
    return len(sentence.split()) >= 4 and not re.search(r"[|{}<>=]|://|\w/\w+/", sentence)


def _first(document: int, sentence: str) -> _Found | None:
    """The first fact of a sentence that enough stands before and that it does not give away."""
    hits = [(m.start(), kind, m) for kind, pattern in _PATTERNS for m in pattern.finditer(sentence)]
    for start, kind, match in sorted(hits, key=lambda hit: hit[0]):
        before, answer = sentence[:start], match[0].strip()
        if len(before.strip().encode()) >= FEWEST_BEFORE and answer not in before:
            # White space stays with the choice's own tokens where the tokenizer wants it so.
            return _Found(document, kind, _shape(kind, answer), before[-MOST_BEFORE:], answer)
    return None


def _shape(kind: str, answer: str) -> str:
    """Answers of one shape are interchangeable: 3,000원 and 250원, 2019년 and 2021년."""
    if kind == "names":
        return "quoted" if answer[0] in "「『" else "korean" if answer[0] >= "가" else "latin"
    return re.sub(r"\d[\d,.]*", "#", answer)


def _others(one: _Found, pool: Sequence[str], document: str, chance: random.Random) -> list[str]:
    found = sorted({answer for answer in pool if answer != one.answer})
    elsewhere = [answer for answer in found if answer not in document]
    candidates = elsewhere if len(elsewhere) >= CHOICES - 1 else found
    chosen = chance.sample(candidates, min(CHOICES - 1, len(candidates)))
    tries = 0
    while one.kind != "names" and len(chosen) < CHOICES - 1 and tries < 50:
        tries += 1
        varied = _varied(one.answer, chance)
        if varied != one.answer and varied not in chosen:
            chosen.append(varied)
    return chosen


def _varied(answer: str, chance: random.Random) -> str:
    """The answer with one of its numbers moved by up to a third; months and days stay possible."""
    numbers = list(re.finditer(r"\d+", answer))
    match = chance.choice(numbers)
    value, behind = int(match[0]), answer[match.end() : match.end() + 1]
    most = {"월": 12, "일": 28}.get(behind, 10 ** len(match[0]) - 1)
    reach = max(2, min(9, value) if len(match[0]) == 4 else value // 3)
    moved = min(most, max(1, value + chance.randint(-reach, reach)))
    padded = re.search(r"(?<!\d)0\d", answer) is not None  # 2019-03-05, but 5건
    number = str(moved).zfill(len(match[0])) if padded else str(moved)
    return answer[: match.start()] + number + answer[match.end() :]
