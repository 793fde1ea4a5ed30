"""Which updates are left out because their loss or gradient is far outside the recent past."""

from __future__ import annotations

from collections.abc import Sequence

from samdan.records import Metrics
from samdan.rules.monitors import band, trained
from samdan.spec import Count, Positive, Spec


class SkipSpikes(Spec):
    """An update is skipped when loss and gradient norm both exceed mean + ``sigmas`` deviations.

    Mean and deviation are of the last ``window`` steps that were not skipped; the first half of a
    window is never judged. OLMo-core's SkipStepOptimizer (6 and 128) asks for one of the two, which
    skipped 1 in 400 ordinary updates of the demo (batches of one block); both, none of 11,000.
    The step counts as done, its records as seen, and ``metrics.jsonl`` says ``skipped``.
    """

    sigmas: Positive = 6.0
    window: Count = 128

    def __call__(self, history: Sequence[Metrics], loss: float, norm: float) -> bool:
        past = [r for r in trained(history) if not r.values.get("skipped")][-self.window :]
        if len(past) < max(2, self.window // 2):
            return False
        for name, value in (("loss", loss), ("grad_norm", norm)):
            center, spread = band([row.values[name] for row in past if name in row.values])
            if value <= center + self.sigmas * spread:
                return False
        return True
