"""How an existing base grows before the first stage: more vocabulary, more depth."""

from __future__ import annotations

from pydantic import model_validator

from samdan.growing.depth import Depth
from samdan.growing.vocab import Vocab
from samdan.spec import Spec

__all__ = ["Depth", "Grow", "Vocab"]


class Grow(Spec):
    """What is added to the base. Depth grows first, then the vocabulary."""

    vocab: Vocab | None = None
    depth: Depth | None = None

    @model_validator(mode="after")
    def _something(self) -> Grow:
        if not any(getattr(self, name) for name in type(self).model_fields):
            kinds = ", ".join(f"'{name}'" for name in type(self).model_fields)
            raise ValueError(f"nothing grows; expected at least one of {kinds}, or no 'grow'")
        return self
