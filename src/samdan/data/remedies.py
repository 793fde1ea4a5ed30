"""What to do about records that are left out: told with the first, where a stage gives up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

_AGAIN: Final = "download or pack the file again"
REMEDIES: Final[Mapping[str, str]] = {
    "broken_json": "write one JSON object a line, without commas between them",
    "not_an_object": "write one JSON object a line, as in {\"text\": ...}",
    "missing_column": "name the file's columns under 'columns', as in {prompt: question}, or give "
    "the file to a stage of the kind that its columns are for",
    "unknown_role": "give every message a role (system, user or assistant)",
    "bad_message": "write messages as [{role: user, content: ...}, {role: assistant, ...}]",
    "tool_call": "leave tool calls out: samdan trains system, user and assistant",
    "no_final_answer": "end every conversation with the assistant's answer",
    "role_order": "let user and assistant take turns",
    "equal_answers": "leave out pairs whose answers are equal: nothing is preferred in them",
    "empty_file": "give a file with records, or remove the source",
    "invalid_utf8": "save the file as UTF-8",
    "git_lfs_pointer": "run `git lfs pull` in the folder of the data",
    "over_max_length": "raise max_length, or shorten the records",
    "no_label": "raise max_length: nothing of the answers is left behind the prompts",
    "contaminated": "these records are items of 'evaluate' or of a held-out set: take others for "
    "one of the two, or see decontaminate in docs/recipe.md",
    **dict.fromkeys(("broken_zip", "broken_gzip", "broken_zstd", "broken_tar"), _AGAIN),
    **dict.fromkeys(("broken_parquet", "broken_csv", "broken_mbox"), _AGAIN),
}


def first_of(file: Path, reasons: Mapping[str, Any]) -> str:
    """`` The first: <place>: <reason>, <detail>; <what to do>.`` of a file of fates; or nothing."""
    row = next((row for row in _rows(file) if row.get("reason") in reasons), None)
    if row is None:
        return ""
    reason, where = str(row["reason"]), str(row.get("where"))
    detail = " ".join(str(row.get("detail") or "").split())[:240]
    remedy = REMEDIES.get(reason)
    return (
        f" The first: {where}: {reason}{detail and ', ' + detail}"
        f"{'. To do: ' + remedy if remedy else ''}."
    )


def remedy_of(counts: Mapping[str, int]) -> str:
    """What to do about the most frequent reason, as a sentence; or nothing."""
    known = [reason for reason in counts if reason in REMEDIES]
    return f". To do: {REMEDIES[max(known, key=counts.__getitem__)]}." if known else ""


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.is_file():
        with file.open(encoding="utf-8") as opened:
            yield from map(json.loads, islice(opened, 10_000))
