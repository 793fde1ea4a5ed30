"""What a synthetic text must not be: too short, a leaked template, a copy, another language."""

from __future__ import annotations

import re
from typing import Final

from samdan.data.synthesis.values import Language
from samdan.hangul import is_syllable

SHINGLE_WORDS: Final = 5
COPY_SHARE: Final = 0.8  # of a text's word 5-grams that stand in its prompt
MIN_HANGUL: Final = 0.3  # of the letters of a Korean text; code and names may be Latin
MAX_FOREIGN: Final = 0.1  # of the letters: Chinese characters and kana, in which teachers slip

_PLACE = re.compile(
    r"\{[a-z]\w*(\|[^{}]*)?\}|\[(INST|/INST)\]|<\|?/?(im_start|im_end|document|문서)\|?>"
)
_DOUBLE = re.compile(r"은\(는\)|이\(가\)|을\(를\)|와\(과\)|\(으\)로")
_PREAMBLE = re.compile(
    r"(물론(입니다|이죠|이에요)|네, 알겠습니다|알겠습니다|다음은 요청하신|요청하신|"
    r"sure[,!. ]|certainly[,!. ]|of course[,!. ]|here('s| is| are) (the|a|your|some|\d+)\b)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"((죄송|미안)(합니다|하지만|해요)|도와드릴 수 없|"
    r"i('m| am) (sorry|unable)|i (can't|cannot|can not|won't) |as an ai\b|"
    r"인공지능 (언어 )?모델로서)",
    re.IGNORECASE,
)


def graph_fault(text: str, min_chars: int) -> str:
    """Why a text from templates is not used; empty when it is."""
    if len(text) < min_chars:
        return "too_short"
    if _PLACE.search(text):
        return "template_leak"
    return "unknown_reading" if _DOUBLE.search(text) else ""


def teacher_fault(text: str, prompt: str, language: Language, min_chars: int) -> str:
    """Why an answer of a teacher is not used; empty when it is."""
    if _REFUSAL.match(text.lstrip("\"'“‘ ")):
        return "refused"
    if len(text) < min_chars:
        return "too_short"
    if _PLACE.search(text):
        return "template_leak"
    if _PREAMBLE.match(text.lstrip("*# ")):
        return "preamble"
    if not in_language(text, language):
        return "wrong_language"
    return "near_copy" if copied_share(text, prompt) >= COPY_SHARE else ""


def in_language(text: str, language: Language) -> bool:
    """Whether the letters of a text are those of the language."""
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return False
    hangul = sum(map(is_syllable, letters)) / len(letters)
    foreign = sum("\u3040" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" for c in letters)
    if foreign / len(letters) > MAX_FOREIGN:
        return False
    return hangul >= MIN_HANGUL if language == "ko" else hangul < MIN_HANGUL


def copied_share(text: str, prompt: str) -> float:
    """Share of the text's word 5-grams (of a shorter text: all its words) in the prompt."""
    words, source = text.split(), prompt.split()
    size = min(SHINGLE_WORDS, len(words))
    if not size:
        return 0.0
    known = {tuple(source[i : i + size]) for i in range(len(source) - size + 1)}
    shingles = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return sum(shingle in known for shingle in shingles) / len(shingles)
