"""Paragraphs that an earlier document has: found over all documents, removed from the later ones.

A paragraph is a line: what extracts text from pages and files writes one paragraph on a line. Two
are the same when their units are (case, white space and punctuation do not count, numbers do).
Short lines, and lines between code fences, are left alone. Two phases like whole documents:
``paragraphs`` anywhere, ``repeated`` once over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from samdan.data.ngrams import U64, Bool, Int, in_groups, units_of, whole
from samdan.records import Drop, Origin
from samdan.removing import Dedup

MAX_LINE: Final = 1_000_000  # a longer line is known by its beginning
FENCES: Final = ("```", "~~~")


@dataclass(frozen=True)
class Paragraphs:
    """The long paragraphs of n documents, back to back."""

    hashes: U64  # [paragraphs]
    letters: Int  # [paragraphs]
    counts: Int  # [n]: long paragraphs
    totals: Int  # [n]: letters and digits of the whole document


@dataclass(frozen=True)
class Repeated:
    """What is removed, over all parts."""

    first: Int  # [paragraphs]: the document that has it and keeps it; -1 when it stays
    offsets: Int  # [n + 1] into ``first``
    share: NDArray[np.float32]  # [n]: letters that an earlier document has
    dropped: Bool  # [n]: too much of it

    def of(self, document: int) -> Int:
        """What ``without`` needs to know about one document."""
        return self.first[self.offsets[document] : self.offsets[document + 1]]


def paragraphs(texts: Sequence[str], spec: Dedup) -> Paragraphs:
    """The long paragraphs of every text."""
    lines = [text.split("\n") for text in texts]
    hashes, letters = _measured(lines)
    long = _long(lines, letters, spec)
    owners = np.repeat(np.arange(len(texts)), [len(each) for each in lines])
    counts = np.bincount(owners[long], minlength=len(texts))
    totals = np.bincount(owners, weights=letters, minlength=len(texts)).astype(np.int64)
    return Paragraphs(hashes[long], letters[long], counts, totals)


def repeated(parts: Sequence[Paragraphs], spec: Dedup, kept: Bool | None = None) -> Repeated:
    """What later documents repeat of earlier ones. ``kept``: documents that count at all.

    In order: a document that is dropped gives its paragraphs to the next one that has them, so
    that nothing is lost from everywhere. Memory: about 95 bytes a long paragraph.
    """
    hashes = np.concatenate([np.empty(0, np.uint64), *(part.hashes for part in parts)])
    letters = np.concatenate([np.empty(0, np.int64), *(part.letters for part in parts)])
    counts = np.concatenate([np.empty(0, np.int64), *(part.counts for part in parts)])
    totals = np.concatenate([np.empty(0, np.int64), *(part.totals for part in parts)])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    owners = np.repeat(np.arange(len(counts)), counts)
    counted = np.ones(len(counts), np.bool_) if kept is None else kept
    shared, groups = _shared(hashes, owners, counted[owners])
    holders: dict[int, int] = {}
    first = np.full(len(hashes), -1, np.int64)
    share, dropped = np.zeros(len(counts), np.float32), np.zeros(len(counts), np.bool_)
    bounds = np.flatnonzero(np.diff(owners[shared], prepend=-1, append=-1)).tolist()
    for begin, end in pairwise(bounds):
        document, mine = int(owners[shared[begin]]), groups[begin:end].tolist()
        held = np.asarray([holders.get(group, -1) for group in mine])
        first[shared[begin:end]] = held
        lost, total = int(letters[shared[begin:end]][held >= 0].sum()), int(totals[document])
        share[document] = lost / total
        dropped[document] = lost > spec.max_removed * total or lost == total
        if not dropped[document]:
            for group in mine:
                holders.setdefault(group, document)
    return Repeated(first, offsets, share, dropped)


def without(text: str, first: Int, spec: Dedup) -> str:
    """The text without its repeated paragraphs, and without the blank lines that they leave.

    ``first``: ``Repeated.of`` the document.
    """
    lines = text.split("\n")
    long = _long([lines], _measured([lines])[1], spec)
    gone = set(long[np.asarray(first) >= 0].tolist())
    rest: list[str] = []
    after_gap = False
    for number, line in enumerate(lines):
        if number in gone:
            after_gap = not rest or not rest[-1].strip()
        elif not (after_gap and not line.strip()):
            rest.append(line)
            after_gap = False
    return "\n".join(rest)


def drop_of(found: Repeated, number: int, origins: Mapping[int, Origin]) -> Drop | None:
    """Why a document is dropped, and where most of it lies. None: it is kept."""
    if not found.dropped[number]:
        return None
    held = found.of(number)
    where = origins[int(np.bincount(held[held >= 0]).argmax())]
    detail = f"{found.share[number]:.0%} of its letters are in earlier documents, such as {where}"
    return Drop("repeated_paragraphs", origins[number], detail)


def _measured(lines: Sequence[Sequence[str]]) -> tuple[U64, Int]:
    """Hash and letters of all lines of all texts, back to back."""
    found = [
        (whole(units), units.letters)
        for group in in_groups(line[:MAX_LINE] for each in lines for line in each)
        for units in (units_of(group),)
    ]
    if not found:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    return np.concatenate([h for h, _ in found]), np.concatenate([n for _, n in found])


def _long(lines: Sequence[Sequence[str]], letters: Int, spec: Dedup) -> Int:
    """Which lines of all texts are paragraphs that may be removed."""
    fenced: list[bool] = []
    for each in lines:
        inside = False
        for line in each:
            fence = line.lstrip().startswith(FENCES)
            fenced.append(inside or fence)
            inside ^= fence
    return np.flatnonzero((letters >= spec.min_paragraph) & ~np.asarray(fenced, np.bool_))


def _shared(hashes: U64, owners: Int, counted: Bool) -> tuple[Int, Int]:
    """Paragraphs that more than one counted document has, by document, and which they are."""
    chosen = np.flatnonzero(counted)
    if not len(chosen):
        return chosen, chosen
    group = np.unique(hashes[chosen], return_inverse=True)[1]
    earliest = np.full(int(group.max()) + 1, len(owners), np.int64)
    np.minimum.at(earliest, group, owners[chosen])
    several = np.zeros(len(earliest), np.bool_)
    several[group[owners[chosen] != earliest[group]]] = True
    shared = several[group]
    return chosen[shared], group[shared].astype(np.int64)
