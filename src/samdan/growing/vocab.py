"""New tokens for an existing tokenizer: how many, of which text, and what their rows begin as."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdan.growing.scripts import Script
from samdan.spec import Count, Spec

Initialiser = Literal["mean", "weighted_mean", "first", "similar", "normal"]


class Vocab(Spec):
    """Continued byte-pair encoding: merges learned on the recipe's text, behind the model's own.

    Text in which no new merge applies is encoded exactly as before. Numbers: docs/vocabulary.md.
    """

    merges: Count = 8000
    """New tokens at most."""
    min_count: Annotated[int, Field(strict=True, ge=2)] = 50
    """A merge that occurs less often in the text is not learned: its rows would hardly train."""
    sources: tuple[str, ...] = ()
    """Sources of the CPT stages whose text is counted; default: all. Held-out records are not."""
    scripts: tuple[Script, ...] = ("hangul",)
    """A new token's letters are of these scripts; an empty list allows any text."""
    morphemes: bool = False
    """No merge is learned across the edge of two Korean morphemes (needs the ``corpus`` extra)."""
    input: Initialiser = "mean"
    """What a new row of the input embeddings begins as, from the old tokens it is made of."""
    output: Initialiser | None = None
    """The same of the output head; default: as ``input``. A tied head has no rows of its own."""
    pad_to_multiple_of: Count = 64
    """Rows are added up to a multiple of this; matrix products are faster so."""
