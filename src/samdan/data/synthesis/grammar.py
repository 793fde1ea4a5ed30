"""What can be done to a sentence of a template before its values are in: one set per language.

A sentence is the text of a template. Each function gives the changed text, or None where the
sentence does not allow it; a sentence in a form that is not known is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from samdan.data.synthesis.values import Language
from samdan.hangul import final_consonant, is_syllable, with_final, with_particle


@dataclass(frozen=True, slots=True)
class Grammar:
    """The operations of one language."""

    polite: Callable[[str], str]
    reported: Callable[[str], str]
    joined: Callable[[str, str, int], tuple[str, str] | None]
    """Two sentences on one subject as one, in two parts; the number picks a connective."""
    attributed: Callable[[str, str], str | None]
    """An attribute, then the sentence on the subject that has it."""
    both: Callable[[str], str | None]
    """A sentence on one subject as a sentence on two."""
    listed: Callable[[Sequence[str]], str]


# -- Korean ----------------------------------------------------------------------------------------

_N, _R, _B = 4, 8, 17
_COPULA = re.compile(r"\{(\w+)\|이다\}\.$")
_BEING = re.compile(r"(?<=[}’”가-힣])이다\.$")
# Verbs whose stem ends in ㄹ, which the plain present hides: 만든다 is of 만들다.
_RIEUL_STEMS = re.compile(r"(만든|이끈|산|연|판|건|논|푼|든)다\.$")
_TOPIC, _GENITIVE = "{s|은} ", "{s}의 "


def _korean_polite(sentence: str) -> str:
    if _COPULA.search(sentence):
        return _COPULA.sub(r"{\1}입니다.", sentence)
    if _BEING.search(sentence):
        return _BEING.sub("입니다.", sentence)
    stem = _stem(sentence)
    if stem is None:
        return sentence
    text, kind = stem
    if kind == "closed":
        return text + "습니다."
    return text[:-1] + with_final(text[-1], _B) + "니다."


def _stem(sentence: str) -> tuple[str, str] | None:
    """What stands before the ending of a plain sentence, and whether it ends in a consonant."""
    before = sentence.removesuffix("다.")
    if before == sentence or not before or not is_syllable(before[-1]):
        return None
    last = before[-1]
    if last == "는" and len(before) > 1 and is_syllable(before[-2]) and final_consonant(before[-2]):
        return before[:-1], "closed"  # 맡는다
    if final_consonant(last) == _N:
        return before[:-1] + with_final(last, 0), "open"  # 한다
    return before, "closed" if final_consonant(last) else "open"


def _korean_reported(sentence: str) -> str:
    if _COPULA.search(sentence):
        return _COPULA.sub(r"{\1|이라고} 한다.", sentence)
    if _BEING.search(sentence):
        before = _BEING.sub("", sentence)
        if before.endswith("}"):
            return f"{before[:-1]}|이라고}} 한다."
        quoted = with_particle(before, "이라고") if is_syllable(before[-1]) else before + "라고"
        return f"{quoted} 한다."
    if _stem(sentence) is None:
        return sentence
    return sentence.removesuffix(".") + "고 한다."


def _korean_linked(sentence: str, number: int) -> str | None:
    ending = ("며", "고")[number % 2]
    if _COPULA.search(sentence):
        return _COPULA.sub(rf"{{\1}}이{ending}", sentence)
    if _BEING.search(sentence):
        return _BEING.sub(f"이{ending}", sentence)
    stem = _stem(sentence)
    if stem is None:
        return None
    text, kind = stem
    if _RIEUL_STEMS.search(sentence):
        text = text[:-1] + with_final(text[-1], _R)
    return text + ("으며" if kind == "closed" and ending == "며" else ending)


def _korean_joined(first: str, second: str, number: int) -> tuple[str, str] | None:
    if first.startswith(_TOPIC):
        rest = second.removeprefix(_TOPIC).removeprefix(_GENITIVE)
    elif first.startswith(_GENITIVE) and second.startswith(_GENITIVE):
        rest = second.removeprefix(_GENITIVE)
    else:
        return None
    linked = _korean_linked(first, number)
    if linked is None or rest == second or "{s" in rest:
        return None
    return linked + ",", " " + rest


def _korean_attributed(attribute: str, sentence: str) -> str | None:
    return f"{attribute} {sentence}" if sentence.startswith((_TOPIC, _GENITIVE)) else None


def _korean_both(sentence: str) -> str | None:
    if not sentence.startswith(_TOPIC):
        return None
    return sentence.replace(_TOPIC, _TOPIC + "모두 ", 1)


def _korean_listed(words: Sequence[str]) -> str:
    if len(words) == 2:
        return f"{with_particle(words[0], '과')} {words[1]}"
    return ", ".join(words)


# -- English ---------------------------------------------------------------------------------------

_SUBJECT, _POSSESSIVE = "{s} ", "{s}'s "


def _english_reported(sentence: str) -> str:
    start = re.sub(r"^(The|Among|Under|As|Looking)\b", lambda m: m[0].lower(), sentence)
    return f"It is reported that {start}"


def _english_joined(first: str, second: str, number: int) -> tuple[str, str] | None:
    if not first.endswith(".") or second.count("{s") > 1:
        return None
    if first.startswith(_SUBJECT) and second.startswith(_SUBJECT):
        return first[:-1], (" and " if number % 2 else ", and ") + second.removeprefix(_SUBJECT)
    if first.startswith((_SUBJECT, _POSSESSIVE)) and second.startswith(_POSSESSIVE):
        return first[:-1], ", and the " + second.removeprefix(_POSSESSIVE)
    return None


def _english_attributed(attribute: str, sentence: str) -> str | None:
    if not sentence.startswith(_SUBJECT):
        return None
    return f"{{s}}, {attribute}, {sentence.removeprefix(_SUBJECT)}"


def _english_both(sentence: str) -> str | None:
    for one, two in (("is ", "are both "), ("was ", "were both "), ("has ", "both have ")):
        if sentence.startswith(_SUBJECT + one):
            return _SUBJECT + two + sentence.removeprefix(_SUBJECT + one)
    return None


def _english_listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


GRAMMARS: Final[Mapping[Language, Grammar]] = {
    "ko": Grammar(
        _korean_polite, _korean_reported, _korean_joined, _korean_attributed, _korean_both,
        _korean_listed,
    ),
    "en": Grammar(
        lambda sentence: sentence, _english_reported, _english_joined, _english_attributed,
        _english_both, _english_listed,
    ),
}  # fmt: skip
