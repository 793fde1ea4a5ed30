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
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from samdan.answers.refusal import refuses, sounds_dangerous
from samdan.data.census import census, merged
from samdan.data.cleaning import Cleaner
from samdan.data.copies import save_signatures
from samdan.data.engine import Engine, Job, carry_out
from samdan.data.formats import StageKind, is_blank, records
from samdan.data.lines import Hashes, LineCounts, frequent_lines, line_counts
from samdan.data.lines import merged as merged_counts
from samdan.data.personal import Redactor
from samdan.data.remedies import first_of
from samdan.data.sources import LEFT_OUT, files_of
from samdan.data.store import (
    KEPT,
    Fates,
    Part,
    Parts,
    content_of,
    read_part,
    size_of,
    texts_of,
    with_texts,
)
from samdan.data.views import needs_morphemes, require_libraries, view_of
from samdan.lm.files import write_json
from samdan.recipe import AnyStage, Source
from samdan.records import DataError, Document, Drop, PreferencePair, Record
from samdan.removing import Dedup

FATES = "fates.jsonl"  # of one part
LINES, FREQUENT = "lines.npz", "frequent.npy"
QUARANTINE = "quarantine.jsonl"
QUARANTINED = 1000
# One such drop stands for an unknown number of rows: no share of bad rows can judge it.
UNKNOWN_LOSS = (
    "archive_limit", "broken_csv", "broken_gzip", "broken_mbox", "broken_parquet", "broken_tar",
    "broken_zip", "broken_zstd", "git_lfs_pointer",
)  # fmt: skip
# Reasons of reading for which a row is left out on purpose; the others are bad rows.
MEANT = LEFT_OUT | {"nothing_left"}
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
    require_libraries(source.filters)
    said: dict[str, Any] = {"kind": stage.kind, "source": source.model_dump(mode="json")}
    read = Job(read_task, [said | group for group in _groups(source)], folder / "read")
    found = carry_out(read, engine, poll)
    rows = sum(facts["rows"] for facts in found)
    _quarantine(read, folder / QUARANTINE)
    bad = {reason: n for reason, n in added(found, "dropped").items() if reason not in MEANT}
    _judge(bad, rows, stage, source, folder)
    parts = [str(read.place(n) / name) for n, facts in enumerate(found) for name in facts["parts"]]
    said |= {
        "frequent": _frequent(read, source, folder / FREQUENT),
        "dedup": (stage.dedup or Dedup(near=False)).model_dump(mode="json"),
    }
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
        "bad": bad,
        "dropped": added([*found, *screened], "dropped"),
        "dropped_bytes": added([*found, *screened], "dropped_bytes"),
        "notes": added(found, "notes"),
        "cleaned": added([*found, *screened], "cleaned"),
        "personal": added(screened, "personal"),
        "census": merged([facts["census"] for facts in screened]),
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
    clean = Wash(source)
    notes: Counter[str] = Counter()
    fates, parts = Fates(folder / FATES), Parts(folder)
    rows = 0
    for record in records(kind, source, notes, task["files"]):
        rows += 1
        kept = record if isinstance(record, Drop) else clean(record)
        if isinstance(kept, Drop):
            fates.add(kept)
        else:
            parts.add(kept)
    parts.close()
    if source.clean is not None and source.clean.frequent_lines and kind == "cpt":
        written = chain.from_iterable(read_part(folder / name) for name in parts.names)
        texts = chain.from_iterable(map(texts_of, written))
        counts = line_counts(texts, source.clean.frequent_lines)
        np.savez(folder / LINES, hashes=counts.hashes, counts=counts.counts, n=counts.documents)
    return {
        "rows": rows,
        "parts": parts.names,
        "notes": dict(notes),
        "cleaned": dict(clean.counts),
        **fates.close(),
    }


class Wash:
    """Cleans the text of documents as the source asks, and counts what was changed."""

    def __init__(self, source: Source, frequent: Hashes | None = None) -> None:
        self._cleaner = Cleaner(source.clean, frequent) if source.clean else None
        self.counts: Counter[str] = Counter()

    def __call__(self, record: Record) -> Record | Drop:
        """The record, cleaned; a drop where nothing is left. Only documents are cleaned."""
        if self._cleaner is None or not isinstance(record, Document):
            return record
        cleaned = self._cleaner(record.text)
        self.counts.update(cleaned.counts)
        if is_blank(cleaned.text):
            return Drop("nothing_left", record.origin, "all of it was cleaned away")
        return replace(record, text=cleaned.text)


