"""Monitors and gates: a rule is a spec that can be called and returns a ``Verdict``.

A monitor reads the history of metrics while a stage trains; a gate reads the comparisons made after
it. To add one: write a class with a ``kind``, documented limits and ``__call__``, and name it in
``Monitor`` or ``Gate``. Rules see only values that are reduced over all ranks, so that every rank
reaches the same verdict.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from samdan.preferences.gate import Preferred
from samdan.records import Comparison, Metrics, Verdict
from samdan.spec import Count, NonNegative, Number, Positive, Spec


class NonFinite(Spec):
    """The loss or the gradient norm is not a number: the update is not applied, the run stops."""

    kind: Literal["non_finite"] = "non_finite"

    def __call__(self, history: Sequence[Metrics]) -> Verdict:
        last = history[-1].values
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(last.get(name, 0.0))]
        message = f"{', '.join(bad)} is not finite at step {history[-1].step}" if bad else "finite"
        return Verdict(self.kind, bool(bad), float(len(bad)), 0.0, message)


class LossSpike(Spec):
    """The loss leaves the band of its recent past and stays outside.

    A step is a spike when its loss exceeds mean + ``sigmas`` standard deviations of the ``window``
    losses before it (OLMo-core uses 6 and 128); ``patience`` spikes in a row stop the stage.
    """

    kind: Literal["loss_spike"] = "loss_spike"
    sigmas: Positive = 6.0
    window: Count = 128
    patience: Count = 4

    def __call__(self, history: Sequence[Metrics]) -> Verdict:
        losses = [metrics.values["loss"] for metrics in history[-self.window - self.patience :]]
        recent, past = losses[-self.patience :], losses[: -self.patience]
        if len(past) < min(32, self.window):
            return Verdict(self.kind, False, 0.0, self.sigmas, "too few steps to judge")
        # A floor under the deviation: on a nearly flat curve, 6 sigma would be noise.
        center = statistics.fmean(past)
        spread = max(statistics.pstdev(past), 0.01 * abs(center), 1e-9)
        value = min((loss - center) / spread for loss in recent)
        fired = value > self.sigmas
        message = (
            f"the last {self.patience} losses are all more than {self.sigmas} deviations above the "
            f"mean of the {len(past)} steps before"
            if fired
            else "no spike that lasts"
        )
        return Verdict(self.kind, fired, value, self.sigmas, message)


class Improved(Spec):
    """The metric is better than before the stage; the change's 95% interval excludes zero."""

    kind: Literal["improved"] = "improved"
    metric: str
    """Name as in report.json, for example ``handbook/bpb``."""

    def __call__(self, results: Mapping[str, Comparison]) -> Verdict:
        found = results.get(self.metric)
        name = f"improved({self.metric})"
        if found is None:
            return _absent(name, self.metric, results)
        gain = _signed(found, found.after - found.before)
        worst = min(_signed(found, bound) for bound in found.vs_before_ci)
        fired = not worst > 0
        message = (
            f"{self.metric} went from {found.before:.4g} to {found.after:.4g}; "
            f"the gain is {gain:.4g} and at worst {worst:.4g}"
        )
        return Verdict(name, fired, worst, 0.0, message)


class Retained(Spec):
    """The metric has not become worse than the base's by more than a tolerance.

    Fires when the relative loss exceeds ``tolerance`` and the 95% interval of the change excludes
    zero (D-CPT's convention is a tolerance of 1 to 3%).
    """

    kind: Literal["retained"] = "retained"
    metric: str
    tolerance: NonNegative = 0.03
    against: Literal["base", "before"] = "base"

    def __call__(self, results: Mapping[str, Comparison]) -> Verdict:
        found = results.get(self.metric)
        name = f"retained({self.metric})"
        if found is None:
            return _absent(name, self.metric, results)
        reference = found.base if self.against == "base" else found.before
        interval = found.vs_base_ci if self.against == "base" else found.vs_before_ci
        lost = -_signed(found, found.after - reference) / abs(reference) if reference else 0.0
        # Written so that a NaN fires: a broken model has retained nothing.
        certain = not max(_signed(found, bound) for bound in interval) >= 0
        message = (
            f"{self.metric} went from {reference:.4g} ({self.against}) to {found.after:.4g}: "
            f"{lost:+.1%} worse, {self.tolerance:.1%} allowed"
        )
        return Verdict(name, not lost <= self.tolerance and certain, lost, self.tolerance, message)


class AtLeast(Spec):
    """The metric reaches a value; the lower end of its 95% interval is not asked to."""

    kind: Literal["at_least"] = "at_least"
    metric: str
    value: Number

    def __call__(self, results: Mapping[str, Comparison]) -> Verdict:
        return _against(self.kind, self.metric, self.value, results, sign=1)


class AtMost(Spec):
    """The metric stays below a value."""

    kind: Literal["at_most"] = "at_most"
    metric: str
    value: Number

    def __call__(self, results: Mapping[str, Comparison]) -> Verdict:
        return _against(self.kind, self.metric, self.value, results, sign=-1)


def _against(
    kind: str, metric: str, limit: float, results: Mapping[str, Comparison], sign: int
) -> Verdict:
    name = f"{kind}({metric})"
    found = results.get(metric)
    if found is None:
        return _absent(name, metric, results)
    low, high = found.after_ci
    message = (
        f"{metric} is {found.after:.4g} (95% interval {low:.4g} to {high:.4g}), limit {limit:.4g}"
    )
    return Verdict(name, not sign * (found.after - limit) >= 0, found.after, limit, message)


def _signed(found: Comparison, change: float) -> float:
    """The change with gains positive."""
    return change if found.higher_is_better else -change


def _absent(name: str, metric: str, results: Mapping[str, Comparison]) -> Verdict:
    """A gate on a metric that was not measured stops: silence would look like success."""
    message = f"{metric} was not measured; measured: {', '.join(sorted(results)) or 'nothing'}"
    return Verdict(name, True, float("nan"), float("nan"), message)


Monitor = Annotated[NonFinite | LossSpike, Field(discriminator="kind")]
Gate = Annotated[Improved | Retained | AtLeast | AtMost | Preferred, Field(discriminator="kind")]
