"""Rules that look at the metrics while a stage trains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import ClassVar, Literal

from samdan.records import Metrics, Verdict
from samdan.responses import Rule
from samdan.spec import Count, NonNegative, Positive, Share

History = Sequence[Metrics]
Stops = Literal["always", "to_respond", "never"]
QUIET = "too few steps to judge"
_UNSTABLE = ("loss", "grad_norm")


class Watch(Rule):
    """A monitor.

    ``stops``: whether training stops when it fires: always; where a response is left to be tried,
    since the gates judge the outcome anyway; or never, since it only tells. ``needs_start``:
    held-out text is measured before the first step too.
    """

    stops: ClassVar[Stops] = "to_respond"
    needs_start: ClassVar[bool] = False

    def nearness(self, verdict: Verdict) -> float | None:
        """How far the value has come to the limit: 0 is calm, 1 fires; None: too early to judge."""
        if verdict.fired:
            return 1.0
        if verdict.message == QUIET or not math.isfinite(verdict.value):
            return None
        return _within(verdict.value / verdict.limit) if verdict.limit else 0.0


class NonFinite(Watch):
    """The loss or the gradient norm is not a number: the update is not applied, the run stops."""

    stops: ClassVar[Stops] = "always"
    kind: Literal["non_finite"] = "non_finite"

    def __call__(self, history: History) -> Verdict:
        last = history[-1].values
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(last.get(name, 0.0))]
        message = f"{', '.join(bad)} is not finite at step {history[-1].step}" if bad else "finite"
        return Verdict(self.kind, bool(bad), float(len(bad)), 0.0, message)


class LossSpike(Watch):
    """The loss leaves the band of its recent past and stays outside.

    A step is a spike when its loss exceeds mean + ``sigmas`` standard deviations of the ``window``
    losses before it (OLMo-core uses 6 and 128); ``patience`` spikes in a row stop the stage.
    """

    stops: ClassVar[Stops] = "always"
    kind: Literal["loss_spike"] = "loss_spike"
    sigmas: Positive = 6.0
    window: Count = 128
    patience: Count = 4

    def __call__(self, history: History) -> Verdict:
        rows = trained(history)[-self.window - self.patience :]
        losses = [row.values["loss"] for row in rows]
        recent, past = losses[-self.patience :], losses[: -self.patience]
        if len(past) < min(32, self.window):
            return Verdict(self.kind, False, 0.0, self.sigmas, QUIET)
        center, spread = band(past)
        value = min((loss - center) / spread for loss in recent)
        fired = value > self.sigmas
        message = (
            f"the last {self.patience} losses are all more than {self.sigmas} deviations above the "
            f"mean of the {len(past)} steps before"
            if fired
            else "no spike that lasts"
        )
        since = rows[-self.patience].step - 1
        return Verdict(self.kind, fired, value, self.sigmas, message, since=since)


def _of_one_phase(rows: History) -> History:
    """The rows since other parameters began to learn: gradient norms jump there."""
    phase = rows[-1].values.get("phase") if rows else None
    return [row for row in rows if row.values.get("phase") == phase]


class Unstable(Watch):
    """Too many steps lie far outside the band of their recent past: the curve is not stable.

    A step is an outlier when its loss or its gradient norm exceeds mean + ``sigmas`` deviations of
    the ``window`` steps before it (OLMo's spike score uses 7). Fires when outliers are more than
    ``share`` of the last ``over`` steps. Much more than the default cannot happen: a share p of
    equal outliers widens the band by its root, and 7 deviations are out of reach from p = 1/49 on.
    """

    stops: ClassVar[Stops] = "always"
    kind: Literal["unstable"] = "unstable"
    sigmas: Positive = 7.0
    window: Count = 64
    over: Count = 200
    share: Share = 0.01

    def __call__(self, history: History) -> Verdict:
        rows = _of_one_phase(trained(history)[-self.over - self.window :])
        if len(rows) < self.window + self.over // 2:
            return Verdict(self.kind, False, 0.0, self.share, QUIET)
        far = [self._far([row.values.get(name, 0.0) for row in rows]) for name in _UNSTABLE]
        outside = [row.step for row, *marks in zip(rows, *far, strict=True) if any(marks)]
        value = len(outside) / (len(rows) - self.window)
        message = (
            f"{len(outside)} of {len(rows) - self.window} steps are more than {self.sigmas} "
            f"deviations above the {self.window} before them"
        )
        since = outside[0] - 1 if outside else None
        return Verdict(self.kind, value > self.share, value, self.share, message, since=since)

    def _far(self, values: Sequence[float]) -> list[bool]:
        """Per value: is it above the band of the ``window`` before it? Running sums: O(n)."""
        sums, squares = [0.0], [0.0]
        for value in values:
            sums.append(sums[-1] + value)
            squares.append(squares[-1] + value * value)
        far = [False] * len(values)
        for end in range(self.window, len(values)):
            center = (sums[end] - sums[end - self.window]) / self.window
            second = (squares[end] - squares[end - self.window]) / self.window
            spread = max(math.sqrt(max(0.0, second - center**2)), 0.01 * abs(center), 1e-9)
            far[end] = values[end] > center + self.sigmas * spread
        return far


class Rebound(Watch):
    """Held-out text of the targets gets worse while the training loss still falls.

    Prechelt's generalisation loss: bits per byte over their best value so far, minus one; fires
    when it exceeds ``limit`` at ``patience`` measurements in a row. ``since`` is the best step.
    """

    kind: Literal["rebound"] = "rebound"
    limit: Positive = 0.02
    patience: Count = 2

    def __call__(self, history: History) -> Verdict:
        curve = [(row.step, row.values["target/bpb"]) for row in measured(history, "target/bpb")]
        if len(curve) <= self.patience:
            return Verdict(self.kind, False, 0.0, self.limit, QUIET)
        best_step, best = min(curve[: -self.patience], key=lambda point: point[1])
        value = min(later for _, later in curve[-self.patience :]) / best - 1
        falling = _falls(history, best_step)
        message = (
            f"held-out targets were at their best at step {best_step} ({best:.4g} bits per byte); "
            f"the last {self.patience} measurements are at least {value:+.1%} from that while the "
            f"training loss {'falls' if falling else 'does not fall'}"
        )
        fired = value > self.limit and falling and best_step > 0
        return Verdict(self.kind, fired, value, self.limit, message, since=best_step)


class Forgetting(Watch):
    """Held-out text of the replay sources is worse than before the stage, and stays so.

    Fires when ``patience`` measurements in a row are more than ``tolerance`` above the value before
    the first step. The first ``wait`` of the planned steps does not count. While the rate is high,
    ordinary runs lose up to 11% and have it back when it has decayed (the demo: +10%, +5%, -3%), so
    D-CPT's 1 to 3% is for the gate at the end; runs that went wrong lost 50% and more.
    """

    kind: Literal["forgetting"] = "forgetting"
    needs_start: ClassVar[bool] = True
    tolerance: NonNegative = 0.25
    patience: Count = 2
    wait: Share = 0.2

    def __call__(self, history: History) -> Verdict:
        rows = measured(history, "replay/bpb")
        if len(rows) <= self.patience or rows[0].step != 0:
            return Verdict(self.kind, False, 0.0, self.tolerance, QUIET)
        start = rows[0].values["replay/bpb"]
        late = [r for r in rows[-self.patience :] if r.values.get("progress", 1.0) >= self.wait]
        if len(late) < self.patience:
            return Verdict(self.kind, False, 0.0, self.tolerance, QUIET)
        value = min(row.values["replay/bpb"] for row in late) / start - 1
        message = (
            f"held-out replay text had {start:.4g} bits per byte before the stage; the last "
            f"{self.patience} measurements are at least {value:+.1%} from that"
        )
        return Verdict(self.kind, value > self.tolerance, value, self.tolerance, message)


def _window(history: History, window: int, name: str) -> list[Metrics]:
    """The last ``window`` steps, where every one of them has the metric; else none."""
    rows = [row for row in history[-window:] if name in row.values]
    return rows if len(rows) == window else []


class Displacing(Watch):
    """Chosen answers lose probability while the margin grows (likelihood displacement).

    Reads the mean change of the chosen answers' log-probability per token over the last ``window``
    steps (Razin et al. 2410.08847 saw -48 nats an answer where margins looked fine). The literature
    gives no limit per token; 0.3 is ours.
    """

    kind: Literal["displacing"] = "displacing"
    limit: Positive = 0.3
    window: Count = 50

    def __call__(self, history: History) -> Verdict:
        name = "chosen_logp_change_per_token"
        rows = _window(history, self.window, name)
        if not rows:
            return Verdict(self.kind, False, 0.0, -self.limit, QUIET)
        change = statistics.fmean(row.values[name] for row in rows)
        margin = statistics.fmean(row.values["rewards/margin"] for row in rows)
        message = (
            f"over the last {self.window} steps the chosen answers' log-probability is "
            f"{change:+.3f} a token from the reference's, with a margin of {margin:+.3f}"
        )
        return Verdict(
            self.kind, change < -self.limit and margin > 0, change, -self.limit, message
        )


class Diverging(Watch):
    """The model runs away from its reference in a DPO stage.

    Reads ``logp_shift_per_token``: how far the log-probability of the pairs' answers lies from the
    reference's, chosen and rejected, up or down, in nats a token; the mean of the last ``window``
    steps. That is no KL divergence, which is over the model's own answers (none are generated here)
    and of which it is neither a bound nor an estimate; it grows where that grows, since beta is all
    that holds either. Short answers move most a token: the demo's, of seven tokens, up to 2.0 in
    ordinary runs. The limit is ours, from ``experiments/rules.py``.
    """

    kind: Literal["diverging"] = "diverging"
    limit: Positive = 4.0
    window: Count = 20

    def __call__(self, history: History) -> Verdict:
        name = "logp_shift_per_token"
        rows = _window(history, self.window, name)
        if not rows:
            return Verdict(self.kind, False, 0.0, self.limit, QUIET)
        value = statistics.fmean(row.values[name] for row in rows)
        message = (
            f"over the last {self.window} steps the log-probability of the pairs' answers lies "
            f"{value:.3f} nats a token from the reference's, {self.limit:.3g} allowed"
        )
        return Verdict(self.kind, value > self.limit, value, self.limit, message)


class Slow(Watch):
    """The last ``window`` steps ran at less than ``share`` of the median speed before them.

    Nothing is changed by it: it is written down and told.
    """

    kind: Literal["slow"] = "slow"
    stops: ClassVar[Stops] = "never"
    share: Share = 0.33
    window: Count = 30

    def __call__(self, history: History) -> Verdict:
        speeds = [r.values["tokens_per_second"] for r in history if "tokens_per_second" in r.values]
        recent, past = speeds[-self.window :], speeds[: -self.window]
        if len(past) < 2 * self.window:
            return Verdict(self.kind, False, 1.0, self.share, QUIET, response="none")
        value = statistics.median(recent) / max(statistics.median(past), 1e-9)
        message = (
            f"the last {self.window} steps ran at {value:.0%} of the speed before "
            f"({statistics.median(recent):,.0f} tokens/s)"
        )
        return Verdict(
            self.kind, value < self.share, value, self.share, message, response="none"
        )

    def nearness(self, verdict: Verdict) -> float | None:
        """Full speed is calm; the limit lies below it."""
        near = super().nearness(verdict)
        if near is None or verdict.fired:
            return near
        return _within((1 - verdict.value) / max(1 - verdict.limit, 1e-9))


def _within(share: float) -> float:
    return max(0.0, min(1.0, share))


def trained(history: History) -> list[Metrics]:
    """The rows of optimizer steps; a measurement before the first step is none."""
    return [row for row in history if "loss" in row.values]


def measured(history: History, name: str) -> list[Metrics]:
    return [row for row in history if name in row.values]


def band(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation, with a floor: on a nearly flat curve, 6 sigma would be noise."""
    center = statistics.fmean(values)
    variance = math.fsum((value - center) ** 2 for value in values) / len(values)
    return center, max(math.sqrt(variance), 0.01 * abs(center), 1e-9)


def _falls(history: History, since: int) -> bool:
    """Whether the mean loss of the last fifth of the steps since is below that of the first."""
    losses = [row.values["loss"] for row in trained(history) if row.step > since]
    part = max(1, len(losses) // 5)
    return len(losses) > 1 and statistics.fmean(losses[-part:]) < statistics.fmean(losses[:part])