def _frequent(read: Job, source: Source, path: Path) -> str | None:
    """Where the hashes of the lines lie that many documents share."""
    if source.clean is None or source.clean.frequent_lines is None:
        return None
    counts = LineCounts(0, np.empty(0, np.uint64), np.empty(0, np.int64))
    for number in range(len(read.tasks)):
        file = read.place(number) / LINES
        if file.is_file():
            found = np.load(file, allow_pickle=False)
            mine = LineCounts(int(found["n"]), found["hashes"], found["counts"])
            counts = merged_counts(counts, mine)
    np.save(path, frequent_lines(counts, source.clean.frequent_lines))
    return str(path)


def screen_task(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One part to the records of it that are kept, and their fingerprints."""
    source = Source.model_validate(task["source"])
    frequent = task["frequent"]
    screen = Screen(source, np.load(frequent, allow_pickle=False) if frequent else None)
    fates, kept = Fates(folder / FATES), Part(folder / KEPT)
    records: list[Record] = []
    for record in read_part(Path(task["part"])):
        screened, drop = screen(record)
        if drop is not None:
            fates.add(drop, screened)
        else:
            kept.add(screened)
            records.append(screened)
    dedup = Dedup.model_validate(task["dedup"])
    save_signatures([content_of(record) for record in records], dedup, folder)
    return {
        "kept": len(records),
        "kept_bytes": sum(map(size_of, records)),
        "cleaned": dict(screen.cleaned),
        "personal": dict(screen.personal),
        "census": census(records, source.license),
        "sha256": kept.close(),
        **fates.close(),
    }


class Screen:
    """What a clean record still has to pass: shared lines, personal data, filters."""

    def __init__(self, source: Source, frequent: Hashes | None = None) -> None:
        """``frequent``: lines that the corpus shares, which the first pass could not know."""
        self._filters = source.filters
        self._refusals = source.drop_refusals
        self._morphemes = needs_morphemes(source.filters)
        self._wash = Wash(source, frequent) if frequent is not None else None
        self._redact = Redactor(source.personal) if source.personal else None
        self.cleaned: Counter[str] = self._wash.counts if self._wash else Counter()
        self.personal: Counter[str] = Counter()

    def __call__(self, record: Record) -> tuple[Record, Drop | None]:
        """The record with its personal data masked, whatever comes of it; and why it is dropped."""
        washed = self._wash(record) if self._wash else record
        masked, drop = self._masked(record if isinstance(washed, Drop) else washed)
        if isinstance(washed, Drop):
            return masked, washed
        if drop is None and self._refusals and isinstance(masked, PreferencePair):
            drop = _refusal(masked)
        if drop is not None or not isinstance(masked, Document) or not self._filters:
            return masked, drop
        view = view_of(masked.text, self._morphemes)
        drops = (accepts(masked, view) for accepts in self._filters)
        return masked, next((drop for drop in drops if drop), None)

    def _masked(self, record: Record) -> tuple[Record, Drop | None]:
        if self._redact is None:
            return record, None
        found = [self._redact(text) for text in texts_of(record)]
        for redacted in found:
            self.personal.update(redacted.counts)
        masked = with_texts(record, [redacted.text for redacted in found])
        why = next((redacted.dropped_because for redacted in found if redacted.dropped_because), "")
        return masked, Drop("personal_data", record.origin, why) if why else None


def _refusal(pair: PreferencePair) -> Drop | None:
    """A drop where only the better answer refuses, and nothing asked for sounds dangerous."""
    asked = "\n".join(turn.content for turn in pair.prompt)
    better, worse = pair.chosen[0].content, pair.rejected[0].content
    if not refuses(better) or refuses(worse) or sounds_dangerous(asked):
        return None
    return Drop("chosen_refuses", pair.origin, "the chosen answer refuses a harmless prompt")


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
    quarantined = folder / QUARANTINE
    first = first_of(quarantined, bad)
    torn = sum(bad.get(reason, 0) for reason in UNKNOWN_LOSS)
    if torn:
        raise DataError(
            f"{where}: {torn} files are damaged and lose an unknown number of rows: {counts}."
            f"{first} Replace these files or move them out of the source. See {quarantined}"
        )
    share = sum(bad.values()) / total if total else 0.0
    if share > stage.max_bad_rows:
        raise DataError(
            f"{where}: {sum(bad.values())} of {total} rows are bad ({share:.1%}, allowed "
            f"{stage.max_bad_rows:.1%}): {counts}.{first} Repair the rows or raise max_bad_rows. "
            f"See {quarantined}"
        )
