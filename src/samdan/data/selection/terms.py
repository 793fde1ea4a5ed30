"""Texts to terms: morphemes of an injected tagger, words, or runs of characters."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from samdan.data.selection.hashing import UInt, character_hashes

Tags = Sequence[tuple[str, str]]
# A text to (form, part of speech) of its morphemes.
Tagged = Callable[[str], Tags]

# What is read of a document for statistics: a bound on time and memory, not on what is trained.
MAX_CHARS = 20_000
_WORD = re.compile(r"\w+|[^\w\s]+")
_SPACE = re.compile(r"\s+")


def words(text: str) -> list[str]:
    """Runs of letters and digits, and runs of punctuation, in lower case."""
    return _WORD.findall(text[:MAX_CHARS].lower())


def tags_of(text: str, tagged: Tagged) -> Tags:
    """Morphemes of the part of a document that is read for statistics."""
    return tagged(text[:MAX_CHARS])


def morphemes(tags: Tags) -> list[str]:
    """``form/tag`` of every morpheme that holds a letter or digit, in lower case."""
    return [
        f"{form.lower()}/{tag}" for form, tag in tags if any(char.isalnum() for char in form)
    ]


def character_grams(text: str) -> UInt:
    """Hashes of all runs of two and three characters, white space as one space, in lower case."""
    return character_hashes(_SPACE.sub(" ", text[:MAX_CHARS].lower()).strip(), 2, 3)


def tag_entropy(tags: Tags) -> float:
    """``-sum of f log2 f`` over the shares f of the parts of speech; nan without a letter.

    Only morphemes that hold a letter count (FinPythia, arXiv 2311.08545).
    """
    counts = Counter(tag for form, tag in tags if any(char.isalpha() for char in form))
    total = sum(counts.values())
    if not total:
        return math.nan
    # In the order of the tags: a sum of floats depends on it.
    shares = [counts[tag] / total for tag in sorted(counts)]
    return -sum(share * math.log2(share) for share in shares) + 0.0
