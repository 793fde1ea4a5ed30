"""Places in a template: ``{name}`` or ``{name|modifier}``, and nothing else.

No expressions, no format strings, no code. Modifiers are the particles of ``samdan.hangul`` in
Korean (``{s|은}``) and ``a`` (article), ``on`` (on a day, in a year), ``cap`` (capital) in English.
Values are put in once and never read as templates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import AfterValidator

from samdan.data.synthesis.values import MONTHS, Language
from samdan.hangul import PARTICLES, with_particle

_PLACE = re.compile(r"\{([a-z]\w*)(?:\|([^{}|]+))?\}")
_ENGLISH: Final = frozenset({"a", "on", "cap"})
_VOWEL_SOUND = re.compile(r"(?!eu|uni|use|one\b|once)[aeiou]|hour|honest|heir", re.IGNORECASE)
_ON_A_DAY = re.compile(rf"\d [A-Z]|({'|'.join(MONTHS)}) \d{{1,2}},")


def places(template: str) -> list[tuple[str, str]]:
    """The (name, modifier) of every place. Raises ValueError when a brace is left over."""
    left = _PLACE.sub("", template)
    if "{" in left or "}" in left:
        raise ValueError(f"{template!r}: a place is {{name}} or {{name|modifier}}, as in {{s|은}}")
    return [(match[1], match[2] or "") for match in _PLACE.finditer(template)]


def fill(template: str, values: Mapping[str, str], language: Language) -> str:
    """The template with its values. Raises KeyError for a place that has none."""

    def one(match: re.Match[str]) -> str:
        word, modifier = values[match[1]], match[2]
        if not modifier:
            return word
        return with_particle(word, modifier) if language == "ko" else _english(word, modifier)

    text = _PLACE.sub(one, template)
    return text if language == "ko" else re.sub(r"([.!?]”)\.", r"\1", text)


def _english(word: str, modifier: str) -> str:
    if modifier == "cap":
        return word[:1].upper() + word[1:]
    if modifier == "on":
        return f"{'on' if _ON_A_DAY.search(word) else 'in'} {word}"
    return f"{'an' if _VOWEL_SOUND.match(word) else 'a'} {word}"


def _checked(needed: Sequence[str], allowed: Sequence[str]) -> AfterValidator:
    def check(text: str) -> str:
        found = places(text)
        names = [name for name, _ in found]
        for name, modifier in found:
            if name not in allowed:
                known = ", ".join(f"{{{other}}}" for other in allowed)
                raise ValueError(f"unknown place {{{name}}}; known here: {known}")
            if modifier and modifier not in PARTICLES and modifier not in _ENGLISH:
                known = ", ".join([*PARTICLES, *sorted(_ENGLISH)])
                raise ValueError(f"unknown modifier '{modifier}'; known: {known}")
        for name in needed:
            if name not in names:
                raise ValueError(f"{text!r}: the place {{{name}}} is missing")
        if "\n" in text:
            raise ValueError(f"{text!r}: a template is one line")
        return text

    return AfterValidator(check)


Sentence = Annotated[str, _checked(("s", "o"), ("s", "o", "n"))]
Question = Annotated[str, _checked(("s",), ("s", "n"))]
Attribute = Annotated[str, _checked(("o",), ("o", "n"))]
