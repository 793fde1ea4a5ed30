"""Scripts and what a token may be made of: whole characters, or one character in the making."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

Script = Literal[
    "hangul", "han", "kana", "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai"
]

# Unicode blocks with the letters of each script; compatibility forms included.
RANGES: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3)),
    "han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F)),
    "kana": ((0x3040, 0x30FF), (0x31F0, 0x31FF)),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)),
    "cyrillic": ((0x400, 0x52F),),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF)),
    "hebrew": ((0x590, 0x5FF),),
    "devanagari": ((0x900, 0x97F),),
    "thai": ((0xE00, 0xE7F),),
}
LEADING: Final = 1  # characters in front of the letters that are none, such as a space


def allowed(token: bytes, scripts: Sequence[str]) -> bool:
    """Whether these bytes may be a new token.

    Either whole characters, all letters of ``scripts`` behind at most one that is no letter (a
    space, a bracket); or, behind the same, the beginning of one character of these scripts: the
    step between its bytes and the character, which byte-pair encoding needs. Never parts of two
    characters. Without scripts, any whole characters or one beginning.
    """
    try:
        text, rest = token.decode(), b""
    except UnicodeDecodeError as error:
        text, rest = token[: error.start].decode(), token[error.start :]
    if rest and (len(text) > LEADING or not _begins_one(rest, scripts)):
        return False
    if not scripts:
        return True
    letters = text[LEADING:] if text and not of_scripts(text[0], scripts) else text
    if text and letters != text and (text[0].isalnum() or text[0] in "\r\n"):
        return False
    if rest:
        return not letters
    return bool(letters) and all(of_scripts(letter, scripts) for letter in letters)


@lru_cache(maxsize=1 << 16)
def _of(letter: str, scripts: tuple[str, ...]) -> bool:
    code = ord(letter)
    return any(low <= code <= high for script in scripts for low, high in RANGES[script])


def of_scripts(letter: str, scripts: Sequence[str]) -> bool:
    return _of(letter, tuple(scripts))


def _begins_one(rest: bytes, scripts: Sequence[str]) -> bool:
    """Whether these bytes are a proper beginning of one UTF-8 character of the scripts."""
    lead = rest[0]
    size = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4
    if not 0xC2 <= lead <= 0xF4 or len(rest) >= size:
        return False
    if any(not 0x80 <= byte <= 0xBF for byte in rest[1:]):
        return False
    bits = lead & (0x7F >> size)
    for byte in rest[1:]:
        bits = bits << 6 | byte & 0x3F
    shift = 6 * (size - len(rest))
    low, high = bits << shift, (bits + 1 << shift) - 1
    if not scripts:
        return True
    return any(
        first <= high and low <= last for script in scripts for first, last in RANGES[script]
    )
