"""What all filters share: a kind, what they need of the view, and how a drop is worded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from samdan.filters.view import TextView
from samdan.records import Document, Drop
from samdan.spec import Spec

Unit = Literal["morpheme", "word"]


class DocumentFilter(Spec):
    """A spec that is called with a document and its view, and says why it drops it, or None.

    The reason of every drop is the filter's kind; the detail holds rule, value and limit.
    """

    kind: str

    @property
    def needs_morphemes(self) -> bool:
        """Whether the view must be able to analyse Korean."""
        return False

    @property
    def needs_detector(self) -> bool:
        """Whether the view must be able to tell languages apart."""
        return False

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        raise NotImplementedError

    def dropped(self, document: Document, detail: str) -> Drop:
        """The drop of a document by this filter."""
        return Drop(self.kind, document.origin, detail)

    def above(
        self, document: Document, value: float, limit: float | None, rule: str = ""
    ) -> Drop | None:
        """A drop when the value is above the limit; ``rule`` defaults to the kind."""
        if limit is None or value <= limit:
            return None
        return self.dropped(document, f"{rule or self.kind} {_shown(value, limit)} > {limit}")

    def below(
        self, document: Document, value: float, limit: float | None, rule: str = ""
    ) -> Drop | None:
        """A drop when the value is below the limit."""
        if limit is None or value >= limit:
            return None
        return self.dropped(document, f"{rule or self.kind} {_shown(value, limit)} < {limit}")


class WordFilter(DocumentFilter):
    """A filter that counts words."""

    unit: Unit = "morpheme"
    """``morpheme`` for Korean (the ``corpus`` extra), ``word`` for what white space separates."""

    @property
    def needs_morphemes(self) -> bool:
        return self.unit == "morpheme"

    def words(self, view: TextView) -> Sequence[str]:
        """The view's words in this filter's unit."""
        return view.morphemes if self.unit == "morpheme" else view.words


def _shown(value: float, limit: float) -> str:
    """Four digits, or all of them where four would look like the limit."""
    if float(value).is_integer():
        return str(int(value))
    short = f"{value:.4g}"
    return repr(value) if short == f"{limit:.4g}" else short
