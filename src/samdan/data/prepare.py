"""Clean records to a shard: copies left out, held-out records apart, tokenized, counted.

Records: in = trained + held out + dropped by reason, tokens likewise from where they are tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from samdan.data.census import length_histogram
from samdan.data.copies import without_copies
from samdan.data.store import KEPT, Fates, clean_parts, position, read_part
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.lm.files import write_json
from samdan.lm.shards import ShardWriter
from samdan.recipe import AnyStage, Source
from samdan.records import Conversation, DataError, Document, Drop, PreferencePair, Record

ENCODE_TOGETHER = 512
DROPPED = "dropped.jsonl"
UNUSABLE = ("template", "no_label")  # the chat format's own drops: bad rows like unreadable ones


def prepare_source(
    stage: AnyStage,
    source: Source,
    chat: ChatFormat,
    seed: int,
    folder: Path,
    copies: Path,
    poll: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """``folder / clean`` to the shard in ``folder``; returns the manifest.

    ``copies``: the folder that ``find_copies`` wrote.
    Raises DataError when the chat template cannot render too many of the records, or nothing is
    left.
    """
    cleaned = json.loads((folder / "clean" / "manifest.json").read_text("utf-8"))
    tokens: Counter[str] = Counter()
    train, held = ShardWriter(folder), ShardWriter(folder / "heldout")
    fates = Fates(folder / DROPPED)
    parts = (read_part(part / KEPT) for part in clean_parts(folder / "clean"))
    clean = chain.from_iterable(parts)
    single = without_copies(clean, copies, source.label, stage.dedup)
    for batch in _batched(_kept(single, fates), ENCODE_TOGETHER):
        poll()
        for record, encoded in zip(batch, _encode(batch, chat), strict=True):
            if isinstance(encoded, Drop):
                fates.add(encoded, record)
            elif _too_long(record, encoded, stage.max_length):
                fates.add(Drop("over_max_length", record.origin, f"{len(encoded)} tokens"), record)
                tokens["over_max_length"] += len(encoded)
            else:
                writer = held if position(record, seed) < stage.heldout.share else train
                writer.add(encoded, _trained_bytes(record))
    left_out = fates.close()
    dropped = dict(Counter(cleaned["dropped"]) + Counter(left_out["dropped"]))
    digest = hashlib.sha256((train.close() + held.close()).encode()).hexdigest()
    manifest = {
        "source": source.label,
        "role": source.role,
        "weight": source.weight,
        "records_in": cleaned["records_in"],
        "records_trained": len(train),
        "records_heldout": len(held),
        "records_dropped": dropped,
        "bytes_dropped": dict(
            Counter(cleaned["dropped_bytes"]) + Counter(left_out["dropped_bytes"])
        ),
        "tokens_trained": sum(train.lengths),
        "tokens_dropped": dict(tokens),
        "lengths": length_histogram(train.lengths),
        "notes": cleaned["notes"],
        "sha256": digest,
    }
    write_json(folder / "manifest.json", manifest)
    _judge(manifest, left_out["dropped"], stage, folder)
    return manifest


def _kept(records: Iterable[Record | Drop], fates: Fates) -> Iterator[Record]:
    """The records; drops are written down."""
    for record in records:
        if isinstance(record, Drop):
            fates.add(record)
        else:
            yield record


def _encode(batch: tuple[Record, ...], chat: ChatFormat) -> Iterable[Encoded | Drop]:
    if isinstance(batch[0], Document):
        return chat.documents([record.text for record in batch if isinstance(record, Document)])
    return [
        chat.pair(record) if isinstance(record, PreferencePair) else chat.conversation(record)
        for record in batch
        if not isinstance(record, Document)
    ]


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
    manifest: dict[str, Any], left_out: dict[str, int], stage: AnyStage, folder: Path
) -> None:
    where = f"stages.{stage.name}.data.{manifest['source']}"
    total = manifest["records_in"]
    unusable = {reason: left_out[reason] for reason in UNUSABLE if reason in left_out}
    if total and sum(unusable.values()) / total > stage.max_bad_rows:
        counts = ", ".join(f"{reason} {number}" for reason, number in unusable.items())
        raise DataError(
            f"{where}: {sum(unusable.values())} of {total} records cannot be used ({counts}; "
            f"allowed {stage.max_bad_rows:.1%}). See {folder / DROPPED}, repair the rows or raise "
            f"max_bad_rows."
        )
    if manifest["records_trained"] == 0:
        reasons = ", ".join(f"{r} {n}" for r, n in manifest["records_dropped"].items()) or "no rows"
        raise DataError(f"{where}: nothing is left to train on ({reasons})")


def _batched(items: Iterator[Record], size: int) -> Iterator[tuple[Record, ...]]:
    while batch := tuple(islice(items, size)):
        yield batch
