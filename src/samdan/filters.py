"""Document filters: a filter is a spec that can be called, ``document -> Drop | None``.

To add one: write a class with a ``kind``, documented fields and ``__call__``, and name it in
``Filter``.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field

from samdan.records import Document, Drop
from samdan.spec import Share, Spec, Whole


class Length(Spec):
    """Drops documents shorter or longer than given, in characters."""

    kind: Literal["length"] = "length"
    min_chars: Whole = 1
    max_chars: Whole | None = None

    def __call__(self, document: Document) -> Drop | None:
        length = len(document.text)
        if length < self.min_chars:
            return Drop("too_short", document.origin, f"{length} < {self.min_chars} characters")
        if self.max_chars is not None and length > self.max_chars:
            return Drop("too_long", document.origin, f"{length} > {self.max_chars} characters")
        return None


class HangulShare(Spec):
    """Drops documents in which too few of the letters are Hangul."""

    kind: Literal["hangul_share"] = "hangul_share"
    at_least: Share = 0.2
    """Hangul letters over all letters; 0.2 keeps Korean technical text with code in it."""

    def __call__(self, document: Document) -> Drop | None:
        letters = [char for char in document.text if char.isalpha()]
        hangul = sum("가" <= char <= "힣" or "ㄱ" <= char <= "ㆎ" for char in letters)
        share = hangul / len(letters) if letters else 0.0
        if share < self.at_least:
            return Drop("hangul_share", document.origin, f"{share:.2f} < {self.at_least}")
        return None


class RepeatedLines(Spec):
    """Drops documents most of whose lines are copies of other lines of the document."""

    kind: Literal["repeated_lines"] = "repeated_lines"
    at_most: Share = 0.374
    """Share of characters in repeated lines (FineWeb2's threshold for Korean)."""

    def __call__(self, document: Document) -> Drop | None:
        lines = [line.strip() for line in document.text.splitlines() if line.strip()]
        total = sum(map(len, lines))
        repeated = sum(len(line) * (count - 1) for line, count in Counter(lines).items())
        share = repeated / total if total else 0.0
        if share > self.at_most:
            return Drop("repeated_lines", document.origin, f"{share:.3f} > {self.at_most}")
        return None


Filter = Annotated[Length | HangulShare | RepeatedLines, Field(discriminator="kind")]
