"""A task for the engine's tests, in a module that worker processes import quickly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samdan.records import DataError


def square(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Squares ``x``, and tells in a log that it was done."""
    (folder / "out.txt").write_text(str(task["x"] ** 2))
    with (Path(task["log"])).open("a") as log:
        log.write(f"{task['x']}\n")
    if task.get("bad"):
        raise DataError(f"{task['x']} is bad")
    if task.get("dies"):
        os._exit(9)
    return {"y": task["x"] ** 2}
