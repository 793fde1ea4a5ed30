"""What is free on this machine, and what it is fast at."""

from __future__ import annotations

import ctypes
import functools
import platform
import time
from pathlib import Path

_NO_LIMIT = 1 << 60


def host_memory() -> int:
    """Bytes that this process can still have: what the host can give, a container's limit included
    (8 GiB where neither says it), and what the process freed and keeps (`keep_freed_memory`)."""
    return min(_meminfo("MemAvailable"), cgroup_room()) + _kept()


def host_size() -> int:
    """Bytes of memory that the host has, or its container may take; 8 GiB where neither says it."""
    root = Path("/sys/fs/cgroup")
    limits = [_number(root / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([_meminfo("MemTotal"), *(limit for limit in limits if limit is not None)])


def _meminfo(name: str) -> int:
    """Bytes, as the kernel says it; 8 GiB where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        lines = []
    found = next((line for line in lines if line.startswith(f"{name}:")), None)
    return 8 << 30 if found is None else int(found.split()[1]) * 1024


def cgroup_room(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes until the container's memory limit, of both kinds of cgroup; 2^60 without one."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, now = _number(root / limit), _number(root / used)
        if most is not None and now is not None and most < _NO_LIMIT:
            return max(0, most - now)
    return _NO_LIMIT


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def free_memory() -> int:
    """Bytes free on the device, or in the host where there is no GPU; also what torch keeps there.
    """
    import torch

    if torch.cuda.is_available():
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + kept
    return host_memory()


def keep_freed_memory() -> bool:
    """Lets the C library keep large freed blocks for the next tensor instead of giving them back.

    A step on a CPU allocates and frees the same activations and logits again and again. glibc maps
    each from the system and the system fills it with zeros: 5% to 15% of a step of 135M parameters
    (docs/performance.md). Whether it was done: elsewhere than with glibc nothing happens.
    """
    if not _has_glibc():
        return False
    set_option = ctypes.CDLL(None).mallopt
    mmap_max, trim_threshold = -4, -1  # malloc.h
    never = -1  # 2 GiB, the largest number an option can have, is what one backward leaves free
    return bool(set_option(mmap_max, 0)) and bool(set_option(trim_threshold, never))


class _Heap(ctypes.Structure):
    """glibc's ``struct mallinfo2``; ``fordblks``: bytes that are free and not given back."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _kept() -> int:
    """Bytes that the process freed and the C library holds; 0 where it says nothing (musl, old)."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None) if _has_glibc() else None
    if ask is None:
        return 0
    ask.restype = _Heap
    return int(ask().fordblks)


def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


@functools.cache
def bf16_is_fast(device_type: str) -> bool:
    """Whether bf16 matrix products beat fp32's here; measured, as emulated bf16 is 20x slower."""
    import torch

    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    best = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    with torch.autocast("cpu", enabled=False):  # which would multiply both in bf16
        for _ in range(12):  # in turns: neighbours of the machine disturb both
            for dtype in best:
                a, b = torch.ones(64, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
                start = time.perf_counter()
                a @ b
                best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.bfloat16] < 0.7 * best[torch.float32]
