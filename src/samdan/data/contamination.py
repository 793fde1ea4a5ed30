"""Evaluation items found in training records, and training texts found in evaluation items.

An index holds hashed n-grams of what the items ask. A record is contaminated when its n-grams
cover a large share of an item, or when an item covers a large share of one of its texts. N-grams
of many items (instructions, legal formulas) count for none of them. A change here and there, of a
particle or a number, leaves n-grams on both sides of it. Numbers are in ``docs/removing.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from samdan.data.ngrams import TOGETHER, U64, Bool, Int, mix, ngrams_of, units_of, whole
from samdan.lm.files import write_json
from samdan.records import DataError
from samdan.removing import Decontaminate

FORMAT: Final = 1
MAX_ITEM: Final = 1_000_000  # a longer item is known by its beginning, in characters
_ARRAYS: Final = ("hashes", "parts", "places", "lengths", "sizes", "weights")
_FILTER_BITS: Final = (10, 26)  # of the table's size, at least and at most
_REST: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Item:
    """Something a model is measured on. Several may have one id: the turns of a dialogue."""

    id: str
    key: str  # what is asked, or the held-out text: what must not be trained on
    rest: str = ""  # what follows it, choices or an answer: tells short keys apart


@dataclass(frozen=True)
class ItemIndex:
    """The n-grams of the items by hash: 16 bytes an n-gram, and 16 to 32 more while in use."""

    hashes: U64  # [n-grams], ascending
    parts: NDArray[np.int32]  # [n-grams]: the item's number
    places: NDArray[np.int32]  # [n-grams]: the first unit, in the item's key
    lengths: Int  # [items]: units of an n-gram; 0 for an item that cannot be looked for
    sizes: Int  # [items]: units of the key
    weights: Int  # [items]: units of the key in n-grams that are no set phrases
    ids: tuple[str, ...]  # [items]

    @cached_property
    def filter(self) -> tuple[Bool, np.uint64]:
        """By leading bits of a hash, whether any n-gram has them: most of a text ends here."""
        bits = min(max((16 * len(self.hashes)).bit_length(), _FILTER_BITS[0]), _FILTER_BITS[1])
        table, shift = np.zeros(1 << bits, np.bool_), np.uint64(64 - bits)
        table[self.hashes >> shift] = True
        return table, shift

    @cached_property
    def ngram_lengths(self) -> tuple[int, ...]:
        return tuple(sorted(set(self.lengths.tolist()) - {0}))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        write_json(folder / "items.json", {"format": FORMAT, "ids": self.ids})

    @classmethod
    def load(cls, folder: Path) -> ItemIndex:
        """The arrays memory-mapped. Raises DataError when they are absent or of another kind."""
        try:
            about = json.loads((folder / "items.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: no complete index of items: {error}") from None
        if about["format"] != FORMAT:
            raise DataError(f"{folder}: index of format {about['format']}, expected {FORMAT}")
        hashes, parts, places, lengths, sizes, weights = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS
        )
        return cls(hashes, parts, places, lengths, sizes, weights, tuple(about["ids"]))


@dataclass(frozen=True)
class _Entries:
    """The n-grams of some items before it is known which are set phrases."""

    hashes: U64  # [n-grams], by item and place
    places: Int  # [n-grams]
    counts: Int  # [items]: n-grams
    lengths: Int  # [items]
    least: Int  # [items]: units of the key that must be left to say anything
    sizes: Int  # [items]
    content: U64  # [items]: the same for items that say the same
    ids: tuple[str, ...]


def build_index(items: Iterable[Item], spec: Decontaminate) -> ItemIndex:
    """The index of the items, numbered in their order. Memory: 105 bytes a unit of their keys."""
    found = [_entries(group, spec) for group in _groups(items)] or [_entries([], spec)]
    hashes, places, counts, lengths, least, sizes, content = (
        np.concatenate([getattr(entries, name) for entries in found])
        for name in ("hashes", "places", "counts", "lengths", "least", "sizes", "content")
    )
    parts = np.repeat(np.arange(len(lengths)), counts)
    order = np.lexsort((content[parts], hashes))
    order = order[_identifying(hashes[order], content[parts[order]], spec.max_items)]
    weights = np.zeros(len(lengths), np.int64)
    kept = np.sort(order)  # by item and place again
    ends = np.minimum(places + lengths[parts], sizes[parts])
    found_in, covered = covered_units(parts[kept], places[kept], ends[kept])
    weights[found_in] = covered
    lengths = np.where(weights >= np.maximum(least, 1), lengths, 0)
    order = order[lengths[parts[order]] > 0]
    return ItemIndex(
        hashes[order], parts[order].astype(np.int32), places[order].astype(np.int32),
        lengths, sizes, weights, tuple(i for entries in found for i in entries.ids),
    )  # fmt: skip


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    size = 0
    for item in items:
        length = min(len(item.key), MAX_ITEM) + min(len(item.rest), MAX_ITEM)
        if group and size + length > TOGETHER:
            yield group
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group


def _entries(items: Sequence[Item], spec: Decontaminate) -> _Entries:
    texts = [text[:MAX_ITEM] for item in items for text in (item.key, item.rest)]
    units = units_of(texts)
    begins, ends = units.offsets[:-1:2], units.offsets[2::2]
    sizes, totals = units.counts[::2], ends - begins
    n, least = _lengths(units.alone, begins, np.minimum(np.maximum(sizes, 1), totals), spec)
    lengths = np.where(totals >= n, n, np.where((totals >= least) & (sizes > 0), totals, 0))
    lengths = np.where(sizes > 0, lengths, 0)
    counts = np.where(lengths > 0, np.minimum(sizes, totals - lengths + 1), 0)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    where = places + np.repeat(begins, counts)
    hashes, mine = np.empty(len(where), np.uint64), np.repeat(lengths, counts)
    for length, grams in ngrams_of(units.hashes, sorted(set(mine.tolist()))):
        hashes[mine == length] = grams[where[mine == length]]
    said = whole(units).reshape(-1, 2)
    content = mix(said[:, 0] * _REST + said[:, 1])
    ids = tuple(item.id for item in items)
    return _Entries(hashes, places, counts, lengths, np.minimum(least, sizes), sizes, content, ids)


def _lengths(alone: Bool, begins: Int, sizes: Int, spec: Decontaminate) -> tuple[Int, Int]:
    """[items]: units of an n-gram and of the shortest item, by what most units of the key are."""
    sums = np.concatenate([[0], np.cumsum(alone)])
    syllables = 2 * (sums[begins + sizes] - sums[begins]) >= sizes
    return (
        np.where(syllables, spec.ngram, spec.ngram_words),
        np.where(syllables, spec.min_units, spec.min_words),
    )


def _identifying(hashes: U64, content: U64, most: int) -> Bool:
    """[n-grams], ordered by hash and content: whether at most so many contents have the n-gram."""
    changed = np.ones(len(hashes), np.bool_)
    changed[1:] = hashes[1:] != hashes[:-1]
    other = changed.copy()
    other[1:] |= content[1:] != content[:-1]
    gram = np.cumsum(changed) - 1
    return np.asarray(np.bincount(gram[other])[gram] <= most)


def covered_units(groups: Int, begins: Int, ends: Int) -> tuple[Int, Int]:
    """The different groups, and how much of each its spans cover together.

    Spans are ordered by group and beginning; in a group no span ends before an earlier one.
    """
    if not len(groups):
        return groups, np.empty(0, np.int64)
    last = np.ones(len(groups), np.bool_)
    last[:-1] = groups[1:] != groups[:-1]
    until = np.where(last, ends, np.minimum(ends, np.roll(begins, -1)))
    first = np.flatnonzero(np.roll(last, 1))
    return groups[first], np.add.reduceat(until - begins, first)
