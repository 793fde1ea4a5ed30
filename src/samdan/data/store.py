"""Records on disk between the steps of preparation: JSON lines, in parts of a few megabytes.

A part is the unit of work: every process holds one at a time, so memory does not grow with the
corpus. What is left out is written beside, with the reason: a record's fate can always be told.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samdan.records import Conversation, Document, Drop, Message, Origin, PreferencePair, Record

PART_BYTES = 4_000_000
KEPT = "kept.jsonl"  # a clean part's records
EXCERPT = 400  # characters of a dropped record that a person gets to see
EXCERPTS = 50  # of them by part and reason; every record's fate is written


def dump_record(record: Record) -> dict[str, Any]:
    """As JSON can hold it; ``load_record`` is the way back."""
    where = [record.origin.path, record.origin.line]
    if isinstance(record, Document):
        return {"where": where, "text": record.text, "meta": dict(record.meta)}
    if isinstance(record, Conversation):
        return {"where": where, "messages": _turns(record.messages)}
    return {
        "where": where,
        "prompt": _turns(record.prompt),
        "chosen": _turns(record.chosen),
        "rejected": _turns(record.rejected),
    }


def load_record(value: Mapping[str, Any]) -> Record:
    origin = Origin(*value["where"])
    if "text" in value:
        return Document(value["text"], origin, value["meta"])
    if "messages" in value:
        return Conversation(_messages(value["messages"]), origin)
    prompt, chosen, rejected = (_messages(value[n]) for n in ("prompt", "chosen", "rejected"))
    return PreferencePair(prompt, chosen, rejected, origin)


def texts_of(record: Record) -> list[str]:
    """Every text that a record would be trained on or asked with."""
    if isinstance(record, Document):
        return [record.text]
    if isinstance(record, Conversation):
        return [message.content for message in record.messages]
    turns = (*record.prompt, *record.chosen, *record.rejected)
    return [message.content for message in turns]


def size_of(record: Record) -> int:
    """UTF-8 bytes of its texts."""
    return sum(len(text.encode()) for text in texts_of(record))


def _turns(messages: Sequence[Message]) -> list[list[str]]:
    return [[message.role, message.content] for message in messages]


def _messages(turns: Sequence[Sequence[Any]]) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in turns)


def content_of(record: Record) -> str:
    """Equal for records that say the same, wherever they were read; a document's is its text."""
    if isinstance(record, Document):
        return record.text
    value = dump_record(record)
    return json.dumps([value[key] for key in value if key != "where"], ensure_ascii=False)


def position(record: Record, seed: int) -> float:
    """Where the record lies in [0, 1), by what it is split by: the document, or the prompt.

    All answers to one prompt fall on the same side, in every stage that reads the same source.
    """
    asked = record
    if isinstance(record, Conversation):
        said = tuple(turn for turn in record.messages if turn.role != "assistant")
        asked = Conversation(said, record.origin)
    elif isinstance(record, PreferencePair):
        asked = Conversation(record.prompt, record.origin)
    digest = hashlib.sha256(f"{seed}\n{content_of(asked)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class Fates:
    """What became of records that are left out: every one is written, some with an excerpt."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, drop: Drop, record: Record | None = None) -> None:
        """``record``: where one could be made of the row."""
        self._counts[drop.reason] += 1
        row = {"reason": drop.reason, "where": str(drop.origin), "detail": drop.detail[:500]}
        if record is not None:
            self._bytes[drop.reason] += size_of(record)
            if self._counts[drop.reason] <= EXCERPTS:
                row["excerpt"] = "\n".join(texts_of(record))[:EXCERPT]
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> dict[str, dict[str, int]]:
        """How many records, and bytes of them, by reason."""
        self._file.close()
        return {"dropped": dict(self._counts), "dropped_bytes": dict(self._bytes)}


class Part:
    """Writes records to one file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self.written = 0  # bytes

    def add(self, record: Record) -> None:
        value = dump_record(record)
        self.written += self._file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        # Without the place it was read at: a moved folder holds the same records.
        said = {key: item for key, item in value.items() if key != "where"}
        self._digest.update(json.dumps(said, ensure_ascii=False).encode() + b"\n")

    def close(self) -> str:
        """Returns the hash of the records written."""
        self._file.close()
        return self._digest.hexdigest()


class Parts:
    """Writes records to ``part-00000.jsonl`` and on, a new one after ``PART_BYTES``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._part: Part | None = None
        self.names: list[str] = []

    def add(self, record: Record) -> None:
        if self._part is None or self._part.written >= PART_BYTES:
            self.close()
            self.names.append(f"part-{len(self.names):05d}.jsonl")
            self._part = Part(self._folder / self.names[-1])
        self._part.add(record)

    def close(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None


def read_part(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as opened:
        for line in opened:
            yield load_record(json.loads(line))


def read_origins(path: Path) -> Iterator[Origin]:
    """Where each record of a part was read."""
    with path.open(encoding="utf-8") as opened:
        for line in opened:
            yield Origin(*json.loads(line)["where"])


def clean_parts(cleaned: Path) -> list[Path]:
    """The folders of a clean source's parts, in order."""
    names = json.loads((cleaned / "manifest.json").read_text("utf-8"))["parts"]
    return [cleaned / name for name in names]
