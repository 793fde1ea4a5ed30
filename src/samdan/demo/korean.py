"""Korean particles and template filling for the generated world."""

from __future__ import annotations

import re

# particle -> (form after a final consonant, form after a vowel)
PARTICLES: dict[str, tuple[str, str]] = {
    "은": ("은", "는"),
    "이": ("이", "가"),
    "을": ("을", "를"),
    "과": ("과", "와"),
    "으로": ("으로", "로"),
    "이다": ("이다", "다"),
    "이에요": ("이에요", "예요"),
    "이라": ("이라", "라"),
    "이라고": ("이라고", "라고"),
    "이란": ("이란", "란"),
    "이며": ("이며", "며"),
    "이고": ("이고", "고"),
    "이었다": ("이었다", "였다"),
}

_HANGUL_FIRST, _HANGUL_LAST = 0xAC00, 0xD7A3
_RIEUL = 8
# final consonant index of the Korean reading of each digit (영 일 이 삼 사 오 육 칠 팔 구)
_DIGIT_FINALS = {"0": 21, "1": 8, "2": 0, "3": 16, "4": 0, "5": 0, "6": 1, "7": 8, "8": 8, "9": 0}
_FIELD = re.compile(r"\{(\w+)(?:\|([^}]+))?\}")


def final_consonant(word: str) -> int:
    """Index (0 = none) of the final consonant of the last letter of ``word``."""
    last = word[-1]
    if _HANGUL_FIRST <= ord(last) <= _HANGUL_LAST:
        return (ord(last) - _HANGUL_FIRST) % 28
    return _DIGIT_FINALS.get(last, 0)


def with_particle(word: str, particle: str) -> str:
    """``word`` followed by the form of ``particle`` that its last letter asks for."""
    closed, open_ = PARTICLES[particle]
    final = final_consonant(word)
    if particle == "으로" and final == _RIEUL:
        return word + open_
    return word + (closed if final else open_)


def fill(template: str, **values: str) -> str:
    """Fill ``{field}`` and ``{field|particle}`` places of ``template``."""

    def replace(match: re.Match[str]) -> str:
        word = values[match.group(1)]
        particle = match.group(2)
        return with_particle(word, particle) if particle else word

    return _FIELD.sub(replace, template)
