"""DSIR: bags of hashed words and pairs of words, and their log importance weights.

Xie, Santurkar, Ma and Liang 2023 (arXiv 2302.03169). The hash is another than theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from samdan.data.selection.hashing import Float, UInt, pair_hashes

FLOOR = 1e-8  # added to every probability, as in the authors' code
Int = NDArray[np.int64]


def bucket_counts(hashes: UInt, buckets: int) -> Int:
    """[buckets]: how often each bucket's words and pairs of words occur in one text."""
    grams = np.concatenate([hashes, pair_hashes(hashes)])
    index = (grams % np.uint64(buckets)).astype(np.int64)
    return np.bincount(index, minlength=buckets).astype(np.int64)


def sum_of_counts(texts: Iterable[UInt], buckets: int) -> Int:
    """[buckets], over several texts."""
    total = np.zeros(buckets, np.int64)
    for hashes in texts:
        total += bucket_counts(hashes, buckets)
    return total


def log_ratios(task: Int, corpus: Int) -> Float:
    """[buckets]: ``ln(p_task + 1e-8) - ln(p_corpus + 1e-8)``.

    Without more smoothing: a count added to every bucket makes what is rare in the corpus look like
    the task (measured in docs/selection.md).
    """
    p_task = task / max(1, task.sum())
    p_corpus = corpus / max(1, corpus.sum())
    return np.log(p_task + FLOOR) - np.log(p_corpus + FLOOR)


def log_weight(hashes: UInt, ratios: Float, words: int | None = None) -> float:
    """The log importance weight of one text, as if it had so many words; nan without a word.

    A text of n words has n words and n - 1 pairs.
    """
    counts = bucket_counts(hashes, len(ratios))
    used = np.flatnonzero(counts)
    if not len(used):
        return float("nan")
    total = float((counts[used] * ratios[used]).sum())
    return total if words is None else total * (2 * words - 1) / (2 * len(hashes) - 1)
