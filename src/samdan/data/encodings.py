"""Text that was decoded with the wrong encoding is decoded again, line by line, where it is sure.

Known: UTF-8 read as Latin-1 or Windows-1252 (ftfy finds it, also in part of a line and applied
twice), and CP949 read as either, which ftfy does not know. Not known: UTF-8 read as CP949
(``?덈뀞``), which loses bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from ftfy import TextFixerConfig, fix_encoding
from ftfy.badness import badness

# Windows-1252's characters for 0x80 to 0x9F, by byte; the five holes stand for themselves.
WINDOWS_1252: Final = bytes(range(0x80, 0xA0)).decode("latin-1").translate(
    {byte: bytes([byte]).decode("cp1252") for byte in range(0x80, 0xA0)
     if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}
)  # fmt: skip
TO_LATIN_1: Final = {ord(char): 0x80 + i for i, char in enumerate(WINDOWS_1252)}
# Neither a C1 control nor an accented letter: nothing to repair. The first, cheap question.
LATIN: Final = re.compile("[\x80-\x84\x86-\x9f\xc0-\xd6\xd8-\xf4]")
# A C1 control, a UTF-8 sequence's beginning, or two CP949 syllables.
SUSPECT: Final = re.compile(
    f"[\x80-\x84\x86-\x9f]|[\xc2-\xf4][\x80-\xbf{WINDOWS_1252}]|[\xa1-\xfe]{{4}}"
)
HANGUL: Final = re.compile("[가-힣]")
# The commonest syllables of Korean technical and legal text, 81% of it, and some of talk.
# Of the 2,350 syllables that CP949 bytes can give by chance, 7% are among them.
COMMON: Final = frozenset(
    "다이하는에니를을의로한가지수서사기고트용정있은스리해시인습제자할으합일여드입성어도대위적면경상요보되부포과라그전"
    "모조것원러소만관컴터동함된구나문와들행변반법록게실우장파세데아작유공화넌더설프계예개호출타생때체값주명않결내분환메코"
    "능업음등비단치래야처중크같방력레당식션선저없신추버됩통건현재각클링연거속안녕네였았었겠너"
)
MIN_SYLLABLES: Final = 3
MIN_COMMON: Final = 0.35
# Only the encoding: no quotes straightened, no entities, no widths, nothing that loses characters.
CONFIG: Final = TextFixerConfig(
    unescape_html=False,
    replace_lossy_sequences=False,
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    normalization=None,
    explain=False,
)


def repaired(text: str, counts: Counter[str]) -> str:
    """The text with its broken lines decoded again; ``counts["mojibake"]`` is their number."""
    if not LATIN.search(text):
        return text
    lines = text.split("\n")
    suspects = [index for index, line in enumerate(lines) if SUSPECT.search(line)]
    fixed = {index: _line(lines[index]) for index in suspects}
    if any(origin == "cp949" for _, origin in fixed.values()):
        # One line beyond doubt: the other lines of the document are judged less strictly.
        for index, (line, origin) in fixed.items():
            if not origin and (korean := _as_cp949(line)) and _only_hangul(korean):
                fixed[index] = (korean, "cp949")
    for index, (line, origin) in fixed.items():
        lines[index] = line
        counts["mojibake"] += bool(origin)
    return "\n".join(lines)


def _line(line: str) -> tuple[str, str]:
    """The line as it should be, and what repaired it: "utf-8", "cp949", "other" or nothing."""
    fixed, korean = fix_encoding(line, CONFIG), _as_cp949(line)
    lossy = fixed.count("\ufffd") > line.count("\ufffd")
    if lossy or _syllables(fixed) < _syllables(line):
        fixed = line
    # Some of the bytes of one encoding can be read in the other: the better Korean is right.
    if _is_korean(korean) and _common(korean) >= _common(fixed):
        return korean, "cp949"
    if _syllables(fixed) > _syllables(line):
        return fixed, "utf-8"
    if _only_hangul(korean):
        return line, ""  # perhaps CP949, too short to tell
    return (fixed, "other") if badness(fixed) < badness(line) else (line, "")


def _as_cp949(line: str) -> str:
    """The line as CP949 gives it, or nothing where its bytes are none."""
    try:
        return line.translate(TO_LATIN_1).encode("latin-1").decode("cp949")
    except UnicodeError:
        return ""


def _is_korean(text: str) -> bool:
    """Beyond doubt: three different syllables, common ones among them, little else."""
    syllables = HANGUL.findall(text)
    others = sum(char > "\x7f" for char in text) - len(syllables)
    enough = len(set(syllables)) >= MIN_SYLLABLES and others <= len(syllables) / 2
    return enough and _common(text) >= MIN_COMMON * len(syllables)


def _only_hangul(text: str) -> bool:
    """At least two syllables, and nothing else outside ASCII."""
    return 1 < _syllables(text) == sum(char > "\x7f" for char in text)


def _common(text: str) -> int:
    return sum(char in COMMON for char in text)


def _syllables(text: str) -> int:
    return len(HANGUL.findall(text))
