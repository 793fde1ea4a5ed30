"""Finding files, their fingerprint, and reading rows: broken input becomes a Drop at its place."""

from __future__ import annotations

import gzip
import json
import os
import sys
import tracemalloc
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samdan.data import hub
from samdan.data.readers import file as files
from samdan.data.readers import lines as json_lines
from samdan.data.sources import Row, files_of, fingerprint, read_rows, resolve_hub
from samdan.recipe import Source
from samdan.records import DataError, Drop, EnvironmentFailure


def write(path: Path, content: str | bytes = "내용\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def names(root: Path, pattern: str) -> list[str]:
    return [p.relative_to(root).as_posix() for p in files_of(Source(path=str(root / pattern)))]


def read(path: Path, **fields: Any) -> list[Row | Drop]:
    return list(read_rows(Source(path=str(path), **fields)))


def summary(rows: list[Row | Drop]) -> list[Any]:
    """(line, reason) of a drop, (line, values) of a row."""
    return [
        (row.origin.line, row.reason if isinstance(row, Drop) else dict(row.values)) for row in rows
    ]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.md", "sub/c.JSONL", "sub/deep/d.jsonl.gz", "sub/e.parquet", "f.png"):
        write(tmp_path / "docs" / name)
    return tmp_path / "docs"


@pytest.fixture
def _fresh_commits() -> Iterator[None]:
    hub.commit_of.cache_clear()
    yield
    hub.commit_of.cache_clear()


# --- files ----------------------------------------------------------------------------------------


def test_folder_is_read_recursively_in_order(tree: Path) -> None:
    expected = ["a.md", "b.txt", "sub/c.JSONL", "sub/deep/d.jsonl.gz", "sub/e.parquet"]
    assert names(tree, "") == expected
    assert names(tree, "**") == expected
    assert names(tree, "**/*") == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a.md", "b.txt"]),
        ("**/*.txt", ["b.txt"]),
        ("**/[cd].*", ["sub/c.JSONL", "sub/deep/d.jsonl.gz"]),
        ("sub/*", ["sub/c.JSONL", "sub/e.parquet"]),
        ("sub/**/*.gz", ["sub/deep/d.jsonl.gz"]),
        ("**/deep/**", ["sub/deep/d.jsonl.gz"]),
        ("?.md", ["a.md"]),
    ],
)
def test_glob(tree: Path, pattern: str, expected: list[str]) -> None:
    assert names(tree, pattern) == expected


def test_a_name_with_glob_characters_is_taken_literally(tmp_path: Path) -> None:
    write(tmp_path / "v[1].txt")
    assert names(tmp_path, "v[1].txt") == ["v[1].txt"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["문서/설명서.txt", "문서/*서.txt", "문서"])
def test_korean_names_match_in_either_form(tmp_path: Path, form: Any, asked: str) -> None:
    write(
        tmp_path / unicodedata.normalize(form, "문서") / unicodedata.normalize(form, "설명서.txt")
    )
    for spelled in ("NFC", "NFD"):
        path = tmp_path / unicodedata.normalize(spelled, asked)
        assert len(files_of(Source(path=str(path)))) == 1


def test_order_is_that_of_nfc_names(tmp_path: Path) -> None:
    # Decomposed, 가 starts with U+1100 and would come before 각 or any Latin letter with an accent.
    for name in (unicodedata.normalize("NFD", "나.txt"), "가.txt", "z.txt", "다.txt"):
        write(tmp_path / name)
    found = [unicodedata.normalize("NFC", name) for name in names(tmp_path, "")]
    assert found == ["z.txt", "가.txt", "나.txt", "다.txt"]


def test_links_are_not_followed_out_of_the_folder(tree: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "secret" / "s.txt")
    (tree / "out.txt").symlink_to(outside)
    (tree / "folder").symlink_to(outside.parent)
    (tree / "loop").symlink_to(tree)
    (tree / "broken.txt").symlink_to(tmp_path / "nothing")
    (tree / "inside.md").symlink_to(tree / "a.md")
    assert names(tree, "*") == ["a.md", "b.txt", "inside.md"]
    assert "folder/s.txt" not in names(tree, "")
    assert names(tmp_path, "docs/out.txt") == ["docs/out.txt"]  # named by the recipe itself
    only_links = tmp_path / "links"
    only_links.mkdir()
    (only_links / "x.txt").symlink_to(outside)
    with pytest.raises(DataError, match="links that lead out"):
        files_of(Source(path=str(only_links)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("docs/c.txt", "did you mean '.*docs/b.txt'"),
        ("dosc/**/*.md", "did you mean '.*docs'"),
        ("docs/none/deeper/x.jsonl", "there is no '.*docs/none'"),
        ("docs/a.md/x.txt", "there is no"),
        ("docs/*.rst", r"found no file in .*\.txt, \.md, \.jsonl, \.jsonl\.gz"),
        ("docs/*.png", r"1 matching files, such as .*f\.png.*supported are \.txt"),
        ("docs/f.png", r"not supported; supported are \.txt, \.md, \.jsonl"),
        ("docs/empty", "found no file"),
    ],
)
def test_errors_name_the_path_and_what_was_expected(tree: Path, asked: str, said: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match=said) as caught:
        files_of(Source(path=str(tree.parent / asked)))
    assert str(caught.value).startswith(str(tree.parent / asked))


