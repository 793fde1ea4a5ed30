"""What a corpus is about, and what was kept of it: clusters of a sample, named by their terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samdan.data.selection import tfidf
from samdan.data.selection.hashing import Float, term_hashes
from samdan.data.selection.terms import Tagged, tags_of, words

DIMENSIONS = 256
ROUNDS = 30
MAX_TOPICS = 8
DOCUMENTS_PER_TOPIC = 10  # a topic of fewer would be a document
TERMS = 8
# Parts of speech that carry meaning in kiwipiepy's tag set: nouns, verbs, roots, foreign words.
CONTENT = ("NN", "VV", "VA", "XR", "SL", "SH")
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Topics:
    labels: Int  # [n] topic of each text
    terms: tuple[tuple[str, ...], ...]  # of each topic, the most telling first


def topics_of(texts: Sequence[str], tagged: Tagged | None, seed: int) -> Topics:
    """Spherical k-means on TF-IDF vectors; the seed and the texts alone decide."""
    bags = [_terms(text, tagged) for text in texts]
    hashes = [term_hashes(bag) for bag in bags]
    inverse = tfidf.inverse_frequencies(tfidf.document_frequencies(hashes), len(texts))
    vectors = np.stack([tfidf.vector(terms, inverse, DIMENSIONS) for terms in hashes])
    count = max(1, min(MAX_TOPICS, len(texts) // DOCUMENTS_PER_TOPIC))
    labels = spherical_k_means(vectors, count, seed)
    return Topics(labels, top_terms(bags, labels, count))


def spherical_k_means(vectors: Float, count: int, seed: int) -> Int:
    """[n]: cluster of each unit vector [n, d], by cosine; started by k-means++."""
    rng = np.random.default_rng([seed, count])
    centers = _spread(vectors, count, rng)
    labels = np.full(len(vectors), -1, np.int64)
    for _ in range(ROUNDS):
        found = np.argmax(vectors @ centers.T, axis=1)
        if np.array_equal(found, labels):
            break
        labels = found
        for cluster in range(count):
            mine = vectors[labels == cluster]
            mean = mine.sum(0) if len(mine) else centers[cluster]
            length = np.sqrt((mean * mean).sum())
            centers[cluster] = mean / length if length else centers[cluster]
    return labels


def _spread(vectors: Float, count: int, rng: np.random.Generator) -> Float:
    """Each next center is drawn by its squared distance to the nearest one (k-means++)."""
    chosen = [int(rng.integers(len(vectors)))]
    nearest = np.full(len(vectors), np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, np.maximum(0.0, 2 - 2 * vectors @ vectors[chosen[-1]]))
        total = nearest.sum()
        chances = nearest / total if total > 0 else np.full(len(vectors), 1 / len(vectors))
        chosen.append(int(rng.choice(len(vectors), p=chances)))
    return vectors[chosen].copy()


def top_terms(
    bags: Sequence[Sequence[str]], labels: Int, count: int
) -> tuple[tuple[str, ...], ...]:
    """Per topic the terms with the largest ``share of the topic's terms * ln(n / df)``."""
    frequencies = Counter(term for bag in bags for term in set(bag))
    named = []
    for topic in range(count):
        counts = Counter(
            term
            for bag, label in zip(bags, labels.tolist(), strict=True)
            if label == topic
            for term in bag
        )
        weights = {
            term: number * float(np.log(len(bags) / frequencies[term]))
            for term, number in counts.items()
            if frequencies[term] > 1
        }
        best = sorted(weights, key=lambda term: (-weights[term], term))[:TERMS]
        named.append(tuple(best))
    return tuple(named)


def _terms(text: str, tagged: Tagged | None) -> list[str]:
    if tagged is None:
        return [word for word in words(text) if len(word) > 1 and word[0].isalnum()]
    return [form.lower() for form, tag in tags_of(text, tagged) if tag.startswith(CONTENT)]
