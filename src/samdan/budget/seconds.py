"""Seconds of a stage: from rates that were measured on a machine, or from a card's peak.

FLOPs follow the usual count (a multiplication and an addition for every parameter and token
forward, twice that backward); attention is causal, the head works on predicted tokens only.
"""

from __future__ import annotations

from dataclasses import dataclass

from samdan.budget.devices import Device
from samdan.budget.shapes import Shape
from samdan.budget.tokens import Amounts
from samdan.stages import DpoStage, Stage

# Share of a card's dense bf16 peak that training reaches. Published: 12 to 24% for trainers on
# transformers' models, 40 to 47% for tuned ones of 1 to 8 billion parameters on an H100
# (docs/plan.md). samdan has not been measured on a card, so a plan from the table is a range.
LOW, HIGH = 0.2, 0.45


@dataclass(frozen=True)
class Rates:
    """Seconds that were measured. A token's: outside the layers, and in one layer.

    ``forward_*``: without a backward. ``update_*``: of an optimizer step, clipping included, for
    what is outside the layers and for one layer. ``process``: bytes of memory before the model.
    """

    root: float
    layer: float
    forward_root: float
    forward_layer: float
    update_root: float
    update_layer: float
    process: float = 0.0

    def token(self, layers: int) -> float:
        return self.root + layers * self.layer

    def forward(self, layers: int) -> float:
        return self.forward_root + layers * self.forward_layer

    def update(self, layers: int) -> float:
        return self.update_root + layers * self.update_layer


@dataclass(frozen=True)
class Seconds:
    """Of a stage by part: the training itself, held-out text in it, a reference pass before it."""

    train: float
    measuring: float = 0.0
    reference: float = 0.0

    @property
    def total(self) -> float:
        return self.train + self.measuring + self.reference

    def times(self, factor: float) -> Seconds:
        return Seconds(self.train * factor, self.measuring * factor, self.reference * factor)


def seconds_of(
    rates: Rates, shape: Shape, stage: Stage, amounts: Amounts, steps: int, processes: int = 1
) -> Seconds:
    """From measured rates. Several processes share the tokens; what they say to each other is not
    counted."""
    layers = shape.num_hidden_layers
    train = amounts.tokens / processes * rates.token(layers) + steps * rates.update(layers)
    return Seconds(
        train,
        measured_tokens(stage, amounts, steps) / processes * rates.forward(layers),
        _referred(stage, amounts) / processes * rates.forward(layers),
    )


def range_on(
    device: Device, shape: Shape, stage: Stage, amounts: Amounts, steps: int, processes: int = 1
) -> tuple[Seconds, Seconds]:
    """Fewest and most seconds on a card of the table: at HIGH and LOW of its peak."""
    peak = device.tflops * 1e12
    forward = forward_flops(shape, amounts.length, amounts.predicted)
    at_peak = Seconds(
        amounts.tokens / processes * train_flops(shape, stage, amounts) / peak,
        measured_tokens(stage, amounts, steps) / processes * forward / peak,
        _referred(stage, amounts) / processes * forward / peak,
    )
    return at_peak.times(1 / HIGH), at_peak.times(1 / LOW)


def forward_flops(shape: Shape, length: float, predicted: float) -> float:
    """FLOPs of a token forward; ``length``: of the record that it can see, on average half."""
    matrices = 2.0 * shape.num_hidden_layers * shape.layer_parameters
    attention = 2.0 * shape.num_hidden_layers * shape.query_width * length
    return matrices + attention + 2.0 * shape.hidden_size * shape.vocab_size * predicted


def train_flops(shape: Shape, stage: Stage, amounts: Amounts) -> float:
    """FLOPs of a token forward and backward, adapters and recomputed layers included."""
    forward = forward_flops(shape, amounts.length, amounts.predicted)
    layers = forward_flops(shape, amounts.length, 0.0)
    again = layers if stage.gradient_checkpointing else 0.0
    if stage.lora is None:
        return 3 * forward + again
    frozen = 2.0 * shape.num_hidden_layers * shape.layer_parameters
    head = 2.0 * shape.hidden_size * shape.vocab_size * amounts.predicted
    return 3 * forward - frozen - head + again  # frozen matrices have no gradient of their own


def measured_tokens(stage: Stage, amounts: Amounts, steps: int) -> float:
    """Held-out tokens that are looked at while the stage trains."""
    if isinstance(stage, DpoStage):
        return 0.0
    times = (steps - 1) // stage.eval_steps + any(rule.needs_start for rule in stage.rules)
    once = 0.0
    for row in amounts.sources.values():
        if row.records:
            most = min(row.records * stage.heldout.share, stage.heldout.max_records)
            once += most * row.held / row.records
    return times * once


def _referred(stage: Stage, amounts: Amounts) -> float:
    """Tokens of the frozen parent's pass over the pairs: each pair once."""
    if not isinstance(stage, DpoStage):
        return 0.0
    repeated = sum(row.repeated for row in amounts.sources.values())
    return float(amounts.tokens - repeated)
