"""How calm a loss curve is: the share of its points far above the points before them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

SIGMAS, WINDOW, FEWEST = 3.0, 64, 32


def share_beyond(
    losses: Sequence[float | None], sigmas: float = SIGMAS, window: int = WINDOW
) -> float | None:
    """The share of steps whose loss exceeds mean + ``sigmas`` deviations of the ``window`` before.

    A loss that is not finite counts as beyond, and is left out of the means. None for curves of
    fewer than 33 steps. Of normal noise without a trend, 0.1 to 0.3% lie beyond three deviations.
    """
    recent: deque[float] = deque(maxlen=window)
    total = squares = 0.0
    judged = beyond = seen = 0
    for loss in losses:
        finite = loss is not None and math.isfinite(loss)
        if len(recent) >= FEWEST:
            center = total / len(recent)
            spread = math.sqrt(max(0.0, squares / len(recent) - center**2))
            # The floor of the monitor loss_spike: on a flat curve, noise would be a spike.
            limit = center + sigmas * max(spread, 0.01 * abs(center))
            judged += 1
            beyond += not finite or (loss is not None and loss > limit)
        if finite and loss is not None:
            old = recent[0] if len(recent) == window else 0.0
            recent.append(loss)
            seen += 1
            total, squares = total + loss - old, squares + loss * loss - old * old
            if seen % window == 0 or abs(old) > 100 * abs(loss):  # gone is what rounding added up
                total = math.fsum(recent)
                squares = math.fsum(one * one for one in recent)
    return beyond / judged if judged else None
