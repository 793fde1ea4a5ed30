"""Recipe files: reading them, and where their paths lead. Imports no torch."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from samdan.lm.files import read_regular
from samdan.recipe import Recipe, parse, with_paths
from samdan.records import RecipeError

MAX_RECIPE = 10_000_000  # bytes
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")


def _on_errors(text: str) -> None:
    print(f"hint: {text}", file=sys.stderr)


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), hint: Callable[[str], None] = _on_errors
) -> Recipe:
    """Reads a recipe; relative paths in it are relative to its folder.

    ``overrides``: assignments such as ``stages.dpo.beta=0.05``. ``hint``: told of names that are
    other tools'. Raises RecipeError with file, line and column.
    """
    file = Path(path)
    try:
        text = _content(file).decode("utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file{_similar(file)}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read as a recipe: {error.strerror}") from None
    recipe = parse(text, str(path), overrides, hint)
    folder = file.resolve().parent
    try:
        return with_paths(recipe, lambda given, hub: resolve(given, folder, hub))
    except ValidationError as error:  # what was right in itself is wrong in this folder
        why = error.errors(include_url=False)[0]["msg"]
        marks = "a folder's name must hold none of * ? [" if set(str(folder)) & set("*?[") else ""
        raise RecipeError("; ".join(filter(None, (f"{path}: in {folder}: {why}", marks)))) from None


def _content(file: Path) -> bytes:
    """Through a pipe only where a shell made it: ``samdan check <(...)`` or ``/dev/stdin``."""
    if not file.is_relative_to("/dev"):
        return read_regular(file, MAX_RECIPE)
    with file.open("rb") as opened:
        content = opened.read(MAX_RECIPE + 1)
    if len(content) > MAX_RECIPE:
        raise OSError(errno.EFBIG, f"more than {MAX_RECIPE} bytes")
    return content


def resolve(path: str, folder: Path, could_be_hub: bool = False) -> str:
    """An absolute path; a name such as ``Qwen/Qwen2.5-7B`` that is no local folder stays as is."""
    local = Path(os.path.normpath(folder / Path(path).expanduser()))
    if could_be_hub and _HUB_ID.match(path) and not local.exists():
        return path
    return str(local)


def is_hub_id(path: str) -> bool:
    return bool(_HUB_ID.match(path)) and not Path(path).exists()


def _similar(file: Path) -> str:
    names = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
    close = difflib.get_close_matches(file.name, names, n=1)
    return f"; did you mean {file.parent / close[0]}?" if close else ""
