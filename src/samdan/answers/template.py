"""The template of an answer: how it opens and how it closes, in which shape.

Answers that share a template say different things in the same frame ("물론입니다! 아래와 같이
안내해 드립니다", "더 궁금한 점이 있으시면 말씀해 주세요"). A model that is trained on one frame for
the most part answers everything in it. Pure string work: equal text gives equal templates.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Final

from samdan.answers.text import sentences

WORDS: Final = 3  # of the opening and of the closing: a frame is a phrase, not a topic
_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_FENCE: Final = re.compile(r"^\s*(?:```|~~~)")
_SHAPES: Final = (
    ("heading", re.compile(r"^\s*#{1,6}\s")),
    ("list", re.compile(r"^\s*[-*•·]\s+\S")),
    ("numbered", re.compile(r"^\s*(?:\d{1,3}|[가-하])[.)]\s+\S")),
    ("table", re.compile(r"^\s*\|.*\|\s*$")),
    ("quote", re.compile(r"^\s*>\s")),
)


def templates(answer: str) -> tuple[str, str]:
    """The answer's opening and closing, each with its shape; equal ones are one template.

    The first and the last three words of the prose, in lower case, with every number as 0 and
    without punctuation, behind the kinds of lines that the answer is made of (runs of one kind
    count once). An answer of three words or fewer is its own template.
    """
    form = "+".join(shape(answer)) or "nothing"
    said = [_plain(sentence) for sentence in sentences(answer)] or [()]
    first, last = said[0][:WORDS], said[-1][-WORDS:]
    return f"{form}: {' '.join(first)} ...", f"{form}: ... {' '.join(last)}"


def shape(answer: str) -> tuple[str, ...]:
    """The kinds of its lines in order, runs of one kind once: ("text", "list", "text")."""
    found: list[str] = []
    inside = False
    for line in answer.splitlines():
        if _FENCE.match(line):
            inside, kind = not inside, "code"
        elif inside or not line.strip():
            continue
        else:
            kind = next((name for name, is_one in _SHAPES if is_one.match(line)), "text")
        if found[-1:] != [kind]:
            found.append(kind)
    return tuple(found)


def commonest(answers: Sequence[str]) -> tuple[str, list[bool]]:
    """The template that most answers share, and which of them do; the alphabet decides ties."""
    found = [templates(answer) for answer in answers]
    counts = Counter(one for pair in found for one in pair)
    most = min(counts, key=lambda one: (-counts[one], one), default="")
    return most, [most in pair for pair in found]


def _plain(sentence: str) -> tuple[str, ...]:
    text = _NUMBER.sub("0", unicodedata.normalize("NFKC", sentence).casefold())
    return tuple(word for raw in text.split() if (word := re.sub(r"[^\w]+", "", raw)))
