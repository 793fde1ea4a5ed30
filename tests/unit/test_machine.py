"""What is asked of the machine."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from samdan.lm.machine import keep_freed_memory

def steps():
    for _ in range(20):
        torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = steps()
print(steps() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_freed_memory_is_used_again_instead_of_being_mapped_anew() -> None:
    """Twenty tensors of 64 MB touch 330,000 pages; kept memory has most of them already."""
    found = {}
    for how in ("keep", "give back"):
        command = [sys.executable, "-c", FAULTS, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[how] = int(done.stdout)
    assert found["keep"] < 1000
    assert found["give back"] > 10 * max(1, found["keep"])
