"""A checkpoint written beside training: the device goes on while the host writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from samdan.lm.machine import host_memory

Kinds = Mapping[str, Mapping[str, Tensor]]


class Writer:
    """One piece of work at a time in a thread of its own; an error of it is raised by ``wait``."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._failed: OSError | None = None

    def begin(self, work: Callable[[], object]) -> None:
        """Starts ``work`` when the last one has ended. Raises the last one's OSError."""
        self.wait()
        self._thread = threading.Thread(target=self._do, args=(work,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is being written. Raises the OSError with which it ended, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            self._failed = error


def held_in_host(kinds: Kinds) -> dict[str, dict[str, Tensor]] | None:
    """Copies that training does not change; None where the host has no room for them."""
    tensors = [tensor for kind in kinds.values() for tensor in kind.values()]
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if needed > 0.8 * host_memory():
        return None
    held = {
        kind: {name: torch.empty_like(t, device="cpu") for name, t in named.items()}
        for kind, named in kinds.items()
    }
    for kind, named in kinds.items():
        for name, tensor in named.items():
            held[kind][name].copy_(tensor)
    return held
