"""HTML that cannot be injected into: text becomes ``Html`` only through ``text`` or ``tag``.

``Html`` is a type of its own, so that mypy refuses a plain string where markup is expected.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import NewType

Html = NewType("Html", str)
Attribute = str | int | float | bool | None

NOTHING = Html("")
VOID = frozenset({"br", "col", "input", "link", "meta"})
SHORT = 16  # characters of a name that need no place to break

# Characters that do not show, or that reorder or overwrite what stands beside them: C1 controls,
# soft hyphen, zero-width and bidi characters, line separators, Hangul fillers, lone surrogates
# (which UTF-8 cannot even encode), interlinear marks, tags. The joiners of emoji (U+200C, U+200D)
# and variation selectors stay: text that people write needs them.
HIDDEN = (
    (0x80, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200B),
    (0x200E, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB), (0xFFFE, 0xFFFF), (0xD800, 0xDFFF), (0xE0000, 0xE007F),
)  # fmt: skip
_HIDDEN = re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in HIDDEN)}]")
_BREAKS = re.compile(r"(?<=[/_.:,(=])(?=[^/_.:,(=]{2})")
_MARKDOWN = re.compile(r"[\\`*\[\]|~>]")
_EMPTY_LINES = re.compile("\n(?:[ \t]*\n){3,}")
_CONTROLS = {code: chr(0x2400 + code) for code in range(32)} | {0x7F: "\u2421"}
_CONTROLS_OF_BLOCK = {
    code: shown for code, shown in _CONTROLS.items() if chr(code) not in ("\n", "\t")
}


def one_line(value: object) -> str:
    """A value as one line of text, every invisible or control character made visible."""
    return "\u2013" if value is None else _named(str(value).translate(_CONTROLS))


def markdown_text(value: object) -> str:
    """A value as one line of Markdown that says just this: no link, no markup, no table cell."""
    shown = _MARKDOWN.sub(r"\\\g<0>", one_line(value)).replace("&", "&amp;").replace("<", "&lt;")
    return shown.replace("://", ":&#47;/").replace("@", "&#64;").replace("www.", "www&#46;")


def many_lines(value: object) -> str:
    """The same for running text, in which line breaks and tabs mean something."""
    return _named(str(value).replace("\r\n", "\n").translate(_CONTROLS_OF_BLOCK))


def text(value: object) -> Html:
    return Html(html.escape(one_line(value)))


def bdi(value: object) -> Html:
    """A name from data: it turns nothing around it, and a long one breaks between its parts."""
    shown = one_line(value)
    if len(shown) <= SHORT:
        return Html(f"<bdi>{html.escape(shown)}</bdi>")
    parts = _BREAKS.split(shown)
    return Html(f"<bdi>{'<wbr>'.join(map(html.escape, parts))}</bdi>")


def figure(shown: str) -> Html:
    """A number that was put into words, with the minus sign that type has for it."""
    return text(shown.replace("-", "\u2212"))


def prose(value: object, limit: int = 6000) -> Html:
    """Running text from data; what is cut is counted where it is cut.

    An untrained model answers with hundreds of empty lines: those are counted as well.
    """
    whole = str(value)
    shown = _EMPTY_LINES.sub(
        lambda found: f" \u23ce\u00d7{found[0].count(chr(10))}\n", many_lines(whole[:limit])
    )
    shown = html.escape(shown)
    rest = len(whole) - limit
    return Html(f"{shown} \u2026 (+{rest:,})" if rest > 0 else shown)


def tag(element: str, *children: Html, **attributes: Attribute) -> Html:
    """An element; ``cls`` is ``class``, underscores are hyphens, None and False leave one out."""
    opened = "".join(_attribute(name, value) for name, value in attributes.items())
    if element in VOID:
        return Html(f"<{element}{opened}>")
    return Html(f"<{element}{opened}>{''.join(children)}</{element}>")


def join(parts: Iterable[Html], between: Html = NOTHING) -> Html:
    return Html(between.join(parts))


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = "class" if name == "cls" else name.replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def _named(value: str) -> str:
    return _HIDDEN.sub(lambda found: f"\u27e8U+{ord(found[0]):04X}\u27e9", value)
