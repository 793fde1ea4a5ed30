"""What a reader is given and what it gives: a file, wherever its bytes lie, to rows and drops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import IO, Any, Final

from samdan.data.readers.markdown import tidy
from samdan.records import Drop, Origin

MAX_FILE_BYTES: Final = 200_000_000  # of a file that is held as a whole
MAX_DEPTH: Final = 5  # archives and mails within each other
MAX_MEMBERS: Final = 200_000
MAX_RATIO: Final = 200  # text packs to a tenth, tables to a fiftieth
MIN_BYTES: Final = 100_000_000  # a small archive may give, whatever its ratio
MAX_BYTES: Final = 20_000_000_000
_LEFT_BEHIND: Final = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin")
# What programs write for a title that nobody gave.
_PROGRAM: Final = re.compile(r"^Microsoft (?:Office )?(?:Word|PowerPoint|Excel) - ")
_NO_TITLES: Final = frozenset(
    (
        *("powerpoint presentation", "powerpoint 프레젠테이션", "presentation", "word document"),
        *("book1", "untitled", "untitled document", "제목 없음", "무제", "빈 문서", "통합 문서1"),
    )
)
_DATE: Final = re.compile(
    r"(?<!\d)((?:19|20)\d\d)(?:\s?[-./_년]\s?(\d\d?)\s?[-./_월]\s?(\d\d?)|(\d\d)(\d\d))(?!\d)"
)


class Refused(Exception):
    """Reason and detail of the Drop that stands for a file, or for its rest. Stays in here."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Exhausted(Refused):
    """An archive gave more than it may: it ends, with every archive around it."""


@dataclass(slots=True)
class Bounds:
    """What an archive, with all archives in it, may still give. ``packed``: its size in bytes."""

    packed: int
    bytes_given: int = 0
    members: int = 0

    def spend(self, size: int) -> None:
        self.bytes_given += size
        limit = min(MAX_BYTES, max(MIN_BYTES, MAX_RATIO * self.packed))
        if self.bytes_given > limit:
            raise Exhausted("archive_limit", f"unpacks to more than {limit} bytes")

    def count(self) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise Exhausted("archive_limit", f"more than {MAX_MEMBERS} members")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, under the file's own column names.

    ``notes``: what was changed to read it, counted once the row has become a record.
    """

    values: Mapping[str, Any]
    origin: Origin
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file on disk, in an archive or attached to a mail.

    ``path``: below the source, ``sub/mails.zip!/2024/offer.docx`` for what lies in an archive. A
    member of a tar archive can be opened once, before the next one is asked for.
    """

    path: str
    origin: Origin
    size: int
    opened: Callable[[], IO[bytes]]
    columns: frozenset[str] = frozenset()  # that the recipe names
    meta: Mapping[str, str] = field(default_factory=dict)  # where the file itself says nothing
    depth: int = 0  # archives, mailboxes and mails around it
    bounds: Bounds | None = None  # of the outermost archive

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        name = self.name
        return name[:at] if (at := name.rfind(".")) > 0 else name

    @property
    def suffix(self) -> str:
        return self.name[len(self.stem) + 1 :].lower()

    def read(self) -> bytes:
        """The bytes, at most MAX_FILE_BYTES; the size of a member is only what an archive says."""
        if self.size <= MAX_FILE_BYTES:
            with self.opened() as stream:
                content = stream.read(self.size + 1)
                if len(content) > self.size:
                    content += stream.read(MAX_FILE_BYTES + 1 - len(content))
            if len(content) <= MAX_FILE_BYTES:
                return content
        raise Refused("file_too_long", f"more than {MAX_FILE_BYTES} bytes; split it, or use .jsonl")


Reading = Iterator[Row | Drop | File]


def is_hidden(path: str) -> bool:
    """What programs leave behind and nobody wrote: names with a dot or ``~$`` at the beginning, and
    the folders and lists of Windows and macOS."""
    return any(
        (name.startswith((".", "~$")) and name not in (".", "..")) or name.lower() in _LEFT_BEHIND
        for name in path.split("/")
    )


def document(
    file: File, text: str, title: str = "", date: str = "", notes: tuple[str, ...] = ()
) -> Row | Drop:
    """One document of a file with what is known of it; a Drop where there is no text."""
    text = tidy(text)
    if not text:
        return Drop("no_text", file.origin, "there is no text in it; are these pictures?")
    return Row(described(file, text, tidy(title), date), file.origin, notes)


def described(file: File, text: str, title: str = "", date: str = "") -> dict[str, str]:
    """The text and what is known of it. ``date`` is ISO; without one the name may hold it.

    The time of a file's last change is never taken: a copy has another one, and the same input
    would give another output.
    """
    title = _PROGRAM.sub("", title)
    title = "" if title.lower() in _NO_TITLES else title
    values = {"text": text, "title": title or file.meta.get("title") or file.stem}
    values |= {key: value for key, value in file.meta.items() if key not in values}
    values["path"] = file.path
    if date:
        values["date"] = date
    elif "date" not in values and (named := iso_date(file.stem)):
        values |= {"date": named, "date_from": "name"}
    return values


def iso_date(text: str | None) -> str:
    """The first whole date, year first, as YYYY-MM-DD: 2024-03-01T09:00, 20240301, 2024. 3. 1.

    Empty when there is none.
    """
    for found in _DATE.finditer(text or ""):
        year, *rest = (int(part) for part in found.groups() if part)
        try:
            return date(year, *rest).isoformat()
        except ValueError:
            continue
    return ""
