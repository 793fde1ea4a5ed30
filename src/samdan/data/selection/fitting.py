"""The first pass: counts over chunks of the corpus, and what is made of them and of the task.

Counts are integers and add up in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdan.data.selection import ngrams, tfidf
from samdan.data.selection.hashing import Float
from samdan.data.selection.quality import Classifier, train_classifier
from samdan.data.selection.texts import read_texts
from samdan.data.selection.tools import Chunk, Tools
from samdan.selecting import Dsir, Ets, EtsCom, Quality, Select, TfIdf

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Statistics:
    """Counts over a part of the corpus; parts add up."""

    documents: int = 0
    counts: Int | None = None  # documents by term (TF-IDF) or n-grams by bucket (DSIR)

    def __add__(self, other: Statistics) -> Statistics:
        counts = self.counts if other.counts is None else other.counts
        if self.counts is not None and other.counts is not None:
            counts = self.counts + other.counts
        return Statistics(self.documents + other.documents, counts)


def needs_statistics(spec: Select) -> bool:
    """Whether the corpus must be read once before its documents can be measured."""
    by_terms = isinstance(spec, Ets | EtsCom) and isinstance(spec.embedding, TfIdf)
    return by_terms or isinstance(spec, Dsir)


def statistics(spec: Select, texts: Sequence[str], tools: Tools) -> Statistics:
    """Of one chunk."""
    chunk = Chunk(texts, tools)
    if isinstance(spec, Dsir):
        counts = ngrams.sum_of_counts(chunk.terms(spec.units), spec.buckets)
        return Statistics(len(texts), counts)
    if isinstance(spec, Ets | EtsCom) and isinstance(spec.embedding, TfIdf):
        terms = chunk.terms(spec.embedding.units)
        return Statistics(len(texts), tfidf.document_frequencies(terms))
    return Statistics(len(texts))


@dataclass(frozen=True)
class Fitted:
    """What is known before a document is measured."""

    inverse: Float | None = None  # inverse document frequencies
    task: Float | None = None  # mean embedding of the task's texts
    ratios: Float | None = None  # log ratios of n-grams
    classifier: Classifier | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    """For the report: what was used, and how well the classifier does."""


def fit(
    spec: Select, corpus: Statistics, tools: Tools, seed: int, where: str = "select"
) -> Fitted:
    """Reads the files that the method names. Raises DataError with their key."""
    if isinstance(spec, Quality):
        good, bad = read_texts(spec.good, f"{where}.good"), read_texts(spec.bad, f"{where}.bad")
        made = train_classifier(good, bad, seed, where)
        samples = {"good_samples": made.good, "bad_samples": made.bad}
        return Fitted(classifier=made, notes=samples | {"heldout_auc": made.auc})
    if isinstance(spec, Dsir):
        texts = read_texts(spec.tasks, f"{where}.tasks")
        task = ngrams.sum_of_counts(Chunk(texts, tools).terms(spec.units), spec.buckets)
        whole = corpus.counts if corpus.counts is not None else np.zeros_like(task)
        ratios = ngrams.log_ratios(task, whole)
        notes = {"task_texts": len(texts), "task_ngrams": int(task.sum())}
        return Fitted(ratios=ratios, notes=notes)
    if isinstance(spec, Ets | EtsCom):
        texts = read_texts(spec.tasks, f"{where}.tasks")
        inverse = (
            tfidf.inverse_frequencies(corpus.counts, corpus.documents)
            if corpus.counts is not None
            else None
        )
        vectors = embedded(spec, inverse, Chunk(texts, tools))
        named = {"task_texts": len(texts)} | {"embedding": _embedding_name(spec, tools)}
        return Fitted(inverse=inverse, task=vectors.mean(0), notes=named)
    return Fitted()


def _embedding_name(spec: Ets | EtsCom, tools: Tools) -> str:
    if not isinstance(spec.embedding, TfIdf):
        return f"{spec.embedding.kind} of {spec.embedding.path}"
    units = spec.embedding.units
    if units == "auto":
        units = "characters" if tools.tagged is None else "morphemes"
    return f"tfidf of {units}, {spec.embedding.dimensions} dimensions"


def embedded(spec: Ets | EtsCom, inverse: Float | None, chunk: Chunk) -> Float:
    """[n, d]"""
    if not isinstance(spec.embedding, TfIdf):
        assert chunk.tools.embed is not None, "load_tools loads what the method names"
        return chunk.tools.embed(chunk.texts)
    if inverse is None:  # an empty corpus: every term is as rare as any other
        inverse = np.ones(tfidf.BUCKETS)
    size = spec.embedding.dimensions
    vectors = [tfidf.vector(terms, inverse, size) for terms in chunk.terms(spec.embedding.units)]
    return np.stack(vectors)
