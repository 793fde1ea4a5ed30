"""Fill-in-the-middle: where a document is cut, and in which order its parts are read.

Bavarian et al. 2022 (2207.14255) found that it costs the ordinary ability nothing; the settings are
Code Llama's (2308.12950): nine documents in ten, half of them prefix-suffix-middle (PSM), half
suffix-prefix-middle (SPM), cut anywhere between two characters, each end equally likely.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from samdan.spec import Count, Share, Spec

Order = Literal["psm", "spm"]
Token = Annotated[str, Field(min_length=1)]


class Sentinels(Spec):
    """Tokens around the parts of a document; each must be one token of the tokenizer.

    The defaults are Qwen2.5's. Code Llama's would be ``▁<PRE>``, ``▁<MID>``, ``▁<SUF>`` and
    ``▁<EOT>``.
    """

    prefix: Token = "<|fim_prefix|>"
    middle: Token = "<|fim_middle|>"
    suffix: Token = "<|fim_suffix|>"
    eot: Token | None = None
    """Ends the middle; the token that ends every document when absent, as in Qwen2.5."""

    @model_validator(mode="after")
    def _differ(self) -> Sentinels:
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"'{twice[0]}' stands for two things; the tokens must differ")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The tokens that the recipe names."""
        given = (self.prefix, self.middle, self.suffix, self.eot)
        return tuple(name for name in given if name is not None)


class Fim(Sentinels):
    """A share of a source's documents is read with the middle last."""

    rate: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.9
    """Share of the documents; Code Llama's. 0.5 does as well by Bavarian et al."""
    spm_share: Share = 0.5
    """Of these, the share with the suffix first."""
    min_chars: Count = 10
    """Shorter documents stay as they are."""
    add_missing: bool = False
    """Give the tokenizer the tokens that it lacks; their rows begin near the mean of the others."""


@dataclass(frozen=True, slots=True)
class Split:
    """``prefix + middle + suffix`` is the document; the middle is never empty."""

    order: Order
    prefix: str
    middle: str
    suffix: str


def split(text: str, spec: Fim, seed: int) -> Split | None:
    """The parts of a document, or None where it stays as it is.

    A function of (seed, text) alone. Two of the ``len(text) + 1`` places between characters are
    drawn without replacement, so prefix or suffix may be empty.
    """
    digest = hashlib.sha256(f"fim/{seed}/{text}".encode()).digest()
    draws = [int.from_bytes(digest[at : at + 8], "big") / 2**64 for at in range(0, 32, 8)]
    if len(text) < spec.min_chars or draws[0] >= spec.rate:
        return None
    one, other = int(draws[2] * (len(text) + 1)), int(draws[3] * len(text))
    other += other >= one
    first, last = min(one, other), max(one, other)
    order: Order = "spm" if draws[1] < spec.spm_share else "psm"
    return Split(order, text[:first], text[first:last], text[last:])
