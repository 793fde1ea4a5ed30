"""The page as one document: style and script are inside, and nothing else may be loaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Literal

from samdan.pages import marks
from samdan.pages.policy import policy
from samdan.report.markup import text as text_of


@dataclass(frozen=True)
class Page:
    """The document, and the policy that allows just what is in it."""

    html: str
    policy: str


def page(run: str, lang: Literal["en", "ko"] | None = None) -> Page:
    """``run``: the name of the run, for the title. ``lang``: until a rater chooses another."""
    files = resources.files("samdan.judge")
    style = (files / "page.css").read_text("utf-8")
    script = marks.SCRIPT + (files / "page.js").read_text("utf-8")
    document = (files / "page.html").read_text("utf-8")
    if lang is not None:
        document = document.replace('<html lang="ko" data-auto>', f'<html lang="{lang}">')
    for name, text in (("RUN", str(text_of(run))), ("STYLE", style), ("SCRIPT", script)):
        document = document.replace(f"<!--{name}-->", text)
    return Page(document, policy(style, script))
