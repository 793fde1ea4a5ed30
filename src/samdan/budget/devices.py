"""GPUs that a plan can be made for without having one: memory, and dense bf16 peak.

From the makers' data sheets; the peak is of dense products that add in fp32, without sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass

from samdan.records import RecipeError


@dataclass(frozen=True)
class Device:
    """``memory``: GiB that a program can use; ``tflops``: dense bf16, 1e12 FLOPs a second."""

    title: str
    memory: float
    tflops: float


DEVICES = {
    "rtx3090": Device("NVIDIA GeForce RTX 3090 24 GB", 23.5, 71.0),
    "rtx4090": Device("NVIDIA GeForce RTX 4090 24 GB", 23.5, 165.2),
    "a6000": Device("NVIDIA RTX A6000 48 GB", 47.5, 154.8),
    "l4": Device("NVIDIA L4 24 GB", 22.0, 121.0),
    "l40s": Device("NVIDIA L40S 48 GB", 44.5, 362.0),
    "a100-40": Device("NVIDIA A100 40 GB", 39.4, 312.0),
    "a100": Device("NVIDIA A100 80 GB", 79.2, 312.0),
    "h100": Device("NVIDIA H100 SXM 80 GB", 79.2, 989.0),
    "h200": Device("NVIDIA H200 141 GB", 139.8, 989.0),
    "b200": Device("NVIDIA B200 180 GB", 178.0, 2250.0),
}


def device_named(name: str) -> Device:
    """The device of the table. Raises RecipeError, which lists the names."""
    key = name.lower().replace("_", "-").removeprefix("nvidia-")
    if key not in DEVICES:
        raise RecipeError(
            f"--device: found '{name}', expected 'here' or one of: {', '.join(DEVICES)}"
        )
    return DEVICES[key]
