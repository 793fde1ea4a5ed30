"""Checkpoints: directories that appear whole or not at all, and are verified before they are used.

Staging folder, every file flushed to disk, manifest with sizes and hashes last, then one rename.
Retention runs after that. Discovery reads the manifests, never a name or a time, takes the highest
step that verifies, and says which ones it passed over. Of a model that is split over processes,
each writes its own rows, and the main process does the rest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from samdan.lm.files import parse_json, read_regular, sha256_of
from samdan.train import parallel, pieces
from samdan.train.averaging import Averaging
from samdan.train.blocks import parameter_of
from samdan.train.optim import load_state_tensors, state_tensors
from samdan.train.sharding import is_sharded, local_part
from samdan.train.writer import Kinds, Writer, held_in_host

MODEL, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "manifest.json",
)
AVERAGE = "average"  # begins the names of an average's tensors, which lie with the optimizer's
MAX_MANIFEST = 10_000_000  # bytes; that of a thousand processes has 300 kB
Injected = Callable[[str, int], None]


@dataclass(frozen=True)
class Progress:
    """What training needs beside tensors to go on exactly as if it had never stopped."""

    step: int
    tokens: int
    chain: str  # hash over the samples seen
    identity: str  # of the train step: a checkpoint of another recipe is not this run's
    chosen: dict[str, Any]  # what the program chose by itself: precision, micro-batch size
    phase: int = 0  # of ``unfreeze``
    phase_began: int = 0  # steps done before it
    updates: int = 0  # that the average of the weights has seen


@dataclass(frozen=True)
class Beside:
    """What else a checkpoint holds, and which older ones stay beside the newest.

    The newest that is not behind step ``best``: a rule may want to go back to it. Those that an
    ``average`` will be made of; of a moving average the tensors are in the checkpoint.
    """

    best: int | None = None
    average: Averaging | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        found = self.average.tensors if self.average is not None else {}
        return {f"{AVERAGE}.{name}": tensor for name, tensor in found.items()}

    def keeps(self, found: Sequence[tuple[int, Path]], last: int) -> list[Path]:
        """Of checkpoints by step, those up to ``last`` that stay whatever their age."""
        before = [path for step, path in found if self.best is not None and step <= self.best]
        needed = self.average.needs if self.average is not None else frozenset()
        return before[-1:] + [path for step, path in found if step in needed and step <= last]


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    keep: int,
    injected: Injected = lambda where, step: None,
    beside: Beside = Beside(),
    writer: Writer | None = None,
) -> Path:
    """Writes ``folder/step-000123``, removes all but the newest ``keep`` and what ``beside`` keeps.

    All processes call it where the model is split, else one. An error of one is raised in all. With
    a ``writer``, a model that is not split is copied to the host and written there while training
    goes on; what goes wrong is raised by the writer.
    """
    parts = parallel.world_size() if is_sharded(model) else 1
    states = state_tensors(optimizer) | beside.tensors
    tensors: Kinds = {"model": trained_tensors(model), "optimizer": states}
    final = folder / f"step-{progress.step:06d}"
    write = partial(
        _write, final, parts=parts, progress=progress, keep=keep, injected=injected, beside=beside
    )
    if writer is not None and parts == 1:
        writer.wait()
        held = held_in_host(tensors)
        if held is not None:
            writer.begin(partial(write, held))
            return final
    write(tensors)
    return final


def _write(
    final: Path,
    tensors: Kinds,
    *,
    parts: int,
    progress: Progress,
    keep: int,
    injected: Injected,
    beside: Beside,
) -> None:
    """The folder, complete, and then what it makes superfluous gone."""
    folder = final.parent
    draft = f".{final.name}.{os.getpid()}.tmp"
    main = parts == 1 or parallel.is_main()
    staging = folder / (parallel.share(draft)[0] if parts > 1 else draft)
    try:
        _together(parts, lambda: _stage(folder, staging) if main else {})
        files = _together(
            parts, lambda: _write_tensors(staging, tensors, parts, progress.step, injected)
        )
        _together(
            parts,
            lambda: _complete(staging, final, tensors, files, progress, injected) if main else {},
        )
    except OSError:
        if main:
            shutil.rmtree(staging, ignore_errors=True)
        raise
    injected("saved", progress.step)
    if main:
        _keep_newest(folder, progress, keep, beside)


def _together(parts: int, work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What every process's ``work`` returns; the first OSError of any is raised in all of them."""
    if parts == 1:
        return dict(work())
    outcome: dict[str, Any] = {"made": {}, "error": None}
    try:
        outcome["made"] = work()
    except OSError as error:
        outcome["error"] = [error.errno, error.strerror or str(error)]
    made: dict[str, Any] = {}
    for text in parallel.share(json.dumps(outcome)):
        said = json.loads(text)
        if said["error"] is not None:
            raise OSError(*said["error"])
        made |= said["made"]
    return made


def _stage(folder: Path, staging: Path) -> dict[str, Any]:
    for old in folder.glob(".step-*.tmp"):
        shutil.rmtree(old)
    staging.mkdir(parents=True)
    return {}


