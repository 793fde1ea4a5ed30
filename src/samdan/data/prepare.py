"""Clean records to a shard: copies and what must not be trained on left out, held-out records
apart, the best chosen where the source asks for it, tokenized, counted.

Records: in = trained + held out + dropped by reason, tokens likewise from where they are tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from samdan.data.census import length_histogram
from samdan.data.choose import choose_documents
from samdan.data.contamination import ItemIndex
from samdan.data.engine import Engine, Job, carry_out
from samdan.data.overlaps import report
from samdan.data.protect import (
    Cleaned,
    contaminated_records,
    is_held,
    keeps,
    load_hits,
    search_task,
    summary,
)
from samdan.data.remedies import first_of, remedy_of
from samdan.data.store import Fates, clean_parts, position
from samdan.data.tokens import Encoder
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.lm.files import write_json
from samdan.lm.shards import ShardWriter
from samdan.recipe import Stage
from samdan.records import Conversation, DataError, Document, Drop, Record
from samdan.removing import Decontaminate

ENCODE_TOGETHER = 512
DROPPED = "dropped.jsonl"
UNUSABLE = ("template", "no_label")  # the chat format's own drops: bad rows like unreadable ones


@dataclass(frozen=True)
class Guard:
    """The index of what must not be trained on, and how it is searched for."""

    index: Path
    spec: Decontaminate


@dataclass(frozen=True)
class Preparation:
    """What preparing a source needs besides the source."""

    chat: ChatFormat
    tokenizer: Path  # the folder that ``chat`` was loaded from, for other processes
    seed: int
    guard: Guard | None = None
    engine: Engine | None = None
    poll: Callable[[], None] = lambda: None


def prepare_source(cleaned: Cleaned, folder: Path, given: Preparation) -> dict[str, Any]:
    """Writes the source's shard into ``folder``, held-out records apart; returns the manifest.

    Raises DataError when the chat template cannot render too many of the records, or nothing is
    left.
    """
    stage = cleaned.stage
    encode = Encoder(stage, cleaned.source, given.chat, given.seed)
    unwanted, contamination = _unwanted(cleaned, folder, given)
    chosen, selection = _chosen(cleaned, unwanted, folder, given)
    tokens: Counter[str] = Counter()
    train, held = ShardWriter(folder), ShardWriter(folder / "heldout")
    fates = Fates(folder / DROPPED)
    for batch in _batched(_kept(cleaned, unwanted, chosen, given.seed, fates), ENCODE_TOGETHER):
        given.poll()
        places = [position(record, given.seed) for record in batch]
        held_out = [place < stage.heldout.share for place in places]
        for record, encoded, place in zip(batch, encode(batch, held_out), places, strict=True):
            if isinstance(encoded, Drop):
                fates.add(encoded, record)
            elif _too_long(record, encoded, stage.max_length):
                fates.add(Drop("over_max_length", record.origin, f"{len(encoded)} tokens"), record)
                tokens["over_max_length"] += len(encoded)
            else:
                writer = held if place < stage.heldout.share else train
                writer.add(encoded, _trained_bytes(record), place)
    before = json.loads((cleaned.clean / "manifest.json").read_text("utf-8"))
    left_out = fates.close()
    manifest = {
        "source": cleaned.source.label,
        "role": cleaned.source.role,
        "weight": cleaned.source.weight,
        "records_in": before["records_in"],
        "records_trained": len(train),
        "records_heldout": len(held),
        "records_dropped": _sum(before["dropped"], left_out["dropped"]),
        "bytes_dropped": _sum(before["dropped_bytes"], left_out["dropped_bytes"]),
        "tokens_trained": sum(train.lengths),
        "tokens_dropped": dict(tokens),
        "lengths": length_histogram(train.lengths),
        "contamination": contamination,
        "selection": selection,
        "infilling": encode.report(),
        "notes": before["notes"],
        "sha256": hashlib.sha256((train.close() + held.close()).encode()).hexdigest(),
    }
    write_json(folder / "manifest.json", manifest)
    _judge(manifest, left_out["dropped"], stage, folder)
    return manifest


def _unwanted(
    cleaned: Cleaned, folder: Path, given: Preparation
) -> tuple[Mapping[int, Drop], dict[str, Any]]:
    """Records that hold what is measured on, by number; and the report by item, in short."""
    if given.guard is None:
        return {}, {}
    spec = given.guard.spec
    said = {
        "spec": spec.model_dump(mode="json"),
        "index": str(given.guard.index),
        "seed": given.seed,
        "share": cleaned.stage.heldout.share,
    }
    tasks = [said | {"part": str(part)} for part in clean_parts(cleaned.clean)]
    search = Job(search_task, tasks, folder / "search")
    found = carry_out(search, given.engine, given.poll)
    places = [search.place(number) for number in range(len(tasks))]
    hits = load_hits(places, [facts["records"] for facts in found])
    index = ItemIndex.load(given.guard.index)
    by_item = report(index, hits, spec)
    write_json(folder / "contamination.json", by_item)
    return contaminated_records(hits, index, spec), summary(by_item)


def _chosen(
    cleaned: Cleaned, unwanted: Mapping[int, Drop], folder: Path, given: Preparation
) -> tuple[Sequence[str] | None, dict[str, Any]]:
    """Per trainable document why it is not selected, empty for the selected; and the sizes.

    None, and nothing, where the source asks for no selection.
    """
    if cleaned.source.select is None:
        return None, {}

    def documents() -> Iterator[Document]:
        for record, drop in _sorted_out(cleaned, unwanted, given.seed):
            trained = drop is None and not is_held(record, cleaned, given.seed)
            if trained and isinstance(record, Document):
                yield record

    where = f"stages.{cleaned.stage.name}.data.{cleaned.source.label}.select"
    select = cleaned.source.select
    return choose_documents(
        select, documents, given.tokenizer, given.seed, where, folder, given.engine, given.poll
    )


def _sorted_out(
    cleaned: Cleaned, unwanted: Mapping[int, Drop], seed: int
) -> Iterator[tuple[Record, Drop | None]]:
    """All records in order; copies, what is capped or must not be trained on, with the reason."""
    for number, (record, copy) in enumerate(cleaned.records()):
        if keeps(record, copy, cleaned, seed):
            copy = None
        drop = unwanted.get(number)
        found = replace(drop, origin=record.origin) if drop is not None and copy is None else copy
        yield record, found


def _kept(
    cleaned: Cleaned,
    unwanted: Mapping[int, Drop],
    chosen: Sequence[str] | None,
    seed: int,
    fates: Fates,
) -> Iterator[Record]:
    """The records that are trained on or held out; the others are written down."""
    reasons = iter(chosen or ())
    for record, drop in _sorted_out(cleaned, unwanted, seed):
        if drop is not None:
            fates.add(drop, record)
            continue
        reason = ""
        if chosen is not None and not is_held(record, cleaned, seed):
            reason = next(reasons)
        if reason:
            fates.add(Drop("not_selected", record.origin, reason), record)
        else:
            yield record


def _too_long(record: Record, encoded: Encoded, max_length: int) -> bool:
    """Documents are cut into pieces; an answer cut before its end would teach not to stop."""
    if isinstance(record, Document):
        return False
    longest_answer = max(encoded.span, encoded.prefix + len(encoded) - encoded.span)
    return longest_answer > max_length


def _trained_bytes(record: Record) -> int:
    if isinstance(record, Document):
        return len(record.text.encode())
    if isinstance(record, Conversation):
        return sum(len(m.content.encode()) for m in record.messages if m.role == "assistant")
    return sum(len(m.content.encode()) for m in record.chosen)


def _judge(
    manifest: dict[str, Any], left_out: dict[str, int], stage: Stage, folder: Path
) -> None:
    where = f"stages.{stage.name}.data.{manifest['source']}"
    total = manifest["records_in"]
    unusable = {reason: left_out[reason] for reason in UNUSABLE if reason in left_out}
    if total and sum(unusable.values()) / total > stage.max_bad_rows:
        counts = ", ".join(f"{reason} {number}" for reason, number in unusable.items())
        raise DataError(
            f"{where}: {sum(unusable.values())} of {total} records cannot be used ({counts}; "
            f"allowed {stage.max_bad_rows:.1%}).{first_of(folder / DROPPED, unusable)} Repair the "
            f"rows or raise max_bad_rows. See {folder / DROPPED}"
        )
    if manifest["records_trained"] == 0:
        dropped = manifest["records_dropped"]
        reasons = ", ".join(f"{r} {n}" for r, n in dropped.items()) or "no rows"
        raise DataError(f"{where}: nothing is left to train on ({reasons}){remedy_of(dropped)}")


def _sum(*counts: Mapping[str, int]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))


def _batched(items: Iterator[Record], size: int) -> Iterator[tuple[Record, ...]]:
    while batch := tuple(islice(items, size)):
        yield batch
