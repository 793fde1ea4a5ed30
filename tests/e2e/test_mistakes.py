"""The most likely mistakes of a user: one short message with cause and next step, no traceback."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mistakes import ALL, Mistake, World, make, page
from samdan.cli import main

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 8
# What libraries say; a person did not ask for it.
NOISE = ("Traceback", "Warning", "pydantic", "  warnings.warn", "HTTPSConnectionPool")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and a base without a mistake. Not to be changed."""
    folder = tmp_path_factory.mktemp("good") / "world"
    folder.mkdir()
    make(folder)
    return folder


@pytest.fixture
def world(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    found = World(Path(shutil.copytree(good, tmp_path / "world")), monkeypatch)
    monkeypatch.chdir(found.folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    yield found
    for end in found.after:
        end()


def told(text: str) -> str:
    """The message alone: without the names of the steps that went before it."""
    starts = ("samdan: ", "wrong  ", "Usage: ")
    lines = text.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if line.startswith(starts)), 0)
    return "".join(lines[first:])


@pytest.mark.parametrize("mistake", ALL, ids=lambda one: one.title)
def test_a_mistake_gets_one_message_with_cause_and_next_step(
    mistake: Mistake, world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    words = mistake.words(world)
    capfd.readouterr()
    world.patch.setattr(sys, "argv", ["samdan", *words])
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    out, err = capfd.readouterr()
    text = out + err if mistake.calm else told(err)
    assert code == mistake.code, err
    at = 0
    for part in mistake.says:
        at = text.find(part, at)
        assert at >= 0, f"{part!r} is not said in: {text}"
    assert not [noise for noise in NOISE if noise in out + err]
    if not mistake.calm:
        assert len(text.splitlines()) <= MOST_LINES, text
        assert sum(line.startswith("samdan: ") for line in text.splitlines()) <= 1
        assert max(map(len, text.splitlines())) < 1000, "a wall of text"


def test_there_are_fifty_of_them_and_each_has_a_title_of_its_own() -> None:
    titles = [one.title for one in ALL]
    assert len(titles) >= 50
    assert len(set(titles)) == len(titles)


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "errors.md").read_text("utf-8")
    assert written == page(), "write it again: PYTHONPATH=tests python -m mistakes"
