"""What a vocabulary saves, and after how much text it has paid for learning it."""

from __future__ import annotations

from dataclasses import dataclass

# Tokens of continued pre-training that new rows took to be of use: EEVE (2402.14714).
CPT_TOKENS = 2_000_000_000
# A trained token costs a forward and a backward pass, a served one a forward pass: 6 and 2
# operations for each parameter (Kaplan et al. 2001.08361).
TRAINED_TO_SERVED = 3


@dataclass(frozen=True)
class Size:
    """How much text, and how many tokens it is."""

    documents: int = 0
    chars: int = 0
    words: int = 0
    """What white space separates; in Korean the eojeol."""
    bytes: int = 0
    tokens: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(
            self.documents + other.documents,
            self.chars + other.chars,
            self.words + other.words,
            self.bytes + other.bytes,
            self.tokens + other.tokens,
        )

    def per(self, what: str) -> float:
        """Tokens per ``chars``, ``words`` or ``bytes``; 0 of no text."""
        of: int = getattr(self, what)
        return self.tokens / of if of else 0.0


def saved(before: Size, after: Size) -> float:
    """The share of tokens that is saved on the same text; negative where there are more."""
    return 1 - after.tokens / before.tokens if before.tokens else 0.0


def break_even(share: float, cpt_tokens: int = CPT_TOKENS) -> tuple[float, float] | None:
    """Tokens (of the old tokenizer) after which ``cpt_tokens`` of training are paid back.

    First where text is only served, then where it is trained on. None where nothing is saved. In
    computing alone: a context that holds more text, and quality, are not in it.
    """
    if share <= 0:
        return None
    return TRAINED_TO_SERVED * cpt_tokens / share, cpt_tokens / share
