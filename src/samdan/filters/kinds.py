"""The filters that a recipe can name: to add one, write its class and name it here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from samdan.filters.basic import Dated, HangulShare, Keywords, Length, Matches, NotMatches
from samdan.filters.language import Language
from samdan.filters.quality import (
    AlphaWordsRatio,
    AvgWordLength,
    BulletLines,
    EllipsisLines,
    GoodLines,
    LinePunctRatio,
    MeanLineLength,
    NewLineRatio,
    StopWords,
    SymbolWordRatio,
    WordCount,
)
from samdan.filters.repetition import (
    CharDuplicatesRatio,
    DupLineFrac,
    DupNGrams,
    RepeatedLines,
    TopNGrams,
)

AnyKind = (
    AlphaWordsRatio
    | AvgWordLength
    | BulletLines
    | CharDuplicatesRatio
    | Dated
    | DupLineFrac
    | DupNGrams
    | EllipsisLines
    | GoodLines
    | HangulShare
    | Keywords
    | Language
    | Length
    | LinePunctRatio
    | Matches
    | MeanLineLength
    | NewLineRatio
    | NotMatches
    | RepeatedLines
    | StopWords
    | SymbolWordRatio
    | TopNGrams
    | WordCount
)
SingleFilter = Annotated[AnyKind, Field(discriminator="kind")]
