"""The option ``--lang`` of the commands that make a page."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer


class Language(StrEnum):
    """Of the pages; without one it is the browser's."""

    en = "en"
    ko = "ko"


Lang = Annotated[
    Language | None,
    typer.Option(help="Of the page. Default: the browser's.", show_default=False),
]


def chosen(lang: Language | None) -> Literal["en", "ko"] | None:
    return None if lang is None else "ko" if lang is Language.ko else "en"
