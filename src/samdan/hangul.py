"""Hangul: how a word ends when it is read aloud, and the particles that depend on it.

The reading of digits and symbols is exact; that of Latin words is a rule of thumb from their
spelling. Where nothing is known (Chinese characters) a particle is written in its double form,
은(는), as Korean writing does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from unicodedata import normalize

# particle -> (form after a final consonant, form after a vowel)
PARTICLES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "은": ("은", "는"),
        "이": ("이", "가"),
        "을": ("을", "를"),
        "과": ("과", "와"),
        "으로": ("으로", "로"),
        "이다": ("이다", "다"),
        "이에요": ("이에요", "예요"),
        "이라": ("이라", "라"),
        "이라고": ("이라고", "라고"),
        "이라는": ("이라는", "라는"),
        "이란": ("이란", "란"),
        "이며": ("이며", "며"),
        "이고": ("이고", "고"),
        "이었다": ("이었다", "였다"),
        "이나": ("이나", "나"),
        "이랑": ("이랑", "랑"),
        "이지만": ("이지만", "지만"),
        "이므로": ("이므로", "므로"),
    }
)
# The copula loses its 이 after a vowel that is written in Hangul: 사과다, but API이다.
_COPULAS: Final = frozenset({"이다", "이며", "이고", "이지만", "이므로"})
# What is written where the reading is not known.
_DOUBLE: Final = MappingProxyType(
    {"은": "은(는)", "이": "이(가)", "을": "을(를)", "과": "와(과)", "으로": "(으)로"}
)

# Final consonants by their number in a Hangul syllable (0: none), as Unicode counts them.
_G, _N, _R, _M, _B, _S, _NG = 1, 4, 8, 16, 17, 19, 21
_FIRST, _LAST = "가", "힣"
_DIGITS = (_NG, _R, 0, _M, 0, 0, _G, _R, _R, 0)  # 영 일 이 삼 사 오 육 칠 팔 구
_TENS = (0, _B, _G, _N)  # (digit) 십 백 천
_MYRIADS = (0, _N, _G, 0, _NG)  # (none) 만 억 조 경
_UNITS: Final = MappingProxyType(
    {"kg": _M, "g": _M, "mg": _M, "t": _N, "ml": 0, "mL": 0, "L": 0, "l": 0, "m": 0, "km": 0,
     "cm": 0, "mm": 0, "ha": 0, "MB": 0, "GB": 0, "TB": 0, "KB": 0, "kB": 0, "Hz": 0, "MHz": 0,
     "GHz": 0, "kHz": 0, "V": 0, "W": 0, "kW": 0, "MW": 0, "kWh": 0, "A": 0, "s": 0, "ms": 0}
)  # fmt: skip
_SYMBOLS: Final = MappingProxyType(
    {"%": 0, "‰": _R, "℃": 0, "℉": 0, "°": 0, "㎡": 0, "㎥": 0, "²": 0, "³": 0, "㎞": 0, "㎝": 0,
     "㎜": 0, "㎏": _M, "㎎": _M, "ℓ": 0, "+": 0, "#": _B, "₩": _N, "$": 0, "€": 0, "&": 0,
     "★": 0, "㈜": 0}
)  # fmt: skip
_SILENT = " \t\n.,;:!?…·~\"'`’”‘“」』〉》>™®©*_-–—"
_COMPANY: Final = MappingProxyType({"주": 0, "유": 0, "합": 0, "사": _N, "재": _N, "학": _N})
_LETTERS: Final = MappingProxyType({"l": _R, "m": _M, "n": _N, "r": _R})  # 엘 엠 엔 알
_EXCEPTIONS: Final = MappingProxyType(
    {"york": _G, "hadoop": _B, "acme": 0, "home": _M, "github": 0, "hub": 0, "suite": 0}
)
# Spelling at the end of an English word -> final consonant of its Korean transcription.
_SPELLINGS: Final = (
    (re.compile(r"l+e?$"), _R),
    (re.compile(r"ng(ue)?$"), _NG),
    (re.compile(r"([aeiouy]m+e|m)$"), _M),
    (re.compile(r"([aeiouy]n+e|n)$"), _N),
    (re.compile(r"(ck|c|ook|(^|[^aeiouy])[aeiouy]k)$"), _G),
    (re.compile(r"(roup|(^|[^aeiouy])[aeiouy]pp?)$"), _B),
    (re.compile(r"(^|[^aeiouy])[aeiouy]bb?$"), _B),
    (re.compile(r"(out|(^|[^aeiouy])[aeiouy]tt?)$"), _S),
)
_NUMBER = re.compile(r"(?P<hyphen>(?<=\d)-)?(?<![\d.,])(?P<whole>\d[\d,]*)(?P<fraction>\.\d+)?$")
_WORD = re.compile(r"[A-Za-z]+$")
_UNIT = re.compile(r"\d\s?([A-Za-z]+)$")
_BRACKETS = re.compile(r"\s*[(\[{（［｛]([^()\[\]{}（）［］｛｝]*)[)\]}）］｝]$")
_FIELD = re.compile(r"\{(\w+)(?:\|([^}]+))?\}")


def final_consonant(word: str) -> int | None:
    """Number (0: none) of the final consonant of ``word`` as it is read; None when unknown.

    Closing quotes and punctuation are silent. A closing bracket is skipped with what it holds, as
    the orthography asks: 홍길동(洪吉童)은; (주) and its like are read out: 한빛(주)는.
    """
    text = normalize("NFC", word).rstrip(_SILENT)
    while bracket := _BRACKETS.search(text):
        inside, before = bracket[1].strip(), text[: bracket.start()].rstrip(_SILENT)
        if inside in _COMPANY and before:
            return _COMPANY[inside]
        text = before or inside.rstrip(_SILENT)
    if not text:
        return None
    last = text[-1]
    if _FIRST <= last <= _LAST:
        return (ord(last) - ord(_FIRST)) % 28
    if last in _SYMBOLS:
        return _SYMBOLS[last]
    if last.isascii() and last.isdigit():
        return _of_number(text)
    return _of_letters(text)


def _of_number(text: str) -> int:
    found = _NUMBER.search(text)
    digits = found["whole"].replace(",", "") if found else text[-1]
    last = int(text[-1])
    one_by_one = found is None or found["fraction"] or found["hyphen"]
    if last or one_by_one or (len(digits) > 1 and digits[0] == "0") or not digits.strip("0"):
        return _DIGITS[last]
    zeros = len(digits) - len(digits.rstrip("0"))
    if zeros < 4:
        return _TENS[zeros]
    return _MYRIADS[min(zeros // 4, len(_MYRIADS) - 1)]


def _of_letters(text: str) -> int | None:
    last = text[-1]
    if "ㄱ" <= last <= "ㅎ":  # 기역, 니은, 디귿, 리을
        return _R if last == "ㄹ" else _G
    if "ㅏ" <= last <= "ㅣ" or "ぁ" <= last <= "ヿ":
        return _N if last in "んン" else 0
    latin = "".join(c for c in normalize("NFD", text) if not "\u0300" <= c <= "\u036f")
    if (unit := _UNIT.search(latin)) and unit[1] in _UNITS:
        return _UNITS[unit[1]]
    found = _WORD.search(latin)
    return _of_latin(found[0]) if found else None


def _of_latin(word: str) -> int:
    """API and Ltd are spelled, NAVER and Python are read as words."""
    lower = word.lower()
    capitals = len(word) - len(word.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    shouted = capitals == len(word) >= 5 and re.search("[aeiou]", lower)
    if len(word) == 1 or (capitals and not shouted) or not re.search("[aeiouy]", lower):
        return _LETTERS.get(lower[-1], 0)
    if lower in _EXCEPTIONS:
        return _EXCEPTIONS[lower]
    humps = re.findall("[A-Z][a-z]+$", word)  # GitHub: Hub
    last = humps[0].lower() if humps else lower
    if last in _EXCEPTIONS:
        return _EXCEPTIONS[last]
    return next((final for spelling, final in _SPELLINGS if spelling.search(last)), 0)


def particle(word: str, name: str) -> str:
    """The form of a particle of ``PARTICLES`` that the end of ``word`` asks for."""
    closed, open_ = PARTICLES[name]
    final = final_consonant(word)
    if final is None:
        return _DOUBLE.get(name, closed)
    if name in _COPULAS and (not is_syllable(word[-1]) or word[-1] == "다"):
        return closed  # 바다이다, not 바다다
    if name == "으로" and final == _R:
        return open_
    return closed if final else open_


def with_particle(word: str, name: str) -> str:
    """``word`` followed by the form of the particle that its end asks for."""
    return word + particle(word, name)


def with_final(syllable: str, final: int) -> str:
    """A Hangul syllable with another final consonant: 하 and ㅂ (17) give 합."""
    code = ord(syllable) - ord(_FIRST)
    return chr(ord(_FIRST) + code - code % 28 + final)


def is_syllable(char: str) -> bool:
    """Whether the character is a whole Hangul syllable."""
    return _FIRST <= char <= _LAST


def fill(template: str, **values: str) -> str:
    """Fill ``{field}`` and ``{field|particle}`` places of ``template``."""

    def replace(match: re.Match[str]) -> str:
        word = values[match.group(1)]
        name = match.group(2)
        return with_particle(word, name) if name else word

    return _FIELD.sub(replace, template)
