"""Filters on what a document repeats: lines, and sequences of words.

Definitions are those of Gopher (Rae et al. 2112.11446, table A1) as FineWeb2 applies them; default
limits are FineWeb2's for Korean (``kor_Hang``). ``docs/filters.md`` names the differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Annotated, Literal

from pydantic import Field

from samdan.filters.base import DocumentFilter, WordFilter
from samdan.filters.view import TextView
from samdan.records import Document, Drop
from samdan.spec import Share

# Number of words in a sequence to the largest share of the text's characters.
Limits = dict[Annotated[int, Field(ge=1, le=100)], Share]


class RepeatedLines(DocumentFilter):
    """Drops documents most of whose lines are copies of other lines of the document."""

    kind: Literal["repeated_lines"] = "repeated_lines"
    at_most: Share = 0.374
    """Share of characters in repeated lines, white space around a line not counted."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        lines = [line.strip() for line in view.lines]
        total = sum(map(len, lines))
        return self.above(document, _copies(lines)[1] / total if total else 0.0, self.at_most)


class DupLineFrac(DocumentFilter):
    """Drops documents with too many lines that occurred before."""

    kind: Literal["dup_line_frac"] = "dup_line_frac"
    at_most: Share = 0.374
    """Repeated lines over lines."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        lines = view.lines
        value = _copies(lines)[0] / len(lines) if lines else 0.0
        return self.above(document, value, self.at_most)


class CharDuplicatesRatio(DocumentFilter):
    """Drops documents with too many characters in lines that occurred before."""

    kind: Literal["char_duplicates_ratio"] = "char_duplicates_ratio"
    at_most: Share = 0.1
    """Characters of repeated lines over the text's characters without line ends."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        total = len(view.text) - view.text.count("\n")
        value = _copies(view.lines)[1] / total if total else 0.0
        return self.above(document, value, self.at_most)


class TopNGrams(WordFilter):
    """Drops documents in which one sequence of n words makes up too much of the text."""

    kind: Literal["top_n_grams"] = "top_n_grams"
    at_most: Limits = Field(default={2: 0.282, 3: 0.228, 4: 0.185})
    """n to: characters of the most frequent n-gram, all occurrences, over the text's."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        words, total = self.words(view), len(view.text)
        for n, limit in sorted(self.at_most.items()):
            value = top_n_gram(words, n) / total if total else 0.0
            if drop := self.above(document, value, limit, f"top_n_grams {n}"):
                return drop
        return None


class DupNGrams(WordFilter):
    """Drops documents with too many characters in sequences of n words that occurred before."""

    kind: Literal["dup_n_grams"] = "dup_n_grams"
    at_most: Limits = Field(
        default={5: 0.201, 6: 0.184, 7: 0.168, 8: 0.154, 9: 0.14, 10: 0.127}
    )
    """n to: characters of repeated n-grams, each character once, over the text's."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        words, total = self.words(view), len(view.text)
        for n, limit in sorted(self.at_most.items()):
            value = repeated_n_grams(words, n) / total if total else 0.0
            if drop := self.above(document, value, limit, f"dup_n_grams {n}"):
                return drop
        return None


def top_n_gram(words: Sequence[str], n: int) -> int:
    """Characters of the most frequent n-gram (words joined by a space) times its occurrences.

    Of equally frequent ones the first counts; one that occurs once is no repetition: 0.
    """
    counts = Counter(_slices(" ".join(words), words, n, gap=1))
    if not counts:
        return 0
    gram, count = counts.most_common(1)[0]
    return len(gram) * count if count > 1 else 0


def repeated_n_grams(words: Sequence[str], n: int) -> int:
    """Characters, without spaces, in n-grams that occurred before; none is counted twice."""
    seen: set[str] = set()
    characters = 0
    free_from = 0
    for index, gram in enumerate(_slices("".join(words), words, n, gap=0)):
        if index < free_from:
            continue
        if gram in seen:
            characters += len(gram)
            free_from = index + n
        else:
            seen.add(gram)
    return characters


def _slices(joined: str, words: Sequence[str], n: int, gap: int) -> Iterable[str]:
    """Every n-gram in order, cut out of all words joined: faster than joining words anew."""
    starts = [0, *accumulate(len(word) + gap for word in words)]
    return (joined[start : end - gap] for start, end in zip(starts, starts[n:], strict=False))


def _copies(lines: Iterable[str]) -> tuple[int, int]:
    """Number and characters of the lines that occurred before."""
    again = [(count - 1, len(line)) for line, count in Counter(lines).items() if count > 1]
    return sum(times for times, _ in again), sum(times * length for times, length in again)
