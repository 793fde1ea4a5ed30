"""Views of texts for the filters, with the libraries that those filters need and no others."""

from __future__ import annotations

from collections.abc import Sequence

from samdan.data import korean, language
from samdan.filters import Filter, TextView, View


def view_of(text: str, morphemes: bool) -> TextView:
    """A view whose sentences and morphemes are kiwipiepy's, or one without morphemes."""
    if not morphemes:
        return View(text, detect=language.detect)
    return View(text, korean.surfaces, korean.sentences, language.detect)


def needs_morphemes(filters: Sequence[Filter]) -> bool:
    """Whether any of the filters counts morphemes."""
    return any(one.needs_morphemes for one in filters)


def require_libraries(filters: Sequence[Filter]) -> None:
    """Loads what the filters need now, so that a missing library is no surprise hours later.

    Raises EnvironmentFailure that names the extra to install.
    """
    if needs_morphemes(filters):
        korean.analyser()
    if any(one.needs_detector for one in filters):
        language.detector()
