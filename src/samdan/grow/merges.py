"""Continued byte-pair encoding: the most frequent allowed pair becomes a token, and again.

Sennrich et al. 2016 (1508.07909), on words that are already encoded with the model's own merges.
Counts of pairs are kept up to date where a merge changes a word; a heap with stale entries gives
the next pair. Pairs of equal count go by their bytes, so the result does not depend on the order of
the texts.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from samdan.grow.tokens import Merge, Pieces
from samdan.grow.words import Words
from samdan.growing.scripts import allowed

SHIFT = 32  # a pair of ids as one number: left << SHIFT | right


@dataclass(frozen=True)
class Learned:
    """New tokens (id to bytes), the merges that make them, and the old tokens each stands for."""

    new: dict[int, bytes]
    merges: list[Merge]
    pieces: dict[int, tuple[int, ...]]


def learn(
    words: Words,
    pieces: Pieces,
    most: int,
    min_count: int,
    scripts: Sequence[str],
    poll: Callable[[], None] = lambda: None,
) -> Learned:
    """At most ``most`` new tokens, each seen at least ``min_count`` times when it was made."""
    table = _Pairs(words, pieces, min_count, scripts)
    new: dict[int, bytes] = {}
    made: list[Merge] = []
    stand_for: dict[int, tuple[int, ...]] = {}
    by_bytes: dict[bytes, int] = {}
    while len(new) < most and (best := table.pop()) is not None:
        left, right, count = best
        token = table.bytes_of[left] + table.bytes_of[right]
        # A new token that other merges lead to as well: only the way is new.
        number = by_bytes.get(token)
        if number is None:
            number = by_bytes[token] = pieces.first_new + len(new)
            new[number] = table.bytes_of[number] = token
            stand_for[number] = (*stand_for.get(left, (left,)), *stand_for.get(right, (right,)))
        made.append(Merge(left, right, number, count))
        table.merge(left, right, number)
        if len(made) % 64 == 0:
            poll()
    return Learned(new, made, stand_for)


class _Pairs:
    """Words being merged, counts of neighbouring pairs, and where each pair stands."""

    def __init__(
        self, words: Words, pieces: Pieces, min_count: int, scripts: Sequence[str]
    ) -> None:
        self.bytes_of = dict(pieces.bytes_of)
        self._min_count, self._scripts = min_count, tuple(scripts)
        self._old = set(pieces.bytes_of.values())
        self._counts = words.counts.tolist()
        ids, starts = words.ids.tolist(), words.starts.tolist()
        self._words = [ids[a:b] for a, b in pairwise(starts)]
        self._allowed: dict[int, bool] = {}
        self._done: dict[int, int] = {}  # pairs that are merged already, and to what
        self._pair_counts, self._where = _first_count(words)
        entries = (self._entry(pair, count) for pair, count in self._pair_counts.items())
        self._heap = [entry for entry in entries if entry]
        heapq.heapify(self._heap)

    def _entry(self, pair: int, count: int) -> tuple[int, bytes, int] | None:
        """None for a pair that is too rare, or that may never be merged."""
        if count < self._min_count:
            return None
        left, right = self.bytes_of[pair >> SHIFT], self.bytes_of[pair & (1 << SHIFT) - 1]
        ok = self._allowed.get(pair)
        if ok is None:
            token = left + right
            # An old token reached by another way would stand for two sequences of old tokens.
            ok = token not in self._old and allowed(token, self._scripts)
            self._allowed[pair] = ok
        if not ok:
            return None
        return -count, left + b"\0" + right, pair

    def pop(self) -> tuple[int, int, int] | None:
        """The most frequent pair and its count."""
        while self._heap:
            count, _, pair = heapq.heappop(self._heap)
            now = self._pair_counts.get(pair, 0)
            if now == -count:
                return pair >> SHIFT, pair & (1 << SHIFT) - 1, now
            if entry := self._entry(pair, now):
                heapq.heappush(self._heap, entry)
        return None

    def merge(self, left: int, right: int, new: int) -> None:
        """Replaces the pair in every word; and earlier pairs that come about by it once more.

        They do where a second merge makes a token: an encoder goes back to the earlier merge too.
        """
        waiting = [left << SHIFT | right]
        self._done[waiting[0]] = new
        while waiting:
            pair = waiting.pop()
            grown = self._replace(pair, self._done[pair])
            waiting += sorted(grown & self._done.keys())
            for key in grown - self._done.keys():
                if entry := self._entry(key, self._pair_counts[key]):
                    heapq.heappush(self._heap, entry)

    def _replace(self, pair: int, new: int) -> set[int]:
        """From left to right in every word; returns the pairs that there are more of now."""
        left, right = pair >> SHIFT, pair & (1 << SHIFT) - 1
        grown: set[int] = set()
        counts, where = self._pair_counts, self._where
        for number in dict.fromkeys(where.pop(pair)):
            ids, times = self._words[number], self._counts[number]
            at = 0
            while at < len(ids) - 1:
                if ids[at] != left or ids[at + 1] != right:
                    at += 1
                    continue
                if at:
                    before = ids[at - 1]
                    counts[before << SHIFT | left] -= times
                    key = before << SHIFT | new
                    counts[key] = counts.get(key, 0) + times
                    where.setdefault(key, []).append(number)
                    grown.add(key)
                if at + 2 < len(ids):
                    after = ids[at + 2]
                    counts[right << SHIFT | after] -= times
                    key = new << SHIFT | after
                    counts[key] = counts.get(key, 0) + times
                    where.setdefault(key, []).append(number)
                    grown.add(key)
                ids[at : at + 2] = [new]
                at += 1
        counts.pop(pair, None)
        grown.discard(pair)
        return grown


def _first_count(words: Words) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Counts of all pairs, and the words that each stands in."""
    lengths = np.diff(words.starts)
    owner = np.repeat(np.arange(len(words)), lengths)
    inside = owner[1:] == owner[:-1]
    pairs = (words.ids[:-1] << SHIFT | words.ids[1:])[inside]
    owner = owner[:-1][inside]
    order = np.argsort(pairs, kind="stable")
    pairs, owner = pairs[order], owner[order]
    distinct, first = np.unique(pairs, return_index=True)
    if not len(distinct):
        return {}, {}
    counts = np.add.reduceat(words.counts[owner], first)
    parts = np.split(owner, first[1:])
    keys = distinct.tolist()
    return (
        dict(zip(keys, counts.tolist(), strict=True)),
        dict(zip(keys, (part.tolist() for part in parts), strict=True)),
    )
