"""Rules that look at what was measured after a stage, beside its parent and the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from samdan.records import Comparison, Interval, Verdict
from samdan.responses import Rule
from samdan.spec import NonNegative, Number, Positive, Share

Results = Mapping[str, Comparison]


class OnMetric(Rule):
    """A gate on one metric."""

    metric: str
    """``<source or task>/<metric>`` as in report.json, for example ``handbook/bpb``."""

    @property
    def measures(self) -> tuple[str, ...]:
        return (self.metric,)

    def __call__(self, results: Results) -> Verdict:
        """Stops on a metric that was not measured: silence would look like success."""
        name = f"{getattr(self, 'kind', '')}({self.metric})"
        found = results.get(self.metric)
        return _absent(name, self.metric, results) if found is None else self.judged(name, found)

    def judged(self, name: str, found: Comparison) -> Verdict:
        """The verdict on the metric's comparison."""
        raise NotImplementedError


class Improved(OnMetric):
    """The metric is better than before the stage; the change's 95% interval excludes zero."""

    kind: Literal["improved"] = "improved"

    def judged(self, name: str, found: Comparison) -> Verdict:
        gain = _signed(found, found.after - found.before)
        worst = min(_signed(found, bound) for bound in found.vs_before_ci)
        fired = not worst > 0
        message = (
            f"{self.metric} went from {found.before:.4g} to {found.after:.4g}; "
            f"the gain is {gain:.4g} and at worst {worst:.4g}"
        )
        if found.n < 2:
            message += (
                f". {found.n} item has no interval, so no gain is certain: raise 'heldout.share' "
                f"of the stage, or measure on more"
            )
        return Verdict(name, fired, worst, 0.0, message)


class Retained(OnMetric):
    """The metric has not become worse than the base's by more than a tolerance.

    Fires when the relative loss exceeds ``tolerance`` and the 95% interval of the change excludes
    zero (D-CPT's convention is a tolerance of 1 to 3%).
    """

    kind: Literal["retained"] = "retained"
    tolerance: NonNegative = 0.03
    against: Literal["base", "before"] = "base"

    def judged(self, name: str, found: Comparison) -> Verdict:
        reference, interval = _reference(found, self.against)
        lost = -_signed(found, found.after - reference) / abs(reference) if reference else 0.0
        # Written so that a NaN fires: a broken model has retained nothing.
        certain = not max(_signed(found, bound) for bound in interval) >= 0
        message = (
            f"{self.metric} went from {reference:.4g} ({self.against}) to {found.after:.4g}: "
            f"{lost:+.1%} worse, {self.tolerance:.1%} allowed"
        )
        return Verdict(name, not lost <= self.tolerance and certain, lost, self.tolerance, message)


class AtLeast(OnMetric):
    """The metric reaches a value; the lower end of its 95% interval is not asked to."""

    kind: Literal["at_least"] = "at_least"
    value: Number

    def judged(self, name: str, found: Comparison) -> Verdict:
        return _against(name, self.metric, self.value, found, sign=1)


class AtMost(OnMetric):
    """The metric stays below a value."""

    kind: Literal["at_most"] = "at_most"
    value: Number

    def judged(self, name: str, found: Comparison) -> Verdict:
        return _against(name, self.metric, self.value, found, sign=-1)


class Drifted(OnMetric):
    """Generated answers changed their form: the metric's ratio to ``against`` leaves a band.

    For lengths, repetition, the share of Hangul, answers that stop by themselves or keep a format.
    Fires when the ratio is above ``at_most`` or below ``at_least`` and the 95% interval of the
    change excludes zero (lengths after DPO: SimPO's table calls 1.3 normal; 1.6 is too much).
    """

    kind: Literal["drifted"] = "drifted"
    at_most: Positive = 1.6
    at_least: NonNegative = 0.6
    against: Literal["base", "before"] = "before"

    def judged(self, name: str, found: Comparison) -> Verdict:
        reference, (low, high) = _reference(found, self.against)
        ratio = found.after / reference if reference else float("inf" if found.after else "nan")
        inside = self.at_least <= ratio <= self.at_most or (ratio != ratio and not found.after)
        limit = self.at_least if ratio < self.at_least else self.at_most
        message = (
            f"{self.metric} went from {reference:.4g} ({self.against}) to {found.after:.4g}, "
            f"{ratio:.2f} times; {self.at_least:.2g} to {self.at_most:.2g} allowed"
        )
        fired = not inside and not low <= 0 <= high
        return Verdict(name, fired, ratio, limit, message, about=(self.metric,))


