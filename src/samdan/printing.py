"""Text from data on its way to a terminal: nothing in it that a terminal would obey."""

from __future__ import annotations

import json
from typing import Any


def printable(text: str) -> str:
    """The text with control characters, and what hides, written out as ``\\x1b``."""
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def json_text(value: Any) -> str:
    """JSON in which what a terminal would obey, or that hides, is an escape of JSON's."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)
