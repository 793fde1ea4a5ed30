"""TF-IDF vectors of fixed length from hashed terms; the counts of chunks add up in any order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from samdan.data.selection.hashing import Float, UInt, mixed

# Places in which document frequencies are counted: 2 MB for a corpus of any size. Terms that share
# one look a little more frequent than they are; of 100,000 terms that is every third.
BUCKETS = 1 << 18
Int = NDArray[np.int64]


def document_frequencies(documents: Iterable[UInt]) -> Int:
    """[BUCKETS]: in how many documents a term of the bucket occurs."""
    counts = np.zeros(BUCKETS, np.int64)
    for hashes in documents:
        counts[np.unique(hashes % np.uint64(BUCKETS)).astype(np.int64)] += 1
    return counts


def inverse_frequencies(counts: Int, documents: int) -> Float:
    """[BUCKETS]: ``ln((1 + n) / (1 + df)) + 1``; smoothed, so that an unseen term is finite."""
    return np.log((1 + documents) / (1 + counts)) + 1


def vector(hashes: UInt, inverse: Float, dimensions: int) -> Float:
    """[dimensions], of length 1, or zeros for a text without terms."""
    terms, counts = np.unique(hashes, return_counts=True)
    places = mixed(terms)
    weights = (1 + np.log(counts)) * inverse[(terms % np.uint64(BUCKETS)).astype(np.int64)]
    signs = np.where(places >> np.uint64(63), 1.0, -1.0)
    index = (places % np.uint64(dimensions)).astype(np.int64)
    projected = np.bincount(index, weights * signs, minlength=dimensions)
    length = np.sqrt((projected * projected).sum())  # not np.dot: it may depend on the threads
    unit: Float = projected / (length or 1.0)
    return unit
