"""Damaged, locked and malicious files: a named Drop each, bounded, and never an error."""

from __future__ import annotations

import gzip
import io
import os
import random
import signal
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import documents
from fuzz.mutants import changed_bytes
from reading import given_file, one, read, reasons
from samdan.data.readers import CODE, READERS, rows_of
from samdan.data.readers import archives as archives_module
from samdan.data.readers import file as file_module
from samdan.data.readers.file import Row
from samdan.data.readers.worker import Worker
from samdan.data.sources import read_rows
from samdan.recipe import Source
from samdan.records import Drop, EnvironmentFailure

MAIL = b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n"
MAIL += b"Content-Disposition: attachment; filename=a.csv\n\na,b\n1,2\n--b--\n"


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["가나다"] * 20}), out)
    return out.getvalue()


def zstandard() -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(b'{"text": "x"}\n' * 20)
    return bytes(out.getvalue().to_pybytes())


def slim(content: bytes) -> bytes:
    """Without the parts of the library's template that nothing here reads."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        needed = ("_rels/.rels", "docProps/core.xml", "word/document.xml", "word/styles.xml")
        needed += ("word/_rels/document.xml.rels",)
        return documents.zipped({name: archive.read(name) for name in needed})


INNER = {"a/b.txt": b"hi" * 50, "c.zip": documents.zipped({"x.csv": b"a,b\n1,2"})}
WHOLE = {
    ".txt": "개발팀 님과 카카오톡 대화\n[가] [오전 9:01] 나\n".encode(),
    ".md": "# 제목\n".encode("cp949"),
    ".jsonl": b'{"text": "a"}\n{"text": "b"}\n',
    ".jsonl.gz": gzip.compress(b'{"text": "a"}\n' * 20, mtime=0),
    ".jsonl.zst": zstandard(),
    ".parquet": parquet(),
    ".csv": 'a,text\n1,"가\n나"\n'.encode("cp949"),
    ".tsv": b"a\tb\n1\t2\n",
    ".html": "<title>가</title><ul><li>나<table><tr><td>다<td>라<tr><td colspan=2>마".encode(),
    ".pdf": documents.pdf([["제1조 목적", "휴가를 정한다."], ["둘째"]], "휴가 규정"),
    ".docx": slim(documents.docx()),
    ".pptx": documents.pptx(),
    ".xlsx": documents.xlsx(),
    ".hwpx": documents.hwpx(),
    ".hwp": documents.hwp(),
    ".eml": MAIL,
    ".mbox": b"From a\n" + MAIL + b"\nFrom b\n" + MAIL,
    ".vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\n<v A>b\n",
    ".srt": b"1\n00:00:01,000 --> 00:00:02,000\nb\n",
    ".zip": documents.zipped(INNER),
    ".tar": documents.tarred(INNER),
    ".tgz": documents.tarred(INNER, "w:gz"),
}
SAME = {".htm": ".html", ".xhtml": ".html", ".tar.gz": ".tgz", **dict.fromkeys(CODE, ".txt")}
MUTANTS = 200


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as running:
        yield running


def mutant_inside(content: bytes, rng: random.Random) -> bytes:
    """Of an archive's member: what gets past the archive's own sum of its bytes."""
    if not content.startswith(b"PK"):
        return changed_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    changed = members | {name: changed_bytes(members[name], rng)}
    return documents.zipped(changed, zipfile.ZIP_STORED)


def test_every_reader_is_tried_here() -> None:
    assert set(WHOLE) | set(SAME) == set(READERS)


@pytest.mark.parametrize("suffix", WHOLE)
def test_mutants_are_rows_or_named_drops(worker: Worker, suffix: str) -> None:
    rng = random.Random(suffix)
    assert not set(reasons(read(worker, f"x{suffix}", WHOLE[suffix]))) - {""}
    counts = {"rows": 0, "drops": 0}
    for number in range(MUTANTS):
        change = changed_bytes if number % 2 else mutant_inside
        found = read(worker, f"x{suffix}", change(WHOLE[suffix], rng))
        assert found
        for item in found:
            counts["drops" if isinstance(item, Drop) else "rows"] += 1
            assert isinstance(item, Row) or item.reason.isidentifier()
            # Nothing was raised that the reader does not name: its process went on.
            assert not isinstance(item, Drop) or "its reader ended" not in item.detail
    assert min(counts.values()) > 0


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        (".jsonl.gz", "broken_gzip"),
        (".jsonl.zst", "broken_zstd"),
        (".tgz", "broken_tar"),
        *((suffix, f"broken_{suffix[1:]}") for suffix in (".parquet", ".docx", ".pptx", ".xlsx")),
        *((suffix, f"broken_{suffix[1:]}") for suffix in (".hwpx", ".hwp", ".zip")),
    ],
)
def test_the_half_of_a_file(worker: Worker, suffix: str, reason: str) -> None:
    whole = WHOLE[suffix]
    assert reasons(read(worker, f"x{suffix}", whole[: len(whole) // 2]))[-1] == reason


@pytest.mark.parametrize("suffix", [*WHOLE, *SAME])
@pytest.mark.parametrize("content", [b"", b"\0" * 3000, b"%PDF-1.7", b"PK\3\4" + b"x" * 99])
def test_what_is_something_else(worker: Worker, suffix: str, content: bytes) -> None:
    found = reasons(read(worker, f"x{suffix}", content))
    assert found
    # Nothing is no mistake for a text; an archive or a table of no byte has lost its own.
    kept = {".parquet": "broken_parquet", ".zip": "broken_zip", ".tar": "broken_tar"}
    kept |= dict.fromkeys((".tgz", ".tar.gz"), "broken_tar")
    assert content or found == [kept.get(suffix, "empty_file")]


# --- the process of its own -----------------------------------------------------------------------


def test_a_file_that_takes_for_ever_costs_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = "from samdan.data.readers import child; child.MAX_SECONDS = 2; child.main()"
    monkeypatch.setattr("samdan.data.readers.worker.PROGRAM", limited)
    with Worker() as worker:
        assert reasons(read(worker, "x.pdf", documents.endless_pdf())) == ["reader_limit"]
        assert one(worker, "y.pdf", WHOLE[".pdf"])["title"] == "휴가 규정"


def test_a_crash_costs_one_file_and_names_its_cause() -> None:
    with Worker() as worker:
        content = documents.xlsx({"a": [["text"], *[["x" * 200]] * 2000]})
        rows = rows_of(given_file("x.xlsx", content), worker)
        assert isinstance(next(rows), Row)
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        rest = list(rows)
        assert isinstance(rest[-1], Drop)
        assert rest[-1].reason == "broken_xlsx"
        assert rest[-1].detail == "its reader ended with SIGKILL"
        assert one(worker, "y.pdf", WHOLE[".pdf"])["title"] == "휴가 규정"


def test_the_process_ends_with_the_reading(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        (tmp_path / name).write_bytes(WHOLE[".pdf"])
    before = set(psutil.Process().children())
    rows = read_rows(Source(path=str(tmp_path)))
    assert set(psutil.Process().children()) == before
    next(rows)
    [process] = set(psutil.Process().children()) - before
    rows.close()  # type: ignore[attr-defined]
    assert not process.is_running()
    assert len(list(read_rows(Source(path=str(tmp_path))))) == 2
    assert set(psutil.Process().children()) == before


def test_a_process_that_cannot_start_is_no_bad_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samdan.data.readers.worker.PROGRAM", "raise SystemExit(7)")
    with Worker() as worker, pytest.raises(EnvironmentFailure, match="status 7"):
        read(worker, "x.pdf", WHOLE[".pdf"])
    broken = "import sys; sys.modules['pypdfium2'] = None; from samdan.data.readers import child; "
    monkeypatch.setattr("samdan.data.readers.worker.PROGRAM", f"{broken} child.main()")
    with Worker() as worker, pytest.raises(EnvironmentFailure, match=r"x\.pdf.*pypdfium2"):
        read(worker, "x.pdf", WHOLE[".pdf"])


def test_code_beside_the_data_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "lxml.py", "pypdfium2.py"):
        (tmp_path / name).write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    with Worker() as worker:
        assert one(worker, "y.pdf", WHOLE[".pdf"])["title"] == "휴가 규정"


# --- XML and office archives ----------------------------------------------------------------------


def replaced(content: bytes, part: str, change: Any) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[part] = change(members[part])
    return documents.zipped(members)


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha">%s]>' % b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12)
)


@pytest.mark.parametrize(
    ("suffix", "part"),
    [
        (".docx", "word/document.xml"),
        (".pptx", "ppt/slides/slide1.xml"),
        (".xlsx", "xl/worksheets/sheet1.xml"),
        (".hwpx", "Contents/section0.xml"),
    ],
)
@pytest.mark.parametrize(
    "declared", [LAUGHS, b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>']
)
def test_entities_are_refused(worker: Worker, suffix: str, part: str, declared: bytes) -> None:
    def declare(xml: bytes) -> bytes:
        end = xml.find(b"?>") + 2 if xml.startswith(b"<?xml") else 0
        return xml[:end] + declared + xml[end:]

    content = replaced(WHOLE[suffix], part, declare)
    [drop] = read(worker, f"x{suffix}", content)
    assert isinstance(drop, Drop)
    assert drop.reason in ("reader_limit", f"broken_{suffix[1:]}")


@pytest.mark.parametrize(
    ("suffix", "part"), [(".docx", "word/document.xml"), (".xlsx", "xl/worksheets/sheet1.xml")]
)
def test_an_office_file_that_unpacks_without_end(
    monkeypatch: pytest.MonkeyPatch, suffix: str, part: str
) -> None:
    limited = "from samdan.data.readers import child, ooxml; ooxml.MAX_FILE_BYTES = 2_000_000; "
    monkeypatch.setattr("samdan.data.readers.worker.PROGRAM", f"{limited} child.main()")
    content = replaced(WHOLE[suffix], part, lambda xml: xml + b" " * 3_000_000)
    with Worker() as worker:
        assert reasons(read(worker, f"x{suffix}", WHOLE[suffix])) == [""]
        assert reasons(read(worker, f"x{suffix}", content)) == ["reader_limit"]


# --- archives -------------------------------------------------------------------------------------


def test_archives_of_archives_and_names_in_cp949(worker: Worker) -> None:
    deep = documents.tarred({"a/b.txt": b"hi"}, "w:gz")
    middle = documents.cp949_zip({"문서/규정.docx": documents.docx(), "속.tgz": deep})
    rows = read(worker, "x.zip", documents.zipped({"가.zip": middle, "t.txt": b"x"}))
    assert [row.values["path"] for row in rows if isinstance(row, Row)] == [
        *("x.zip!/가.zip!/문서/규정.docx", "x.zip!/가.zip!/속.tgz!/a/b.txt", "x.zip!/t.txt")
    ]
    content = documents.tarred({"문서/가.txt".encode("cp949").decode("latin-1"): b"x"})
    raw = content.replace("문서/가.txt".encode("cp949").decode("latin-1").encode(), b"")
    assert raw != content  # the library wrote UTF-8; a Korean program of old writes its bytes
    [row] = read(worker, "x.tar", documents.old_tar("문서/가.txt".encode("cp949"), b"x"))
    assert str(row.origin) == "x.tar!/문서/가.txt"


@pytest.mark.parametrize(
    "name", ["../up.txt", "/etc/a.txt", "a/../../b.txt", "C:\\a.txt", "..\\a.txt", "a/..\\b.txt"]
)
def test_names_that_lead_out(worker: Worker, name: str) -> None:
    for suffix, content in (
        ("zip", documents.zipped({name: b"x", "ok.txt": b"ok"})),
        ("tar", documents.tarred({name: b"x", "ok.txt": b"ok"})),
    ):
        assert reasons(read(worker, f"x.{suffix}", content)) == ["unsafe_path", ""]


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("link.txt")
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "info",
    [
        special(tarfile.SYMTYPE, "/etc/passwd"),
        special(tarfile.LNKTYPE, "ok.txt"),
        special(tarfile.FIFOTYPE),
        special(tarfile.CHRTYPE),
    ],
)
def test_links_and_devices_in_tar(worker: Worker, info: tarfile.TarInfo) -> None:
    content = documents.tarred({"ok.txt": b"ok", "link.txt": info, "z.txt": b"z"})
    assert reasons(read(worker, "x.tar", content)) == ["", "not_followed", ""]


def test_links_in_zip(worker: Worker) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("ok.txt", "ok")
    assert reasons(read(worker, "x.zip", out.getvalue())) == ["not_followed", ""]


def test_locked_members(worker: Worker) -> None:
    content = documents.locked_zip({"a.txt": b"a", "b.docx": b"b"})
    assert reasons(read(worker, "x.zip", content)) == ["encrypted_file"] * 2


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound(worker: Worker, method: int) -> None:
    content = documents.zipped({"a.txt": b"a" * 999}, method)
    assert reasons(read(worker, "x.zip", content)) == ["unsupported_compression"]


@pytest.fixture
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "MIN_BYTES", 1_000_000)


BOMB = b" " * 3_000_000
TARRED_BOMB = documents.tarred({"b.txt": BOMB}, "w:gz")


@pytest.mark.usefixtures("_small_bounds")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.zip", documents.zipped({"a.txt": b"a", "b.txt": BOMB, "c.txt": b"c"})),
        ("x.tgz", documents.tarred({"a.txt": b"a", "b.txt": BOMB, "c.txt": b"c"}, "w:gz")),
        ("x.zip", documents.zipped({"a.txt": b"a", "b.zip": documents.zipped({"b.txt": BOMB})})),
        ("x.zip", documents.zipped({"a.txt": b"a", "b.tgz": TARRED_BOMB})),
    ],
)
def test_a_bomb_ends_the_whole_archive(worker: Worker, name: str, content: bytes) -> None:
    rows = read(worker, name, content)
    assert reasons(rows) == ["", "archive_limit"]
    assert str(rows[-1].origin) == name


@pytest.mark.usefixtures("_small_bounds")
def test_an_archive_of_text_is_no_bomb(worker: Worker) -> None:
    noise = random.Random(0).randbytes(9000).hex().encode()
    content = documents.zipped({f"{n}.txt": noise[: 9000 + n] for n in range(150)})
    assert set(reasons(read(worker, "x.zip", content))) == {""}


def test_a_member_that_is_larger_than_it_says(worker: Worker) -> None:
    content = documents.zipped({"a.txt": b"a" * 100_000})
    at = content.rfind(b"PK\1\2")
    lying = content[: at + 24] + (10).to_bytes(4, "little") + content[at + 28 :]
    assert reasons(read(worker, "x.zip", lying)) == ["broken_member"]


def test_too_many_members_and_too_deep(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"x"
    for _ in range(7):
        content = documents.zipped({"in.zip": content})
    assert reasons(read(worker, "x.zip", content)) == ["archive_limit"]
    monkeypatch.setattr(file_module, "MAX_MEMBERS", 3)
    content = documents.zipped({f"{n}.txt": b"x" for n in range(5)})
    assert reasons(read(worker, "x.zip", content)) == ["", "", "", "archive_limit"]


def test_a_header_that_claims_to_be_huge(worker: Worker) -> None:
    info = tarfile.TarInfo("a.txt")
    info.pax_headers = {"comment": "x" * 30_000_000}
    content = documents.tarred({"ok.txt": b"ok", "a.txt": info}, "w:gz")
    assert reasons(read(worker, "x.tgz", content)) == ["", "archive_limit"]
    assert archives_module.MAX_HEADER < 30_000_000


def test_a_tar_that_ends_too_early(worker: Worker) -> None:
    content = documents.tarred({"a.txt": b"a", "b.txt": b"b" * 900})
    assert reasons(read(worker, "x.tar", content[:1024])) == ["", "broken_tar"]
    assert reasons(read(worker, "x.tar", content[:1700])) == ["", "broken_member", "broken_tar"]
    assert reasons(read(worker, "x.tar", content[:3072])) == ["", ""]


def test_what_programs_leave_behind_is_no_member(worker: Worker) -> None:
    names = ("__MACOSX/._a.txt", ".DS_Store", "a/Thumbs.db", "~$a.docx", "a/.git/x.md")
    content = documents.zipped(dict.fromkeys(names, b"x") | {"a/b.png": b"x", "c.txt": b"c"})
    assert reasons(read(worker, "x.zip", content)) == ["unsupported_file", ""]
    assert reasons(read(worker, "x.zip", documents.zipped({".a": b"x"}))) == ["empty_file"]


def test_memory_stays_flat_in_an_archive(worker: Worker) -> None:
    import tracemalloc

    line = b'{"text": "' + b"x" * 1000 + b'"}\n'
    noise = random.Random(0).randbytes(500).hex().encode()
    content = documents.zipped({"a.jsonl": (line + b'{"text": "' + noise + b'"}\n') * 4_000})
    tracemalloc.start()
    count = sum(isinstance(row, Row) for row in rows_of(given_file("x.zip", content), worker))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8_000
    assert peak < 4_000_000  # a third of what the archive holds


# --- mail -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 2000,
        b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(400)
        ),
        b"Subject: =?euc-kr?B?####?= =?x?Q?=00?=\nDate: Mon, 99 Foo 99999\nFrom: \xb0\xa1\n\nx",
        b"Content-Type: text/plain; charset=\"\xb0\"\nContent-Transfer-Encoding: base64\n\n\xff=",
        b"Content-Type: message/rfc822\n\n" * 500 + b"x",
        b"Content-Disposition: attachment; filename*0*=x''%ff; filename*1=b\n\nx",
        b"no headers at all",
    ],
)
def test_mail_made_to_break_a_reader(worker: Worker, content: bytes) -> None:
    assert read(worker, "x.eml", content)

