"""Named lists of filters. A preset is nothing of its own: it stands for the filters in it.

A recipe's list is expanded when it is read, so that plans, identities and data cards hold the
filters and their limits, and a new version of a preset makes prepared data stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import TypeAdapter, model_validator

from samdan.filters.base import DocumentFilter
from samdan.filters.basic import Keywords
from samdan.filters.kinds import SingleFilter
from samdan.filters.language import Language
from samdan.filters.quality import (
    AlphaWordsRatio,
    AvgWordLength,
    BulletLines,
    EllipsisLines,
    GoodLines,
    LinePunctRatio,
    LinkShare,
    NewLineRatio,
    StopWords,
    SymbolWordRatio,
    WordCount,
)
from samdan.filters.repetition import CharDuplicatesRatio, DupLineFrac, DupNGrams, TopNGrams
from samdan.filters.view import TextView
from samdan.records import Document, Drop

PresetName = Literal["fineweb2-ko", "korean-webtext", "technical-ko"]

# FineWeb2's kor_Hang.yml, and datatrove's defaults where it is silent, in the pipeline's order.
_FINEWEB2_KO: Final = (
    Language(),
    DupLineFrac(at_most=0.374),
    TopNGrams(at_most={2: 0.282, 3: 0.228, 4: 0.185}),
    DupNGrams(at_most={5: 0.201, 6: 0.184, 7: 0.168, 8: 0.154, 9: 0.14, 10: 0.127}),
    LinePunctRatio(at_least=0.062),
    CharDuplicatesRatio(at_most=0.1),
    NewLineRatio(at_most=0.196),
    WordCount(at_least=50, at_most=100_000),
    AvgWordLength(at_least=1, at_most=6),
    SymbolWordRatio(at_most=0.1),
    BulletLines(at_most=0.9),
    EllipsisLines(at_most=0.3),
    AlphaWordsRatio(at_least=0.791),
    StopWords(at_least=2),
)
# KOREAN-WEBTEXT's list of what no document may hold (its data card). There `is` and `010` stand
# bare, and drop every text with "this" or "2010".
_WEBTEXT_WORDS: Final = (
    "www", "http", "...", "ㅋㅋㅋ", "약관", " is ", "카지노", "토토", "\u3000", "■", "▲", "010-",
    ".kr", "@", "마사지", "스웨디시", "대선",
)  # fmt: skip
_KOREAN_WEBTEXT: Final = (
    Language(),
    Keywords(words=_WEBTEXT_WORDS, at_most=0),
    GoodLines(at_least=0.5, min_chars=33, min_words=7, max_repetition=0.2),
    WordCount(unit="word", at_least=220, at_most=None),
)
# For documentation with code, lists and tables: limits are set beyond what good pages of five
# documentation corpora reach (docs/filters.md); white-space words, so no analyser is loaded.
_TECHNICAL_KO: Final = (
    Language(),
    WordCount(unit="word", at_least=30, at_most=None),
    Keywords(),
    LinkShare(at_most=0.75),
    CharDuplicatesRatio(at_most=0.75),
    AlphaWordsRatio(unit="word", at_least=0.3),
    AvgWordLength(unit="word", at_least=1, at_most=20),
    TopNGrams(unit="word", at_most={2: 0.282, 3: 0.228, 4: 0.185}),
    DupNGrams(unit="word", at_most={5: 0.7, 10: 0.6}),
)

PRESETS: Final[Mapping[PresetName, tuple[DocumentFilter, ...]]] = MappingProxyType(
    {
        "fineweb2-ko": _FINEWEB2_KO,
        "korean-webtext": _KOREAN_WEBTEXT,
        "technical-ko": _TECHNICAL_KO,
    }
)


class Preset(DocumentFilter):
    """Stands for a named list of filters; single limits can be changed and filters left out."""

    kind: Literal["preset"] = "preset"
    name: PresetName
    changes: tuple[SingleFilter, ...] = ()
    """Filters of the preset with other values: the keys given here replace the preset's, and
    limits by n are replaced one by one."""
    without: tuple[str, ...] = ()
    """Kinds that are left out."""

    @model_validator(mode="after")
    def _changes_what_is_there(self) -> Preset:
        there = [single.kind for single in PRESETS[self.name]]
        for kind in [*(change.kind for change in self.changes), *self.without]:
            if kind not in there:
                raise ValueError(
                    f"preset '{self.name}' has no filter '{kind}'; it has: {', '.join(there)}"
                )
        return self

    @property
    def filters(self) -> tuple[SingleFilter, ...]:
        """The filters it stands for, every value given."""
        changes: dict[str, SingleFilter] = {change.kind: change for change in self.changes}
        return tuple(
            _changed(single, changes.get(single.kind))
            for single in PRESETS[self.name]
            if single.kind not in self.without
        )

    @property
    def needs_morphemes(self) -> bool:
        return any(single.needs_morphemes for single in self.filters)

    @property
    def needs_detector(self) -> bool:
        return any(single.needs_detector for single in self.filters)

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        return next((drop for single in self.filters if (drop := single(document, view))), None)


def _changed(single: DocumentFilter, change: DocumentFilter | None) -> SingleFilter:
    """The filter with the values that ``change`` was given; all fields set, as if written out."""
    values: dict[str, Any] = single.model_dump()
    for name in change.model_fields_set if change is not None else ():
        new = getattr(change, name)
        values[name] = values[name] | new if isinstance(new, dict) else new
    return _SINGLE.validate_python(values)


_SINGLE: Final[TypeAdapter[SingleFilter]] = TypeAdapter(SingleFilter)
