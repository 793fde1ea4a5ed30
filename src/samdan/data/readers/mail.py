"""E-mail: each message a document, its attachments files of their own; subject, date, sender kept.

Of a message that comes as text and as HTML the text is taken.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count
from typing import Any, Final

from samdan.data.readers.encodings import decode
from samdan.data.readers.file import File, Reading, Refused, document
from samdan.data.readers.markdown import one_line
from samdan.records import Drop, Origin

MAX_MESSAGE_BYTES: Final = 100_000_000
MAX_PARTS: Final = 1000


def mbox_members(file: File) -> Reading:
    """Messages as they come; each is named by its number, ``inbox.mbox!/17.eml``."""
    with file.opened() as stream:
        start = stream.readline(1000)
        if not start:
            return
        if not start.startswith(b"From "):
            raise Refused("broken_mbox", f"begins with {start[:20]!r}, expected 'From '")
        for number in count(1):
            content, line = _until_next(stream)
            inner = _file(file, f"{number}.eml", content or b"")
            if content is None:
                detail = f"more than {MAX_MESSAGE_BYTES} bytes"
                yield Drop("file_too_long", inner.origin, detail)
            else:
                yield inner
            if not line:
                return


def _until_next(stream: Any) -> tuple[bytes | None, bytes]:
    """The bytes of a message, None for too many; and the line that begins the next one."""
    lines: list[bytes] = []
    size, blank = 0, True
    while line := stream.readline(1 << 20):
        if blank and line.startswith(b"From "):
            break
        blank = line in (b"\n", b"\r\n")
        size += len(line)
        if size <= MAX_MESSAGE_BYTES:
            # Programs write '>From ' for a line of the text that begins so.
            lines.append(line[1:] if line.lstrip(b">").startswith(b"From ") else line)
    return (None if size > MAX_MESSAGE_BYTES else b"".join(lines)), line


def eml_rows(file: File) -> Reading:
    if not (content := file.read()):
        return
    message = message_from_bytes(content)
    if not message.keys():
        raise Refused("broken_eml", "it has no headers")
    inner = replace(file, meta=dict(file.meta) | _about(message))
    parts = list(_parts(message))
    try:
        yield from _bodies(inner, parts)
    except Refused as refused:  # what is attached can be read all the same
        yield Drop(refused.reason, inner.origin, refused.detail)
    rest = [part for part in parts if not _is_body(part, "text/plain", "text/html")]
    for number, part in enumerate(rest, 1):
        # The date is the message's; what an attachment says of itself comes first.
        yield _file(inner, *_attached(part, number), title="")


def _bodies(file: File, parts: Sequence[Message]) -> Reading:
    texts = [_text(part) for part in parts if _is_body(part, "text/plain")]
    pages = [_page(part) for part in parts if _is_body(part, "text/html")]
    text = "\n\n".join(text for text, _ in texts if text.strip())
    if text or not pages:
        notes = tuple(dict.fromkeys(note for _, found in texts for note in found))
        yield document(file, text, notes=notes)
    else:
        yield from (_file(file, f"text{at}.html", page) for at, page in enumerate(pages, 1))


def _about(message: Message) -> dict[str, str]:
    about = {"title": _header(message, "Subject"), "author": _header(message, "From")}
    try:
        about["date"] = parsedate_to_datetime(str(message.get("Date", ""))).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        about["date"] = ""
    return {name: text for name, text in about.items() if text}


def _header(message: Message, name: str) -> str:
    return _decoded(message.get(name, ""))


def _decoded(header: Any) -> str:
    """Encoded words, and bytes that old programs send as they are."""
    parts = []
    for word, charset in decode_header(str(header)[:10_000]):
        data = word if isinstance(word, bytes) else word.encode("ascii", "surrogateescape")
        try:
            parts.append(decode(data, charset or "")[0])
        except Refused:
            parts.append(data.decode(errors="replace"))
    return one_line("".join(parts))


def _parts(message: Message) -> Iterator[Message]:
    """The leaves; a message within the message is one, with all that it holds."""
    waiting = [message]
    for number in count():
        if not waiting:
            return
        if number == MAX_PARTS:
            raise Refused("archive_limit", f"more than {MAX_PARTS} parts")
        part = waiting.pop(0)
        payload = part.get_payload()
        if isinstance(payload, list) and part.get_content_maintype() == "multipart":
            waiting = [inner for inner in payload if isinstance(inner, Message)] + waiting
        else:
            yield part


def _is_body(part: Message, *kinds: str) -> bool:
    attached = part.get_content_disposition() == "attachment" or part.get_filename()
    return part.get_content_type() in kinds and not attached


def _text(part: Message) -> tuple[str, tuple[str, ...]]:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    return decode(data, str(part.get_content_charset() or ""))


def _page(part: Message) -> bytes:
    """As UTF-8, and saying so: the page itself may claim something else than the message."""
    text = re.sub(r"(?i)charset\s*=\s*[\"']?[\w.:-]+", "charset=utf-8", _text(part)[0], count=1)
    return text.encode()


def _attached(part: Message, number: int) -> tuple[str, bytes]:
    payload = part.get_payload(decode=True)
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        first = inner[0] if isinstance(inner, list) and inner else ""
        return f"{number}.eml", first.as_bytes() if isinstance(first, Message) else b""
    named = _decoded(part.get_filename() or "").replace("\\", "/").rpartition("/")[2]
    suffix = ".txt" if part.get_content_type().startswith("text/") else ""
    return named or f"{number}{suffix}", payload if isinstance(payload, bytes) else b""


def _file(file: File, name: str, data: bytes, **about: str) -> File:
    place = f"!/{name}"
    meta = {key: text for key, text in {**file.meta, **about}.items() if text}
    return replace(
        file,
        path=file.path + place,
        origin=Origin(file.origin.path + place),
        size=len(data),
        opened=partial(io.BytesIO, data),
        meta=meta,
        depth=file.depth + 1,
    )
