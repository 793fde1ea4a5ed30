"""Which schedule the evidence suggests for a budget of tokens: said by the plan, never applied.

The table and its sources: docs/schedules.md. Peaks are given relative to the peak at which the base
was trained, since that is what the studies vary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from samdan.recipe import CptStage
from samdan.schedule import warmup_length

BILLION: Final = 1e9
# Llama 2 (2307.09288) and Code Llama (2308.12950): 3e-4 up to 13B, 1.5e-4 from 34B on.
PEAK: Final = 3e-4
PEAK_OF_LARGE: Final = 1.5e-4
LARGE: Final = 20e9  # parameters; between the two published sizes
LORA: Final = 10.0  # LoRA Without Regret: adapters learn at about ten times the full rate


@dataclass(frozen=True, slots=True)
class Row:
    """Up to so many tokens: the peak as a share of the base's own, from and to."""

    tokens: float
    low: float
    high: float
    words: str
    source: str


TABLE: Final = (
    Row(5 * BILLION, 1 / 30, 1 / 10, "below 5B", "TiC-LM 2504.02107, ChipNeMo 2311.00176"),
    Row(50 * BILLION, 1 / 10, 1 / 3, "5B to 50B", "summaries of published runs"),
    Row(100 * BILLION, 1 / 3, 1 / 2, "50B to 100B", "between its neighbours; no study of its own"),
    Row(float("inf"), 1 / 2, 1.0, "above 100B", "Code Llama 2308.12950, Ibrahim 2403.08763"),
)


def row_of(tokens: float) -> Row:
    """The row of the table for a stage that sees so many tokens."""
    return next(row for row in TABLE if tokens < row.tokens)


def original_peak(parameters: int | None, known: float | None = None) -> tuple[float, bool]:
    """The peak rate that the base was trained at, and whether it is known or assumed."""
    if known is not None:
        return known, True
    return (PEAK_OF_LARGE if (parameters or 0) > LARGE else PEAK), False


def advise(
    stage: CptStage, tokens: int, steps: int, parameters: int | None, known: float | None = None
) -> list[str]:
    """Sentences on peak, warm-up and course of a CPT stage, each with what the stage has now.

    ``tokens`` and ``steps``: of the whole stage. ``known``: the peak of the base's own training,
    where this run trained it; else it is assumed from the number of ``parameters``.
    """
    peak, is_known = original_peak(parameters, known)
    return [_peak(stage, tokens, peak, is_known), _warmup(stage, steps), *_course(stage, steps)]


def _peak(stage: CptStage, tokens: int, peak: float, is_known: bool) -> str:
    row = row_of(tokens)
    adapters = LORA if stage.lora is not None else 1.0
    low, high = (share * peak * adapters for share in (row.low, row.high))
    rate = stage.learning_rate
    # Rates are written with one digit: 1e-5 is not below a thirtieth of 3.1e-4.
    found = "below" if rate < 0.95 * low else "above" if rate > 1.05 * high else "within"
    what = "base's own peak" if is_known else "base's own peak, taken to be"
    ten = ", times ten for adapters" if stage.lora is not None else ""
    effect = {
        "below": "; less is learned, and less forgotten",
        "above": "; more is learned, and more forgotten: watch the replay sources",
        "within": "",
    }[found]
    return (
        f"peak {_rate(low)} to {_rate(high)} for {row.words} tokens ({_share(row.low)} to "
        f"{_share(row.high)} of the {what} {_rate(peak)}{ten}); learning_rate {_rate(rate)} is "
        f"{found}{effect} [{row.source}]"
    )


def _warmup(stage: CptStage, steps: int) -> str:
    real = warmup_length(stage, steps)
    if stage.adapts_to == "domain":
        return (
            f"warm-up: none where the shift is weak and the peak is about where the base's rate "
            f"ended, else 1 to 2% of the steps; warmup_steps comes to {real} of {steps:,} "
            f"({real / steps:.1%}) [Reuse, Don't Retrain 2407.07263]"
        )
    return (
        f"warm-up 1 to 2% of the steps, and its length hardly matters; warmup_steps comes to "
        f"{real} of {steps:,} ({real / steps:.1%}) [Ibrahim 2403.08763]"
    )


def _course(stage: CptStage, steps: int) -> list[str]:
    kind = stage.lr_scheduler_type
    if kind == "wsd":
        fits = 0.1 <= stage.decay_share <= 0.2
        return [
            f"wsd suits data that will go on: decay over 10 to 20% of the run "
            f"(decay_share {stage.decay_share:g} is {'within' if fits else 'outside'}), the best "
            f"data in the decay ('anneal'), the next update from the checkpoint before it"
        ]
    floor = f"min_lr_ratio {stage.min_lr_ratio:g}"
    if kind == "constant":
        return [
            "constant: only at a very low rate (ChipNeMo: 5e-6); else cosine to a tenth, or wsd "
            "where the data will go on"
        ]
    return [
        f"{kind} to a tenth of the peak ({floor}) for data that are read once; wsd with a decay of "
        f"10 to 20% where more will come"
    ]


def _rate(value: float) -> str:
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _share(value: float) -> str:
    return "1" if value == 1 else f"1/{round(1 / value)}"
