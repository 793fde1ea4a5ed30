"""The page as one document: style and script are inside, and nothing else may be loaded."""

from __future__ import annotations

import html
from dataclasses import dataclass
from importlib import resources

from samdan.pages.policy import policy


@dataclass(frozen=True)
class Page:
    """The document, and the policy that allows just what is in it."""

    html: str
    policy: str


def page(run: str) -> Page:
    """``run``: the name of the run, for the title."""
    files = resources.files("samdan.judge")
    style = (files / "page.css").read_text("utf-8")
    script = (files / "page.js").read_text("utf-8")
    document = (files / "page.html").read_text("utf-8")
    for name, text in (("RUN", html.escape(run)), ("STYLE", style), ("SCRIPT", script)):
        document = document.replace(f"<!--{name}-->", text)
    return Page(document, policy(style, script))
