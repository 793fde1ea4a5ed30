"""What must not be trained on: the items of every task and the held-out records of every source.

One index for the whole recipe. Per part of a clean source the records are searched for its items; a
record that holds one is left out of training, whatever the stage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from typing import Any

from samdan.data.contamination import Item, ItemIndex, build_index
from samdan.data.copies import without_copies
from samdan.data.overlaps import Hit, contaminated, drop_of, find
from samdan.data.store import KEPT, clean_parts, position, read_part, texts_of
from samdan.data.templates import SAME_TEMPLATE, without_templates
from samdan.recipe import Source, Stage
from samdan.records import Conversation, Document, Drop, Message, Origin, Record
from samdan.removing import Decontaminate

HITS = "hits.json"
NOWHERE = Origin("")
MOST_OVERLAPS = 50  # items that a source's manifest names; the others are counted


@dataclass(frozen=True)
class Cleaned:
    """One source of one stage with the folders of its clean records and of the stage's copies."""

    stage: Stage
    source: Source
    clean: Path
    copies: Path

    def records(self) -> Iterator[tuple[Record, Drop | None]]:
        """All records in order; copies with the reason why they are dropped."""
        parts = (read_part(part / KEPT) for part in clean_parts(self.clean))
        every = chain.from_iterable(parts)
        label = self.source.label
        once = without_copies(every, self.copies, label, self.stage.dedup)
        return without_templates(once, self.copies, label)


def is_held(record: Record, cleaned: Cleaned, seed: int) -> bool:
    """Whether the record is kept from training, for measuring."""
    return position(record, seed) < cleaned.stage.heldout.share


def keeps(record: Record, drop: Drop | None, cleaned: Cleaned, seed: int) -> bool:
    """Whether the record is trained on or held out; a cap on templates is about training only."""
    if drop is not None and drop.reason == SAME_TEMPLATE:
        return is_held(record, cleaned, seed)
    return drop is None


def build_guard(
    tasks: Mapping[str, Sequence[Mapping[str, Any]]],
    sources: Iterable[Cleaned],
    seed: int,
    spec: Decontaminate,
    folder: Path,
) -> dict[str, Any]:
    """Writes the index of everything that is measured on; returns counts and a hash.

    ``tasks``: the rows of every evaluation task by its name.
    """
    items = chain(_task_items(tasks, spec), _heldout_items(sources, seed, spec))
    index = build_index(items, spec)
    index.save(folder)
    digest = hashlib.sha256(json.dumps(index.ids).encode())
    for array in (index.hashes, index.parts, index.places, index.lengths, index.weights):
        digest.update(array.tobytes())
    searched = int((index.lengths > 0).sum())
    return {"sha256": digest.hexdigest(), "items": len(index.ids), "searched_for": searched}


def _task_items(
    tasks: Mapping[str, Sequence[Mapping[str, Any]]], spec: Decontaminate
) -> Iterator[Item]:
    for name, rows in tasks.items():
        if name in spec.ignore:
            continue
        for number, row in enumerate(rows, 1):
            if isinstance(row.get("turns"), list):
                yield from (Item(f"{name}:{number}", str(turn)) for turn in row["turns"])
                continue
            # A context is source material and may be trained on; its question may not.
            asked = row.get("text") or row.get("prompt") or row.get("question") or ""
            answer = row.get("answer") or next(iter(row.get("answers") or ()), "")
            choices = row.get("choices")
            if isinstance(choices, list) and isinstance(row.get("answer"), int):
                answer = choices[row["answer"]] if row["answer"] < len(choices) else ""
            yield Item(f"{name}:{number}", str(asked), str(answer))


def _heldout_items(sources: Iterable[Cleaned], seed: int, spec: Decontaminate) -> Iterator[Item]:
    done: set[str] = set()
    for cleaned in sources:
        label = cleaned.source.label
        if label in spec.ignore or label in done:
            continue
        done.add(label)  # stages that share a source hold the same records out
        for number, record in enumerate(_measured(cleaned, seed), 1):
            yield _item(f"{label}:{number}", record)


def _measured(cleaned: Cleaned, seed: int) -> list[Record]:
    """The held-out records that may be measured: those of the smallest positions.

    Twice as many as will be, since some may turn out too long for the stage. What is held out and
    never measured need not be looked for, and so the index does not grow with the corpus.
    """
    held = (
        record
        for record, drop in cleaned.records()
        if keeps(record, drop, cleaned, seed) and is_held(record, cleaned, seed)
    )
    most = 2 * cleaned.stage.heldout.max_records
    return nsmallest(most, held, key=lambda record: position(record, seed))


def _item(name: str, record: Record) -> Item:
    """What is asked, or read, is what must not be trained on; an answer alone is no giveaway."""
    if isinstance(record, Document):
        return Item(name, record.text)
    if isinstance(record, Conversation):
        asked = [message for message in record.messages if message.role != "assistant"]
        answered = [message for message in record.messages if message.role == "assistant"]
        return Item(name, _said(asked), _said(answered))
    return Item(name, _said(record.prompt), _said(record.chosen))


def _said(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def search_task(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A job's task: the records of one part that are trained on, searched for the items."""
    spec = Decontaminate.model_validate(task["spec"])
    records = list(read_part(Path(task["part"]) / KEPT))
    share, seed = task["share"], task["seed"]
    trained = [number for number, one in enumerate(records) if position(one, seed) >= share]
    index = ItemIndex.load(Path(task["index"]))
    hits = find(index, [texts_of(records[number]) for number in trained], spec)
    rows = [[trained[h.record], h.part, h.share, h.text_share, h.example] for h in hits]
    (folder / HITS).write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    return {"records": len(records)}


def load_hits(places: Sequence[Path], counts: Sequence[int]) -> list[Hit]:
    """The hits of all parts, records numbered through them."""
    hits: list[Hit] = []
    first = 0
    for place, count in zip(places, counts, strict=True):
        rows = json.loads((place / HITS).read_text("utf-8"))
        hits += [Hit(first + record, *rest) for record, *rest in rows]
        first += count
    return hits


def contaminated_records(
    hits: Sequence[Hit], index: ItemIndex, spec: Decontaminate
) -> dict[int, Drop]:
    """By record why it is left out; where it was read is for the caller to say."""
    if not spec.drop:
        return {}
    worst = contaminated(hits, spec)
    return {number: drop_of(hit, index, NOWHERE) for number, hit in worst.items()}


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """A report by item, short enough for a manifest."""
    overlaps = found["overlaps"]
    return {
        "items": found["items"],
        "not_searched_for": len(found["too_short_or_common"]),
        "dirty": len(found["dirty"]),
        "overlaps": overlaps[:MOST_OVERLAPS],
        "more_overlaps": max(0, len(overlaps) - MOST_OVERLAPS),
    }
