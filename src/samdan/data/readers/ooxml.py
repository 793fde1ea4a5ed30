"""Office files are zip archives of XML: opened within bounds, parsed without entities."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from samdan.data.readers.file import MAX_FILE_BYTES, File, Refused, iso_date

MAX_PARTS: Final = 20_000
_OLE: Final = bytes.fromhex("d0cf11e0a1b11ae1")
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
# What programs for "document security" put before a file that only they can open.
DRM_MARKS: Final = (b"DRMONE", b"SCDSA", b"<DOCUMENT SAFER", b"MarkAny")


class Package:
    """The parts of an office file. Their sizes are counted as they are read, not as declared."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = MAX_FILE_BYTES
        self.names = frozenset(archive.namelist())
        if len(self.names) > MAX_PARTS:
            raise Refused("reader_limit", f"more than {MAX_PARTS} parts")

    def read(self, name: str) -> bytes:
        with self._archive.open(name) as part:
            content = part.read(self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise Refused("reader_limit", f"unpacks to more than {MAX_FILE_BYTES} bytes")
        return content

    def xml(self, name: str) -> Any:
        return parse_xml(self.read(name))

    def targets(self, name: str) -> dict[str, tuple[str, str]]:
        """The relations of a part: id to (kind, name of the part); none to outside."""
        folder, file = posixpath.split(name)
        place = posixpath.join(folder, "_rels", f"{file}.rels")
        if place not in self.names:
            return {}
        found = {}
        for relation in self.xml(place):
            target = relation.get("Target", "")
            if relation.get("TargetMode") != "External":
                path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
                kind = relation.get("Type", "").rpartition("/")[2]
                found[relation.get("Id", "")] = (kind, path)
        return found

    def main(self) -> str:
        return next(path for kind, path in self.targets("").values() if kind == "officeDocument")

    def properties(self) -> tuple[str, str]:
        """Title and date; the date is that of the last change, since offices copy old files."""
        if "docProps/core.xml" not in self.names:
            return "", ""
        core = {local(node): node.text or "" for node in self.xml("docProps/core.xml")}
        return core.get("title", ""), iso_date(core.get("modified")) or iso_date(
            core.get("created")
        )


@contextmanager
def package(file: File) -> Iterator[Package]:
    """Raises Refused: ``encrypted_file`` and ``broken_<kind>``."""
    content = file.read()
    refuse_locked(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield Package(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, StopIteration) as error:
        raise Refused(f"broken_{file.suffix}", str(error) or "its main part is missing") from None


def refuse_locked(content: bytes) -> None:
    if any(mark in content[:64] for mark in DRM_MARKS):
        raise Refused("encrypted_file", "locked by a program for document security (DRM)")
    if content.startswith(_OLE) and _ENCRYPTED in content:
        raise Refused("encrypted_file", "it has a password")


def plain_copy(content: Package) -> io.BytesIO:
    """The XML parts as an archive without compression: a library that opens it cannot be bombed."""
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content.names):
            if name.endswith((".xml", ".rels")):
                data = content.read(name)
                refuse_entities(data)
                archive.writestr(zipfile.ZipInfo(name), data)
    copy.seek(0)
    return copy


def refuse_entities(data: bytes) -> None:
    """An office file declares no entities; one that does means to expand them."""
    for mark in ("<!DOCTYPE", "<!ENTITY"):
        if any(mark.encode(codec) in data for codec in ("utf-8", "utf-16-le", "utf-16-be")):
            raise Refused("reader_limit", f"its XML holds {mark}")


def parse_xml(data: bytes) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    refuse_entities(data)
    return etree.fromstring(data, parser)


def local(node: Any) -> str:
    """The name of an element without its namespace; empty for a comment."""
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def value(node: Any, name: str = "val") -> str:
    """An attribute by its name without namespace; empty where there is none, or no element."""
    if node is None:
        return ""
    return next((text for key, text in node.attrib.items() if key.rpartition("}")[2] == name), "")


def child(node: Any, *names: str) -> Any:
    """The first child of that name, and its first child of the next one; None without one."""
    for name in names:
        if node is None:
            return None
        node = next((inner for inner in node if local(inner) == name), None)
    return node
