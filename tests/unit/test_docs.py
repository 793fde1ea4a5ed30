"""What the pages on preparation, the recipe and evaluation show is a recipe that is accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from samdan.recipe import parse

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in (
        "prepare.md", "recipe.md", "evaluation.md", "depth.md", "stability.md", "vocabulary.md",
        "code-and-length.md",
    )
    for number, block in enumerate(BLOCK.findall((DOCS / page).read_text("utf-8")), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_recipe_of_the_page_is_accepted(block: str) -> None:
    assert parse(block, "the page").stages


def test_there_are_recipes_on_every_page() -> None:
    assert len(BLOCKS) >= 3


def test_pages_point_to_pages_that_are_there() -> None:
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CHANGELOG.md"]
    missing = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+\.md)[^):]*\)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not missing
