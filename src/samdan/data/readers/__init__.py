"""From a file of any kind to rows. To add a kind, write its reader and name it in READERS.

A reader of a format that is not ours to bound runs in a process of its own (``worker``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from samdan.data.readers.archives import tar_members, tgz_members, zip_members, zip_names
from samdan.data.readers.file import MAX_DEPTH, Exhausted, File, Reading, Refused, Row
from samdan.data.readers.hwp import hwp_rows
from samdan.data.readers.lines import gzip_rows, json_rows, zstd_rows
from samdan.data.readers.mail import eml_rows, mbox_members
from samdan.data.readers.parquet import parquet_rows
from samdan.data.readers.pdf import pdf_rows
from samdan.data.readers.sheets import xlsx_rows
from samdan.data.readers.slides import pptx_rows
from samdan.data.readers.tables import csv_rows
from samdan.data.readers.text import subtitle_rows, text_rows
from samdan.data.readers.web import html_rows
from samdan.data.readers.word import docx_rows
from samdan.data.readers.worker import Worker
from samdan.lm.failures import LFS, POINTER
from samdan.records import Drop, EnvironmentFailure


@dataclass(frozen=True, slots=True)
class Reader:
    """``needs``: the module of the extra ``documents`` that it reads with; "" for none.

    ``apart``: runs in the process of its own.
    """

    read: Callable[[File], Reading]
    needs: str = ""
    apart: bool = False


# Source code is read as it stands, one document a file.
CODE: Final = (
    ".py", ".pyi", ".rs", ".go", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cs", ".java", ".kt",
    ".scala", ".swift", ".js", ".jsx", ".ts", ".tsx", ".vue", ".rb", ".php", ".lua", ".jl", ".r",
    ".sh", ".sql",
)  # fmt: skip
READERS: Final[Mapping[str, Reader]] = {
    **dict.fromkeys(CODE, Reader(text_rows)),
    ".txt": Reader(text_rows),
    ".md": Reader(text_rows),
    ".jsonl": Reader(json_rows),
    ".jsonl.gz": Reader(gzip_rows),
    ".jsonl.zst": Reader(zstd_rows),
    ".parquet": Reader(parquet_rows),
    ".csv": Reader(csv_rows),
    ".tsv": Reader(csv_rows),
    ".html": Reader(html_rows, "lxml", apart=True),
    ".htm": Reader(html_rows, "lxml", apart=True),
    ".xhtml": Reader(html_rows, "lxml", apart=True),
    ".pdf": Reader(pdf_rows, "pypdfium2", apart=True),
    ".docx": Reader(docx_rows, "lxml", apart=True),
    ".pptx": Reader(pptx_rows, "lxml", apart=True),
    ".xlsx": Reader(xlsx_rows, "openpyxl", apart=True),
    ".hwpx": Reader(hwp_rows, "hwpx", apart=True),
    ".hwp": Reader(hwp_rows, "hwpx", apart=True),
    ".eml": Reader(eml_rows, apart=True),
    ".mbox": Reader(mbox_members),
    ".vtt": Reader(subtitle_rows),
    ".srt": Reader(subtitle_rows),
    ".zip": Reader(zip_members),
    ".tar": Reader(tar_members),
    ".tar.gz": Reader(tgz_members),
    ".tgz": Reader(tgz_members),
}
KINDS: Final = ", ".join([*(s for s in READERS if s not in CODE), "source code such as .py"])
POINTER_BYTES: Final = 1000  # of what Git LFS leaves; the address of a file takes the most of it
# Known, common, and not read: what to do about them.
INSTEAD: Final[Mapping[str, str]] = {
    **dict.fromkeys((".doc", ".rtf", ".odt"), "save it as .docx"),
    **dict.fromkeys((".xls", ".xlsb", ".ods", ".cell"), "save it as .xlsx"),
    **dict.fromkeys((".ppt", ".odp", ".show"), "save it as .pptx"),
    **dict.fromkeys((".hml", ".hwt"), "save it as .hwpx"),
    **dict.fromkeys((".7z", ".rar", ".egg", ".alz", ".bz2", ".xz"), "pack it as .zip"),
    **dict.fromkeys((".msg", ".pst"), "export it as .eml or .mbox"),
    ".json": "one object a line, as .jsonl",
}


def suffix_of(name: str) -> str | None:
    """The suffix by which a name is read; None when it is not."""
    lower = name.lower()
    at = lower.rfind(".")
    if at > 0 and (double := lower.rfind(".", 0, at)) > 0 and lower[double:] in READERS:
        return lower[double:]
    return lower[at:] if at > 0 and lower[at:] in READERS else None


def unsupported(file: File) -> Drop:
    suffix = Path(file.path).suffix.lower()
    hint = INSTEAD.get(suffix, "")
    return Drop("unsupported_file", file.origin, f"{suffix or 'no suffix'}{hint and ': ' + hint}")


def need_libraries(file: File) -> None:
    """Raises EnvironmentFailure when a library is missing for a file, or for what a ZIP lists."""
    suffix = suffix_of(file.path) or ""
    names = [""]
    if suffix == ".zip":
        with file.opened() as stream:
            names = [f"!/{name}" for name in zip_names(stream)]
    for name in names:
        kind = READERS.get(suffix_of(name or file.path) or "")
        if kind is not None and kind.needs and find_spec(kind.needs) is None:
            raise EnvironmentFailure(
                f"{file.origin.path}{name}: needs the extra samdan[documents], which brings "
                f"{kind.needs}: pip install 'samdan[documents]'"
            )


def _is_pointer(file: File) -> bool:
    with file.opened() as stream:
        return stream.read(len(LFS)) == LFS


def rows_of(file: File, worker: Worker) -> Iterator[Row | Drop]:
    """What a file gives; at least a Drop. Raises EnvironmentFailure as ``need_libraries`` does,
    OSError when the machine cannot read."""
    suffix = suffix_of(file.path)
    if suffix is None:
        yield unsupported(file)
        return
    reader = READERS[suffix]
    if reader.needs and file.depth:  # what lies on the disk was looked at before
        need_libraries(file)
    items = worker.read(file, suffix) if reader.apart else reader.read(file)
    if not file.depth and file.size < POINTER_BYTES and _is_pointer(file):
        yield Drop("git_lfs_pointer", file.origin, f"this file {POINTER}")
        return
    empty = True
    try:
        if file.depth > MAX_DEPTH:
            raise Refused("archive_limit", f"more than {MAX_DEPTH} archives within each other")
        for item in items:
            empty = False
            if isinstance(item, File):
                yield from rows_of(item, worker)
            else:
                yield item
    except Refused as refused:
        if isinstance(refused, Exhausted) and file.depth:
            raise
        yield Drop(refused.reason, file.origin, refused.detail)
    else:
        if empty:
            yield Drop("empty_file", file.origin)
