"""What is free on this machine."""

from __future__ import annotations

from pathlib import Path


def host_memory() -> int:
    """Bytes that the host can still give; 8 GiB where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 8 << 30
    found = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return 8 << 30 if found is None else int(found.split()[1]) * 1024


def free_memory() -> int:
    """Bytes free on the device, or in the host where there is no GPU."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return host_memory()
