"""Files that appear whole: whoever reads one meanwhile finds the old one or the new one.

And where what outlives a run is kept.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replaces a file as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file; a number that JSON cannot say is an error here, not for a reader."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


@contextmanager
def disk_errors() -> Iterator[None]:
    """What safetensors says about a disk becomes the OSError that it was.

    Its own error is no OSError, so a full disk would look like a bug. Any other is passed on.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found.group(1))
        raise OSError(number, os.strerror(number)) from None


def cache_folder() -> Path | None:
    """``SAMDAN_CACHE``, or ``~/.cache/samdan``; None where the variable is empty: keep nothing."""
    named = os.environ.get("SAMDAN_CACHE")
    if named is not None:
        return Path(named) if named else None
    return Path.home() / ".cache" / "samdan"
