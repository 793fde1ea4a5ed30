"""The most memory that training took: of the device, or of this process in the host."""

from __future__ import annotations

import torch

from samdan.run.machine import forget_peak, resident


class Peak:
    """Begins when it is made. On CUDA the caching allocator's reserve and what else is taken."""

    def __init__(self) -> None:
        self._begun = True
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            self._begun = forget_peak()

    def bytes(self) -> int | None:
        """None where the system does not let the highest mark begin anew."""
        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            beside = total - free - torch.cuda.memory_reserved()
            return int(torch.cuda.max_memory_reserved() + max(0, beside))
        return resident()[1] if self._begun else None
