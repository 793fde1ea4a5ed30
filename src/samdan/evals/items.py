"""The items of a task: lines of a file, or a set that comes with the program. Without torch."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samdan.answers.checks import parse_checks
from samdan.answers.prompts import prompts
from samdan.contexts import Infill, OnDocuments
from samdan.records import DataError
from samdan.tasks import (
    BUILT_IN,
    BitsPerByte,
    Cloze,
    Exact,
    Harness,
    Instructions,
    MultipleChoice,
    OnSet,
    Open,
    Overlap,
    QuestionAnswering,
    Refusal,
)

SETS = Path(__file__).parent / "sets"
Row = Mapping[str, Any]


def items_of(task: Any) -> list[Row]:
    """The items of a task: of its file, or of the set that comes with the program.

    None where they are not known before a model is there (a harness's tasks), or are made of the
    held-out documents of a source. Raises DataError.
    """
    if isinstance(task, Harness) or (isinstance(task, OnDocuments) and task.path is None):
        return []
    if not task.location.startswith(BUILT_IN):
        found = read_items(Path(task.path))
        for item in found:
            _check(task, item)
        return [_as_text(item) if isinstance(task, Infill) else item for item in found]
    rows = read_items(built_in(task))
    if isinstance(task, Instructions):
        made = prompts(rows, task.language, task.seed, task.max_items)
        return [{**row, "_where": f"{task.location}:{n}"} for n, row in enumerate(made, 1)]
    return rows


def built_in(task: OnSet) -> Path:
    """The file of a built-in set."""
    return SETS / f"{task.location.removeprefix(BUILT_IN)}.jsonl"


def read_items(path: Path) -> list[Row]:
    """The JSON lines of an evaluation file; a bad line is an error: items must not get lost."""
    items: list[Row] = []
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DataError(f"evaluate: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(item, dict):
            raise DataError(
                f"{path}:{number}: expected an object with keys, found {type(item).__name__}"
            )
        items.append({**item, "_where": f"{path}:{number}"})
    if not items:
        raise DataError(f"{path}: holds no items")
    return items


def text_of(item: Row, key: str) -> str:
    """A text of an item in NFC. Raises DataError with the item's file and line."""
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"{item['_where']}: expected '{key}' with a text")
    return unicodedata.normalize("NFC", value)


def expected_of(item: Row) -> list[str]:
    """The accepted answers of an item: ``answers``, or the one in ``answer``."""
    many = item.get("answers")
    if many is None:
        return [text_of(item, "answer")]
    if not isinstance(many, list) or not many or not all(isinstance(o, str) and o for o in many):
        raise DataError(f"{item['_where']}: expected 'answers' with a list of texts")
    return [unicodedata.normalize("NFC", one) for one in many]


def asked_of(item: Row) -> str:
    """The prompt, or the question; a ``context`` stands before it."""
    asked = text_of(item, "question" if "question" in item and "prompt" not in item else "prompt")
    return f"{text_of(item, 'context')}\n\n{asked}" if item.get("context") else asked


def choices_of(item: Row) -> list[Any]:
    """The choices of an item whose ``answer`` is the index of one of them."""
    choices, answer = item.get("choices"), item.get("answer")
    if not isinstance(choices, list) or len(choices) < 2 or type(answer) is not int:
        raise DataError(f"{item['_where']}: expected 'choices' (a list) and 'answer' (its index)")
    if not 0 <= answer < len(choices):
        raise DataError(
            f"{item['_where']}: 'answer' is {answer}, expected an index from 0 to "
            f"{len(choices) - 1}: the first choice has 0"
        )
    return choices


def turns_of(item: Row) -> list[str]:
    turns = item.get("turns")
    if turns is None:
        return [asked_of(item)]
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) and t for t in turns):
        raise DataError(f"{item['_where']}: expected 'turns' with a list of texts")
    return [unicodedata.normalize("NFC", turn) for turn in turns]


def _as_text(item: Row) -> Row:
    """A line with what stands around it, also as the text that must not be trained on."""
    if "middle" not in item:
        return item
    return {**item, "text": item["prefix"] + item["middle"] + item["suffix"]}


def _check(task: Any, item: Row) -> None:
    """Raises DataError where an item lacks what its task needs: now, and not after training."""
    if isinstance(task, Infill) and "middle" in item:
        if not all(isinstance(item.get(key), str) for key in ("prefix", "middle", "suffix")):
            raise DataError(f"{item['_where']}: expected 'prefix', 'middle' and 'suffix' as texts")
        text_of(item, "middle")
        return
    if isinstance(task, BitsPerByte | OnDocuments):
        text_of(item, "text")
        return
    if isinstance(task, Open):
        turns_of(item)
        return
    asked_of(item)
    if isinstance(task, MultipleChoice):
        choices_of(item)
    if isinstance(task, Cloze | Exact):
        text_of(item, "answer")
    elif isinstance(task, QuestionAnswering | Overlap):
        expected_of(item)
    elif isinstance(task, Instructions):
        parse_checks(item.get("checks"), item["_where"])
    elif isinstance(task, Refusal) and not isinstance(item.get("unsafe"), bool):
        raise DataError(f"{item['_where']}: expected 'unsafe': true or false")
