"""The page as one document: style and script are inside, and nothing else may be loaded."""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import dataclass
from importlib import resources


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
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return Page(document, policy)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
