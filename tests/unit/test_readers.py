"""Tables and encodings, the parts of a document, and which files are read at all."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import documents
from reading import one, read, reasons
from samdan.data.formats import records
from samdan.data.readers import READERS, suffix_of
from samdan.data.readers.encodings import decode
from samdan.data.readers.file import Refused, Row, iso_date
from samdan.data.readers.markdown import Cell, joined, table, tidy
from samdan.data.readers.worker import Worker
from samdan.data.sources import LEFT_OUT, files_of, fingerprint, read_rows
from samdan.recipe import Source
from samdan.records import Document, Drop, EnvironmentFailure


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as running:
        yield running


# --- tables, lines, encodings ---------------------------------------------------------------------


def test_csv_of_records(worker: Worker) -> None:
    text = 'id,text,text,\n1,"가, ""나""\n다",둘,\n\n2,라,,\n3,a,b,c,d\n'
    rows = read(worker, "x.csv", text)
    assert reasons(rows) == ["", "", "too_many_cells"]
    assert [(r.origin.line, dict(r.values)) for r in rows if isinstance(r, Row)] == [
        (2, {"path": "x.csv", "id": "1", "text": '가, "나"\n다', "text.2": "둘"}),
        (5, {"path": "x.csv", "id": "2", "text": "라", "text.2": None}),
    ]


def test_csv_cells_keep_what_is_no_line_end(worker: Worker) -> None:
    [row] = read(worker, "x.csv", "text,n\r\n가\u2028나\x0b다\x85,1\r\n")
    assert isinstance(row, Row)
    assert (row.values["text"], row.values["n"]) == ("가\u2028나\x0b다\x85", "1")


def test_csv_with_columns_of_the_recipe(worker: Worker) -> None:
    [row] = read(worker, "x.tsv", "Q\tA\n연차?\t15일\n", "Q", "A")
    assert isinstance(row, Row)
    assert (row.values["Q"], row.values["A"]) == ("연차?", "15일")
    [row] = read(worker, "x.tsv", "Q\tA\n연차?\t15일\n")
    assert isinstance(row, Row)
    assert row.values["text"] == "| Q | A |\n| --- | --- |\n| 연차? | 15일 |"


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_csv_in_cp949_with_any_delimiter(worker: Worker, delimiter: str) -> None:
    text = "\r\n".join(delimiter.join(row) for row in (("제품", "단가"), ("볼트", "1")))
    [row] = read(worker, "x.csv", text.encode("cp949"))
    assert isinstance(row, Row)
    assert row.values["text"] == "| 제품 | 단가 |\n| --- | --- |\n| 볼트 | 1 |"
    assert row.notes == ("converted_cp949",)


def test_a_long_table_becomes_pages_that_all_name_the_columns(worker: Worker) -> None:
    text = "이름,값\n" + "".join(f"가{n},{n}\n" for n in range(450))
    rows = read(worker, "x.csv", text)
    assert [row.origin.line for row in rows] == [1, 202, 402]
    pages = [row.values["text"].split("\n") for row in rows if isinstance(row, Row)]
    assert {page[0] for page in pages} == {"| 이름 | 값 |"}
    assert [line for page in pages for line in page[2:]] == [f"| 가{n} | {n} |" for n in range(450)]


def test_a_quote_that_is_not_closed_swallows_no_rows_in_silence(worker: Worker) -> None:
    rows = read(worker, "x.csv", 'text\nok\n"open\n' + "more\n" * 5)
    assert reasons(rows) == ["", "broken_csv"]
    assert reasons(read(worker, "x.csv", 'text\n"a"b\nok\n')) == ["broken_csv", ""]


def test_a_table_without_records_names_its_columns_to_a_stage_that_wants_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.csv").write_text("Q,A\n하나,둘\n")
    [drop] = records("sft", Source(path=str(tmp_path / "x.csv")))
    assert isinstance(drop, Drop)
    assert drop.reason == "missing_column"
    assert "found Q, A" in drop.detail


def test_zstandard(worker: Worker) -> None:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(b'{"n": 1}\n' * 1000)
    content = out.getvalue().to_pybytes()
    assert len(read(worker, "x.jsonl.zst", content)) == 1000
    assert reasons(read(worker, "x.jsonl.zst", content[:-6]))[-1] == "broken_zstd"


KOREAN = "한국어 문서입니다. 회사의 규정은 다음과 같다.\n"


@pytest.mark.parametrize(
    ("data", "text", "notes"),
    [
        (KOREAN.encode(), KOREAN, ()),
        (b"\xef\xbb\xbf" + KOREAN.encode(), KOREAN, ()),
        (KOREAN.encode("utf-16"), KOREAN, ("converted_utf16",)),
        (b"\xfe\xff" + KOREAN.encode("utf-16-be"), KOREAN, ("converted_utf16",)),
        (KOREAN.encode("cp949"), KOREAN, ("converted_cp949",)),
        ("똠방각하 뷁".encode("cp949"), "똠방각하 뷁", ("converted_cp949",)),  # not in EUC-KR
        ("大韓民國은 民主共和國이다. 主權은 國民에게 있다".encode("cp949"), "", None),
    ],
)
def test_encodings(data: bytes, text: str, notes: tuple[str, ...] | None) -> None:
    if notes is None:  # more Chinese characters than Hangul: better refused than wrong
        with pytest.raises(Refused, match="invalid_utf8"):
            decode(data)
    else:
        assert decode(data) == (text, notes)


@pytest.mark.parametrize(
    "data",
    [
        "简体中文的公司规章制度和管理办法，员工应当遵守。".encode("gb18030") * 3,
        "これは日本語の文書です。会社の規則を定める。".encode("euc_jp"),
        "これは日本語の文書です。会社の規則を定める。".encode("cp932"),
        "déjà vu à la façade".encode("latin-1"),
        bytes(range(128, 256)) * 4,
        KOREAN.encode() + KOREAN.encode("cp949"),
        KOREAN.encode("cp949") + b"\x80",
    ],
)
def test_what_is_no_korean_text_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="invalid_utf8"):
        decode(data)


def test_a_declared_charset_is_believed_where_the_bytes_are_not_utf8() -> None:
    text = "これは日本語の文書です。"
    assert decode(text.encode("cp932"), "Shift_JIS") == (text, ("converted_cp932",))
    assert decode(KOREAN.encode(), "euc-kr") == (KOREAN, ())
    with pytest.raises(Refused):
        decode(text.encode("cp932"), "idna")  # a codec, and none for text


@given(st.text())
def test_utf8_is_always_read_as_it_is(text: str) -> None:
    if "\0" not in text and not text.startswith("\ufeff"):
        assert decode(text.encode()) == (text, ())


def test_notes_are_counted_with_the_records(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(KOREAN.encode("cp949"))
    (tmp_path / "b.txt").write_bytes(KOREAN.encode())
    notes: Counter[str] = Counter()
    assert len(list(records("cpt", Source(path=str(tmp_path)), notes))) == 2
    assert notes == {"converted_cp949": 1}


# --- the parts of a document ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-03-01T09:00:00Z", "2024-03-01"),
        ("20240301_회의록", "2024-03-01"),
        ("회의록(2024.3.1)", "2024-03-01"),
        ("2024년 3월 1일 금요일", "2024-03-01"),
        ("2024. 3. 1.", "2024-03-01"),
        ("2024-13-01, 2024-02-30 and 2023/12/31", "2023-12-31"),
        ("제20240301234호", ""),
        ("2024-03", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_dates(text: str | None, day: str) -> None:
    assert iso_date(text) == day


def test_a_date_in_the_name_says_where_it_is_from(worker: Worker) -> None:
    found = one(worker, "2024-03-01 회의.txt", "글")
    assert (found["date"], found["date_from"]) == ("2024-03-01", "name")


def test_a_date_in_the_file_goes_before_one_in_its_name(worker: Worker) -> None:
    pytest.importorskip("docx")
    assert "date_from" not in one(worker, "2020-01-01.docx", documents.docx())


def test_the_time_of_the_last_change_is_no_date(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("글")
    os.utime(path, (0, 0))
    [document] = records("cpt", Source(path=str(path)))
    assert isinstance(document, Document)
    assert "date" not in document.meta


def test_tables_as_markdown() -> None:
    first, second = [Cell("가", 2), Cell("나")], [Cell("1", rows=2), Cell("2"), Cell("3")]
    rows = [first, second, [Cell("4"), Cell("")]]
    assert table(rows) == "| 가 |  | 나 |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n|  | 4 |  |"
    assert table([[Cell("한 칸")]]) == "한 칸"
    assert table([]) == table([[Cell(" ")]]) == ""
    long = "긴 글 " * 500
    assert table([[Cell("a"), Cell(long)], [Cell("b"), Cell("c")]]).startswith("a\n\n긴 글")


SPAN = st.integers(-2, 4)


@given(st.lists(st.lists(st.builds(Cell, st.text("가\n| ", max_size=3), SPAN, SPAN))))
def test_any_table_has_straight_columns(rows: list[list[Cell]]) -> None:
    lines = table(rows).split("\n")
    if lines[0].startswith("| ") and len(lines) > 1 and lines[1].startswith("| ---"):
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


@given(st.text())
def test_tidying_twice_is_tidying_once(text: str) -> None:
    once = tidy(text)
    assert tidy(once) == once
    assert "\n\n\n" not in once
    once.encode()


def test_lists_hang_together() -> None:
    assert joined(["가", "- 나", "  - 다", "", "라"]) == "가\n\n- 나\n  - 다\n\n라"


# --- which files ----------------------------------------------------------------------------------


def test_what_nobody_can_read_is_told_and_what_nobody_wrote_is_not(tmp_path: Path) -> None:
    for name in ("a.txt", "b.PNG", "c.doc", "~$a.docx", ".hidden.txt", "Thumbs.db", "z"):
        (tmp_path / name).write_text("글")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.md").write_text("글")
    (tmp_path / "out.md").symlink_to(tmp_path.parent)
    rows = list(read_rows(Source(path=str(tmp_path))))
    left = [(r.reason, Path(r.origin.path).name) for r in rows if isinstance(r, Drop)]
    assert left == [
        *(("unsupported_file", "b.PNG"), ("unsupported_file", "c.doc"), ("not_followed", "out.md")),
        ("unsupported_file", "z"),
    ]
    assert {reason for reason, _ in left} == LEFT_OUT
    assert [r.values["title"] for r in rows if isinstance(r, Row)] == ["a"]
    assert [p.name for p in files_of(Source(path=str(tmp_path)))] == ["a.txt"]
    named = Source(path=str(tmp_path / ".hidden*"))
    assert [p.name for p in files_of(named)] == [".hidden.txt"]


def test_what_is_left_out_is_told_once_however_the_files_are_shared_out(tmp_path: Path) -> None:
    for name in ("a.png", "b.txt", "c.png", "d.txt", "e.png"):
        (tmp_path / name).write_text(name)
    source = Source(path=str(tmp_path))
    whole = list(read_rows(source))
    assert [*read_rows(source, [0]), *read_rows(source, [1])] == whole
    assert len(whole) == 5
    assert reasons(list(read_rows(source.model_copy(update={"max_records": 1})))) == [
        "unsupported_file",
        "",
    ]


def test_the_fingerprint_is_that_of_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("글")
    before = fingerprint(Source(path=str(tmp_path)))
    (tmp_path / "b.png").write_text("그림")
    assert fingerprint(Source(path=str(tmp_path))) == before
    (tmp_path / "b.html").write_text("글")
    assert fingerprint(Source(path=str(tmp_path))) != before


def test_suffixes() -> None:
    assert suffix_of("A.JSONL.GZ") == ".jsonl.gz"
    assert suffix_of("v1.0/보고.Docx") == ".docx"
    assert suffix_of("a.b.tar.gz") == ".tar.gz"
    for name in ("README", ".txt", "a.gz", "v1.0/README", "x.zip!/README", "a.txt.bak"):
        assert suffix_of(name) is None


@pytest.mark.parametrize(
    ("name", "library"),
    [(f"a{suffix}", reader.needs) for suffix, reader in READERS.items() if reader.needs],
)
def test_without_the_extra_the_call_names_it_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    (tmp_path / "first.txt").write_text("글")
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EnvironmentFailure, match=rf"{name}.*samdan\[documents\].*{library}"):
        read_rows(Source(path=str(tmp_path)))
    (tmp_path / name).unlink()
    (tmp_path / "x.zip").write_bytes(documents.zipped({f"in/{name}": b"x"}))
    with pytest.raises(EnvironmentFailure, match=rf"x\.zip!/in/{name}.*samdan\[documents\]"):
        read_rows(Source(path=str(tmp_path)))


def test_without_the_extra_everything_else_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in {reader.needs for reader in READERS.values()} - {""}:
        monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "a.eml").write_bytes(b"Subject: x\n\ntext")
    assert len(list(read_rows(Source(path=str(tmp_path))))) == 1
    (tmp_path / "b.tar").write_bytes(documents.tarred({"x.pdf": b"x"}))
    with pytest.raises(EnvironmentFailure, match=r"b\.tar!/x\.pdf.*samdan\[documents\]"):
        list(read_rows(Source(path=str(tmp_path))))
