"""Which texts of a record or an evaluation row are compared, for copies and for leaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from samdan.data.contamination import Item
from samdan.records import Conversation, Document, Message, Record

# In this order. A ``context`` is source material, often out of the training documents: it may be
# trained on, its question may not.
KEYS: Final = ("question", "prompt", "instruction", "text")
RESTS: Final = ("choices", "answer", "answers", "completion", "output")


def items_of_rows(name: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Item]:
    """The items of an evaluation file: ``name:1`` is its first row. Rows without text have none."""
    for number, row in enumerate(rows, 1):
        turns = row.get("turns")
        if isinstance(turns, list):
            yield from (Item(f"{name}:{number}", key) for key in _texts(turns))
            continue
        key = next((text for name in KEYS for text in _texts(row.get(name))), "")
        rest = next((texts for name in RESTS if (texts := _texts(row.get(name)))), [])
        yield Item(f"{name}:{number}", key, "\n".join(rest))


def items_of_record(identifier: str, record: Record) -> Iterator[Item]:
    """The items of a held-out record: its text, or what the user says, with the answer to it."""
    if isinstance(record, Document):
        yield Item(identifier, record.text)
        return
    turns = record.messages if isinstance(record, Conversation) else record.prompt + record.chosen
    for said, answer in pairwise(turns):
        if said.role == "user":
            yield Item(identifier, said.content, answer.content)


def searched_texts(record: Record) -> tuple[str, ...]:
    """The texts of a training record in which items are looked for. System messages are not."""
    if isinstance(record, Document):
        return (record.text,)
    if isinstance(record, Conversation):
        return (_dialogue(record.messages),)
    return tuple(_dialogue(record.prompt + answer) for answer in (record.chosen, record.rejected))


def compared_text(record: Record) -> str:
    """The text by which a record is compared with others of its kind, to find copies."""
    if isinstance(record, Document):
        return record.text
    if isinstance(record, Conversation):
        return "\n".join(message.content for message in record.messages)
    turns = record.prompt + record.chosen + record.rejected
    return "\n".join(message.content for message in turns)


def _dialogue(turns: Sequence[Message]) -> str:
    return "\n".join(turn.content for turn in turns if turn.role != "system")


def _texts(value: Any) -> list[str]:
    """A text, or the texts of a list; white space alone is none."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text.strip()]
