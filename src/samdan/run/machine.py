"""What this machine is, without torch: processor, memory, disk, and whether there is an NVIDIA GPU.

Read from /proc and the disk; nothing here names the machine or its user.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Instructions for bf16 products; without one of them bf16 is emulated, and slower than fp32.
BF16_FLAGS = frozenset(["amx_bf16", "avx512_bf16"])


@dataclass(frozen=True)
class Processor:
    """``cores``: that this process may use; ``flags``: its instruction sets, by Linux's names."""

    name: str
    cores: int
    flags: frozenset[str]

    @property
    def has_bf16(self) -> bool:
        return bool(self.flags & BF16_FLAGS)


def processor(source: Path = Path("/proc/cpuinfo")) -> Processor:
    """The first processor of the list."""
    found: dict[str, str] = {}
    try:
        for line in source.read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    name = found.get("model name") or found.get("Model") or "unknown"
    flags = found.get("flags") or found.get("Features") or ""
    return Processor(name, len(os.sched_getaffinity(0)), frozenset(flags.split()))


def gpu_names(folder: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Names of the NVIDIA GPUs that the driver shows; empty without a driver."""
    names = []
    for file in sorted(folder.glob("*/information")):
        for line in file.read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                names.append(value.strip())
    return names


def free_disk(folder: Path) -> int:
    """Bytes free where ``folder`` is, or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def resident() -> tuple[int, int]:
    """Bytes of this process that lie in memory: now, and at most since ``forget_peak``."""
    found = {}
    for line in _lines(Path("/proc/self/status")):
        if line.startswith(("VmRSS:", "VmHWM:")):
            found[line.split(":")[0]] = int(line.split()[1]) * 1024
    now = found.get("VmRSS", 0)
    return now, found.get("VmHWM", now)


def forget_peak() -> bool:
    """Lets the highest mark begin anew; False where the system does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def installed(package: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError:
        return []
