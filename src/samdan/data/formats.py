"""From a row to a record of a stage, whatever shape the row has; what is no record is a Drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal, TypeVar
from unicodedata import category, normalize

from samdan.data.sources import Row, read_rows
from samdan.recipe import Source
from samdan.records import Conversation, DataError, Document, Drop, Message, PreferencePair, Role
from samdan.spec import nearest_key

StageKind = Literal["cpt", "sft", "dpo"]
R = TypeVar("R", bound=Document | Conversation | PreferencePair)

END_MARKERS: Final = ("<|endoftext|>", "<|im_end|>", "</s>", "<eos>", "<|eot_id|>")
META: Final = ("title", "date", "date_from", "author", "source", "license", "path")
# Found by its columns, in this order. To add one, name it here and read it in ``_conversation``.
FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
}
ASK: Final = ("messages", "conversations", "prompt", "instruction", "input", "history", "system")
# Per stage: the formats and the columns that a recipe can name.
KNOWN: Final[Mapping[StageKind, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "cpt": (("auto", "text"), ("text", *META)),
    "sft": (("auto", *FORMATS), (*ASK, "completion", "output")),
    "dpo": (("auto", "preference", "messages", "sharegpt", "alpaca"), (*ASK, "chosen", "rejected")),
}
ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    **dict.fromkeys(("user", "human", "usr"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt"), "assistant"),
}
# Not control characters to Unicode, yet nothing to see: Hangul fillers, joiner, empty Braille cell.
INVISIBLE: Final = "\u115f\u1160\u3164\uffa0\u034f\u2800"


class _Invalid(Exception):
    """Reason and detail of a Drop; never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Fields:
    """A row's values under our names, and what was changed while they were read."""

    values: Mapping[str, Any]
    row: Row
    source: Source
    notes: Counter[str] = field(default_factory=Counter)

    def has(self, *names: str) -> bool:
        return all(self.values.get(name) is not None for name in names)

    def need(self, name: str) -> Any:
        if name not in self.values:
            raise self.missing(name)
        return self.values[name]

    def missing(self, *names: str) -> _Invalid:
        theirs = self.source.columns
        wanted = [f"{n} (the file's '{theirs[n]}')" if n in theirs else n for n in names]
        found = ", ".join(str(name)[:40] for name in list(self.row.values)[:20]) or "none"
        lost = [f"'{name}'" for name in theirs.values() if name not in self.row.values]
        named = f"columns names {', '.join(lost)}, which the file does not have; " if lost else ""
        return _Invalid("missing_column", f"{named}looked for {' or '.join(wanted)}; found {found}")


def as_document(row: Row, source: Source, notes: Counter[str] | None = None) -> Document | Drop:
    """The column ``text`` as a document; ``META`` columns that can be a string go along."""
    return _tried(_document, row, source, notes)


def as_conversation(
    row: Row, source: Source, notes: Counter[str] | None = None
) -> Conversation | Drop:
    """An optional system message, then user and assistant in turn, an answer last."""
    return _tried(_conversation, row, source, notes)


def as_pair(row: Row, source: Source, notes: Counter[str] | None = None) -> PreferencePair | Drop:
    """A prompt and two different answers; the prompt may be what two conversations share."""
    return _tried(_pair, row, source, notes)


def records(
    stage_kind: StageKind,
    source: Source,
    notes: Counter[str] | None = None,
    files: Sequence[int] | None = None,
) -> Iterator[Document | Conversation | PreferencePair | Drop]:
    """Every row of the source as a record of the stage or a Drop, streamed, in order.

    ``notes`` receives ``end_marker_removed``, how many answers of the records yielded so far lost a
    literal end marker, and what readers note of a file (``converted_cp949``). ``files``: as in
    ``read_rows``. Raises DataError for a format or column that the stage does not know, and what
    ``read_rows`` raises.
    """
    formats, known = KNOWN[stage_kind]
    if source.format not in formats:
        expected = f"expected one of {', '.join(formats)} in a stage of kind {stage_kind}"
        raise DataError(f"{source.label}: found format '{source.format}', {expected}")
    for name in source.columns:
        if name not in known:
            turned = ""
            if source.columns[name] in known:
                turned = f"; our name comes first: {{{source.columns[name]}: {name}}}"
            raise DataError(f"{source.label}: columns.{name}: {nearest_key(name, known)}{turned}")
    convert = {"cpt": as_document, "sft": as_conversation, "dpo": as_pair}[stage_kind]
    rows = read_rows(source, files)
    return (row if isinstance(row, Drop) else convert(row, source, notes) for row in rows)


