"""Text to hashed n-grams: what counts as one unit, and hashes that are the same everywhere.

A unit is a Hangul syllable, a Chinese character, a kana or a letter of another script written
without spaces; of every other script a run of letters or digits. Case, white space and punctuation
do not count, so that neither Korean spacing nor line breaks change an n-gram, and 13 units are 13
syllables of Korean or 13 words of English.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

SEPARATES, ALONE, IN_RUN, INVISIBLE = 0, 1, 2, 3
# Thai, Lao, Tibetan, Myanmar, jamo, Khmer, kana, bopomofo, Han, Hangul; private use, where old
# Hangul was kept; half-width kana and jamo.
_ALONE: Final = (
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x3005, 0x3007),
    (0x3040, 0x31FF), (0x3400, 0x9FFF), (0xA960, 0xA97F), (0xAC00, 0xD7FF), (0xE000, 0xFAFF),
    (0xFF66, 0xFFDC),
)  # fmt: skip
# Fillers, soft hyphen, zero-width space, variation selectors.
_UNSEEN: Final = (
    0x00AD, 0x034F, 0x115F, 0x1160, 0x200B, 0x2800, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10),
)  # fmt: skip
_KINDS: Final[dict[str, int]] = {"Cf": INVISIBLE, "Cn": IN_RUN, "Co": IN_RUN}
_CODE_POINTS: Final = 0x110000
TOGETHER: Final = 200_000  # characters hashed at once: 60 bytes of memory each

# Odd multipliers of the two polynomial hashes (of a unit's characters, of an n-gram's units), and
# the constants of splitmix64 (Steele, Lea and Flood 2014), whose finalizer spreads the bits.
_BY_CHARACTER: Final = np.uint64(0x9E3779B97F4A7C15)
_BY_UNIT: Final = np.uint64(0xD1342543DE82EF95)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)


@dataclass(frozen=True, slots=True)
class Units:
    """The units of several texts, back to back."""

    points: NDArray[np.uint32]  # code points of all texts in lower case, a line feed behind each
    hashes: U64  # [units]
    starts: Int  # [units]: where in ``points`` the unit begins
    offsets: Int  # [texts + 1] into the units
    letters: Int  # [texts]: letters and digits

    @property
    def counts(self) -> Int:
        """[texts]: units."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Int:
        """[units]: the text that each unit belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    @property
    def alone(self) -> Bool:
        """[units]: whether the unit is one character of a script without spaces."""
        alone: Bool = _tables()[1][self.points[self.starts]] == ALONE
        return alone

    def excerpt(self, first: int, last: int) -> str:
        """The characters from one unit through another, white space made one space."""
        end = self.starts[last + 1] if last + 1 < len(self.starts) else len(self.points)
        text = "".join(map(chr, self.points[self.starts[first] : end]))
        return " ".join(re.sub(r"\W+$", "", text).split())


def mix(values: U64) -> U64:
    """A fixed permutation of the 64-bit numbers whose output bits look random."""
    values = (values ^ (values >> _30)) * _MIX_1
    values ^= values >> _27
    values *= _MIX_2
    values ^= values >> _31
    return values


def constants(seed: int, count: int) -> U64:
    """[count]: the start of splitmix64's stream of this seed."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * _BY_CHARACTER
    return mix(steps + np.uint64(seed))


def units_of(texts: Sequence[str]) -> Units:
    """The units of the texts; a text without letters and digits has none.

    Takes about 60 bytes of memory a character: callers bound what they pass.
    """
    normal = [unicodedata.normalize("NFC", text) for text in texts]
    joined = "\n".join([*normal, ""]).encode("utf-32-le", "surrogatepass")
    folded, kinds = _tables()
    points = folded[np.frombuffer(joined, "<u4")]
    kind = kinds[points]
    ends = np.cumsum([len(text) + 1 for text in normal], dtype=np.int64)
    hidden = kind == INVISIBLE
    if hidden.any():
        ends -= np.cumsum(hidden)[ends - 1]
        points, kind = points[~hidden], kind[~hidden]
    used, in_run = kind != SEPARATES, kind == IN_RUN
    begins = kind == ALONE
    begins[:1] |= in_run[:1]
    begins[1:] |= in_run[1:] & ~in_run[:-1]
    starts = np.flatnonzero(begins)
    rank = np.cumsum(used)
    hashes = _unit_hashes(points[used], rank[starts] - 1)
    offsets = np.concatenate([[0], np.searchsorted(starts, ends)])
    letters = np.diff(rank[ends - 1], prepend=0)
    return Units(points, hashes, starts, offsets, letters)


def _unit_hashes(points: NDArray[np.uint32], firsts: Int) -> U64:
    """[units]: the sum of a unit's mixed code points times powers by their place in it, mixed.

    ``points``: those that belong to units, back to back. ``firsts``: where each unit begins.
    """
    if not len(firsts):
        return np.empty(0, np.uint64)
    values = mix(points.astype(np.uint64) + np.uint64(1))
    if len(values) > len(firsts):
        place = np.arange(len(values))
        place -= np.repeat(firsts, np.diff(firsts, append=len(values)))
        values *= _powers(int(place.max()) + 1)[place]
        values = np.add.reduceat(values, firsts)
    return mix(values)


def _powers(count: int) -> U64:
    factors = np.full(count, _BY_CHARACTER)
    factors[0] = 1
    powers: U64 = np.multiply.accumulate(factors)
    return powers


def in_groups(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lists that are small enough for ``units_of``."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > TOGETHER:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


def whole(units: Units) -> U64:
    """[texts]: one hash of all units of each text, in order; 0 for a text without units."""
    counts = units.counts
    full = np.flatnonzero(counts)
    found = np.zeros(len(counts), np.uint64)
    if len(full):
        place = np.arange(len(units.hashes)) - np.repeat(units.offsets[:-1], counts)
        values = units.hashes * _powers(int(counts.max()))[place]
        found[full] = mix(np.add.reduceat(values, units.offsets[full]))
    return found


def ngrams(hashes: U64, n: int) -> U64:
    """[units - n + 1]: the hash of every n neighbouring units, wherever one text ends."""
    return next(ngrams_of(hashes, [n]))[1]


def ngrams_of(hashes: U64, lengths: Sequence[int]) -> Iterator[tuple[int, U64]]:
    """The n-grams of several lengths, ascending; n-grams of different lengths hash differently."""
    rolled, n = hashes.copy(), 1
    for length in sorted(lengths):
        for shift in range(n, length):
            rolled = rolled[: max(len(hashes) - shift, 0)]
            rolled *= _BY_UNIT
            rolled += hashes[shift:]
        n = length
        yield length, mix(rolled + np.uint64(length))


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Per code point: its lower case, and how it makes units.

    Unicode 3.2's categories come with every Python and never change; what was assigned later in
    the first plane counts as a letter, and everything beyond that plane stands alone.
    """
    categories: Any = unicodedata.ucd_3_2_0
    folded = np.arange(_CODE_POINTS, dtype=np.uint32)
    kinds = np.full(_CODE_POINTS, ALONE, np.uint8)
    for point in range(0x10000):
        category = categories.category(chr(point))
        if category in ("Lu", "Lt") and len(lower := chr(point).lower()) == 1:
            folded[point] = ord(lower)
        kinds[point] = _KINDS.get(category, IN_RUN if category[0] in "LMN" else SEPARATES)
    for first, last in _ALONE:
        words = kinds[first : last + 1] == IN_RUN
        kinds[first : last + 1][words] = ALONE
    kinds[list(_UNSEEN)] = INVISIBLE
    return folded, kinds
