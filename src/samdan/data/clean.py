"""One source to clean records on disk: read > clean > personal data > filters, everything counted.

Two passes over parts of a few megabytes, each a job of the engine: *read* turns files into records
and cleans their text; *screen* removes what only the whole corpus shows to be boilerplate, masks
personal data, filters, and takes the fingerprints by which copies are found. Nothing depends on
the number of workers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from samdan.data.engine import Engine, Job, carry_out
from samdan.data.formats import StageKind, records
from samdan.data.sources import files_of
from samdan.data.store import Fates, Part, Parts, content_hash, read_part, size_of
from samdan.lm.files import write_json
from samdan.recipe import AnyStage, Source
from samdan.records import DataError, Document, Drop, Record

KEPT, FATES, EXACT = "kept.jsonl", "fates.jsonl", "exact.npy"  # of one part
QUARANTINE = "quarantine.jsonl"
QUARANTINED = 1000
# One such drop stands for an unknown number of rows: no share of bad rows can judge it.
UNKNOWN_LOSS = ("broken_gzip", "broken_parquet")
# Files that are read by one task: together so many bytes, and so many of them.
GROUP_BYTES = 64_000_000
GROUP_FILES = 500


def clean_source(
    stage: AnyStage,
    source: Source,
    folder: Path,
    engine: Engine | None = None,
    poll: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Writes clean records and fingerprints below ``folder`` and returns the manifest.

    Raises DataError when more than ``stage.max_bad_rows`` of the rows are bad, or a damaged file
    loses an unknown number of them.
    """
    said = {"kind": stage.kind, "source": source.model_dump(mode="json", exclude_unset=True)}
    read = Job(read_task, [said | group for group in _groups(source)], folder / "read")
    found = carry_out(read, engine, poll)
    rows = sum(facts["rows"] for facts in found)
    _quarantine(read, folder / QUARANTINE)
    _judge(added(found, "dropped"), rows, stage, source, folder)
    parts = [str(read.place(n) / name) for n, facts in enumerate(found) for name in facts["parts"]]
    screen = Job(screen_task, [said | {"part": part} for part in parts], folder / "screen")
    screened = carry_out(screen, engine, poll)
    digest = hashlib.sha256("".join(facts["sha256"] for facts in screened).encode())
    manifest = {
        "source": source.label,
        "role": source.role,
        "sha256": digest.hexdigest(),
        "parts": [f"screen/{screen.place(n).name}" for n in range(len(parts))],
        "records_in": rows,
        "records_kept": sum(facts["kept"] for facts in screened),
        "bytes_kept": sum(facts["kept_bytes"] for facts in screened),
        "bad": added(found, "dropped"),
        "dropped": added([*found, *screened], "dropped"),
        "dropped_bytes": added([*found, *screened], "dropped_bytes"),
        "notes": added(found, "notes"),
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def _groups(source: Source) -> Iterator[dict[str, Any]]:
    """Which of the source's files each task reads; a Hub source and a limited one are one task."""
    if source.hub is not None or source.max_records is not None:
        yield {"files": None}
        return
    group: list[int] = []
    held = 0
    for number, path in enumerate(files_of(source)):
        size = path.stat().st_size
        if group and (held + size > GROUP_BYTES or len(group) == GROUP_FILES):
            yield {"files": group}
            group, held = [], 0
        group.append(number)
        held += size
    yield {"files": group}


def read_task(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Files to parts of clean records."""
    kind: StageKind = task["kind"]
    source = Source.model_validate(task["source"])
    notes: Counter[str] = Counter()
    fates, parts = Fates(folder / FATES), Parts(folder)
    rows = 0
    for record in records(kind, source, notes, task["files"]):
        rows += 1
        if isinstance(record, Drop):
            fates.add(record)
        else:
            parts.add(record)
    parts.close()
    return {"rows": rows, "parts": parts.names, "notes": dict(notes), **fates.close()}


def screen_task(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One part to the records of it that are kept, and their fingerprints."""
    source = Source.model_validate(task["source"])
    fates, kept = Fates(folder / FATES), Part(folder / KEPT)
    hashes: list[bytes] = []
    held = 0
    for record in read_part(Path(task["part"])):
        drop = _rejected(record, source)
        if drop is not None:
            fates.add(drop, record)
            continue
        kept.add(record)
        hashes.append(content_hash(record)[:16])
        held += size_of(record)
    np.save(folder / EXACT, np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, 2))
    return {
        "kept": len(hashes),
        "kept_bytes": held,
        "sha256": kept.close(),
        **fates.close(),
    }


def _rejected(record: Record, source: Source) -> Drop | None:
    if not isinstance(record, Document):
        return None
    return next((drop for accepts in source.filters if (drop := accepts(record))), None)


def added(found: Iterable[Mapping[str, Any]], name: str) -> dict[str, int]:
    """Counts under ``name``, added up over all tasks."""
    total: Counter[str] = Counter()
    for facts in found:
        total.update(facts[name])
    return dict(sorted(total.items()))


def _quarantine(read: Job, path: Path) -> None:
    """The first bad rows, in one file for a person to look at; all of them lie with their task."""
    lines = chain.from_iterable(
        (read.place(number) / FATES).read_text("utf-8").splitlines(keepends=True)
        for number in range(len(read.tasks))
    )
    path.write_text("".join(islice(lines, QUARANTINED)), "utf-8")


def _judge(
    bad: Mapping[str, int], total: int, stage: AnyStage, source: Source, folder: Path
) -> None:
    where = f"stages.{stage.name}.data.{source.label}"
    counts = ", ".join(f"{reason} {number}" for reason, number in sorted(bad.items()))
    torn = sum(bad.get(reason, 0) for reason in UNKNOWN_LOSS)
    if torn:
        raise DataError(
            f"{where}: {torn} files are damaged and lose an unknown number of rows: {counts}"
        )
    share = sum(bad.values()) / total if total else 0.0
    if share > stage.max_bad_rows:
        raise DataError(
            f"{where}: {sum(bad.values())} of {total} rows are bad ({share:.1%}, allowed "
            f"{stage.max_bad_rows:.1%}): {counts}. See {folder / QUARANTINE}, repair the rows or "
            f"raise max_bad_rows."
        )
