"""What is removed because it is there twice: copies within training, and evaluation in training.

Specs only; what they mean is computed in ``data/minhash.py``, ``data/duplicates.py``,
``data/paragraphs.py`` and ``data/contamination.py``. The numbers behind the defaults are in
``docs/removing.md``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from samdan.spec import Count, Share, Spec

MAX_HASHES = 1024  # of one document; 14 x 8 is 112
PositiveShare = Annotated[float, Field(strict=True, gt=0, le=1)]


class Dedup(Spec):
    """Drops copies of documents: of several, the first in the order of the sources stays.

    A unit is a Hangul syllable or a Chinese character, or a word of a script with spaces.
    """

    exact: bool = True
    """Drop a text that differs from an earlier one in white space at most."""
    near: bool = True
    """Drop a text that shares most of its n-grams with an earlier one (MinHash)."""
    threshold: PositiveShare = 0.8
    """Estimated Jaccard similarity of the n-grams from which a text counts as a copy."""
    ngram: Annotated[int, Field(strict=True, ge=1, le=64)] = 5
    """Units in an n-gram (FineWeb2's 5)."""
    bands: Count = 14
    """Bands of hashes; texts are compared when they agree in one of them (FineWeb2's 14)."""
    rows: Count = 8
    """Hashes in a band (FineWeb2's 8)."""
    paragraphs: bool = False
    """Remove from a document the paragraphs (lines) that an earlier document has."""
    min_paragraph: Count = 100
    """Shorter paragraphs, in letters and digits, stay: they are headings and set phrases."""
    max_removed: Share = 0.5
    """A document that loses a larger share of its letters is dropped."""
    across_sources: bool = True
    """Compare all sources of the stage, the earlier first; or each source with itself only."""

    @model_validator(mode="after")
    def _checks(self) -> Dedup:
        if self.bands * self.rows > MAX_HASHES:
            raise ValueError(
                f"bands x rows is {self.bands * self.rows} hashes a document, at most {MAX_HASHES}"
            )
        if self.near and not self.exact:
            raise ValueError("'near: true' drops exact copies too; remove 'exact: false'")
        if not (self.exact or self.paragraphs):
            raise ValueError("nothing is removed: set one of 'exact', 'near' and 'paragraphs'")
        return self


class Decontaminate(Spec):
    """Drops training records that contain an evaluation item, or that an item contains.

    Items are the rows of every evaluation task and the held-out records of every source.
    """

    ngram: Annotated[int, Field(strict=True, ge=2, le=64)] = 13
    """Units in an n-gram of Korean, Chinese and Japanese items: syllables and characters."""
    ngram_words: Annotated[int, Field(strict=True, ge=2, le=64)] = 8
    """Units in an n-gram of all other items: words."""
    min_units: Annotated[int, Field(strict=True, ge=2, le=64)] = 10
    """Items of fewer syllables are not looked for; up to ``ngram`` they must occur whole."""
    min_words: Annotated[int, Field(strict=True, ge=2, le=64)] = 6
    """The same for items of words."""
    threshold: PositiveShare = 0.5
    """Share of the item that one training record must cover with common n-grams."""
    text_threshold: PositiveShare = 0.5
    """Share of a training text that one item must cover: the text is an excerpt of the item."""
    max_items: Count = 10
    """An n-gram of more items than this is a set phrase and identifies none of them."""
    ignore: tuple[str, ...] = ()
    """Tasks and sources whose items may be trained on: questions about the documents themselves."""
    drop: bool = True
    """Drop what is found; otherwise it is only reported."""

    @model_validator(mode="after")
    def _checks(self) -> Decontaminate:
        if self.min_units > self.ngram or self.min_words > self.ngram_words:
            raise ValueError("min_units and min_words cannot be larger than their n-grams")
        return self
