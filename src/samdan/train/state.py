"""Checkpoints: directories that appear whole or not at all, and are verified before they are used.

Staging folder, every file flushed to disk, manifest with sizes and hashes last, then one rename.
Retention runs after that. Discovery reads the manifests, never a name or a time, takes the highest
step that verifies, and says which ones it passed over.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from samdan.train.optim import load_state_tensors, state_tensors

MODEL, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "manifest.json",
)


@dataclass(frozen=True)
class Progress:
    """What training needs beside tensors to go on exactly as if it had never stopped."""

    step: int
    tokens: int
    chain: str  # hash over the samples seen
    identity: str  # of the train step: a checkpoint of another recipe is not this run's
    chosen: dict[str, Any]  # what the program chose by itself: precision, micro-batch size


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    keep: int,
    injected: Callable[[str, int], None] = lambda where, step: None,
    best: int | None = None,
) -> Path:
    """Writes ``folder/step-000123`` and removes all but the newest ``keep``.

    The newest that is not behind step ``best`` stays too: a rule may want to go back to it.
    """
    final = folder / f"step-{progress.step:06d}"
    staging = folder / f".{final.name}.{os.getpid()}.tmp"
    for old in folder.glob(".step-*.tmp"):
        shutil.rmtree(old)
    staging.mkdir(parents=True)
    try:
        save_file(trained_tensors(model), staging / MODEL)
        injected("saving", progress.step)
        save_file(
            {k: v.contiguous() for k, v in state_tensors(optimizer).items()}, staging / OPTIMIZER
        )
        (staging / STATE).write_text(json.dumps(progress.__dict__), "utf-8")
        files = {name: _measure(staging / name) for name in (MODEL, OPTIMIZER, STATE)}
        manifest = {"step": progress.step, "identity": progress.identity, "files": files}
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
        for name in (*files, MANIFEST):
            _flush(staging / name)
        injected("staged", progress.step)
        if final.exists():  # a damaged one: discovery passed it over
            shutil.rmtree(final)
        staging.rename(final)
        _flush(folder)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    injected("saved", progress.step)
    found = sorted(_candidates(folder, progress.identity))
    kept = [path for step, path in found if step <= progress.step][-keep:]
    kept += [path for step, path in found if best is not None and step <= best][-1:]
    for _, path in found:  # a later one was passed over as damaged, or this would not be its past
        if path not in kept:
            shutil.rmtree(path)
    return final


def require_room(folder: Path) -> None:
    """Raises OSError before a checkpoint is begun for which the disk has no room.

    As large as the last one is assumed, and a tenth more.
    """
    sizes = [sum(file.stat().st_size for file in path.iterdir()) for path in folder.glob("step-*")]
    if not sizes:
        return
    needed, free = int(1.1 * max(sizes)), shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free on its disk"
        )


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes; a tied one is listed once."""
    return {n: p.detach().contiguous() for n, p in model.named_parameters() if p.requires_grad}


def latest_checkpoint(folder: Path, identity: str) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and why newer ones were passed over."""
    problems = [
        f"{path.name}: its manifest cannot be read"
        for path in sorted(folder.glob("step-*"), reverse=True)
        if _manifest(path) is None
    ]
    for _, path in sorted(_candidates(folder, identity), reverse=True):
        problem = verify(path)
        if problem is None:
            return path, problems
        problems.append(f"{path.name}: {problem}")
    return None, problems


def checkpoint_at(folder: Path, last: int) -> Path | None:
    """The newest checkpoint that verifies and is not behind step ``last``."""
    found = [(manifest["step"], path) for path in folder.glob("step-*")
             if (manifest := _manifest(path)) and manifest["step"] <= last]  # fmt: skip
    return next((path for _, path in sorted(found, reverse=True) if verify(path) is None), None)


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    manifest = _manifest(path)
    if manifest is None:
        return "its manifest cannot be read"
    listed = manifest.get("files", {})
    for name in (MODEL, OPTIMIZER, STATE):
        file, expected = path / name, listed.get(name)
        if expected is None:
            return f"its manifest does not list {name}"
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != expected["bytes"]:
            return f"{name} has {file.stat().st_size} bytes, not {expected['bytes']}"
        if _measure(file)["sha256"] != expected["sha256"]:
            return f"{name} has changed since it was written (sha256 differs)"
    return None


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Puts a verified checkpoint's tensors into model and optimizer."""
    saved = load_file(path / MODEL)
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if set(saved) != set(own):
        raise ValueError(f"{path}: holds other parameters than the model trains")
    with torch.no_grad():
        for name, tensor in saved.items():
            own[name].copy_(tensor)
    load_state_tensors(optimizer, load_file(path / OPTIMIZER))
    return Progress(**json.loads((path / STATE).read_text("utf-8")))


def _candidates(folder: Path, identity: str) -> list[tuple[int, Path]]:
    found = []
    for path in folder.glob("step-*"):
        manifest = _manifest(path)
        if manifest is not None and manifest.get("identity") == identity:
            found.append((int(manifest["step"]), path))
    return found


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return (
        manifest if isinstance(manifest, dict) and isinstance(manifest.get("step"), int) else None
    )


def _measure(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
