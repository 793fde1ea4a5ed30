"""Rows of a data set on the Hugging Face Hub, from one commit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

from samdan.data.readers.file import Row
from samdan.recipe import Source
from samdan.records import DataError, EnvironmentFailure, Origin


@contextmanager
def _hub(asked: str, library: str) -> Iterator[Any]:
    try:
        module, errors = import_module(library), import_module("huggingface_hub.errors")
    except ImportError as error:
        raise EnvironmentFailure(f"{asked}: needs the extra samdan[hub]: {error}") from None
    missing = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, FileNotFoundError)
    try:
        yield module
    except (*missing, ValueError) as error:
        raise DataError(f"{asked}: not found, not readable or no access: {error}") from error
    except (errors.HTTPError, OSError) as error:
        needs = "'hub' needs samdan[hub] and a network; without one, give 'path'"
        raise EnvironmentFailure(f"{asked}: cannot be read: {error}; {needs}") from error


@lru_cache
def commit_of(name: str, revision: str | None) -> str:
    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    with _hub(f"hub: {name}, revision: {revision or 'main'}", "huggingface_hub") as library:
        return str(library.HfApi().dataset_info(name, revision=revision).sha)


def hub_rows(source: Source, commit: str) -> Iterator[Row]:
    name, split = source.hub or "", source.split
    with _hub(f"hub: {name}, split: {split}", "datasets") as library:
        # Versions before 4 run code that comes with the data; offline, streaming reads no cache.
        if int(library.__version__.split(".")[0]) < 4:
            raise OSError(f"datasets {library.__version__} is older than 4")
        stream = not library.config.HF_HUB_OFFLINE
        rows = library.load_dataset(
            name, source.subset, split=split, revision=commit, streaming=stream
        )
        for number, values in enumerate(rows, 1):
            yield Row(values, Origin(f"{name}@{commit}:{split}", number))
