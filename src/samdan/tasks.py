"""Evaluation tasks as specs: what is measured after every stage, on which file.

To add one: write a class here with a ``kind`` and name it in ``Task``, and add its function to
``SCORERS`` in ``evals/score.py``; a test holds that the two agree.
Held-out text of every source and held-out preference pairs are measured without being asked for.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from samdan.spec import Count, Spec


class BitsPerByte(Spec):
    """Bits per UTF-8 byte (and perplexity per token) of the documents in a file."""

    kind: Literal["bpb"] = "bpb"
    name: str
    path: str


class MultipleChoice(Spec):
    """``{"prompt", "choices", "answer": index}``: likeliest choice, by log-likelihood per byte."""

    kind: Literal["multiple_choice"] = "multiple_choice"
    name: str
    path: str
    chat: bool = False
    """Put the prompt into the model's chat template."""


class Cloze(Spec):
    """``{"prompt", "answer"}``: is every token of the answer the likeliest one?"""

    kind: Literal["cloze"] = "cloze"
    name: str
    path: str
    chat: bool = False


class Exact(Spec):
    """``{"prompt", "answer"}``: the greedy answer equals the expected one after normalisation.

    Normalisation: Unicode NFC, outer white space and final punctuation removed, then what ``strip``
    matches.
    """

    kind: Literal["exact"] = "exact"
    name: str
    path: str
    chat: bool = True
    max_new_tokens: Count = 64
    strip: tuple[str, ...] = ()
    """Regular expressions of what does not count, each removed once: ``(입니다|이다)$``."""

    @field_validator("strip")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            _compiles(pattern)
        return value


class Pattern(Spec):
    """``{"prompt"}``: the share of greedy answers in which a regular expression is found."""

    kind: Literal["pattern"] = "pattern"
    name: str
    path: str
    pattern: str
    metric: str = "share"
    """The second half of the metric's name, as in ``polite/share``."""
    higher_is_better: bool = True
    chat: bool = True
    max_new_tokens: Count = 64

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return _compiles(value)


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is not a regular expression: {error}") from None
    return pattern


Task = Annotated[
    BitsPerByte | MultipleChoice | Cloze | Exact | Pattern, Field(discriminator="kind")
]
