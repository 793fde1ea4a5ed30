"""Content hashes of everything that a recipe reads: what the identities of steps begin with."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from samdan.data.sources import fingerprint
from samdan.evals.items import SETS
from samdan.lm.hashes import file_hash
from samdan.plan import MORPHEMES, locations
from samdan.recipe import Recipe, Source
from samdan.records import SamdanError
from samdan.tasks import BUILT_IN, Harness


def fingerprints(recipe: Recipe, unreadable: list[str] | None = None) -> dict[str, str]:
    """Content hashes of everything the recipe reads, by path.

    With a list ``unreadable``, what cannot be read is named there instead of being an error.
    """
    found: dict[str, str] = {}
    for stage, source in recipe.sources():
        key = source.path or f"hub:{source.hub}@{source.revision}"
        if key in found:
            continue
        if unreadable is not None and source.hub is not None:
            unreadable.append(
                f"stages.{stage.name}.data.{source.label}: {source.hub} is on the Hub"
            )
            continue
        try:
            found[key] = fingerprint(source)
        except SamdanError as error:
            where = f"stages.{stage.name}.data.{source.label}"
            if unreadable is None:
                raise type(error)(f"{where}: {error}") from None
            unreadable.append(f"{where}: {error}")
    folders = {task.path for task in recipe.evaluate if isinstance(task, Harness)}
    for path in locations(recipe):
        if path.startswith(BUILT_IN):
            found[path] = file_hash(SETS / f"{path.removeprefix(BUILT_IN)}.jsonl")
        elif path not in found and Path(path).is_file():
            found[path] = file_hash(Path(path))
        elif path not in found and Path(path).is_dir():
            found[path] = _folder_hash(Path(path), deep=path in folders)
        elif path not in found and set(path) & set("*?["):  # files of text that a selection reads
            found[path] = fingerprint(Source(path=path))
    return found | {MORPHEMES: _version_of("kiwipiepy")}


def _version_of(package: str) -> str:
    """Its version, or an empty string: a method may fall back to something else without it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _folder_hash(folder: Path, deep: bool = False) -> str:
    """Names and contents of the files of a model or tokenizer folder; ``deep``: and below it."""
    found = sorted(folder.rglob("*") if deep else folder.iterdir())
    parts = [f"{f.relative_to(folder)}:{file_hash(f)}" for f in found if f.is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
