"""An imported stage as a recipe with comments."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from samdan.importing.lists import Imported
from samdan.importing.tools import TOOLS


def recipe_text(found: Imported, tool: str, name: str) -> str:
    """YAML that `samdan check` can look at; what was not taken over stands below it."""
    whole: dict[str, Any] = {"samdan": 1, "name": name}
    if found.seed is not None:
        whole["seed"] = found.seed
    whole["base"] = found.base or {"path": "SET/THE-BASE"}
    whole["stages"] = [found.stage]
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = StringIO()
    yaml.dump(whole, out)
    return "\n".join([f"# From a configuration of {TOOLS[tool].title}.", out.getvalue().rstrip(),
                      "", *comments(found, tool), ""])  # fmt: skip


def comments(found: Imported, tool: str) -> Iterator[str]:
    """The three lists, and what stands for the other tool's defaults."""
    title = TOOLS[tool].title
    yield "# Taken over:"
    yield from (f"#   {theirs}  ->  {ours}" for theirs, ours in found.mapped.items())
    yield f"# Left to {title}'s defaults, and written out here (they change by version):"
    yield from (f"#   {line}" for line in found.defaults or ["nothing"])
    yield "# Without a counterpart:"
    yield from (f"#   {key}: {why}" for key, why in (found.without or {"nothing": "all of it was "
                "taken over"}).items())  # fmt: skip
    yield f"# What {title} does without saying so, and samdan does not:"
    yield from (f"#   {line}" for line in found.silent)
