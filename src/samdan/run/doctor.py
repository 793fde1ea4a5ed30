"""`samdan doctor`: what this machine has, and what that means for training on it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdan.budget import GIB, KNOWN_SHAPES, ways_that_fit
from samdan.lm.files import cache_folder
from samdan.lm.machine import host_memory
from samdan.recipe import SftStage, Source
from samdan.run import machine

# Package to what it is for, and the extra that brings it.
EXTRAS = {
    "datasets": ("data sets of the Hugging Face Hub", "hub"),
    "lxml": ("web pages and office documents", "documents"),
    "pypdfium2": ("PDF files", "documents"),
    "hwpx": ("HWPX files", "documents"),
    "bitsandbytes": ("QLoRA and 8-bit optimizer states", "quant"),
    "kiwipiepy": ("morphemes, for selection and cleaning of Korean", "corpus"),
    "starlette": ("the page of `samdan judge`", "judge"),
    "lm_eval": ("tasks of lm-evaluation-harness", "harness"),
    "sacrebleu": ("chrF", "metrics"),
    "datatrove": ("preparation on Ray or Slurm", "cluster"),
}
NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy")
LITTLE_DISK = 50e9


@dataclass(frozen=True)
class Line:
    """A fact, and what it means. ``level``: ok, note, or wrong where something has to be done."""

    level: str
    name: str
    found: str
    means: str = ""


def examine(folder: Path) -> list[Line]:
    """Looks at the machine; ``folder`` is where runs will lie. Reads no network."""
    return [
        *_versions(),
        *_processor(),
        *_gpus(),
        *_memory(),
        *_disk(folder),
        *_network(),
        *_extras(),
    ]


def _versions() -> Iterator[Line]:
    python = sys.version.split()[0]
    right = (3, 11) <= sys.version_info[:2] <= (3, 13)
    level = "ok" if right else "wrong"
    yield Line(level, "Python", python, "" if right else "samdan needs 3.11 to 3.13")
    for package in ("samdan", *NEEDED):
        found = machine.installed(package)
        yield Line(
            "ok" if found else "wrong", package, found or "not installed",
            "" if found else "pip install samdan",
        )  # fmt: skip


def _processor() -> Iterator[Line]:
    found = machine.processor()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    fewer = asked.isdigit() and int(asked) < found.cores
    means = f"OMP_NUM_THREADS={asked}: training uses that many of them" if fewer else ""
    yield Line("note" if fewer else "ok", "processor", f"{found.name}, {found.cores} cores", means)
    from samdan.lm.machine import bf16_is_fast

    fast = bf16_is_fast("cpu")
    yield Line(
        "ok", "bf16 on the processor", "fast" if fast else "slower than fp32 (measured)",
        f"`precision: auto` computes in {'bf16' if fast else 'fp32'} without a GPU",
    )  # fmt: skip


def _gpus() -> Iterator[Line]:
    import torch

    named = machine.gpu_names()
    if not torch.cuda.is_available():
        if named:
            build = torch.version.cuda
            why = "this torch is built without CUDA" if build is None else f"built for CUDA {build}"
            yield Line(
                "wrong", "GPU", f"{', '.join(named)}, and torch sees none",
                f"{why}; install a torch that fits the driver",
            )  # fmt: skip
        else:
            yield Line(
                "note", "GPU", "none",
                "training runs on the processor: models to about 0.5B parameters are practical",
            )  # fmt: skip
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        means = "bf16" if bf16 else "no bf16: fp32, about half as fast as it could be"
        size = f"{about.total_memory / GIB:.1f} GiB"
        yield Line("ok" if bf16 else "note", f"GPU {number}", f"{about.name}, {size}", means)
    if torch.cuda.device_count() > 1:
        count = torch.cuda.device_count()
        yield Line(
            "ok", "several GPUs", str(count),
            f"torchrun --nproc-per-node {count} -m samdan.cli run recipe.yaml (docs/scale.md)",
        )  # fmt: skip


def _memory() -> Iterator[Line]:
    import torch

    host = float(host_memory())
    yield Line("ok", "memory free", f"{host / GIB:.1f} GiB")
    device = float(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else host
    stage = SftStage(data=(Source(path="."),))  # type: ignore[call-arg]
    for name, shape in KNOWN_SHAPES.items():
        ways = ways_that_fit(shape, stage, device)
        yield Line("ok", f"  {name}", ways[0] if ways else "does not fit")


def _disk(folder: Path) -> Iterator[Line]:
    free = float(machine.free_disk(folder))
    little = free < LITTLE_DISK
    yield Line(
        "note" if little else "ok", "disk free", f"{free / 1e9:.0f} GB",
        "a checkpoint takes 12 bytes a parameter, and up to four are kept" if little else "",
    )  # fmt: skip
    cache = cache_folder()
    if cache is None:
        yield Line("note", "cache", "off (SAMDAN_CACHE is empty)", "nothing outlives a run")
    else:
        yield Line("ok", "cache", f"{machine.free_disk(cache) / 1e9:.0f} GB free", "SAMDAN_CACHE")
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).total < 1e9:
        means = "several GPUs need more: --shm-size of a container"
        yield Line("note", "shared memory", "below 1 GB", means)


def _network() -> Iterator[Line]:
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    found = "off (HF_HUB_OFFLINE)" if offline else "read when a recipe names a model or data set"
    yield Line("ok", "Hugging Face Hub", found, "samdan itself sends nothing")


def _extras() -> Iterator[Line]:
    for package, (purpose, extra) in EXTRAS.items():
        found = machine.installed(_distribution(package))
        how = "" if found else f"pip install 'samdan[{extra}]'"
        yield Line("ok" if found else "note", purpose, found or "not installed", how)


def _distribution(package: str) -> str:
    return {"hwpx": "python-hwpx", "lm_eval": "lm-eval"}.get(package, package)


def as_json(lines: list[Line]) -> list[dict[str, Any]]:
    return [line.__dict__ for line in lines]


def as_text(lines: list[Line]) -> Iterator[str]:
    """Aligned, a fact a line; what is wrong says what to do."""
    wide = max(len(line.name) for line in lines)
    for line in lines:
        means = f"  ({line.means})" if line.means else ""
        yield f"{line.level:5}  {line.name:{wide}}  {line.found}{means}"