def test_errors_come_at_the_call(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_rows(Source(path=str(tmp_path / "nothing.txt")))


def test_a_name_the_system_refuses_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="cannot be read"):
        files_of(Source(path=str(tmp_path / ("x" * 300))))


# --- fingerprint ----------------------------------------------------------------------------------


def test_fingerprint_follows_names_and_contents_and_not_the_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root, form in ((one, "NFC"), (two, "NFD")):
        write(root / unicodedata.normalize(form, "가.txt"), "하나")  # type: ignore[arg-type]
        write(root / "b" / "c.txt", "둘")
    first = fingerprint(Source(path=str(one)))
    assert first == fingerprint(Source(path=str(two)))
    assert first == fingerprint(Source(path=str(one / "**/*.txt")))
    write(two / "b" / "c.txt", "셋")  # as long as before
    os.utime(two / "b" / "c.txt", ns=(1, 1))
    changed = fingerprint(Source(path=str(two)))
    (one / "b" / "c.txt").rename(one / "b" / "d.txt")
    assert len({first, changed, fingerprint(Source(path=str(one)))}) == 3


def test_hashes_are_kept_for_unchanged_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(path=str(write(tmp_path / "a.txt")))
    first = fingerprint(source)
    monkeypatch.setattr("samdan.data.sources.open", None, raising=False)
    assert fingerprint(source) == first


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".txt", ".md"])
def test_text_file_is_one_row(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"설명{suffix}", b"\xef\xbb\xbf" + "# 제목\n\n본문\n".encode())
    [row] = read(path)
    assert isinstance(row, Row)
    about = {"title": "설명", "path": path.name, "source": "설명"}
    assert row.values == {"text": "# 제목\n\n본문\n", **about}
    assert str(row.origin) == str(path)


def test_every_bad_line_is_a_drop_and_loses_no_other(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "\xea\xb0\x80"}',  # 1: BOM
        b'{"text": ',
        b"",
        b"  \t\r",
        b"[1, 2]",  # 5
        b"{'text': 1}",
        b'{"text": "\xb0\xa1"}',
        b'{"text": "a\x00b"}',
        b"9" * 5000,
        b"[" * 100_000,  # 10
        b'{"text": "\xed\xa0\x80"}',
        b'{"n": NaN}\r',
        b'{"text": "last"}',
    ]
    rows = read(write(tmp_path / "x.jsonl", b"\n".join(lines)))
    assert [(line, what) for line, what in summary(rows) if isinstance(what, str)] == [
        (2, "broken_json"),
        (5, "not_an_object"),
        (6, "broken_json"),
        (7, "invalid_utf8"),
        (8, "nul_byte"),
        (9, "broken_json"),
        (10, "broken_json"),
        (11, "invalid_utf8"),
    ]
    assert summary(rows)[0] == (1, {"text": "가"})
    assert [row.origin.line for row in rows if isinstance(row, Row)] == [1, 12, 13]
    assert summary(rows)[-1] == (13, {"text": "last"})
    assert all(row.origin.path == str(tmp_path / "x.jsonl") for row in rows)
    assert "CP949" in next(r.detail for r in rows if isinstance(r, Drop) and r.origin.line == 7)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"", "empty_file"),
        ("x.txt", b"\xef\xbb\xbf", "empty_file"),
        ("x.md", "가a".encode("utf-16-le"), "nul_byte"),
        ("x.txt", b"a\0b", "nul_byte"),
        ("x.jsonl", b"", "empty_file"),
        ("x.jsonl", b"\n \n", "empty_file"),
        ("x.jsonl.gz", b"", "empty_file"),
        ("x.jsonl.gz", gzip.compress(b"", mtime=0), "empty_file"),
        ("x.jsonl.gz", b'{"text": "plain"}\n', "broken_gzip"),
        ("x.parquet", b"", "broken_parquet"),
        ("x.parquet", b"PAR1 this is none PAR1", "broken_parquet"),
    ],
)
def test_a_file_without_rows_is_a_drop(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    [drop] = read(write(tmp_path / name, content))
    assert isinstance(drop, Drop)
    assert drop.reason == reason
    assert drop.origin.path == str(tmp_path / name)


def test_long_text_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 10)
    [drop] = read(write(tmp_path / "x.txt", "a" * 11))
    assert isinstance(drop, Drop)
    assert drop.reason == "file_too_long"


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_long_line_is_dropped_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 20)
    exact = b'{"text": "abcdefgh"}'
    assert len(exact) == 20
    lines = [b'{"a": 1}', b"x" * 3_000_000, exact, b"x" * 21, b'{"b": 2}', b"y" * 50]
    content = b"\n".join(lines)
    path = write(tmp_path / f"x{suffix}", gzip.compress(content) if "gz" in suffix else content)
    assert summary(read(path)) == [
        (1, {"a": 1}),
        (2, "line_too_long"),
        (3, {"text": "abcdefgh"}),
        (4, "line_too_long"),
        (5, {"b": 2}),
        (6, "line_too_long"),
    ]


