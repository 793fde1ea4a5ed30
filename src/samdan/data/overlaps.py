"""Searching training records for the items of an index, and saying what was found.

Records are searched in batches anywhere; hits are few and can be brought together. Memory: 20 MB
a process beside the index, and 100 bytes an n-gram found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samdan.data.contamination import ItemIndex, covered_units
from samdan.data.ngrams import TOGETHER, Int, Units, in_groups, ngrams_of, units_of
from samdan.records import Drop, Origin
from samdan.removing import Decontaminate

PIECE: Final = 100_000  # characters of a training text that are searched as one
OVERLAP: Final = 2_000  # characters that two pieces share, so that no n-gram is lost
WORTH_SAYING: Final = 0.5  # overlaps below this share of a threshold are not reported


@dataclass(frozen=True, slots=True)
class Hit:
    """A training record and an item that share text."""

    record: int  # its number among those searched
    part: int  # the item's number in the index
    share: float  # of the item's key, covered by the record
    text_share: float  # of one of the record's texts, covered by the item
    example: str  # the first n-gram they share


def find(
    index: ItemIndex, records: Sequence[Sequence[str]], spec: Decontaminate, first: int = 0
) -> list[Hit]:
    """Where records overlap with items by half a threshold or more, by record and item.

    ``records``: the texts of each. ``first``: number of the first of them.
    """
    hits: list[Hit] = []
    if index.ngram_lengths:
        for start, batch in _batches(records):
            hits += _search(index, batch, spec, first + start)
    return hits


def contaminated(hits: Sequence[Hit], spec: Decontaminate) -> dict[int, Hit]:
    """By record: the hit for which it is dropped, the one that covers most."""
    worst: dict[int, Hit] = {}
    for hit in hits:
        if hit.share >= spec.threshold or hit.text_share >= spec.text_threshold:
            other = worst.get(hit.record)
            if other is None or _covers(hit) > _covers(other):
                worst[hit.record] = hit
    return worst


def drop_of(hit: Hit, index: ItemIndex, origin: Origin) -> Drop:
    """Why a record is dropped, for a person to look at."""
    share, what = (
        (hit.share, "of it") if hit.share >= hit.text_share else (hit.text_share, "of a text")
    )
    return Drop("contaminated", origin, f"{index.ids[hit.part]}: {share:.0%} {what}: {hit.example}")


def report(index: ItemIndex, hits: Sequence[Hit], spec: Decontaminate) -> dict[str, Any]:
    """What training holds of the items, by id: those that scores should also be given without.

    ``hits``: of all records. Ids that are not named were looked for and not found.
    """
    searched: dict[str, bool] = {}
    for identifier, length in zip(index.ids, index.lengths.tolist(), strict=True):
        searched[identifier] = searched.get(identifier, False) or length > 0
    found: dict[str, dict[str, Any]] = {}
    for hit in hits:
        row = found.setdefault(index.ids[hit.part], {"records": set(), "share": 0.0, "example": ""})
        if hit.share >= spec.threshold or hit.text_share >= spec.text_threshold:
            row["records"].add(hit.record)
        if hit.share > row["share"]:
            row["share"], row["example"] = hit.share, hit.example
    return {
        "items": len(searched),
        "too_short_or_common": [name for name, looked in searched.items() if not looked],
        "dirty": [name for name, row in found.items() if row["share"] >= spec.threshold],
        "overlaps": [_row(name, row) for name, row in sorted(found.items(), key=_most)],
    }


def _row(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"records": len(row["records"]), "share": round(row["share"], 3)}
    return {"item": name, **shown, "example": row["example"]}


def _most(entry: tuple[str, Mapping[str, Any]]) -> tuple[float, str]:
    return -entry[1]["share"], entry[0]


def _covers(hit: Hit) -> float:
    return max(hit.share, hit.text_share)


def _batches(records: Sequence[Sequence[str]]) -> Iterator[tuple[int, Sequence[Sequence[str]]]]:
    """Records that are searched together, and the number of the first."""
    start = size = 0
    for number, texts in enumerate(records):
        length = sum(map(len, texts))
        if number > start and size + length > TOGETHER:
            yield start, records[start:number]
            start, size = number, 0
        size += length
    if start < len(records):
        yield start, records[start:]


def _pieces(text: str) -> list[str]:
    starts = range(0, max(len(text) - OVERLAP, 1), PIECE - OVERLAP)
    return [text[start : start + PIECE] for start in starts]


def _search(
    index: ItemIndex, batch: Sequence[Sequence[str]], spec: Decontaminate, first: int
) -> list[Hit]:
    numbered = [
        (number, piece)
        for number, texts in enumerate(batch)
        for text in texts
        for piece in _pieces(text)
    ]
    matches, sizes = [np.empty((0, 4), np.int64)], [np.empty(0, np.int64)]
    done = 0
    for group in in_groups(piece for _, piece in numbered):
        units = units_of(group)
        matches.append(_matches(index, units, done))
        sizes.append(units.counts)
        done += len(group)
    owners = np.asarray([number for number, _ in numbered], np.int64)
    found = _overlaps(index, np.concatenate(matches), owners, np.concatenate(sizes))
    worth = (found.share >= WORTH_SAYING * spec.threshold) | (
        found.text_share >= WORTH_SAYING * spec.text_threshold
    )
    pieces = [piece for _, piece in numbered]
    chosen = np.flatnonzero(worth)
    excerpts = _excerpts(index, pieces, found.example[chosen])
    return [
        Hit(
            first + numbered[int(found.example[pair, 0])][0],
            int(found.example[pair, 2]),
            float(found.share[pair]),
            float(found.text_share[pair]),
            excerpt,
        )
        for pair, excerpt in zip(chosen.tolist(), excerpts, strict=True)
    ]


def _excerpts(index: ItemIndex, pieces: Sequence[str], examples: Int) -> list[str]:
    """The n-grams at these places. ``examples`` [n, 3]: piece, unit of the piece, item."""
    found = [""] * len(examples)
    number, units = -1, units_of([])
    for row in np.argsort(examples[:, 0], kind="stable").tolist():
        piece, unit, part = (int(value) for value in examples[row])
        if piece != number:
            number, units = piece, units_of([pieces[piece]])
        found[row] = units.excerpt(unit, unit + int(index.lengths[part]) - 1)
    return found


def _matches(index: ItemIndex, units: Units, done: int) -> Int:
    """[matches, 4]: piece, unit of the piece, item, unit of the item's key.

    ``done``: number of the first piece.
    """
    owners = units.owners
    table, shift = index.filter
    found = [np.empty((0, 4), np.int64)]
    for length, grams in ngrams_of(units.hashes, index.ngram_lengths):
        inside = owners[: len(grams)] == owners[length - 1 :]
        where = np.flatnonzero(table[grams >> shift] & inside)
        low = np.searchsorted(index.hashes, grams[where], "left")
        counts = np.searchsorted(index.hashes, grams[where], "right") - low
        entries = np.arange(counts.sum()) + np.repeat(low - (np.cumsum(counts) - counts), counts)
        where = np.repeat(where, counts)
        piece = owners[where]
        columns = piece + done, where - units.offsets[piece]
        found.append(np.column_stack([*columns, index.parts[entries], index.places[entries]]))
    return np.concatenate(found)


@dataclass(frozen=True)
class _Overlaps:
    """One row per record and item that share an n-gram, by record and item."""

    share: NDArray[np.float64]  # [pairs]
    text_share: NDArray[np.float64]  # [pairs]
    example: Int  # [pairs, 3]: piece, unit of the piece, item


def _overlaps(index: ItemIndex, matches: Int, owners: Int, sizes: Int) -> _Overlaps:
    """``owners`` [pieces]: the record of each. ``sizes`` [pieces]: its units."""
    piece, unit, part, place = matches.T
    count, length = len(index.ids), index.lengths[part]
    pair = owners[piece] * count + part
    order = np.lexsort((place, pair))
    ends = np.minimum(place + length, index.sizes[part])
    pairs, covered = covered_units(pair[order], place[order], ends[order])
    text = piece * count + part
    # A place of the item counts once: a text is no excerpt because it repeats one phrase of it.
    order = np.lexsort((unit, place, text))
    again = (np.diff(text[order]) == 0) & (np.diff(place[order]) == 0)
    once = np.delete(order, np.flatnonzero(again) + 1)
    once = once[np.lexsort((unit[once], text[once]))]
    texts, inside = covered_units(text[once], unit[once], (unit + length)[once])
    size, part_of = sizes[texts // count], texts % count
    # In a text of hardly more than one n-gram, a single one would cover everything.
    portion = np.where(size >= 2 * index.lengths[part_of], inside / size, 0.0)
    text_share = np.zeros(len(pairs))
    of_pair = np.searchsorted(pairs, owners[texts // count] * count + part_of)
    np.maximum.at(text_share, of_pair, portion)
    order = np.lexsort((unit, piece, pair))
    example = matches[order[np.searchsorted(pair[order], pairs)]][:, :3]
    return _Overlaps(covered / index.weights[pairs % count], text_share, example)
