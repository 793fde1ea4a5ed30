"""Copies within and across the sources of a stage: the first in the recipe's order is kept.

The reduce phase over what ``clean`` wrote per part. Per source it writes a fate for every record,
and for those that are not simply kept a line that says why, or which paragraphs go.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdan.data import duplicates, minhash, paragraphs
from samdan.data.store import KEPT, clean_parts, read_origins
from samdan.lm.files import write_json
from samdan.records import Document, Drop, Origin, Record
from samdan.removing import Dedup

KEEP, DROP, TRIM = 0, 1, 2  # the fates
PARAGRAPHS = "paragraphs.npz"  # of one part
Fate = NDArray[np.int8]


def save_signatures(texts: Sequence[str], spec: Dedup, folder: Path) -> None:
    """The map phase: what is known of one part's records, for ``find_copies``."""
    minhash.save(minhash.signatures(texts, spec), spec, folder)
    if spec.paragraphs:
        found = paragraphs.paragraphs(texts, spec)
        np.savez(
            folder / PARAGRAPHS,
            hashes=found.hashes,
            letters=found.letters,
            counts=found.counts,
            totals=found.totals,
        )


def find_copies(cleaned: Mapping[str, Path], folder: Path, spec: Dedup | None) -> dict[str, Any]:
    """Writes ``folder/<source>.npy`` and ``.jsonl``; returns counts by source and a hash.

    ``cleaned``: the folders of ``clean_source`` by the source's name, in the recipe's order. With
    no spec everything is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = list(cleaned)
    together = [labels] if spec is None or spec.across_sources else [[label] for label in labels]
    digest, counts = hashlib.sha256(), {}
    for group in together:
        folders = [clean_parts(cleaned[label]) for label in group]
        fate, lines = _decided([part for parts in folders for part in parts], spec)
        bounds = np.cumsum([sum(map(_count, parts)) for parts in folders])[:-1]
        for label, mine in zip(group, np.split(fate, bounds), strict=True):
            told = [next(lines) for _ in range(int((mine != KEEP).sum()))]
            np.save(folder / f"{label}.npy", mine)
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in told)
            (folder / f"{label}.jsonl").write_text(text, "utf-8")
            digest.update(mine.tobytes())
            counts[label] = dict(Counter(line.get("reason", "trimmed") for line in told))
            digest.update(repr([line.get("first") for line in told]).encode())
    found = {"sha256": digest.hexdigest(), "copies": counts}
    write_json(folder / "manifest.json", found)
    return found


def fates(folder: Path, label: str) -> Fate:
    """[n]: KEEP, DROP or TRIM of every record of a source, in order."""
    found: Fate = np.load(folder / f"{label}.npy", allow_pickle=False)
    return found


def without_copies(
    records: Iterator[Record], folder: Path, label: str, spec: Dedup | None
) -> Iterator[tuple[Record, Drop | None]]:
    """The source's records in order, without repeated paragraphs; and why one is dropped."""
    fate = fates(folder, label).tolist()
    with (folder / f"{label}.jsonl").open(encoding="utf-8") as told:
        for record, mine in zip(records, fate, strict=True):
            if mine == KEEP or spec is None:
                yield record, None
                continue
            line = json.loads(next(told))
            if mine == DROP:
                yield record, Drop(line["reason"], record.origin, line["detail"])
            else:
                assert isinstance(record, Document), "only documents have paragraphs"
                text = paragraphs.without(record.text, np.asarray(line["first"]), spec)
                yield Document(text, record.origin, record.meta), None


def _decided(parts: Sequence[Path], spec: Dedup | None) -> tuple[Fate, Iterator[dict[str, Any]]]:
    """The fate of every record of the parts, and a line for each that is not simply kept."""
    total = sum(map(_count, parts))
    fate = np.zeros(total, np.int8)
    if spec is None:
        return fate, iter(())
    copies = repeats = None
    if spec.exact:
        copies = duplicates.duplicates([minhash.load(part, spec) for part in parts], spec)
        fate[~copies.kept] = DROP
    if spec.paragraphs:
        repeats = paragraphs.repeated([_paragraphs(part) for part in parts], spec, fate == KEEP)
        trimmed = np.zeros(total, np.bool_)
        owners = np.repeat(np.arange(total), np.diff(repeats.offsets))
        trimmed[owners[repeats.first >= 0]] = True
        fate[(fate == KEEP) & trimmed] = TRIM
        fate[(fate == TRIM) & repeats.dropped] = DROP
    return fate, _lines(parts, fate, copies, repeats)


def _lines(
    parts: Sequence[Path],
    fate: Fate,
    copies: duplicates.Copies | None,
    repeats: paragraphs.Repeated | None,
) -> Iterator[dict[str, Any]]:
    dropped = np.flatnonzero(fate == DROP)
    origins = _origins(parts, _needed(dropped, copies, repeats))
    for number in np.flatnonzero(fate != KEEP).tolist():
        if fate[number] == TRIM:
            assert repeats is not None, "only repeated paragraphs trim"
            yield {"first": repeats.of(number).tolist()}
            continue
        drop = duplicates.drop_of(copies, number, origins) if copies is not None else None
        if drop is None and repeats is not None:
            drop = paragraphs.drop_of(repeats, number, origins)
        assert drop is not None, "what is dropped has a reason"
        yield {"reason": drop.reason, "detail": drop.detail}


def _needed(
    dropped: NDArray[np.int64],
    copies: duplicates.Copies | None,
    repeats: paragraphs.Repeated | None,
) -> set[int]:
    """Records that are named in a drop: the dropped one and what it resembles."""
    needed = set(dropped.tolist())
    if copies is not None:
        needed |= set(copies.copy_of[dropped].tolist())
    if repeats is not None:
        needed |= {first for number in dropped.tolist() for first in repeats.of(number).tolist()}
    return needed - {-1}


def _origins(parts: Sequence[Path], needed: set[int]) -> dict[int, Origin]:
    if not needed:
        return {}
    everything = chain.from_iterable(read_origins(part / KEPT) for part in parts)
    return {number: origin for number, origin in enumerate(everything) if number in needed}


def _paragraphs(part: Path) -> paragraphs.Paragraphs:
    found = np.load(part / PARAGRAPHS, allow_pickle=False)
    names = ("hashes", "letters", "counts", "totals")
    return paragraphs.Paragraphs(*(found[name] for name in names))


def _count(part: Path) -> int:
    return len(np.load(part / "exact.npy", mmap_mode="r", allow_pickle=False))
