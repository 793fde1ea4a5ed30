"""Reduce phase of removing copies: signatures in order to which text is a copy of which.

Texts are decided in order: one is a copy when an earlier text that was *kept* is similar enough,
so that every dropped text resembles the one that stays (no chains), and doing it again changes
nothing. Agreement in a band only makes a candidate; the estimated similarity decides. The result
depends on the order of the texts and on nothing else: not on how they were cut into parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from samdan.data.minhash import NOTHING, U8, Signatures
from samdan.data.ngrams import U64, Int
from samdan.records import Drop, Origin
from samdan.removing import Dedup

# Kept texts that are remembered for a band's value: bounds the work where thousands of texts agree
# in a band and yet differ (forms, templates).
REMEMBERED: Final = 64
_CHANCE: Final = 1 / 256  # that two bytes of a sketch agree although their n-grams differ


@dataclass(frozen=True)
class Copies:
    """For each of n texts, numbered through the parts in order."""

    copy_of: Int  # [n]: the kept text that it is a copy of; -1 when it is kept
    exact: NDArray[np.bool_]  # [n]: whether it is an exact copy
    similarity: NDArray[np.float32]  # [n]: estimated Jaccard, 1 for an exact copy; 0 when kept
    cluster: Int  # [n]: texts that a kept text stands for, with itself; 0 when dropped

    @property
    def kept(self) -> NDArray[np.bool_]:
        return np.asarray(self.copy_of < 0)


def duplicates(parts: Sequence[Signatures], spec: Dedup) -> Copies:
    """What is a copy, over all parts; texts of an earlier part have priority.

    Memory: 50 bytes a text, 90 with near copies; for each that agrees in a band with another 270
    more, and up to 1,900 for one that agrees in all of 14.
    """
    exact = np.concatenate([np.empty(0, np.uint64), *(part.exact for part in parts)])
    first = _first_equal(exact)
    same = first < np.arange(len(first))
    copy_of = np.where(same, first, -1)
    similarity = same.astype(np.float32)
    if spec.near:
        near, estimates = _near(parts, np.flatnonzero(copy_of < 0), spec.threshold)
        # A copy of a text that is itself dropped belongs to the one that stays.
        moved = near[first] >= 0
        copy_of[moved], similarity[moved] = near[first[moved]], estimates[first[moved]]
        same &= ~moved
    stands_for = np.bincount(copy_of[copy_of >= 0], minlength=len(exact)) + 1
    return Copies(copy_of, same, similarity, np.where(copy_of < 0, stands_for, 0))


def drop_of(copies: Copies, number: int, origins: Mapping[int, Origin]) -> Drop | None:
    """Why a text is dropped, and where the one lies that it is a copy of. None: it is kept."""
    kept = int(copies.copy_of[number])
    if kept < 0:
        return None
    if copies.exact[number]:
        return Drop("duplicate", origins[number], f"of {origins[kept]}")
    similarity = float(copies.similarity[number])
    return Drop("near_duplicate", origins[number], f"{similarity:.2f} like {origins[kept]}")


def _first_equal(values: U64) -> Int:
    """[n]: the first index with the same value."""
    order = np.argsort(values, kind="stable")
    new = _new(values[order])
    first = np.empty(len(values), np.int64)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]
    return first


def _new(ordered: U64) -> NDArray[np.bool_]:
    """[n]: whether the value differs from the one before."""
    return np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]


def _near(
    parts: Sequence[Signatures], texts: Int, threshold: float
) -> tuple[Int, NDArray[np.float32]]:
    """Over all n: the kept text that each is a near copy of, or -1, and the estimate."""
    total = sum(len(part) for part in parts)
    copy_of, similarity = np.full(total, -1, np.int64), np.zeros(total, np.float32)
    members, buckets = _candidates(parts, texts)
    numbers, sizes = np.unique(members, return_counts=True)
    ends = np.cumsum(sizes)
    sketches = _sketches(parts, numbers)
    remembered: dict[int, list[int]] = {}
    for place, (end, size) in enumerate(zip(ends.tolist(), sizes.tolist(), strict=True)):
        mine = buckets[end - size : end].tolist()
        rivals = sorted({rival for bucket in mine for rival in remembered.get(bucket, ())})
        if rivals:
            estimates = estimate(sketches[rivals], sketches[place])
            similar = np.flatnonzero(estimates >= threshold)
            if len(similar):
                copy_of[numbers[place]] = numbers[rivals[int(similar[0])]]
                similarity[numbers[place]] = estimates[similar[0]]
                continue
        for bucket in mine:
            kept = remembered.setdefault(bucket, [])
            if len(kept) < REMEMBERED:
                kept.append(place)
    return copy_of, similarity


def estimate(sketches: U8, sketch: U8) -> NDArray[np.float32]:
    """[m]: Jaccard similarity of m sketches [m, hashes] to one; its error is about 0.04."""
    agreeing = (sketches == sketch).mean(axis=1)
    return np.maximum((agreeing - _CHANCE) / (1 - _CHANCE), 0).astype(np.float32)


def _candidates(parts: Sequence[Signatures], texts: Int) -> tuple[Int, Int]:
    """Texts that share a band's value with another and the numbers of those values, by text.

    One band is in memory at a time, and in the end only what is shared.
    """
    members, buckets, used = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for band in range(parts[0].bands.shape[1] if parts else 0):
        values = np.concatenate([part.bands[:, band] for part in parts])[texts]
        order = np.argsort(values, kind="stable")
        new = _new(values[order])
        group = np.cumsum(new) - 1
        shared = (np.bincount(group)[group] > 1) & (values[order] != NOTHING)
        members.append(texts[order[shared]])
        numbers = np.unique(group[shared], return_inverse=True)[1]
        buckets.append(numbers + used)
        used += int(numbers.max(initial=-1)) + 1
    text, bucket = np.concatenate(members), np.concatenate(buckets)
    order = np.argsort(text, kind="stable")
    return text[order], bucket[order]


def _sketches(parts: Sequence[Signatures], numbers: Int) -> U8:
    """[m, hashes]: the sketches of these texts, out of the parts."""
    found, before = [], 0
    for part in parts:
        mine = numbers[(numbers >= before) & (numbers < before + len(part))] - before
        found.append(np.asarray(part.sketch[mine]))
        before += len(part)
    return np.concatenate(found) if found else np.empty((0, 0), np.uint8)
