"""The page on adding one's own: its edits apply to the source, and its code runs with them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
PARTS = {
    part.partition("\n")[0]: part
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}
BLOCK = re.compile(r"^```(python|diff)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"# (src/\S+)\n")


def edited(text: str, hunk: str) -> str:
    """The text with a hunk's lines in the place of those that it takes out."""
    old = "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line.startswith("-"))
    new = "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line.startswith("+"))
    # What is taken out may be the beginning of a line, such as the first names of a list.
    if text.count(old) != 1:
        old, new = old.removesuffix("\n"), new.removesuffix("\n")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)


def apply(block: str, copy: Path) -> None:
    """Writes a new file, or makes the edits of a diff."""
    found = NAMED.match(block)
    assert found, block[:80]
    path = copy / found[1]
    if not path.exists():
        path.write_text(block[found.end() :], "utf-8")
        return
    text = path.read_text("utf-8")
    for hunk in block[found.end() :].strip("\n").split("\n\n"):
        text = edited(text, hunk)
    path.write_text(text, "utf-8")


def test_the_page_has_its_four_parts() -> None:
    assert list(PARTS) == ["A filter", "A rule", "A task", "An objective"]


@pytest.mark.parametrize("part", PARTS)
def test_the_parts_code_runs_with_its_edits(part: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    *changes, (_, check) = BLOCK.findall(PARTS[part])
    for _, block in changes:
        apply(block, tmp_path)
    (tmp_path / "check.py").write_text(check, "utf-8")
    places = os.pathsep.join([str(tmp_path / "src"), str(ROOT / "tests")])
    ran = subprocess.run(
        [sys.executable, "check.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "src"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert linted.returncode == 0, linted.stdout