def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 100_000)
    line = json.dumps({"text": "가" * 1000}).encode() + b"\n"
    path = write(tmp_path / "x.jsonl", b"x" * 30_000_000 + b"\n" + line * 3000)
    tracemalloc.start()
    count = sum(isinstance(row, Row) for row in read_rows(Source(path=str(path))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3000
    assert peak < 8_000_000


@pytest.mark.parametrize("damage", ["truncated", "checksum", "garbage"])
def test_broken_gzip_keeps_what_could_be_read(tmp_path: Path, damage: str) -> None:
    text = "".join(
        json.dumps({"n": n, "noise": str(n * 7919 % 104729)}) + "\n" for n in range(5000)
    )
    whole = gzip.compress(text.encode())
    content = {
        "truncated": whole[: len(whole) // 2],
        "checksum": whole[:-8] + b"12345678",
        "garbage": whole[: len(whole) // 2] + b"\xff" * 5000,
    }[damage]
    rows = read(write(tmp_path / "x.jsonl.gz", content))
    kept = [row.values["n"] for row in rows if isinstance(row, Row)]
    assert kept == list(range(len(kept)))
    assert len(kept) > 1000
    assert isinstance(rows[-1], Drop)
    assert rows[-1].reason == "broken_gzip"
    # Garbage may still decompress to a few lines of noise, which are drops of their own.
    assert damage == "garbage" or len(rows) == len(kept) + 1
    assert damage != "checksum" or len(kept) == 5000


def test_max_records_counts_rows_and_drops_but_no_blank_lines(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"n": 1}\n\n{\n{"n": 2}\n')
    write(tmp_path / "b.jsonl", '{"n": 3}\n{"n": 4}\n')
    assert summary(read(tmp_path, max_records=4)) == [
        (1, {"n": 1}),
        (3, "broken_json"),
        (4, {"n": 2}),
        (1, {"n": 3}),
    ]


def test_parquet_rows(tmp_path: Path) -> None:
    table = pa.table({"text": [f"글 {i}" for i in range(600)], "extra": [None, [1]] * 300})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=100)
    rows = read(tmp_path / "x.parquet")
    assert [row.origin.line for row in rows] == list(range(1, 601))
    assert summary(rows)[599] == (600, {"text": "글 599", "extra": [1]})
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    assert summary(read(tmp_path / "empty.parquet")) == [(0, "empty_file")]


def test_parquet_with_one_bad_value_loses_only_that_row(tmp_path: Path) -> None:
    raw = pa.array([b"one", b"\xb0\xa1", b"three"], pa.binary()).view(pa.string())
    far = pa.array([0, 0, 2**62], pa.int64()).view(pa.timestamp("us"))
    pq.write_table(pa.table({"text": raw, "at": far}), tmp_path / "x.parquet")
    reasons = [what if isinstance(what, str) else "" for _, what in summary(read(tmp_path))]
    assert reasons == ["", "invalid_utf8", "bad_value"]


def test_parquet_with_a_damaged_page_is_a_drop(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    text = [str(i * 7919 % 104729) for i in range(20_000)]
    pq.write_table(pa.table({"text": text}), path, row_group_size=5_000, compression="gzip")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    rows = read(path)
    assert len(rows) > 5_000
    assert isinstance(rows[-1], Drop)
    assert rows[-1].reason == "broken_parquet"


def test_a_file_name_that_is_not_utf8_can_be_written_to_a_log(tmp_path: Path) -> None:
    try:
        write(tmp_path / os.fsdecode("가.jsonl".encode("cp949")), '{"a": 1}')
    except OSError:
        pytest.skip("the file system takes only UTF-8 names")
    [row] = read(tmp_path)
    assert row.origin.path.encode().endswith(b"\\xb0\\xa1.jsonl")
    assert len(fingerprint(Source(path=str(tmp_path)))) == 64


def test_a_failing_disk_is_no_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.jsonl", '{"a": 1}\n{"a": 2}\n')

    def fail(stream: Any) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(json_lines, "_line", fail)
    with pytest.raises(EnvironmentFailure, match=r"x\.jsonl: cannot be read"):
        read(path)


# --- hub ------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub_library(monkeypatch: pytest.MonkeyPatch, **found: Any) -> None:
    """Stands in for the network: what ``HfApi().dataset_info`` and ``load_dataset`` do."""
    pytest.importorskip("huggingface_hub")
    api = SimpleNamespace(dataset_info=found.get("dataset_info"))
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    fake = SimpleNamespace(
        __version__=found.get("version", "4.7.0"),
        config=SimpleNamespace(HF_HUB_OFFLINE=False),
        load_dataset=found.get("load_dataset"),
    )
    monkeypatch.setitem(sys.modules, "datasets", fake)


def raising(error: BaseException) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise error

    return call


@pytest.mark.usefixtures("_fresh_commits")
def test_hub_rows_come_from_the_resolved_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def load(name: str, subset: str | None, **kwargs: Any) -> Iterator[dict[str, Any]]:
        calls.append((name, subset, kwargs))
        return iter([{"text": "하나"}, {"text": "둘"}, {"text": "셋"}])

    info = SimpleNamespace(sha=COMMIT)
    hub_library(monkeypatch, dataset_info=lambda name, revision: info, load_dataset=load)
    source = Source(hub="team/data", subset="news", split="dev", max_records=2)
    assert fingerprint(source) == f"team/data@{COMMIT}"
    rows = list(read_rows(source))
    assert summary(rows) == [(1, {"text": "하나"}), (2, {"text": "둘"})]
    assert str(rows[1].origin) == f"team/data@{COMMIT}:dev:2"
    # No `trust_remote_code`: the versions that knew it are refused.
    asked = {"split": "dev", "revision": COMMIT, "streaming": True}
    assert calls == [("team/data", "news", asked)]
    assert files_of(source) == ()


@pytest.mark.usefixtures("_fresh_commits")
def test_the_commit_stays_while_the_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    moving = iter([COMMIT, "f" * 40])
    hub_library(monkeypatch, dataset_info=lambda name, revision: SimpleNamespace(sha=next(moving)))
    source = Source(hub="team/data")
    assert resolve_hub(source) == resolve_hub(source) == COMMIT


def test_a_full_commit_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_library(monkeypatch, dataset_info=raising(AssertionError("asked the network")))
    assert resolve_hub(Source(hub="team/data", revision=COMMIT)) == COMMIT


@pytest.mark.usefixtures("_fresh_commits")
def test_hub_without_a_network_names_key_and_extra() -> None:
    pytest.importorskip("datasets")
    # conftest sets HF_HUB_OFFLINE, so this is the library's own refusal.
    with pytest.raises(EnvironmentFailure, match=r"hub: team/data.*samdan\[hub\].*'path'"):
        resolve_hub(Source(hub="team/data", revision="main"))
    with pytest.raises((EnvironmentFailure, DataError), match="hub: team/data, split: train"):
        list(read_rows(Source(hub="team/data", revision=COMMIT)))


@pytest.mark.usefixtures("_fresh_commits")
def test_hub_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    source, pinned = Source(hub="team/data"), Source(hub="team/data", revision=COMMIT)
    hub_library(monkeypatch, load_dataset=raising(ValueError("Bad split: train")))
    with pytest.raises(DataError, match=r"hub: team/data, split: train.*Bad split"):
        list(read_rows(pinned))
    hub_library(monkeypatch, version="2.19.0", load_dataset=raising(AssertionError()))
    with pytest.raises(EnvironmentFailure, match=r"datasets 2\.19\.0"):
        list(read_rows(pinned))
    hub_library(monkeypatch, dataset_info=raising(ValueError("bad id")))
    with pytest.raises(DataError, match=r"hub: team/data, revision: main.*bad id"):
        read_rows(source)
    for missing in ("datasets", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(EnvironmentFailure, match=r"hub: team/data.*samdan\[hub\]"):
            list(read_rows(pinned if missing == "datasets" else source))


# --- real data ------------------------------------------------------------------------------------


def test_real_corpus_is_read_whole(shared_data: Path) -> None:
    rows = read(shared_data / "corpus" / "ko-company-egov.jsonl.gz")
    assert len(rows) == 664
    assert all(isinstance(row, Row) and row.values["text"] for row in rows)
