"""What is wrong with an answer whatever was asked: loops, broken form, another language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from samdan.answers.levels import one_level
from samdan.answers.refusal import refuses
from samdan.answers.text import asks_for_korean, hangul_share, is_korean, words

GRAM: Final = 3  # words
LONGEST_UNIT: Final = 200  # characters of a loop's period
FEWEST_TURNS: Final = 3  # a loop goes round at least three times
SHORTEST_LOOP: Final = 12  # characters: "하하하" is laughter
# What a chat template or an instruction format writes, and no answer should hold.
_RESIDUE: Final = re.compile(
    r"<\|[a-z_]+\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|</?s>|<unk>|<pad>"
    r"|^\s*(?:###\s*(?:Instruction|Response|Input)|(?:User|Assistant|Human|사용자|어시스턴트)\s*:)",
    re.IGNORECASE | re.MULTILINE,
)
_BROKEN: Final = re.compile(r"[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class Quality:
    """Of one answer. ``hangul`` and ``one_level`` are None where they do not apply."""

    length: int  # characters
    repetition: float
    format: bool
    refusal: bool
    hangul: float | None  # share of Hangul, of an answer to a Korean prompt
    one_level: bool | None  # a Korean answer keeps its speech level


def quality(prompt: str, answer: str) -> Quality:
    return Quality(
        length=len(answer.strip()),
        repetition=repetition(answer),
        format=well_formed(answer),
        refusal=refuses(answer),
        hangul=hangul_share(answer) if asks_for_korean(prompt) else None,
        one_level=one_level(answer) if is_korean(answer) else None,
    )


def repetition(text: str) -> float:
    """How much of an answer repeats what it said, from 0 to 1.

    The larger of two shares: word trigrams that occurred before in the answer, and characters that
    belong to a loop at its end.
    """
    return max(repeated_grams(words(text)), looped(text))


def repeated_grams(tokens: Sequence[str], size: int = GRAM) -> float:
    grams = Counter(tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1))
    total = sum(grams.values())
    return 1 - len(grams) / total if total else 0.0


def looped(text: str) -> float:
    """The share of the text that its end, going round three times or more, takes up."""
    text = text.rstrip()
    best = 0
    for unit in range(1, min(LONGEST_UNIT, len(text) // FEWEST_TURNS) + 1):
        same = unit
        while same < len(text) and text[-1 - same] == text[-1 - same + unit]:
            same += 1
        if same >= unit * FEWEST_TURNS and same >= SHORTEST_LOOP:
            best = max(best, same)
    return best / len(text) if text else 0.0


def well_formed(text: str) -> bool:
    """Says something, closes its code blocks, and holds neither template marks nor broken text."""
    stripped = text.strip()
    if not stripped or _RESIDUE.search(stripped) or _BROKEN.search(stripped):
        return False
    return len(re.findall(r"^\s*```", stripped, re.MULTILINE)) % 2 == 0
