"""The whole way, for a corpus that can be read again: count, fit, measure, choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdan.data.selection.choosing import Chosen, choose
from samdan.data.selection.dates import year_of
from samdan.data.selection.features import Features, joined, measure
from samdan.data.selection.fitting import Fitted, Statistics, fit, needs_statistics, statistics
from samdan.data.selection.tools import Tools
from samdan.records import DataError, Document
from samdan.selecting import Select

CHUNK = 256  # documents measured at once
Int = NDArray[np.int64]
Read = Callable[[], Iterable[Document]]
CountTokens = Callable[[Sequence[str]], Sequence[int]]
# ``map`` of the standard library, or one over processes that keeps the order.
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Selected:
    """A choice with what it was made of, in the order of the corpus."""

    spec: Select
    seed: int
    features: Features
    tokens: Int  # [n]
    sources: tuple[str, ...]
    fitted: Fitted
    chosen: Chosen


@dataclass(frozen=True)
class _Part:
    features: Features
    tokens: Int
    sources: list[str]
    keys: list[str]


def select_documents(
    spec: Select,
    read: Read,
    count_tokens: CountTokens,
    tools: Tools,
    seed: int,
    where: str = "select",
    apply: Map = map,
) -> Selected:
    """``read`` is called once or twice and gives the same documents each time, without copies.

    ``count_tokens``: tokens of texts as they will be trained. ``where``: the method's key in the
    recipe. Raises DataError and EnvironmentFailure, both with the key to change.
    """
    corpus = Statistics()
    if needs_statistics(spec):
        for part in apply(partial(_count, spec, tools), chunks(read())):
            corpus = corpus + part
    fitted = fit(spec, corpus, tools, seed, where)
    work = partial(_measure, spec, fitted, tools, count_tokens)
    measured, counts = [], [np.empty(0, np.int64)]
    sources: list[str] = []
    keys: list[str] = []
    known: dict[str, str] = {}  # one object for each name: there may be millions of documents
    for part in apply(work, chunks(read())):
        measured.append(part.features)
        counts.append(part.tokens)
        sources += [known.setdefault(name, name) for name in part.sources]
        keys += [known.setdefault(name, name) for name in part.keys]
    features, tokens = joined(measured), np.concatenate(counts)
    try:
        chosen = choose(spec, features, tokens, keys or None, features.dates, seed)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return Selected(spec, seed, features, tokens, tuple(sources), fitted, chosen)


def chunks(documents: Iterable[Document], size: int = CHUNK) -> Iterator[tuple[Document, ...]]:
    stream = iter(documents)
    while chunk := tuple(islice(stream, size)):
        yield chunk


def quota_key(document: Document, by: str, day: int) -> str:
    """The value that the quota counts by; empty where the document does not say."""
    if by == "year":
        return year_of(day)
    return source_of(document) if by == "source" else document.meta.get(by, "")


def source_of(document: Document) -> str:
    """Where the document says it is from, or else its file."""
    return document.meta.get("source") or document.origin.path


def _count(spec: Select, tools: Tools, documents: Sequence[Document]) -> Statistics:
    return statistics(spec, [document.text for document in documents], tools)


def _measure(
    spec: Select,
    fitted: Fitted,
    tools: Tools,
    count_tokens: CountTokens,
    documents: Sequence[Document],
) -> _Part:
    features = measure(spec, fitted, documents, tools)
    tokens = np.asarray(count_tokens([document.text for document in documents]), np.int64)
    keys: list[str] = []
    if spec.quota is not None:
        by = spec.quota.by
        days = features.dates.tolist()
        keys = [quota_key(doc, by, day) for doc, day in zip(documents, days, strict=True)]
    return _Part(features, tokens, [source_of(document) for document in documents], keys)
