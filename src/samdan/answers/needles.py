"""Needles in a haystack: a sentence with a number, the text that it is hidden in, the question.

The probe of Kamradt 2023 in the form of Code Llama's key retrieval (2308.12950, 5.3): short,
unambiguous, and scored by exact match.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SENTENCES = {
    "ko": ("{name}의 비밀 번호는 {number}이다.", "{name}의 비밀 번호는"),
    "en": ("The secret number of {name} is {number}.", "The secret number of {name} is"),
}
NAMES = {
    "ko": ("가온", "누리", "다솜", "라온", "마루", "바다", "새벽", "아라", "하람", "한결"),
    "en": ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Juniper", "Larch", "Maple", "Oak", "Rowan"),
}
DIGITS = 5


@dataclass(frozen=True, slots=True)
class Needle:
    """``answer`` begins with the space that stands before the number in the sentence."""

    sentence: str
    question: str
    answer: str


def needle(language: str, chance: random.Random) -> Needle:
    """A sentence with a random number of five digits, the first not 0."""
    sentence, question = SENTENCES[language]
    name = chance.choice(NAMES[language])
    number = str(chance.randrange(10 ** (DIGITS - 1), 10**DIGITS))
    return Needle(
        sentence.format(name=name, number=number), question.format(name=name), f" {number}"
    )


def haystack(
    sizes: Sequence[int], first: int, budget: int, depth: float
) -> tuple[list[int], list[int]]:
    """Numbers of the lines before and behind the needle.

    ``sizes``: tokens of every line of the documents; lines are taken from number ``first`` on,
    around the end where needed, no line twice, those left out that would exceed ``budget``. The
    needle lies at the line break nearest to ``depth`` of their tokens.
    """
    taken: list[int] = []
    total, shortest = 0, min(sizes, default=0)
    for step in range(len(sizes)):
        if budget - total < shortest:
            break
        line = (first + step) % len(sizes)
        if total + sizes[line] <= budget:
            taken.append(line)
            total += sizes[line]
    ends = [0]
    for line in taken:
        ends.append(ends[-1] + sizes[line])
    cut = min(range(len(ends)), key=lambda n: abs(ends[n] - depth * total))
    return taken[:cut], taken[cut:]
