"""Characters that are not seen or not meant: removed, replaced or composed, and counted by name.

Nothing here knows about lines or Markdown; what is done here is right in code as well.
To add a rule, name it in ``INVISIBLE``; it must leave alone what it has itself written.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final
from unicodedata import is_normalized, normalize

# What variation selectors and zero-width joiners may follow: emoji, and symbols that can be one.
EMOJI: Final = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
# Scripts in which joiners and direction marks are part of the spelling.
JOINING: Final = "\u0590-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ufb1d-\ufdcf\ufdf0-\ufdff"
VOWELS: Final = "\u1161-\u11a7\ud7b0-\ud7c6"
LEADS: Final = "\u1100-\u115e\ua960-\ua97c"

LINE_ENDS: Final = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]")
ODD_LINE_END: Final = re.compile("[\r\x0b\x0c\u2028\u2029]")
# One search decides whether any of the rules below can apply.
ODD: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffc\ufffe\uffff\U000e0000-\U000e01ef]"
)
INVISIBLE: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = (
    ("line_end", re.compile("\x85"), "\n"),
    ("control", re.compile("\x1b\\[[0-9;?]{0,32}[@-~]"), ""),  # colours of a terminal
    (
        "control",
        re.compile(
            "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufff0-\ufffc\ufffe"
            "\uffff]"
        ),
        "",
    ),
    ("bidi", re.compile("[\u202a-\u202e\u2066-\u2069]"), ""),
    ("bidi", re.compile(f"(?<![{JOINING}])[\u061c\u200e\u200f]"), ""),
    (
        "zero_width",
        re.compile(
            "[\u00ad\u034f\u17b4\u17b5\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff"
            "\U000e0000-\U000e00ff]"  # tags: a text that only machines read
        ),
        "",
    ),
    (
        "zero_width",
        re.compile(
            f"(?<![{JOINING}])\u200c|(?<![{JOINING}{EMOJI}\ufe0f])\u200d"
            f"|(?<=[{EMOJI}\ufe0f])\u200d(?![{EMOJI}])"
        ),
        "",
    ),
    (
        "variation_selector",
        re.compile(f"(?<![{EMOJI}])[\ufe0e\ufe0f](?!\u20e3)|[\ufe00-\ufe0d\U000e0100-\U000e01ef]"),
        "",
    ),
    ("filler", re.compile("[\u3164\uffa0]"), " "),
    ("filler", re.compile("(?<![\u2801-\u28ff])\u2800(?![\u2801-\u28ff])"), " "),
    ("filler", re.compile(f"\u115f(?![{VOWELS}])\u1160?|(?<![{LEADS}\u115f])\u1160"), " "),
)

SPACES: Final = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
HANGUL: Final = re.compile("[가-힣ㄱ-ㆎ\uffa1-\uffdc]")
KANA_OR_HAN: Final = re.compile("[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


def _half_width_jamo() -> dict[int, int]:
    """Half-width jamo to compatibility jamo, the letters of ㅋㅋ."""
    consonants = {0xFFA1 + i: 0x3131 + i for i in range(30)}
    vowels = {}
    for block, start in enumerate((0xFFC2, 0xFFCA, 0xFFD2, 0xFFDA)):
        for i in range(6 if block < 3 else 3):
            vowels[start + i] = 0x314F + 6 * block + i
    return consonants | vowels


# The grave accent U+FF40 stays: three of them would become a code fence.
NARROW: Final[dict[int, int]] = {
    0x3000: 0x20,
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if code != 0xFF40},
    **_half_width_jamo(),
    **dict(zip((0xFFE0, 0xFFE1, 0xFFE2, 0xFFE5, 0xFFE6), map(ord, "¢£¬¥₩"), strict=True)),
}
WIDE: Final = re.compile(f"[{''.join(map(chr, NARROW))}]")


def without_odd_line_ends(text: str, counts: Counter[str]) -> str:
    """Every line end as ``\\n``."""
    if not ODD_LINE_END.search(text):
        return text
    return _replaced(LINE_ENDS, "\n", text, "line_end", counts)


def visible(text: str, counts: Counter[str]) -> str:
    """The text in NFC without characters that are not seen; stable when called again."""
    while True:
        before = text
        if ODD.search(text):
            for name, pattern, replacement in INVISIBLE:
                text = _replaced(pattern, replacement, text, name, counts)
        if not is_normalized("NFC", text):
            lines = text.split("\n")
            counts["nfc"] += sum(not is_normalized("NFC", line) for line in lines)
            text = normalize("NFC", text)
        # A removed character may have stood between two others: seldom more than one more round.
        if text == before:
            return text


def narrow(line: str, counts: Counter[str]) -> str:
    """Full-width ASCII, the ideographic space and half-width jamo in their usual width."""
    counts["width"] += len(WIDE.findall(line))
    return line.translate(NARROW)


def plain_spaces(line: str, counts: Counter[str]) -> str:
    """No-break, thin and other spaces as U+0020."""
    return _replaced(SPACES, " ", line, "space", counts)


def keeps_wide_forms(text: str) -> bool:
    """Chinese and Japanese without Hangul: full-width punctuation is their usual one."""
    return not HANGUL.search(text) and KANA_OR_HAN.search(text) is not None


def _replaced(
    pattern: re.Pattern[str], replacement: str, text: str, name: str, counts: Counter[str]
) -> str:
    text, number = pattern.subn(replacement, text)
    counts[name] += number
    return text