class Unbalanced(Rule):
    """One task rises while others fall.

    Fires when at least one of ``metrics`` improved with certainty and at least one lost more than
    ``tolerance`` of its value before the stage with certainty. ``about`` names those that fell.
    """

    kind: Literal["unbalanced"] = "unbalanced"
    metrics: tuple[str, ...]
    tolerance: NonNegative = 0.05

    @property
    def measures(self) -> tuple[str, ...]:
        return self.metrics

    def __call__(self, results: Results) -> Verdict:
        absent = [metric for metric in self.metrics if metric not in results]
        if absent:
            return _absent(self.kind, absent[0], results)
        rows = [results[metric] for metric in self.metrics]
        losses = [
            -_signed(row, row.after - row.before) / abs(row.before) if row.before else 0.0
            for row in rows
        ]
        bounds = [[_signed(row, bound) for bound in row.vs_before_ci] for row in rows]
        risen = [r.name for r, bound in zip(rows, bounds, strict=True) if min(bound) > 0]
        fallen = [
            row.name
            for row, loss, bound in zip(rows, losses, bounds, strict=True)
            if loss > self.tolerance and max(bound) < 0
        ]
        message = (
            f"risen: {', '.join(risen) or 'none'}; fallen by more than {self.tolerance:.0%}: "
            f"{', '.join(fallen) or 'none'}"
        )
        fired = bool(risen and fallen)
        worst = max(losses, default=0.0)
        return Verdict(self.kind, fired, worst, self.tolerance, message, about=tuple(fallen))


class Refusing(OnMetric):
    """Harmless prompts are refused more often than before the stage.

    Fires when the share grew by more than ``more`` with certainty, or when the lower end of its
    95% interval exceeds ``at_most``. String matching counts refusals with errors of up to 11 points
    against people, so only the change is trusted below that (XSTest's answers, measured again).
    """

    kind: Literal["refusing"] = "refusing"
    more: Share = 0.06
    at_most: Share = 0.2

    def judged(self, name: str, found: Comparison) -> Verdict:
        grown = found.after - found.before
        fired = (grown > self.more and min(found.vs_before_ci) > 0) or (
            min(found.after_ci) > self.at_most
        )
        message = (
            f"{self.metric} went from {found.before:.1%} to {found.after:.1%} "
            f"({self.more:.0%} more allowed, or {self.at_most:.0%} in all)"
        )
        return Verdict(name, fired, grown, self.more, message, about=(self.metric,))


class Displaced(OnMetric):
    """Held-out chosen answers lost probability: more than ``limit`` nats a token, with certainty.

    Margin and accuracy can look fine meanwhile (Razin et al. 2410.08847).
    """

    kind: Literal["displaced"] = "displaced"
    metric: str
    """``<source>/chosen_logp_change``."""
    limit: Positive = 0.3

    def judged(self, name: str, found: Comparison) -> Verdict:
        message = (
            f"{self.metric}: the chosen answers' log-probability changed by {found.after:+.3f} a "
            f"token, {-self.limit:+.2f} allowed"
        )
        fired = not found.after >= -self.limit and not max(found.after_ci) >= 0
        return Verdict(name, fired, found.after, -self.limit, message, about=(self.metric,))


def _against(name: str, metric: str, limit: float, found: Comparison, sign: int) -> Verdict:
    low, high = found.after_ci
    message = (
        f"{metric} is {found.after:.4g} (95% interval {low:.4g} to {high:.4g}), limit {limit:.4g}"
    )
    return Verdict(name, not sign * (found.after - limit) >= 0, found.after, limit, message)


def _reference(
    found: Comparison, against: Literal["base", "before"]
) -> tuple[float, Interval]:
    """The value that is compared with, and the interval of the change from it."""
    if against == "base":
        return found.base, found.vs_base_ci
    return found.before, found.vs_before_ci


def _signed(found: Comparison, change: float) -> float:
    """The change with gains positive."""
    return change if found.higher_is_better else -change


def _absent(name: str, metric: str, results: Results) -> Verdict:
    message = f"{metric} was not measured; measured: {', '.join(sorted(results)) or 'nothing'}"
    return Verdict(name, True, float("nan"), float("nan"), message)
