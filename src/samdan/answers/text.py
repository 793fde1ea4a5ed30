"""A text to its sentences, words and letters. Korean and English."""

from __future__ import annotations

import re
from typing import Final

_SENTENCE_END: Final = re.compile(r"([.!?。！？…][\"'”’」』)\]]*)\s+")
_MARKER: Final = re.compile(r"^\s*(?:[-*•·]|\d{1,3}[.)]|[가-하][.)]|#{1,6}|>)\s+")
# A full stop behind these ends no sentence.
_ABBREVIATION: Final = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|Inc|Ltd|Co|Jr|Sr|a\.m|p\.m)\.$", re.IGNORECASE
)
_INITIAL: Final = re.compile(r"(?:^|\s)[A-Z]\.$")
_LETTER: Final = re.compile(r"[^\W\d_]")
_HANGUL: Final = re.compile(r"[가-힣ㄱ-ㅎㅏ-ㅣ]")
_LATIN: Final = re.compile(r"[A-Za-zＡ-Ｚａ-ｚ]")
_HANJA: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_OTHER_LANGUAGE: Final = re.compile(
    r"(?:영어|영문|일본어|중국어|한자)(?:로|으로)|번역|\btranslate\b|\bin English\b", re.IGNORECASE
)
_FENCE: Final = re.compile(r"^\s*```.*?(?:^\s*```\s*$|\Z)", re.DOTALL | re.MULTILINE)


def sentences(text: str) -> list[str]:
    """Sentences without list markers. A line break ends one; ``3.5`` and ``Dr.`` do not."""
    found: list[str] = []
    for line in text.splitlines():
        open_ = ""
        for part in _SENTENCE_END.sub(r"\1\n", _MARKER.sub("", line)).split("\n"):
            open_ = f"{open_} {part}".strip()
            if not open_ or _ABBREVIATION.search(open_) or _INITIAL.search(open_):
                continue
            found.append(open_)
            open_ = ""
        if open_:
            found.append(open_)
    return [sentence for sentence in found if re.search(r"[^\W_]", sentence)]


def words(text: str) -> list[str]:
    """Words between white space (in Korean: 어절) that hold a letter or a digit."""
    return [word for word in text.split() if re.search(r"[^\W_]", word)]


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def bullets(text: str) -> list[str]:
    """The entries of a list with dashes, stars or dots, without their markers."""
    return re.findall(r"^\s*[-*•]\s+(\S.*)$", text, re.MULTILINE)


def numbered(text: str) -> list[tuple[int, str]]:
    """The entries of a numbered list: number and text."""
    found = re.findall(r"^\s*(\d{1,3})[.)]\s+(\S.*)$", text, re.MULTILINE)
    return [(int(number), entry) for number, entry in found]


def without_code(text: str) -> str:
    """The text without fenced code."""
    return _FENCE.sub("", text)


def letters(text: str) -> int:
    return len(_LETTER.findall(text))


def hangul_letters(text: str) -> int:
    return len(_HANGUL.findall(text))


def hangul_share(text: str) -> float | None:
    """The share of Hangul among the letters outside code; None where there are no letters."""
    prose = without_code(text)
    count = letters(prose)
    return hangul_letters(prose) / count if count else None


def is_korean(text: str) -> bool:
    """Whether at least three letters in ten are Hangul: Korean with terms in Latin letters is."""
    share = hangul_share(text)
    return share is not None and share >= 0.3


def asks_for_korean(prompt: str) -> bool:
    """Whether an answer in Korean is expected: the prompt is Korean and asks for nothing else."""
    return is_korean(prompt) and _OTHER_LANGUAGE.search(prompt) is None


def has_latin(text: str) -> bool:
    return _LATIN.search(text) is not None


def has_hangul(text: str) -> bool:
    return _HANGUL.search(text) is not None


def has_hanja(text: str) -> bool:
    return _HANJA.search(text) is not None
