"""Model folders: where one lies, and a new one that appears whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from samdan.records import DataError, first_line

# Beside weights, config and index: tokenizer, chat template, how to generate, the licence.
KEPT = (
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "chat_template*", "generation_config.json", "spiece.model", "sentencepiece*", "LICENSE*",
    "NOTICE*",
)  # fmt: skip


def local_folder(path: str, revision: str | None = None) -> Path:
    """The folder of a model: itself, or the local copy of one on the Hub. Raises DataError.

    Weights in safetensors only, and no code.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or path.startswith("."):
        raise DataError(f"there is no folder {path}; expected a model folder, or a Hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            path, revision=revision, allow_patterns=["*.safetensors", "*.json", *KEPT]
        )
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise DataError(
            f"'{path}' is no folder here, and is not to be had from the Hub: "
            f"{first_line(error)}"
        ) from None
    return Path(found)


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``target`` at the end, replacing what was there.

    When the block raises, ``target`` stays as it was.
    """
    staging = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def copy_beside(source: Path, target: Path) -> None:
    """Everything of a model folder that is neither weights nor config.

    Raises DataError for a link that leads out of it: what lies there would go with the new model.
    """
    inside = _home(source)
    for pattern in KEPT:
        for file in sorted(source.glob(pattern)):
            if file.is_file() and file.suffix not in (".py", ".safetensors"):
                if not file.resolve().is_relative_to(inside):
                    raise DataError(
                        f"{file}: is a link that leads out of its folder; put the file itself there"
                    )
                shutil.copyfile(file, target / file.name)


def _home(folder: Path) -> Path:
    """Where a model's files may lie: the Hub's cache keeps them beside its snapshots."""
    found = folder.resolve()
    return found.parent.parent if found.parent.name == "snapshots" else found


def require_free(out: Path) -> None:
    """The folder that ``--out`` names is new or empty. Raises DataError."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise DataError(f"--out {out}: is there already, and no folder; give one that is not")
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"--out {out}: is not empty; give a folder that does not exist")