def strip_end_marker(text: str) -> tuple[str, bool]:
    """The text without end markers, and whitespace behind them, at its end; and whether it had one.

    The chat template writes the end itself. Markers elsewhere, and whitespace before them, stay.
    """
    kept = text
    while marker := next((m for m in END_MARKERS if kept.rstrip().endswith(m)), ""):
        kept = kept.rstrip().removesuffix(marker)
    return kept, kept != text


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: whitespace, zero-width characters, fillers."""
    return all(c.isspace() or c in INVISIBLE or category(c) in ("Cc", "Cf") for c in text)


def _tried(
    convert: Callable[[_Fields], R], row: Row, source: Source, notes: Counter[str] | None
) -> R | Drop:
    columns = source.columns
    hidden = {*columns, *columns.values()}
    values = {name: value for name, value in row.values.items() if name not in hidden}
    values |= {ours: row.values[name] for ours, name in columns.items() if name in row.values}
    fields = _Fields(values, row, source)
    try:
        record = convert(fields)
    except _Invalid as invalid:
        return Drop(invalid.args[0], row.origin, "".join(invalid.args[1:]))
    if notes is not None:
        notes.update(+fields.notes)
        notes.update(row.notes)
    return record


def _document(fields: _Fields) -> Document:
    text = _text(fields.need("text"), "text")
    if is_blank(text):
        raise _Invalid("empty_text")
    meta = {name: _label(fields.values.get(name)) for name in META}
    return Document(text, fields.row.origin, {name: value for name, value in meta.items() if value})


def _label(value: Any) -> str:
    if isinstance(value, date) or (type(value) is int and value.bit_length() < 64):
        return str(value)
    try:
        return _text(value, "").strip()
    except _Invalid:
        return ""


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _Invalid("not_text", f"{where} is {type(value).__name__}")
    if "\0" in value:
        raise _Invalid("nul_byte", where)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Invalid("lone_surrogate", where) from None
    return normalize("NFC", value)


def _conversation(fields: _Fields) -> Conversation:
    shape = _shape(fields)
    if shape == "prompt_completion":
        turns = _said(fields, "prompt", "user") + _said(fields, "completion", "assistant")
    elif shape == "alpaca":
        turns = _instruction(fields) + _said(fields, "output", "assistant")
    else:
        (name,) = FORMATS[shape]
        if not isinstance(fields.need(name), list):
            raise _Invalid(
                "bad_message", f"{name} is {type(fields.need(name)).__name__}, not a list"
            )
        turns = _said(fields, name, "user")
    turns = _with_system(turns, fields)
    _check(turns, "empty_answer")
    return Conversation(tuple(turns), fields.row.origin)


def _shape(fields: _Fields) -> str:
    if fields.source.format in FORMATS:
        return fields.source.format
    shapes = [name for name, columns in FORMATS.items() if fields.has(*columns)]
    # A column that is there and empty is a fault of its own, not a missing column.
    shapes += [name for name, columns in FORMATS.items() if set(columns) <= set(fields.values)]
    if not shapes:
        raise fields.missing(*(" + ".join(columns) for columns in FORMATS.values()))
    return shapes[0]


def _said(fields: _Fields, name: str, role: Role) -> list[Message]:
    """A column that holds a string, one message or a list of messages."""
    value = fields.need(name)
    if isinstance(value, list):
        return [_message(item, f"{name}[{i}]", fields) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return [_message(value, name, fields)]
    return [_turn(role, value, name, fields)]


def _message(value: Any, where: str, fields: _Fields) -> Message:
    if not isinstance(value, Mapping):
        raise _Invalid("bad_message", f"{where} is {type(value).__name__}")
    if value.get("tool_calls") or value.get("function_call"):
        raise _Invalid("tool_call", where)
    name = value.get("role") or value.get("from")
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        shown = name[:40] if isinstance(name, str) else "no role"
        raise _Invalid("unknown_role", f"{where}: {shown}")
    content = value.get("content")
    return _turn(role, value.get("value") if content is None else content, where, fields)


def _turn(role: Role, value: Any, where: str, fields: _Fields) -> Message:
    text = _text(value, where)
    if role == "assistant":
        text, removed = strip_end_marker(text)
        fields.notes["end_marker_removed"] += removed
    return Message(role, text)


def _instruction(fields: _Fields) -> list[Message]:
    if fields.values.get("history"):  # without it the answer would be trained out of its context
        raise _Invalid("history", "give the dialogue as messages")
    asked = _text(fields.need("instruction"), "instruction")
    given = _text(fields.values["input"], "input") if fields.has("input") else ""
    return [Message("user", asked if is_blank(given) else f"{asked}\n\n{given}")]


def _with_system(turns: list[Message], fields: _Fields) -> list[Message]:
    """A leading system message that says nothing is left out; the column stands in for it."""
    if turns and turns[0].role == "system":
        if not is_blank(turns[0].content):
            return turns
        turns = turns[1:]
    system = _text(fields.values["system"], "system") if fields.has("system") else ""
    return turns if is_blank(system) else [Message("system", system), *turns]


def _check(turns: Sequence[Message], empty: str) -> None:
    if not turns or turns[-1].role != "assistant":
        raise _Invalid("no_final_answer")
    dialogue = turns[1:] if turns[0].role == "system" else turns
    for number, turn in enumerate(dialogue, 1):
        if turn.role != ("user" if number % 2 else "assistant"):
            raise _Invalid("role_order", f"turn {number} is the {turn.role}'s")
        if is_blank(turn.content):
            raise _Invalid("empty_prompt" if turn.role == "user" else empty, f"turn {number}")


def _pair(fields: _Fields) -> PreferencePair:
    chosen, rejected = (_said(fields, name, "assistant") for name in ("chosen", "rejected"))
    prompt = _asked(fields)
    if all(answer and answer[0].role != "assistant" for answer in (chosen, rejected)):
        shared = _fork(chosen, rejected)
        start, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        # Often the column repeats the conversation's first or last question.
        repeated = prompt in (start[: len(prompt)], start[-len(prompt) :])
        prompt = start if repeated else prompt + start
    prompt = _with_system(prompt, fields)
    if not any(turn.role == "user" for turn in prompt):
        raise _Invalid("empty_prompt", "no prompt column, and no beginning that the answers share")
    for answer, empty in ((chosen, "empty_answer"), (rejected, "empty_rejected")):
        if not answer or answer[0].role != "assistant":
            raise _Invalid("role_order" if answer else empty, "the assistant does not answer")
        _check([*prompt, *answer], empty)
    if [turn.content.strip() for turn in chosen] == [turn.content.strip() for turn in rejected]:
        raise _Invalid("equal_answers")
    return PreferencePair(tuple(prompt), tuple(chosen), tuple(rejected), fields.row.origin)


def _asked(fields: _Fields) -> list[Message]:
    if "prompt" in fields.source.columns:
        fields.need("prompt")
    for name in ("prompt", "conversations", "messages"):
        if fields.values.get(name):
            return _said(fields, name, "user")
    return _instruction(fields) if fields.has("instruction") else []


def _fork(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """Where the answers begin: behind the longest common start that an assistant turn follows."""
    for fork in range(min(len(chosen), len(rejected)) - 1, 0, -1):
        roles = {chosen[fork].role, rejected[fork].role}
        if chosen[:fork] == rejected[:fork] and roles == {"assistant"}:
            return fork
    return 0
