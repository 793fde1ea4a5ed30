"""Instructions that a program can verify: a check is a spec that can be called on an answer.

To add one: write a class with a ``kind``, the sentences that ask for it (``ko``, ``en``, with the
fields in braces) and ``__call__``, and name it in ``Check``. ``family`` groups the metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from samdan.answers import form, wording
from samdan.answers.base import BaseCheck
from samdan.records import DataError

Check = Annotated[
    wording.Characters
    | wording.Words
    | wording.Sentences
    | wording.Paragraphs
    | wording.Lines
    | wording.Include
    | wording.Exclude
    | wording.Occurs
    | wording.Starts
    | wording.Ends
    | wording.FirstSentence
    | wording.NoEnglish
    | wording.NoHangul
    | wording.NoDigits
    | wording.NoCommas
    | wording.NoHanja
    | wording.WithNumber
    | wording.Asks
    | wording.SpeechLevel
    | wording.Lower
    | wording.Upper
    | form.Bullets
    | form.Numbered
    | form.Json
    | form.Table
    | form.Heading
    | form.Code
    | form.Bold
    | form.Quoted
    | form.Titled
    | form.Choice
    | form.Postscript
    | form.Parts
    | form.Separated,
    Field(discriminator="kind"),
]

Checks = tuple[BaseCheck, ...]
_CHECK: TypeAdapter[Any] = TypeAdapter(Check)


def parse_checks(rows: Any, where: str) -> Checks:
    """The checks of an item. ``where`` stands in errors. Raises DataError."""
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{where}: expected 'checks', a list of {{kind: ...}}")
    found = []
    for row in rows:
        try:
            found.append(_CHECK.validate_python(row))
        except ValidationError as error:
            problem = error.errors()[0]
            said = problem.get("ctx", {}).get("hint") or problem["msg"]
            raise DataError(f"{where}: checks: {row!r}: {said}") from None
    return tuple(found)


def passed(checks: Checks, answer: str) -> tuple[bool, ...]:
    """Per check, whether the answer does what was asked; an empty answer does nothing."""
    if not answer.strip():
        return (False,) * len(checks)
    return tuple(check(answer) for check in checks)


def passed_loosely(checks: Checks, answer: str) -> tuple[bool, ...]:
    """As ``passed``, forgiving a preface, a postscript or bold marks (IFEval's loose variants)."""
    results = [passed(checks, variant) for variant in _variants(answer)]
    return tuple(any(column) for column in zip(*results, strict=True))


def _variants(answer: str) -> Iterator[str]:
    rows = answer.strip().split("\n")
    for text in (answer, *("\n".join(rows[a:b]) for a, b in ((1, None), (0, -1), (1, -1)))):
        yield text.strip()
        yield text.replace("*", "").strip()
