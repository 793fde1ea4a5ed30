"""What is asked of the machine."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from samdan.lm import machine
from samdan.lm.machine import bf16_is_fast

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


KEPT = """
import torch
from samdan.lm.machine import host_memory, keep_freed_memory, _kept

assert keep_freed_memory()
large = torch.empty(5 << 29, dtype=torch.uint8)  # 2.5 GiB, never written into
held = _kept()
del large
print(_kept() - held)
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc before 2.33")
def test_what_a_large_backward_frees_is_kept_and_counts_as_free() -> None:
    """A limit of 2 GiB, the largest number of its kind, gave it back: 585,000 page faults a step
    of 0.5B parameters."""
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 2 << 30


def test_what_the_process_keeps_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_kept", lambda: 1 << 50)
    assert machine.host_memory() > 1 << 50


def test_autocast_does_not_change_how_fast_bf16_is_found_to_be() -> None:
    """It multiplies both matrices in bf16, which are then as fast: the answer was a coin's."""
    kinds = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function is torch.ops.aten.mm.default:
                kinds.append(args[0].dtype)
            return function(*args, **(kwargs or {}))

    with torch.autocast("cpu", torch.bfloat16), Watching():
        bf16_is_fast.__wrapped__("cpu")
    assert set(kinds) == {torch.float32, torch.bfloat16}
