"""What a selection did to a corpus, as plain data: counts, topics, and examples at every line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from samdan.data.selection.choosing import REASONS, Limit
from samdan.data.selection.dates import year_of
from samdan.data.selection.hashing import Float, uniform
from samdan.data.selection.pipeline import Selected
from samdan.data.selection.terms import Tagged
from samdan.data.selection.topics import topics_of
from samdan.records import Document, Json

Fetch = Callable[[Sequence[int]], Sequence[Document]]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

GROUPS = 40  # rows of one table; the smaller ones are summed up
SAMPLED = 2000  # documents that topics are looked for in, on each side
SAMPLE_CHARS = 4000  # of a document, read for its topic
EXCERPT = 200
COUNTED = ("documents_before", "documents_after", "tokens_before", "tokens_after")
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def selection_report(
    selected: Selected, fetch: Fetch, tagged: Tagged | None = None, samples: int = 5
) -> dict[str, Json]:
    """A dictionary that JSON can hold.

    ``fetch``: the documents at the given places of the corpus, in the order asked for; about 4,000
    are asked for at once. ``samples``: documents shown on each side of each line.
    """
    chosen, tokens = selected.chosen, selected.tokens
    years = [year_of(day) for day in selected.features.dates.tolist()]
    lengths = [_length_bucket(count) for count in tokens.tolist()]
    return {
        "method": selected.spec.kind,
        "spec": selected.spec.model_dump(mode="json", exclude_unset=True),
        "seed": selected.seed,
        "notes": dict(selected.fitted.notes),
        "before": _size(np.ones_like(chosen.mask), tokens),
        "after": _size(chosen.mask, tokens),
        "budget_tokens": chosen.budget,
        "short_of_budget": chosen.tokens < chosen.budget,
        "left_out": {
            name: _size(chosen.reason == number, tokens)
            for number, name in enumerate(REASONS)
            if name and (chosen.reason == number).any()
        },
        "values": _values(selected),
        "by_source": _table(selected.sources, chosen.mask, tokens),
        "by_year": _table(years, chosen.mask, tokens, by_name=True),
        "by_length": _table(lengths, chosen.mask, tokens, by_name=True),
        "topics": _topics(selected, fetch, tagged),
        "thresholds": [_line(limit, selected, fetch, samples) for limit in chosen.limits],
    }


def _size(mask: Bool, tokens: Int) -> dict[str, int]:
    return {"documents": int(mask.sum()), "tokens": int(tokens[mask].sum())}


def _values(selected: Selected) -> dict[str, dict[str, list[float | None]]]:
    """Quantiles of everything that was measured, of all documents and of those kept."""
    columns = selected.features.values | {"score": selected.chosen.score}
    return {
        name: {
            "before": _quantiles(values),
            "after": _quantiles(values[selected.chosen.mask]),
        }
        for name, values in columns.items()
    }


def _quantiles(values: Float) -> list[float | None]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [None] * len(QUANTILES)
    return [_number(q) for q in np.quantile(finite, QUANTILES)]


def _length_bucket(tokens: int) -> str:
    """``128-255``, by powers of two; padded, so that names sort as numbers do."""
    if tokens < 1:
        return "0"
    low = 1 << (tokens.bit_length() - 1)
    return f"{low}-{2 * low - 1}"


def _table(
    names: Sequence[str], mask: Bool, tokens: Int, by_name: bool = False
) -> list[dict[str, Json]]:
    """Documents and tokens by name, before and after; the largest first unless by name."""
    unique, index = np.unique(np.asarray(names, dtype=object), return_inverse=True)
    kept = mask.astype(np.float64)
    sums = [
        np.bincount(index, weights, len(unique)).astype(np.int64)
        for weights in (np.ones(len(kept)), kept, tokens, tokens * kept)
    ]
    rows = sorted(zip(map(str, unique), *sums, strict=True), key=lambda row: (-row[3], row[0]))
    shown, rest = rows[:GROUPS], rows[GROUPS:]
    if by_name:
        shown.sort(key=lambda row: (_leading_number(row[0]), row[0]))
    if rest:
        shown.append((f"{len(rest)} others", *(sum(row[i] for row in rest) for i in range(1, 5))))
    return [
        {"name": name} | {key: int(n) for key, n in zip(COUNTED, counts, strict=True)}
        for name, *counts in shown
    ]


def _leading_number(name: str) -> float:
    digits = re.match(r"\d+", name)
    return float(digits[0]) if digits else math.inf


def _topics(selected: Selected, fetch: Fetch, tagged: Tagged | None) -> dict[str, Json]:
    """Topics of a sample, and their estimated shares of the tokens before and after.

    The sample is drawn by hash, from the documents kept and from the others; each stands for its
    share of its side.
    """
    draw = uniform(selected.features.ids, selected.seed + 1)
    mask, tokens = selected.chosen.mask, selected.tokens
    sides = [_smallest(draw, side, SAMPLED) for side in (mask, ~mask)]
    places = np.concatenate(sides)
    texts = [document.text[:SAMPLE_CHARS] for document in fetch(places.tolist())]
    found = topics_of(texts, tagged, selected.seed)
    weights = np.concatenate(
        [
            tokens[side] * (tokens[whole].sum() / max(1, tokens[side].sum()))
            for side, whole in zip(sides, (mask, ~mask), strict=True)
        ]
    )
    kept = mask[places]
    clusters: list[dict[str, Json]] = [
        {
            "terms": list(terms),
            "share_before": _share(weights, found.labels == number),
            "share_after": _share(weights[kept], found.labels[kept] == number),
        }
        for number, terms in enumerate(found.terms)
    ]
    clusters.sort(key=lambda cluster: -cluster["share_before"])
    return {"sampled": len(places), "documents": len(mask), "clusters": clusters}


def _smallest(draw: Float, side: Bool, count: int) -> Int:
    places = np.flatnonzero(side)
    return places[np.argsort(draw[places], kind="stable")[:count]]


def _share(weights: Float, mine: Bool) -> float:
    total = float(weights.sum())
    return float(weights[mine].sum()) / total if total else 0.0


def _line(limit: Limit, selected: Selected, fetch: Fetch, count: int) -> dict[str, Json]:
    """The documents nearest to a line, on both sides."""
    compared = ~np.isnan(limit.values)
    sides = {
        "just_kept": _nearest(limit, compared & limit.kept, count),
        "just_left_out": _nearest(limit, compared & ~limit.kept, count),
    }
    return {"name": limit.name, "limit": _number(limit.limit)} | {
        side: [
            _sample(place, document, limit, selected)
            for place, document in zip(places, fetch(places), strict=True)
        ]
        for side, places in sides.items()
    }


def _nearest(limit: Limit, side: Bool, count: int) -> list[int]:
    places = np.flatnonzero(side)
    with np.errstate(invalid="ignore"):
        distance = np.abs(limit.values[places] - limit.limit)
    found: list[int] = places[np.argsort(distance, kind="stable")[:count]].tolist()
    return found


def _sample(place: int, document: Document, limit: Limit, selected: Selected) -> dict[str, Json]:
    text = re.sub(r"\s+", " ", document.text).strip()
    return {
        "value": _number(float(limit.values[place])),
        "score": _number(float(selected.chosen.score[place])),
        "tokens": int(selected.tokens[place]),
        "origin": str(document.origin),
        "excerpt": text[:EXCERPT] + ("…" if len(text) > EXCERPT else ""),
    }


def _number(value: float) -> float | None:
    """JSON has no infinity and no nan."""
    return round(float(value), 6) if math.isfinite(value) else None
