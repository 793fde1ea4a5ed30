"""PDF: the text of its pages, without page numbers and running heads. Pictures are not read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from samdan.data.readers.file import MAX_FILE_BYTES, File, Refused, Row, document, iso_date
from samdan.data.readers.markdown import tidy
from samdan.data.readers.ooxml import refuse_locked
from samdan.records import Drop

MAX_PAGES: Final = 20_000
RUNNING_PAGES: Final = 5  # fewer pages show no habit
RUNNING_SHARE: Final = 0.6
_PASSWORD: Final = 4  # FPDF_ERR_PASSWORD
_SECURITY: Final = 5  # FPDF_ERR_SECURITY
# pdfium marks a hyphen that only the end of a line needs.
_SOFT_HYPHEN: Final = re.compile("[\x02\ufffe]\\s*\n")
_NUMBER: Final = re.compile(
    r"\W*(?:page )?\d{1,4}(?:\s*(?:/|of)\s*\d{1,4})?(?: ?쪽| ?페이지)?\W*", re.IGNORECASE
)


def pdf_rows(file: File) -> Iterator[Row | Drop]:
    import pypdfium2 as pdfium

    content = file.read()
    refuse_locked(content)
    try:
        opened = pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        locked = getattr(error, "err_code", None) in (_PASSWORD, _SECURITY)
        raise Refused("encrypted_file" if locked else "broken_pdf", str(error)) from None
    try:
        pages = list(_pages(opened))
        about = opened.get_metadata_dict()
    finally:
        opened.close()
    if not any(page.strip() for page in pages):
        detail = f"{len(pages)} pages without text: scans? They need OCR"
        yield Drop("no_text", file.origin, detail)
        return
    stamps = (about.get(name, "").removeprefix("D:")[:8] for name in ("ModDate", "CreationDate"))
    day = next(filter(None, map(iso_date, stamps)), "")
    text = "\n\n".join(filter(None, _without_running(pages)))
    yield document(file, text, about.get("Title", ""), day)


def _pages(opened: Any) -> Iterator[str]:
    if len(opened) > MAX_PAGES:
        raise Refused("reader_limit", f"more than {MAX_PAGES} pages")
    total = 0
    for number in range(len(opened)):
        page = opened[number]
        text = page.get_textpage()
        found = text.get_text_range()
        text.close()
        page.close()
        total += len(found)
        if total > MAX_FILE_BYTES:
            raise Refused("reader_limit", f"more than {MAX_FILE_BYTES} characters of text")
        yield tidy(_SOFT_HYPHEN.sub("", found.replace("\r\n", "\n")))


def _without_running(pages: list[str]) -> Iterator[str]:
    """Pages less what most of them begin or end with, digits aside, and less bare page numbers."""
    split = [page.split("\n") for page in pages]
    edges = Counter(
        (edge, _habit(lines[edge])) for lines in split if len(lines) > 2 for edge in (0, -1)
    )
    often = max(RUNNING_PAGES, RUNNING_SHARE * len(pages))
    for lines in split:
        for edge in (0, -1):
            running = len(lines) > 2 and edges[edge, _habit(lines[edge])] >= often
            if lines and (running or _NUMBER.fullmatch(lines[edge])):
                lines.pop(edge)
        yield "\n".join(lines).strip("\n")


def _habit(line: str) -> str:
    return re.sub(r"\d+", "#", line.strip())
