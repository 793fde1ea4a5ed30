"""One source to one shard: read > filter > drop copies > hold out > tokenize, everything counted.

Records: in = trained + held out + dropped by reason. Bad rows go to ``quarantine.jsonl`` with file
and line; more than the stage allows fail the step.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from samdan.data.formats import records
from samdan.data.views import needs_morphemes, view_of
from samdan.filters import KINDS
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.lm.shards import ShardWriter, write_json
from samdan.recipe import AnyStage, Source
from samdan.records import Conversation, DataError, Document, Drop, PreferencePair, Record

# One such drop stands for an unknown number of rows: no share of bad rows can judge it.
UNKNOWN_LOSS = ("broken_gzip", "broken_parquet")
QUARANTINED = 1000  # bad rows kept for a person to look at; all are counted
ENCODE_TOGETHER = 512
# Reasons for which a row is left out on purpose; every other reason is a bad row.
CHOSEN_REASONS = frozenset(["duplicate", "heldout", "over_max_length"]) | KINDS


def prepare_source(
    stage: AnyStage, source: Source, chat: ChatFormat, seed: int, folder: Path
) -> dict[str, Any]:
    """Writes ``folder`` and returns its manifest.

    Raises DataError when more than ``stage.max_bad_rows`` of the rows are bad or nothing is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes: Counter[str] = Counter()
    drops: Counter[str] = Counter()
    train, held = ShardWriter(folder), ShardWriter(folder / "heldout")
    dropped_tokens: Counter[str] = Counter()
    with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine:
        kept = _kept(stage, source, drops, quarantine, notes)
        for batch in _batched(kept, ENCODE_TOGETHER):
            for record, encoded in zip(batch, _encode(batch, chat), strict=True):
                if isinstance(encoded, Drop):
                    _drop(encoded, drops, quarantine)
                elif _too_long(record, encoded, stage.max_length):
                    drops["over_max_length"] += 1
                    dropped_tokens["over_max_length"] += len(encoded)
                else:
                    writer = held if _position(record, seed) < stage.heldout.share else train
                    writer.add(encoded, _trained_bytes(record))
    digest = hashlib.sha256((train.close() + held.close()).encode()).hexdigest()
    manifest = {
        "source": source.label,
        "role": source.role,
        "weight": source.weight,
        "records_in": len(train) + len(held) + sum(drops.values()),
        "records_trained": len(train),
        "records_heldout": len(held),
        "records_dropped": dict(drops),
        "tokens_dropped": dict(dropped_tokens),
        "notes": dict(notes),
        "sha256": digest,
    }
    write_json(folder / "manifest.json", manifest)
    _judge(manifest, stage, source, folder)
    return manifest


def content_hash(record: Record) -> bytes:
    return hashlib.sha256(json.dumps(_content(record), ensure_ascii=False).encode()).digest()


def _content(record: Record) -> Any:
    if isinstance(record, Document):
        return record.text
    if isinstance(record, Conversation):
        return [(m.role, m.content) for m in record.messages]
    halves = (record.prompt, record.chosen, record.rejected)
    return [[(m.role, m.content) for m in half] for half in halves]


def _position(record: Record, seed: int) -> float:
    """Where the record lies in [0, 1), by what it is split by: the document, or the prompt.

    All answers to one prompt fall on the same side, in every stage that reads the same source.
    """
    key: Any = _content(record)
    if isinstance(record, Conversation):
        key = [(m.role, m.content) for m in record.messages if m.role != "assistant"]
    elif isinstance(record, PreferencePair):
        key = [(m.role, m.content) for m in record.prompt]
    digest = hashlib.sha256(f"{seed}\n{json.dumps(key, ensure_ascii=False)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _kept(
    stage: AnyStage, source: Source, drops: Counter[str], quarantine: TextIO, notes: Counter[str]
) -> Iterator[Record]:
    seen: set[bytes] = set()
    morphemes = needs_morphemes(source.filters)
    for record in records(stage.kind, source, notes):
        if isinstance(record, Drop):
            _drop(record, drops, quarantine)
            continue
        if isinstance(record, Document):
            view = view_of(record.text, morphemes)
            rejected = next((drop for f in source.filters if (drop := f(record, view))), None)
            if rejected is not None:
                drops[rejected.reason] += 1
                continue
        digest = content_hash(record)[:16]
        if digest in seen:
            drops["duplicate"] += 1
            continue
        seen.add(digest)
        yield record


def _drop(drop: Drop, drops: Counter[str], quarantine: TextIO) -> None:
    drops[drop.reason] += 1
    if sum(drops.values()) <= QUARANTINED:
        row = {"reason": drop.reason, "where": str(drop.origin), "detail": drop.detail[:500]}
        quarantine.write(json.dumps(row, ensure_ascii=False) + "\n")


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


def _judge(manifest: dict[str, Any], stage: AnyStage, source: Source, folder: Path) -> None:
    total = manifest["records_in"]
    bad = {r: n for r, n in manifest["records_dropped"].items() if r not in CHOSEN_REASONS}
    share = sum(bad.values()) / total if total else 0.0
    counts = ", ".join(f"{reason} {number}" for reason, number in sorted(bad.items()))
    where = f"stages.{stage.name}.data.{source.label}"
    torn = sum(bad.get(reason, 0) for reason in UNKNOWN_LOSS)
    if torn:
        raise DataError(
            f"{where}: {torn} files are damaged and lose an unknown number of rows: {counts}"
        )
    if share > stage.max_bad_rows:
        raise DataError(
            f"{where}: {sum(bad.values())} of {total} rows are bad ({share:.1%}, allowed "
            f"{stage.max_bad_rows:.1%}): {counts}. See {folder / 'quarantine.jsonl'}, repair the "
            f"rows or raise max_bad_rows."
        )
    if manifest["records_trained"] == 0:
        reasons = ", ".join(f"{r} {n}" for r, n in manifest["records_dropped"].items()) or "no rows"
        raise DataError(f"{where}: nothing is left to train on ({reasons})")


def _batched(items: Iterator[Record], size: int) -> Iterator[tuple[Record, ...]]:
    while batch := tuple(islice(items, size)):
        yield batch
