"""Why a model or a tokenizer cannot be loaded, and what to do: the libraries' words made useful."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from samdan.records import first_line

LFS: Final = b"version https://git-lfs"
POINTER: Final = "is a Git LFS pointer, not the file itself: `git lfs pull` in its folder brings it"
# A part of what transformers or the Hub says, to what is meant.
_MEANS: Final[Mapping[str, str]] = {
    "gated repo": "the Hub gives it only to those who accepted its terms: do so on its page there, "
    "make a token, and set HF_TOKEN",
    "401 Client Error": "the Hub wants a login: set HF_TOKEN",
    "couldn't connect": "there is no such folder here, and the Hub cannot be reached: check the "
    "name, or download the model where there is a network and name its folder",
    "offline mode": "there is no such folder here, and the Hub is not asked as HF_HUB_OFFLINE is "
    "set: check the name, or download the model and name its folder",
    "is not a valid model identifier": "neither a folder here nor a model of the Hub: check the "
    "name; private models need HF_TOKEN",
    "ignore_mismatched_sizes": "its weights have other shapes than its config.json says "
    "(vocab_size, hidden_size, ...): config and weights are not of one model",
    "does not recognize this architecture": "its model type is not known to the transformers that "
    "is installed: take a later one (pip install -U transformers), or another base",
}


def why(error: BaseException) -> str:
    """One line: the cause, and the next step where it is known."""
    said = str(error)
    known = next((meant for part, meant in _MEANS.items() if part in said), None)
    return known or first_line(error)[:500]


def is_pointer(file: Path) -> bool:
    """Whether the file is what Git LFS leaves where it was not asked for the content."""
    with file.open("rb") as opened:
        return opened.read(len(LFS)) == LFS
