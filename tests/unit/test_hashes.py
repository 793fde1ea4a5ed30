"""Content hashes are remembered between processes, and never of a file that has changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from samdan.lm import hashes


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was last changed an hour ago, as far as the clock of this test says."""
    monkeypatch.setenv("SAMDAN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "문서 1.jsonl"
    path.write_bytes(b"a" * hashes.SMALLEST)
    later = time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr(hashes.time, "time_ns", lambda: later)
    hashes._hash_of.cache_clear()
    return path


def _of(path: Path) -> str:
    """As a new process would."""
    hashes._hash_of.cache_clear()
    return hashes.file_hash(path)


def _memory(path: Path) -> dict[str, list[object]]:
    return json.loads((path.parent / "cache" / "hashes.json").read_text("utf-8"))


def test_a_file_is_read_once(big: Path) -> None:
    expected = hashlib.sha256(big.read_bytes()).hexdigest()
    assert _of(big) == expected
    memory = _memory(big)
    assert memory[str(big)][-1] == expected
    memory[str(big)][-1] = "remembered"
    (big.parent / "cache" / "hashes.json").write_text(json.dumps(memory), "utf-8")
    assert _of(big) == "remembered"


def test_a_changed_file_is_read_again_even_with_its_old_size_and_time(big: Path) -> None:
    before, status = _of(big), big.stat()
    big.write_bytes(b"b" * hashes.SMALLEST)
    os.utime(big, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert big.stat().st_mtime_ns == status.st_mtime_ns
    assert _of(big) != before
    assert _of(big) == hashlib.sha256(big.read_bytes()).hexdigest()


def test_a_file_that_just_changed_is_not_remembered(
    big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes.time, "time_ns", lambda: big.stat().st_mtime_ns + 1_000_000)
    _of(big)
    assert not (big.parent / "cache").exists()


def test_small_files_and_an_empty_cache_setting_leave_nothing(
    big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = big.with_name("small.txt")
    small.write_text("x", "utf-8")
    _of(small)
    assert not (big.parent / "cache").exists()
    monkeypatch.setenv("SAMDAN_CACHE", "")
    assert _of(big) == hashlib.sha256(big.read_bytes()).hexdigest()
    assert not (big.parent / "cache").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 3}', "\0"])
def test_a_damaged_memory_is_forgotten(big: Path, text: str) -> None:
    (big.parent / "cache").mkdir()
    (big.parent / "cache" / "hashes.json").write_text(text, "utf-8")
    assert _of(big) == hashlib.sha256(big.read_bytes()).hexdigest()
    assert str(big) in _memory(big)


def test_a_cache_that_cannot_be_written_is_no_failure(big: Path) -> None:
    (big.parent / "cache").write_text("a file, not a folder", "utf-8")
    assert _of(big) == hashlib.sha256(big.read_bytes()).hexdigest()
