"""This machine's own peak: matrix products, nothing else."""

from __future__ import annotations

import time

import torch

# Squares, and a projection as models have them. The best of all is the peak.
SIZES = ((1024, 1024, 1024), (2048, 2048, 2048), (1024, 1024, 4096))
SECONDS = 0.4  # for each size


def matmul_peak(dtype: torch.dtype, seconds: float = SECONDS) -> float:
    """FLOP/s of the best product of two matrices, all threads: 2 * m * k * n for each."""
    best = 0.0
    for m, k, n in SIZES:
        a, b = torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype)
        out = torch.empty(m, n, dtype=dtype)
        torch.mm(a, b, out=out)
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            torch.mm(a, b, out=out)
            best = max(best, 2.0 * m * k * n / (time.perf_counter() - started))
    return best
