"""Lines to fill in: which lines of a text are asked for, and what stands around them."""

from __future__ import annotations

import random
from collections.abc import Sequence

FENCES = ("```", "~~~")


def lines_to_fill(
    texts: Sequence[str], seed: int, code_only: bool, per_document: int, min_chars: int
) -> list[dict[str, str]]:
    """Items ``{"prefix", "middle", "suffix"}``, in the order of the texts.

    The middle is one line without its indent and its line break, so that prefix and suffix say
    where it lies; it holds a letter or digit, and ``min_chars`` characters other than white space.
    """
    items = []
    for number, text in enumerate(texts):
        chance = random.Random(f"{seed}/lines/{number}")
        lines = text.splitlines(keepends=True)
        places = [n for n in _places(lines, code_only) if _counts(lines[n], min_chars)]
        for place in sorted(chance.sample(places, min(per_document, len(places)))):
            line = lines[place]
            middle = line.strip()
            indent = line[: len(line) - len(line.lstrip())]
            behind = line[len(indent) + len(middle) :]
            items.append({
                "prefix": "".join(lines[:place]) + indent,
                "middle": middle,
                "suffix": behind + "".join(lines[place + 1 :]),
            })  # fmt: skip
    return items


def _counts(line: str, min_chars: int) -> bool:
    return len("".join(line.split())) >= min_chars and any(c.isalnum() for c in line)


def _places(lines: Sequence[str], code_only: bool) -> list[int]:
    """Numbers of the lines that may be asked for; with fences, those between two of them."""
    fenced, inside = [], False
    any_fence = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(FENCES):
            inside, any_fence = not inside, True
        elif inside:
            fenced.append(number)
    return fenced if any_fence and code_only else list(range(len(lines)))
