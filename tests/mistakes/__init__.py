"""The most likely mistakes: what samdan says to each, and what to do; docs/errors.md is made of it.

``PYTHONPATH=tests python -m mistakes`` writes the page again. To add one, add it to its table.
"""

from __future__ import annotations

from .data import MISTAKES as DATA
from .models import MISTAKES as MODELS
from .recipes import MISTAKES as RECIPES
from .running import MISTAKES as RUNNING
from .world import Mistake, World, make

TABLES = {
    "The recipe": RECIPES,
    "Data": DATA,
    "The base": MODELS,
    "Commands, runs and the machine": RUNNING,
}
ALL: tuple[Mistake, ...] = tuple(one for table in TABLES.values() for one in table)

__all__ = ["ALL", "TABLES", "Mistake", "World", "make", "page"]

HEAD = """# When something goes wrong

The most likely mistakes, what samdan says to each, and what to do. Every row is a test
(`tests/e2e/test_mistakes.py`), and this page is written from the same table
(`PYTHONPATH=tests python -m mistakes`). `...` stands for what differs: paths, lines, numbers.

Exit codes: 0 done (a remark only), 1 wrong input, 2 wrong usage, 3 a gate stopped the run, 4 the
machine (no disk, no memory, no library, no network). One message goes to the standard error, with
the file, the key and the next step. `samdan check` finds most of these before anything is trained;
`samdan plan` tells what looks wrong with a good recipe.

Out of memory in a training step is no error at first: samdan halves the micro-batch at the same
effective batch, says so, and remembers it.
"""


def page() -> str:
    """docs/errors.md."""
    parts = [HEAD]
    for title, table in TABLES.items():
        parts += [f"## {title}\n", "| mistake | samdan says | what to do | exit |"]
        parts.append("|---|---|---|---|")
        for one in table:
            said = " ... ".join(one.says).replace("|", "\\|").replace("`", "'")
            parts.append(f"| {one.title} | `{said}` | {one.do} | {one.code} |")
        parts.append("")
    return "\n".join(parts)
