"""What pages show as a recipe is accepted; links lead somewhere; every noun and page is listed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from samdan.recipe import parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "README.ko.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Whole recipes; what shows a part only is put into a recipe by the test of its own page.
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")), 1)
    if re.search(r"^samdan: 1", block, re.MULTILINE)
]
COMING = {"export.md", "errors.md"}  # in the navigation as soon as they are there
NOUNS = (
    "recipe", "base", "stage", "source", "record", "plan", "step", "ledger", "objective", "monitor",
    "gate", "response", "retention", "bits per byte (bpb)", "preparation", "data card", "task",
    "run", "report",
)  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS)
def test_every_recipe_of_the_page_is_accepted(block: str) -> None:
    assert parse(block, "the page").stages


def test_there_are_recipes_on_every_page() -> None:
    assert len(BLOCKS) >= 14


def test_pages_point_to_pages_that_are_there() -> None:
    pages = [*PAGES, ROOT / "CHANGELOG.md"]
    missing = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+\.md)[^):]*\)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not missing


def test_every_noun_has_its_page() -> None:
    rows = re.findall(
        r"^\| \*\*(.*?)\*\* \| .+ \| (.+) \|$",
        (ROOT / "docs" / "words.md").read_text("utf-8"),
        re.MULTILINE,
    )
    told = {noun for names, pages in rows for noun in [names, *names.split(", ")] if "](" in pages}
    assert [noun for noun in NOUNS if noun not in told] == []


def test_every_page_is_in_the_sites_navigation() -> None:
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    docs = ROOT / "docs"
    there = [path.relative_to(docs).as_posix() for path in docs.rglob("*.md")]
    assert {*there} - {*listed} == set()
    assert {*listed} - {*there} <= {"index.md", "index.ko.md", "changes.md", *COMING}


def test_every_row_of_the_comparison_has_its_sources() -> None:
    readme = (ROOT / "README.md").read_text("utf-8").partition("## Beside other trainers")[2]
    rows = [line for line in readme.partition("## ")[0].splitlines() if line.startswith("| ")]
    peers = (ROOT / "docs" / "peers.md").read_text("utf-8").splitlines()
    assert len([line for line in peers if line.startswith("| ")]) - 1 == len(rows) - 1 == 15


def test_the_pictures_are_small() -> None:
    for path in (ROOT / "docs" / "images").iterdir():
        assert path.stat().st_size < 200_000


def test_the_site_builds_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    # Whatever opens a socket ends the build.
    program = (
        "import socket, sys\n"
        "def refuse(*rest, **more): raise OSError('no network')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "from mkdocs.__main__ import cli\n"
        f"cli(['build', '--quiet', '--site-dir', {str(tmp_path / 'site')!r}])\n"
    )
    built = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path.name for path in (tmp_path / "site").glob("*.html")}
    assert {"index.html", "index.ko.html", "tutorial.html", "golden.html"} <= pages
    text = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert 'src="images/report.png"' in text
    assert 'lang="ko"' in (tmp_path / "site" / "index.ko.html").read_text("utf-8")[:300]
    assert 'href="recipes/golden-qwen2.5-7b.yaml"' in text


def test_the_sites_check_finds_what_comes_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "scripts" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    (tmp_path / "a.html").write_text('<a href="https://a.example">a</a><img src="b.png">', "utf-8")
    assert hook.faults(tmp_path) == []
    (tmp_path / "b.html").write_text('<script src="https://a.example/x.js">', "utf-8")
    (tmp_path / "c.css").write_text("@font-face{src:url(//a.example/f.woff)}", "utf-8")
    assert [fault.partition(":")[0] for fault in hook.faults(tmp_path)] == ["b.html", "c.css"]
    assert hook.turned("docs/plan.md", "README.md") == "plan.md"
    assert hook.turned("../recipes/a.yaml", "docs/plan.md") == "recipes/a.yaml"
    assert hook.turned("README.ko.md", "README.md") == "index.ko.md"
    assert hook.turned("https://a.example", "README.md") == "https://a.example"
