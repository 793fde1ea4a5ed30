"""What every check has: a kind, a family, a sentence that asks for it, a test of an answer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from samdan.hangul import fill
from samdan.spec import Spec, Whole

Language = Literal["ko", "en"]
Family = Literal["amount", "content", "tone", "form"]


class BaseCheck(Spec):
    """One instruction that a program can verify."""

    kind: str
    family: ClassVar[Family]
    ko: ClassVar[str]
    en: ClassVar[str]

    def __call__(self, text: str) -> bool:
        """Whether the answer does what was asked."""
        raise NotImplementedError

    def asked(self, language: Language) -> str:
        """The sentence that asks for it."""
        values = {
            name: ", ".join(f"'{one}'" for one in value) if isinstance(value, tuple) else str(value)
            for name, value in self
        }
        return fill(self.ko if language == "ko" else self.en, **values)


class Amount(BaseCheck):
    """So many of something: at least, at most, or exactly where both are equal."""

    at_least: Whole | None = None
    at_most: Whole | None = None
    family: ClassVar[Family] = "amount"
    unit: ClassVar[tuple[str, str]]
    """Korean and English: ``자``, ``characters``."""

    @model_validator(mode="after")
    def _bounds(self) -> Amount:
        if self.at_least is None and self.at_most is None:
            raise ValueError("'at_least' or 'at_most' is missing")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least ({self.at_least}) exceeds at_most ({self.at_most})")
        return self

    def count(self, text: str) -> int:
        raise NotImplementedError

    def __call__(self, text: str) -> bool:
        found = self.count(text)
        low = self.at_least is None or found >= self.at_least
        return low and (self.at_most is None or found <= self.at_most)

    def asked(self, language: Language) -> str:
        ko, en = self.unit
        low, high = self.at_least, self.at_most
        if low is not None and low == high:
            amount = f"정확히 {low}{ko}" if language == "ko" else f"exactly {low} {en}"
        elif high is None:
            amount = f"{low}{ko} 이상으" if language == "ko" else f"at least {low} {en}"
        elif low is None:
            amount = f"{high}{ko} 이내" if language == "ko" else f"at most {high} {en}"
        else:
            amount = f"{low}~{high}{ko} 사이" if language == "ko" else f"{low} to {high} {en}"
        return fill(self.ko if language == "ko" else self.en, amount=amount.removesuffix("으"))
