"""Small documents of every format, made by other code than what reads them."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

DAY = datetime(2024, 3, 1, 9, 0)


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def cp949_zip(members: Mapping[str, bytes]) -> bytes:
    """As the Korean Windows writes it: names in CP949, and no mark that says so."""
    stand_in = {name: f"{'x' * len(name.encode('cp949'))}" for name in members}
    content = zipped({stand_in[name]: data for name, data in members.items()})
    for name, same_length in stand_in.items():
        content = content.replace(same_length.encode(), name.encode("cp949"))
    return content


def locked_zip(members: Mapping[str, bytes]) -> bytes:
    """With the mark of a password on every member."""
    content = bytearray(zipped(members))
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(mark, at + 4)
    return bytes(content)


def tarred(members: Mapping[str, bytes | tarfile.TarInfo], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def old_tar(name: bytes, content: bytes) -> bytes:
    """With a name in bytes of no declared encoding, as programs before pax wrote it."""
    stand_in = b"x" * len(name)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo(stand_in.decode())
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    header = bytearray(out.getvalue()).replace(stand_in, name)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


def docx(build: Any = None) -> bytes:
    import docx as library

    document = library.Document()
    document.core_properties.title = "출장 규정"
    document.core_properties.modified = DAY
    if build is not None:
        build(document)
    else:
        document.add_heading("출장 규정", 1)
        document.add_paragraph("출장비는 다음과 같이 지급한다.")
        document.add_paragraph("교통비", style="List Bullet")
        document.add_paragraph("숙박비", style="List Bullet")
        table = document.add_table(2, 2)
        for cell, text in zip(table._cells, ("구분", "금액", "국내", "50,000"), strict=True):
            cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def pptx() -> bytes:
    import pptx as library
    from pptx.util import Cm

    show = library.Presentation()
    show.core_properties.title = "분기 보고"
    show.core_properties.modified = DAY
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "매출 현황"
    slide.placeholders[1].text = "작년보다 늘었다"
    slide.notes_slide.notes_text_frame.text = "질문이 많을 것이다"
    table = slide.shapes.add_table(2, 2, Cm(1), Cm(1), Cm(9), Cm(3)).table
    for at, text in enumerate(("분기", "매출", "1분기", "12억")):
        table.cell(at // 2, at % 2).text = text
    box = slide.shapes.add_group_shape().shapes.add_textbox(Cm(1), Cm(5), Cm(5), Cm(2))
    box.text_frame.text = "출처: 재무팀"
    out = io.BytesIO()
    show.save(out)
    return out.getvalue()


def xlsx(sheets: Mapping[str, Sequence[Sequence[Any]]] | None = None) -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.active)
    book.properties.title = "단가표"
    book.properties.modified = DAY
    sheets = sheets or {"단가": [["품목", "단가"], ["볼트", 120], ["너트", 80.5]]}
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def pdf(pages: Sequence[Sequence[str]], title: str = "") -> bytes:
    """Lines of Korean text in a font that every reader of PDF knows by its name."""
    objects: dict[int, bytes] = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        3: b"<</Type/Font/Subtype/Type0/BaseFont/HYSMyeongJo-Medium/Encoding/UniKS-UCS2-H"
        b"/DescendantFonts[4 0 R]>>",
        4: b"<</Type/Font/Subtype/CIDFontType0/BaseFont/HYSMyeongJo-Medium/DW 1000"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(Korea1)/Supplement 1>>/FontDescriptor 5 0 R>>",
        5: b"<</Type/FontDescriptor/FontName/HYSMyeongJo-Medium/Flags 6/FontBBox[0 -120 1000 880]"
        b"/ItalicAngle 0/Ascent 880/Descent -120/CapHeight 700/StemV 80>>",
        6: b"<</Title<feff" + title.encode("utf-16-be").hex().encode() + b">"
        b"/ModDate(D:20240301090000+09'00')>>",
    }
    kids = []
    for number, lines in enumerate(pages):
        page, stream = 10 + 2 * number, 11 + 2 * number
        shown = b" T* ".join(b"<%s> Tj" % line.encode("utf-16-be").hex().encode() for line in lines)
        content = b"BT /F 12 Tf 14 TL 50 780 Td %s ET" % shown
        objects[page] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
            b"/Resources<</Font<</F 3 0 R>>>>>>" % stream
        )
        objects[stream] = b"<</Length %d>>stream\n%s\nendstream" % (len(content), content)
        kids.append(b"%d 0 R" % page)
    objects[2] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(kids), len(kids))
    return pdf_of(objects, trailer=b"/Info 6 0 R")


def pdf_of(objects: Mapping[int, bytes], trailer: bytes = b"") -> bytes:
    out = b"%PDF-1.5\n"
    table = b"xref\n0 1\n0000000000 65535 f \n"
    for number, content in sorted(objects.items()):
        table += b"%d 1\n%010d 00000 n \n" % (number, len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    size = max(objects) + 1
    end = b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (size, trailer, len(out))
    return out + table + end


def endless_pdf(levels: int = 40) -> bytes:
    """Each form draws the next one twice: 2 to the power of ``levels`` steps in a few kilobytes."""
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R"
        b"/Resources<</XObject<</A 10 0 R>>>>>>",
        4: b"<</Length 5>>stream\n/A Do\nendstream",
    }
    for level in range(levels):
        inside = b"/A Do /A Do" if level < levels - 1 else b"0 0 m"
        objects[10 + level] = (
            b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</A %d 0 R>>>>"
            b"/Length %d>>stream\n%s\nendstream" % (11 + level, len(inside), inside)
        )
    return pdf_of(objects)


_NAMESPACES = " ".join(
    f'xmlns:{name}="http://www.hancom.co.kr/hwpml/2011/{full}"'
    for name, full in (("hp", "paragraph"), ("hs", "section"), ("hh", "head"), ("hc", "core"))
)


def hwpx(body: str = "", encrypted: bool = False) -> bytes:
    body = body or (
        '<hp:p paraPrIDRef="1"><hp:run><hp:t>제1장 총칙</hp:t></hp:run></hp:p>'
        '<hp:p paraPrIDRef="0"><hp:run><hp:t>이 규정은<hp:tab/>모든 직원에게 적용한다.</hp:t>'
        "</hp:run><hp:run><hp:ctrl><hp:footNote><hp:subList><hp:p><hp:run><hp:t>계약직 포함"
        "</hp:t></hp:run></hp:p></hp:subList></hp:footNote></hp:ctrl></hp:run></hp:p>"
        '<hp:p paraPrIDRef="2"><hp:run><hp:t>정규직</hp:t></hp:run></hp:p>'
        '<hp:p><hp:run><hp:tbl rowCnt="2" colCnt="2">'
        + _cells((("직급", "일수"), ("사원", "15")))
        + "</hp:tbl></hp:run></hp:p>"
    )
    head = (
        '<hh:refList><hh:paraProperties itemCnt="3">'
        '<hh:paraPr id="0"><hh:heading type="NONE" idRef="0" level="0"/></hh:paraPr>'
        '<hh:paraPr id="1"><hh:heading type="OUTLINE" idRef="0" level="0"/></hh:paraPr>'
        '<hh:paraPr id="2"><hh:heading type="BULLET" idRef="1" level="0"/></hh:paraPr>'
        "</hh:paraProperties></hh:refList>"
    )
    opf = 'xmlns:opf="http://www.idpf.org/2007/opf/"'
    lock = "<odf:encryption-data/>" if encrypted else ""
    odf = 'xmlns:odf="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
    members = {
        "mimetype": "application/hwp+zip",
        "META-INF/container.xml": '<ocf:container xmlns:ocf="urn:oasis:names:tc:opendocument:xmlns:'
        'container"><ocf:rootfiles><ocf:rootfile full-path="Contents/content.hpf" '
        'media-type="application/hwpml-package+xml"/></ocf:rootfiles></ocf:container>',
        "META-INF/manifest.xml": f"<odf:manifest {odf}><odf:file-entry odf:full-path="
        f'"Contents/section0.xml">{lock}</odf:file-entry></odf:manifest>',
        "Contents/content.hpf": f"<opf:package {opf}><opf:metadata><opf:title>취업 규칙</opf:title>"
        '<opf:meta name="ModifiedDate" content="text">2024-03-01T00:00:00Z</opf:meta>'
        '</opf:metadata><opf:manifest><opf:item id="header" href="Contents/header.xml" '
        'media-type="application/xml"/><opf:item id="section0" href="Contents/section0.xml" '
        'media-type="application/xml"/></opf:manifest><opf:spine><opf:itemref idref="header"/>'
        '<opf:itemref idref="section0"/></opf:spine></opf:package>',
        "Contents/header.xml": f'<hh:head {_NAMESPACES} version="1.4" secCnt="1">{head}</hh:head>',
        "Contents/section0.xml": f"<hs:sec {_NAMESPACES}>{body}</hs:sec>",
    }
    start = '<?xml version="1.0" encoding="UTF-8"?>'
    return zipped(
        {
            name: (text if name == "mimetype" else start + text).encode()
            for name, text in members.items()
        }
    )


def _cells(rows: Sequence[Sequence[str]]) -> str:
    def cell(text: str, row: int, column: int) -> str:
        return (
            f"<hp:tc><hp:subList><hp:p><hp:run><hp:t>{text}</hp:t></hp:run></hp:p></hp:subList>"
            f'<hp:cellAddr colAddr="{column}" rowAddr="{row}"/>'
            '<hp:cellSpan colSpan="1" rowSpan="1"/></hp:tc>'
        )

    return "".join(
        f"<hp:tr>{''.join(cell(text, y, x) for x, text in enumerate(row))}</hp:tr>"
        for y, row in enumerate(rows)
    )


def hwp(paragraphs: Sequence[str] = ("제1조 목적", "휴가를 정한다."), flags: int = 1) -> bytes:
    """HWP 5: a compound file of records. ``flags``: 1 compressed, 2 with a password."""

    def record(tag: int, level: int, payload: bytes) -> bytes:
        size = min(len(payload), 0xFFF)
        long = struct.pack("<I", len(payload)) if size == 0xFFF else b""
        return struct.pack("<I", tag | level << 10 | size << 20) + long + payload

    def packed(content: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(content) + packer.flush() if flags & 1 else content

    header = b"HWP Document File".ljust(32, b"\0") + struct.pack("<II", 0x05010000, flags)
    about = record(0x10, 0, struct.pack("<7H3I", 1, 1, 1, 1, 1, 1, 1, 0, 0, 0))
    about += record(0x11, 0, struct.pack("<18i", *[0] * 18))
    section = b""
    for number, text in enumerate(paragraphs):
        units = text.encode("utf-16-le") + b"\r\0"
        last = 0x80000000 if number == len(paragraphs) - 1 else 0
        head = struct.pack("<IIHBBHHHI", len(units) // 2 | last, 0, 0, 0, 0, 1, 0, 0, 0)
        section += record(0x42, 0, head) + record(0x43, 1, units)
        section += record(0x44, 1, struct.pack("<II", 0, 0))
    streams = {"FileHeader": header.ljust(256, b"\0"), "DocInfo": packed(about)}
    return compound(streams, {"BodyText": {"Section0": packed(section)}})


def compound(streams: Mapping[str, bytes], folders: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """An OLE compound file ([MS-CFB], version 3) whose streams all lie in whole sectors."""
    free, end, none = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF
    sectors: list[bytes] = []
    chain: list[int] = []

    def place(content: bytes) -> int:
        # A stream below 4,096 bytes would belong into the small sectors of another stream.
        parts = [content[at : at + 512].ljust(512, b"\0") for at in range(0, len(content), 512)]
        first = len(sectors)
        sectors.extend(parts)
        chain.extend([*range(first + 1, first + len(parts)), end])
        return first

    def entry(name: str, kind: int, right: int, child: int, start: int, size: int) -> bytes:
        text = name.encode("utf-16-le")
        return struct.pack(
            "<64sHBBIII16sIQQIQ",
            *(text, len(text) + 2 if name else 0, kind, 1, none, right, child, bytes(16), 0, 0, 0),
            *(start, size),
        )

    listed = [(name, content, None) for name, content in streams.items()]
    listed += [(name, b"", inner) for name, inner in folders.items()]
    listed.sort(key=lambda each: (len(each[0]), each[0].upper()))
    entries: list[bytes] = []
    below = len(listed) + 1  # where the members of folders begin
    for number, (name, content, inner) in enumerate(listed, 1):
        right = number + 1 if number < len(listed) else none
        if inner is None:
            padded = content.ljust(4096, b"\0")
            size = len(content) if len(content) >= 4096 else 4096
            entries.append(entry(name, 2, right, none, place(padded), size))
        else:
            entries.append(entry(name, 1, right, below, 0, 0))
            below += len(inner)
    for _, _, inner in listed:
        for name, content in (inner or {}).items():
            entries.append(entry(name, 2, none, none, place(content.ljust(4096, b"\0")), 4096))
    root = entry("Root Entry", 5, none, 1, end, 0)
    directory = place(b"".join([root, *entries]))
    fat = len(sectors)
    chain += [0xFFFFFFFD]
    assert len(chain) <= 128, "one sector of the table holds 128 entries"
    sectors.append(struct.pack("<128I", *chain, *[free] * (128 - len(chain))))
    head = struct.pack(
        "<8s16sHHHHH6sIIIIIIIII",
        *(bytes.fromhex("d0cf11e0a1b11ae1"), bytes(16), 0x3E, 3, 0xFFFE, 9, 6, bytes(6), 0, 1),
        *(directory, 0, 4096, end, 0, end, 0),
    )
    return head + struct.pack("<109I", fat, *[free] * 108) + b"".join(sectors)
