"""Tasks that show a model a text and ask for a place in it: a line, or a needle."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from samdan.infilling import Sentinels
from samdan.spec import Count, Share, Spec, Whole


class OnDocuments(Spec):
    """A task that is made out of the held-out documents of a source, or of a file."""

    name: str
    source: str | None = None
    """A source of a CPT stage."""
    path: str | None = None
    """A file of ``{"text"}``."""
    seed: Whole = 0

    @model_validator(mode="after")
    def _one_place(self) -> OnDocuments:
        if (self.source is None) == (self.path is None):
            raise ValueError("give either 'source' (its held-out documents) or 'path'")
        return self

    @property
    def location(self) -> str:
        return self.path or ""


class Infill(OnDocuments):
    """Lines of documents are hidden; does the greedy answer give them back?

    A file may hold ``{"prefix", "middle", "suffix"}`` in place of documents.
    """

    kind: Literal["infill"] = "infill"
    order: Literal["psm", "spm", "prefix_only"] = "psm"
    """What the model is shown; ``prefix_only`` asks a model without fill-in-the-middle to go on."""
    tokens: Sentinels = Sentinels()
    lines: Literal["code", "all"] = "code"
    """``code``: in a text with Markdown fences only lines between them."""
    per_document: Count = 2
    max_items: Count = 200
    min_chars: Count = 4
    """Of a line that is asked for, without white space."""
    context_chars: Count = 2000
    """So much is shown before the line, and so much behind it."""
    max_new_tokens: Count = 48


Length = Annotated[int, Field(strict=True, ge=64)]


class Needle(OnDocuments):
    """A sentence with a number is hidden in other text, and asked for behind it.

    Greedy exact match by length of the whole and depth of the needle.
    """

    kind: Literal["needle"] = "needle"
    language: Literal["ko", "en"] = "ko"
    """Of the hidden sentence and of the question."""
    lengths: tuple[Length, ...] = Field((512, 1024, 2048, 4096), min_length=1)
    """Tokens of needle, text around it and question together; a little less is filled."""
    depths: tuple[Share, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """0: at the beginning of the text; 1: right before the question."""
    per_cell: Count = 5
    """Items for each pair of length and depth."""

    @field_validator("lengths", "depths")
    @classmethod
    def _each_once(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a value stands here twice")
        return value
