"""Document filters: a filter is a spec that can be called, ``(document, view) -> Drop | None``.

To add one: write a class with a ``kind``, documented fields and ``__call__``, and name it in
``kinds.py``; ``docs/filters.md`` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, get_args

from pydantic import AfterValidator, Field

from samdan.filters.base import DocumentFilter, WordFilter
from samdan.filters.basic import Dated, HangulShare, Keywords, Length, Matches, NotMatches
from samdan.filters.kinds import AnyKind, SingleFilter
from samdan.filters.language import Language, language_of
from samdan.filters.presets import PRESETS, Preset
from samdan.filters.repetition import RepeatedLines
from samdan.filters.view import Scripts, TextView, View

__all__ = [
    "KINDS", "PRESETS", "Dated", "DocumentFilter", "Filter", "Filters", "HangulShare", "Keywords",
    "Language", "Length", "Matches", "NotMatches", "Preset", "RepeatedLines", "Scripts",
    "SingleFilter", "TextView", "View", "WordFilter", "expanded", "language_of",
]  # fmt: skip

Filter = Annotated[AnyKind | Preset, Field(discriminator="kind")]


def expanded(filters: Iterable[Filter]) -> tuple[Filter, ...]:
    """The filters in order, each preset replaced by those it stands for."""
    return tuple(
        single
        for one in filters
        for single in (one.filters if isinstance(one, Preset) else (one,))
    )


# Every kind: a union's tags in errors, and the reasons for which documents are left out on purpose.
KINDS: Final = frozenset(
    str(one.model_fields["kind"].default) for one in get_args(AnyKind | Preset)
)

# What a recipe's list of filters becomes: no presets are left in it.
Filters = Annotated[tuple[Filter, ...], AfterValidator(expanded)]
