"""A text and its parts, each computed when a filter first asks and shared by all filters.

Whitespace words, lines and paragraphs are plain Python. Morphemes and a language detector come from
libraries that the core does not import: whoever makes the view hands them in as functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final, NamedTuple, Protocol

# Syllables, conjoining jamo (NFD), compatibility jamo without the invisible filler, half width.
_HANGUL: Final = re.compile(
    "[\uac00-\ud7a3\u1100-\u11ff\u3131-\u3163\u3165-\u318e\ua960-\ua97c\ud7b0-\ud7fb\uffa1-\uffdc]+"
)
_KANA: Final = re.compile("[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]+")
_HAN: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_PARAGRAPH_END: Final = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END: Final = re.compile(r"(?<=[.?!。？！])[\"'”’)\]]*\s+|\s*\n\s*")


class Scripts(NamedTuple):
    """How many of a text's letters belong to which script."""

    letters: int
    hangul: int
    kana: int
    han: int

    @property
    def hangul_share(self) -> float:
        """Hangul over all letters; 0 for a text without letters."""
        return self.hangul / self.letters if self.letters else 0.0


class TextView(Protocol):
    """What a filter can ask of a document's text."""

    @property
    def text(self) -> str:
        """The text itself."""

    @property
    def lines(self) -> Sequence[str]:
        """Lines that are not blank, without white space at their ends."""

    @property
    def paragraphs(self) -> Sequence[str]:
        """What blank lines separate."""

    @property
    def words(self) -> Sequence[str]:
        """What white space separates."""

    @property
    def morphemes(self) -> Sequence[str]:
        """The text's pieces by morpheme, punctuation among them, as they are written."""

    @property
    def sentences(self) -> Sequence[str]:
        """Sentences: the analyser's, or what ends in ``.?!`` or at a line's end."""

    @property
    def scripts(self) -> Scripts:
        """Letters by script."""

    @property
    def detected(self) -> str:
        """ISO 639 code of the language by the detector; ``und`` when it cannot tell."""


class View:
    """The one implementation of TextView."""

    def __init__(
        self,
        text: str,
        analyse: Callable[[str], Sequence[str]] | None = None,
        split: Callable[[str], Sequence[str]] | None = None,
        detect: Callable[[str], str] | None = None,
    ) -> None:
        """``analyse`` gives morphemes, ``split`` sentences, ``detect`` a language code."""
        self.text = text
        self._analyse = analyse
        self._split = split
        self._detect = detect

    @cached_property
    def lines(self) -> Sequence[str]:
        # Only \n, not str.splitlines: a form feed or U+2028 inside a line ends no line.
        return [line for line in map(str.rstrip, self.text.split("\n")) if line]

    @cached_property
    def paragraphs(self) -> Sequence[str]:
        return [part for part in _PARAGRAPH_END.split(self.text.strip()) if part]

    @cached_property
    def words(self) -> Sequence[str]:
        return self.text.split()

    @cached_property
    def morphemes(self) -> Sequence[str]:
        if self._analyse is None:
            raise LookupError("the view has no morphemes: the filter must say needs_morphemes")
        return self._analyse(self.text)

    @cached_property
    def sentences(self) -> Sequence[str]:
        if self._split is not None:
            return self._split(self.text)
        return [part for part in map(str.strip, _SENTENCE_END.split(self.text)) if part]

    @cached_property
    def scripts(self) -> Scripts:
        text = self.text
        return Scripts(
            sum(map(str.isalpha, text)),
            sum(map(len, _HANGUL.findall(text))),
            sum(map(len, _KANA.findall(text))),
            sum(map(len, _HAN.findall(text))),
        )

    @cached_property
    def detected(self) -> str:
        if self._detect is None:
            raise LookupError("the view has no detector: the filter must say needs_detector")
        return self._detect(self.text)
