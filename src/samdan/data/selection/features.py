"""The second pass: every document to a few numbers, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdan.data.selection import ngrams
from samdan.data.selection.dates import day_number
from samdan.data.selection.fitting import Fitted, embedded
from samdan.data.selection.hashing import Float, UInt, document_id
from samdan.data.selection.terms import tag_entropy
from samdan.data.selection.tools import Chunk, Tools
from samdan.records import Document
from samdan.selecting import Dsir, Eta, Ets, EtsCom, Quality, Random, Recency, Select

Int = NDArray[np.int64]
Values = dict[str, Float]


@dataclass(frozen=True)
class Features:
    """The corpus as numbers, in its order."""

    ids: UInt  # [n]
    dates: Int  # [n] day numbers, 0 where there is none
    values: Values  # each [n]; nan where it cannot be told

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: Path) -> None:
        """One ``.npz`` file: what a worker leaves for the reduction."""
        columns: dict[str, Any] = {"ids": self.ids, "dates": self.dates}
        columns |= {f"value_{name}": column for name, column in self.values.items()}
        np.savez(path, **columns)

    @classmethod
    def load(cls, path: Path) -> Features:
        with np.load(path, allow_pickle=False) as found:
            values = {
                name.removeprefix("value_"): found[name]
                for name in found.files
                if name.startswith("value_")
            }
            return cls(found["ids"], found["dates"], values)


def measure(
    spec: Select, fitted: Fitted, documents: Sequence[Document], tools: Tools
) -> Features:
    """Of one chunk."""
    texts = [document.text for document in documents]
    ids = np.asarray([document_id(text) for text in texts], np.uint64)
    days = [day_number(document.meta.get("date", "")) for document in documents]
    found = MEASURES[type(spec)](spec, fitted, Chunk(texts, tools)) if texts else {}
    return Features(ids, np.asarray(days, np.int64), found)


def joined(parts: Sequence[Features]) -> Features:
    """The parts one after another."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    names = list(parts[0].values) if parts else []
    return Features(
        np.concatenate([np.empty(0, np.uint64), *(part.ids for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.dates for part in parts)]),
        {name: np.concatenate([part.values[name] for part in parts]) for name in names},
    )


def _similarity(spec: Ets | EtsCom, fitted: Fitted, chunk: Chunk) -> Values:
    assert fitted.task is not None, "fit knows the task"
    vectors = embedded(spec, fitted.inverse, chunk)
    return {"similarity": np.asarray([cosine(vector, fitted.task) for vector in vectors])}


def cosine(a: Float, b: Float) -> float:
    """``a b / (|a| |b|)``; nan where one of them is zero."""
    # Not np.dot: its last bits may depend on the number of threads.
    lengths = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / lengths if lengths else float("nan")


def _novelty(spec: Eta | EtsCom, fitted: Fitted, chunk: Chunk) -> Values:
    values = {}
    if spec.surrogate is not None:
        assert chunk.tools.log_probs is not None, "load_tools loads what the method names"
        nats, tokens = chunk.tools.log_probs(chunk.texts)
        mean = np.divide(nats, tokens, out=np.full(len(tokens), np.nan), where=tokens > 0)
        values["perplexity"] = np.exp(np.minimum(mean, 700.0))
    if not isinstance(spec, Eta) or "ent" in spec.use:
        values["entropy"] = np.asarray([tag_entropy(tags) for tags in chunk.tags])
    return values


def _importance(spec: Dsir, fitted: Fitted, chunk: Chunk) -> Values:
    assert fitted.ratios is not None, "fit knows the task"
    weights = [
        ngrams.log_weight(terms, fitted.ratios, spec.scale_to_words)
        for terms in chunk.terms(spec.units)
    ]
    return {"log_weight": np.asarray(weights)}


def _quality(spec: Quality, fitted: Fitted, chunk: Chunk) -> Values:
    assert fitted.classifier is not None, "fit trains it"
    return {"quality": fitted.classifier.probabilities(chunk.texts)}


def _all_three(spec: EtsCom, fitted: Fitted, chunk: Chunk) -> Values:
    return _similarity(spec, fitted, chunk) | _novelty(spec, fitted, chunk)


def _nothing(spec: Select, fitted: Fitted, chunk: Chunk) -> Values:
    return {}


MEASURES: dict[type, Callable[[Any, Fitted, Chunk], Values]] = {
    Ets: _similarity,
    Eta: _novelty,
    EtsCom: _all_three,
    Dsir: _importance,
    Recency: _nothing,
    Quality: _quality,
    Random: _nothing,
}
