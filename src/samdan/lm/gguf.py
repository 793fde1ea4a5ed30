"""GGUF by llama.cpp's own converter, where it is there: a program of theirs, in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from samdan.records import DataError, EnvironmentFailure
from samdan.redaction import secrets_of

CONVERTER: Final = "convert_hf_to_gguf.py"
VARIABLE: Final = "LLAMA_CPP"
TYPES: Final = ("auto", "f32", "f16", "bf16", "q8_0")
OF_DTYPE: Final[Mapping[str, str]] = {"F32": "f32", "BF16": "bf16", "F16": "f16"}
_LIMIT: Final = 6 * 3600.0  # seconds; a 70B model takes an hour on a slow disk


def converter_of(folder: Path | None, environment: Mapping[str, str]) -> Path:
    """llama.cpp's converter, in ``folder`` or where the variable says; or EnvironmentFailure."""
    named = folder or (Path(environment[VARIABLE]) if environment.get(VARIABLE) else None)
    if named is None:
        raise EnvironmentFailure(
            f"--gguf needs llama.cpp's {CONVERTER}: clone github.com/ggml-org/llama.cpp and give "
            f"its folder by --llama-cpp or {VARIABLE}"
        )
    script = named if named.name == CONVERTER else named / CONVERTER
    if not script.is_file():
        raise EnvironmentFailure(
            f"--llama-cpp {named}: there is no {CONVERTER} in it; expected a checkout of llama.cpp"
        )
    return script.resolve()


def convert(script: Path, folder: Path, target: Path, kind: str) -> None:
    """Writes ``target``. Raises DataError with the converter's own reason where it refuses.

    It gets no secret of the environment, and no network.
    """
    hidden = set(secrets_of(os.environ))
    kept = {name: value for name, value in os.environ.items() if value not in hidden}
    command = [sys.executable, str(script), str(folder), "--outfile", str(target)]
    try:
        done = subprocess.run(
            [*command, "--outtype", kind],
            env=kept | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_LIMIT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DataError(f"--gguf: the converter did not end in {_LIMIT:.0f} seconds") from None
    if done.returncode or not target.is_file():
        target.unlink(missing_ok=True)
        raise DataError(f"--gguf: llama.cpp's converter: {reason(done.stderr, done.stdout)}")


def reason(stderr: str, stdout: str = "") -> str:
    """The line that says why, and what it means where that is known."""
    text = f"{stdout}\n{stderr}"
    if "BPE pre-tokenizer was not recognized" in text:
        return (
            "it does not know this tokenizer (it recognises one by the hash of a text's token ids, "
            "which new tokens or merges change); see docs/export.md"
        )
    if "No module named" in text:
        name = text.rpartition("No module named")[2].strip().splitlines()[0].strip("'\" ")
        return f"it needs {name}: pip install {name} into this environment"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it ended without a file and without a word"
