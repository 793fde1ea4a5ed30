"""Filters on the form of lines and words: punctuation, lists, symbols, stop words.

Definitions are those of Gopher (Rae et al. 2112.11446) and FineWeb (2406.17557) as FineWeb2 applies
them; default limits are FineWeb2's for Korean (``kor_Hang``). ``docs/filters.md`` names the
differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

from samdan.filters.base import DocumentFilter, WordFilter
from samdan.filters.view import TextView
from samdan.records import Document, Drop
from samdan.spec import Count, NonNegative, Share, Whole

# Unicode's sentence terminals, of the scripts that a Korean corpus may hold.
TERMINAL: Final = (
    ".", "?", "!", "．", "？", "！", "。", "｡", "﹒", "﹖", "﹗", "‼", "‽", "⁇", "⁈", "⁉",
    "।", "॥", "؟", "۔", "։", "።", "។",
)  # fmt: skip
STOP_WORDS_KO: Final = (
    "의", "다", "이", "는", "에", "을", "한", "년", "하", "은", "를", "했", "고", "에서", "가",
    "있", "으로", "인", "월", "로", "되",
)  # fmt: skip


class LinePunctRatio(DocumentFilter):
    """Drops documents in which too few lines end like a sentence."""

    kind: Literal["line_punct_ratio"] = "line_punct_ratio"
    at_least: Share = 0.062
    """Lines that end with one of ``ends`` over lines."""
    ends: tuple[str, ...] = TERMINAL

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        value = _line_share(view.lines, [line.endswith(self.ends) for line in view.lines], 1.0)
        return self.below(document, value, self.at_least)


class NewLineRatio(WordFilter):
    """Drops documents that are lists: too many line ends for their words."""

    kind: Literal["new_line_ratio"] = "new_line_ratio"
    at_most: NonNegative = 0.196
    """Line ends over words."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        line_ends = view.text.count("\n")
        # Without line ends no word needs to be counted.
        value = line_ends / max(1, len(self.words(view))) if line_ends else 0.0
        return self.above(document, value, self.at_most)


class AvgWordLength(WordFilter):
    """Drops documents whose words, symbols left out, are too short or too long on average."""

    kind: Literal["avg_word_length"] = "avg_word_length"
    at_least: NonNegative = 1
    at_most: NonNegative = 6

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        counts = _spoken(self.words(view))
        total = sum(counts.values())
        if not total:
            return None
        value = sum(len(word) * count for word, count in counts.items()) / total
        return self.below(document, value, self.at_least) or self.above(
            document, value, self.at_most
        )


class WordCount(WordFilter):
    """Drops documents with too few or too many words, symbols left out."""

    kind: Literal["word_count"] = "word_count"
    at_least: Whole = 50
    at_most: Count | None = 100_000

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        value = sum(_spoken(self.words(view)).values())
        return self.below(document, value, self.at_least) or self.above(
            document, value, self.at_most
        )


class AlphaWordsRatio(WordFilter):
    """Drops documents in which too few words have a letter."""

    kind: Literal["alpha_words_ratio"] = "alpha_words_ratio"
    at_least: Share = 0.791
    """Words with a letter over words, symbols among them."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        counts = Counter(self.words(view))
        total = sum(counts.values())
        lettered = sum(n for word, n in counts.items() if any(map(str.isalpha, word)))
        return self.below(document, lettered / total if total else 0.0, self.at_least)


class SymbolWordRatio(WordFilter):
    """Drops documents with too many hashes, or too many ellipses, for their words."""

    kind: Literal["symbol_word_ratio"] = "symbol_word_ratio"
    at_most: NonNegative = 0.1
    """``#`` over words, and ``...`` or ``…`` over words, each for itself."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        hashes = view.text.count("#")
        ellipses = view.text.count("...") + view.text.count("…")
        if not hashes and not ellipses:
            return None
        words = max(1, len(self.words(view)))
        return self.above(
            document, hashes / words, self.at_most, "symbol_word_ratio #"
        ) or self.above(document, ellipses / words, self.at_most, "symbol_word_ratio ...")


class BulletLines(DocumentFilter):
    """Drops documents that are almost nothing but list items."""

    kind: Literal["bullet_lines"] = "bullet_lines"
    at_most: Share = 0.9
    """Lines that start with one of ``bullets`` over lines."""
    bullets: tuple[str, ...] = ("•", "-")

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        marked = [line.lstrip().startswith(self.bullets) for line in view.lines]
        return self.above(document, _line_share(view.lines, marked, 0.0), self.at_most)


class EllipsisLines(DocumentFilter):
    """Drops documents in which too many lines are cut off."""

    kind: Literal["ellipsis_lines"] = "ellipsis_lines"
    at_most: Share = 0.3
    """Lines that end with ``...`` or ``…`` over lines."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        cut = [line.endswith(("...", "…")) for line in view.lines]
        return self.above(document, _line_share(view.lines, cut, 0.0), self.at_most)


class StopWords(WordFilter):
    """Drops documents without the words that any running text has."""

    kind: Literal["stop_words"] = "stop_words"
    at_least: Whole = 2
    """So many different ones must occur."""
    stop_words: tuple[str, ...] = STOP_WORDS_KO
    """Particles and endings by default: they are words of their own only as morphemes."""

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        found = len(set(self.stop_words).intersection(self.words(view)))
        return self.below(document, found, self.at_least)


class MeanLineLength(DocumentFilter):
    """Drops documents whose lines are too short or too long on average, in characters."""

    kind: Literal["mean_line_length"] = "mean_line_length"
    at_least: NonNegative = 0
    at_most: NonNegative | None = None

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        lines = view.lines
        value = sum(map(len, lines)) / len(lines) if lines else 0.0
        return self.below(document, value, self.at_least) or self.above(
            document, value, self.at_most
        )


class GoodLines(DocumentFilter):
    """Drops documents with too little text in lines that read like sentences.

    A good line ends like a sentence, is long enough, and does not repeat one word (KOREAN-WEBTEXT's
    rules for lines; there, other lines are cut out and the rest must be long enough).
    """

    kind: Literal["good_lines"] = "good_lines"
    at_least: Share = 0.5
    """Characters in good lines over characters in lines."""
    min_chars: Whole = 33
    min_words: Whole = 7
    """White-space words in a line."""
    max_repetition: Share = 0.2
    """Occurrences of the line's most frequent word over its words."""
    ends: tuple[str, ...] = (".", "?", "]", '"')

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        total = sum(map(len, view.lines))
        good = sum(len(line) for line in view.lines if self._is_good(line))
        return self.below(document, good / total if total else 0.0, self.at_least)

    def _is_good(self, line: str) -> bool:
        if len(line) < self.min_chars or not line.endswith(self.ends):
            return False
        words = line.split()
        if len(words) < max(1, self.min_words):
            return False
        return max(Counter(words).values()) / len(words) <= self.max_repetition


def _line_share(lines: Sequence[str], marked: Sequence[bool], of_none: float) -> float:
    return sum(marked) / len(lines) if lines else of_none


def _spoken(words: Sequence[str]) -> Counter[str]:
    """Words with their counts, without those made of punctuation and symbols only."""
    counts = Counter(words)
    for word in [word for word in counts if not any(map(str.isalnum, word))]:
        del counts[word]
    return counts