def _write_tensors(
    staging: Path,
    tensors: Kinds,
    parts: int,
    step: int,
    injected: Injected,
) -> dict[str, Any]:
    """This process's files, and what they measure."""
    files = [pieces.write(staging, "model", tensors["model"], parts)]
    injected("saving", step)
    files.append(pieces.write(staging, "optimizer", tensors["optimizer"], parts))
    for name in files:
        _flush(staging / name)
    return {name: _measure(staging / name) for name in files}


def _complete(
    staging: Path,
    final: Path,
    tensors: Kinds,
    files: Mapping[str, Any],
    progress: Progress,
    injected: Injected,
) -> dict[str, Any]:
    """State, index and manifest; then the folder gets its name."""
    written = {STATE: json.dumps(progress.__dict__)}
    if parts := len(files) // len(tensors) if len(files) > len(tensors) else 0:
        written[pieces.INDEX] = json.dumps(pieces.index_of(tensors, parts))
    for name, text in written.items():
        (staging / name).write_text(text, "utf-8")
    listed = {**files, **{name: _measure(staging / name) for name in written}}
    manifest = {"step": progress.step, "identity": progress.identity, "files": listed}
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
    for name in (*written, MANIFEST):
        _flush(staging / name)
    injected("staged", progress.step)
    if final.exists():  # a damaged one: discovery passed it over
        shutil.rmtree(final)
    staging.rename(final)
    _flush(final.parent)
    return {}


def _keep_newest(folder: Path, progress: Progress, keep: int, beside: Beside) -> None:
    found = sorted(_candidates(folder, progress.identity))
    kept = [path for step, path in found if step <= progress.step][-keep:]
    kept += beside.keeps(found, progress.step)
    for _, path in found:  # a later one was passed over as damaged, or this would not be its past
        if path not in kept:
            shutil.rmtree(path)


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes; a tied one is listed once."""
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


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


def verified(folder: Path, identity: str, steps: Collection[int]) -> dict[int, Path]:
    """The checkpoints of a train step after ``steps``, of those that verify."""
    found = _candidates(folder, identity)
    return {step: path for step, path in found if step in steps and verify(path) is None}


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    manifest = _manifest(path)
    if manifest is None:
        return "its manifest cannot be read"
    listed = manifest.get("files", {})
    parts = sum(name.startswith("model-") for name in listed)
    needed = [*pieces.file_names(parts), pieces.INDEX] if parts else [MODEL, OPTIMIZER]
    for name in (*needed, STATE):
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


def read_progress(path: Path) -> Progress:
    """How far a verified checkpoint is."""
    return Progress(**json.loads((path / STATE).read_text("utf-8")))


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Averaging | None = None,
) -> Progress:
    """Puts a verified checkpoint's tensors into model and optimizer, whoever wrote them."""
    saved = pieces.Saved(path, "model")
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if saved.names != set(own):
        raise ValueError(f"{path}: holds other parameters than the model trains")
    states = pieces.Saved(path, "optimizer")
    with torch.no_grad():
        for name, parameter in own.items():
            local_part(parameter).copy_(saved.like(name, parameter))
        found = {full: _state(states, full, own) for full in states.names}
        averaged = {n.partition(".")[2]: found.pop(n) for n in list(found) if _is_average(n)}
        load_state_tensors(optimizer, found)
        progress = read_progress(path)
        if average is not None:
            average.load(averaged, progress.updates)
    return progress


def _is_average(name: str) -> bool:
    return name.startswith(f"{AVERAGE}.")


def _state(states: pieces.Saved, full: str, own: Mapping[str, nn.Parameter]) -> Tensor:
    """An optimizer's tensor, split as the parameter that it belongs to."""
    parameter = own[parameter_of(full.partition(".")[2])]
    value = states.like(full, parameter)
    if not isinstance(parameter, DTensor) or value.ndim != parameter.ndim:
        return value
    state = torch.zeros_like(parameter, dtype=value.dtype)
    local_part(state).copy_(value)
    return state


def of_others(folder: Path, identity: str) -> int:
    """How many checkpoints belong to other identities; 0 where this one has some of its own."""
    own = len(_candidates(folder, identity))
    return 0 if own else len(list(folder.glob("step-*")))


def _candidates(folder: Path, identity: str) -> list[tuple[int, Path]]:
    found = []
    for path in folder.glob("step-*"):
        manifest = _manifest(path)
        if manifest is not None and manifest.get("identity") == identity:
            found.append((int(manifest["step"]), path))
    return found


def _manifest(path: Path) -> dict[str, Any] | None:
    """What a checkpoint says that it holds; None where that cannot be read or makes no sense."""
    try:
        manifest = parse_json(read_regular(path / MANIFEST, MAX_MANIFEST))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or type(manifest.get("step")) is not int:
        return None
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(map(_is_measure, files.values())):
        return None
    return manifest


def _is_measure(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and type(entry.get("bytes")) is int
        and isinstance(entry.get("sha256"), str)
    )


def _measure(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": sha256_of(file)}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
