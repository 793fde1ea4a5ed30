"""Depth: which layers a deeper model is made of, and what is known about training it.

A way of growing is a spec; its layout says for every new position which old layer is put there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, model_validator

from samdan.records import RecipeError
from samdan.spec import Count, Share, Spec, Whole

# Solar Pro's published configuration, of 64 layers (bskcn_1 to bskcn_4): what stands before the
# first layer is mixed into what stands before the second one.
PUBLISHED_SKIPS = ((12, 16), (20, 24), (20, 28), (32, 36), (32, 40), (44, 48))
PUBLISHED_LAYERS = 64


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the grown model.

    ``new``: its old layer stands in the model once already. ``silent``: what it adds to the
    residual stream begins at zero.
    """

    source: int
    new: bool = False
    silent: bool = False


class Solar(Spec):
    """Depth up-scaling: two copies, one without its last layers, one without its first.

    n layers become 2(n - m). Kim et al. 2312.15166: 32 layers, m = 8, 48 layers.
    """

    kind: Literal["solar"]
    drop: Count | None = None
    """m, what each copy loses; a quarter of the layers when absent, as published."""


class SolarPro(Spec):
    """Depth up-scaling with blends over the seams, as in Solar Pro's published model code.

    Where [a, b] is listed, the input of layer b becomes share * (input of layer a) + (1 - share) *
    (its own). 40 layers, m = 8, 64 layers. The model needs samdan's code to run.
    """

    kind: Literal["solar_pro"]
    drop: Count | None = None
    """m, what each copy loses; a fifth of the layers when absent, as published."""
    skips: tuple[tuple[Whole, Whole], ...] | None = None
    """[from, to] of the blends; those of Solar Pro's 64 layers when absent."""
    training_share: Share = 0.9
    """How much of the earlier state a blend takes while the model trains."""
    inference_share: Share = 0.8
    """The same while it is used."""

    @model_validator(mode="after")
    def _forward(self) -> SolarPro:
        for start, end in self.skips or ():
            if start >= end:
                raise ValueError(f"skips: [{start}, {end}] does not lead to a later layer")
        return self


class LlamaPro(Spec):
    """Block expansion: copies that add nothing at first stand behind every group of layers.

    Wu et al. 2401.02415: the output projections of a copy are zero, so that the grown model
    computes what the old one did; only the copies are trained.
    """

    kind: Literal["llama_pro"]
    blocks: Count
    """Copies in all; the layers must split into as many groups (7B of 32 layers: 8)."""


class Passthrough(Spec):
    """Any list of slices of the model's layers, one after the other."""

    kind: Literal["passthrough"]
    slices: tuple[tuple[Whole, Count], ...]
    """[first, end] of each slice; the layer ``end`` is not in it."""

    @model_validator(mode="after")
    def _not_empty(self) -> Passthrough:
        if not self.slices:
            raise ValueError("slices: expected at least one [first, end]")
        for first, end in self.slices:
            if first >= end:
                raise ValueError(f"slices: [{first}, {end}] holds no layer")
        return self


Depth = Annotated[Solar | SolarPro | LlamaPro | Passthrough, Discriminator("kind")]
WHERE = "base.grow.depth"


def layout(spec: Depth, layers: int) -> tuple[Layer, ...]:
    """The layers of the grown model of one with ``layers`` layers.

    Raises RecipeError where the spec does not fit so many layers.
    """
    if isinstance(spec, LlamaPro):
        return _expanded(spec, layers)
    if isinstance(spec, Passthrough):
        for first, end in spec.slices:
            if end > layers:
                raise RecipeError(
                    f"{WHERE}.slices: [{first}, {end}] ends behind the model, which has {layers} "
                    f"layers (the last is {layers - 1})"
                )
        return _once([i for first, end in spec.slices for i in range(first, end)])
    drop = dropped(spec, layers)
    if not 2 * drop < layers:
        raise RecipeError(
            f"{WHERE}.drop: {drop} of {layers} layers leave {2 * (layers - drop)}, which is not "
            f"deeper; expected less than {layers / 2:g}"
        )
    return _once([*range(layers - drop), *range(drop, layers)])


def dropped(spec: Solar | SolarPro, layers: int) -> int:
    """m of depth up-scaling."""
    return spec.drop or max(1, layers // (4 if isinstance(spec, Solar) else 5))


def skips_of(spec: Depth, layers: int) -> tuple[tuple[int, int], ...]:
    """The blends of a grown model of ``layers`` layers; none but for ``solar_pro``.

    Raises RecipeError where the published ones do not fit and the recipe names none.
    """
    if not isinstance(spec, SolarPro):
        return ()
    if spec.skips is None:
        if layers != PUBLISHED_LAYERS:
            raise RecipeError(
                f"{WHERE}.skips: the published blends are those of {PUBLISHED_LAYERS} layers, and "
                f"this model will have {layers}; give them, for example {_scaled(layers)}"
            )
        return PUBLISHED_SKIPS
    for start, end in spec.skips:
        if end >= layers:
            raise RecipeError(
                f"{WHERE}.skips: [{start}, {end}] leads to a layer that the grown model does not "
                f"have; it has {layers} (the last is {layers - 1})"
            )
    return spec.skips


def _scaled(layers: int) -> list[list[int]]:
    pairs = [
        [a * layers // PUBLISHED_LAYERS, b * layers // PUBLISHED_LAYERS]
        for a, b in PUBLISHED_SKIPS
    ]
    return [pair for pair in pairs if pair[0] < pair[1]]


def _once(sources: Sequence[int]) -> tuple[Layer, ...]:
    return tuple(Layer(i, new=i in sources[:place]) for place, i in enumerate(sources))


def _expanded(spec: LlamaPro, layers: int) -> tuple[Layer, ...]:
    if layers % spec.blocks:
        fitting = ", ".join(str(n) for n in range(1, layers + 1) if layers % n == 0)
        raise RecipeError(
            f"{WHERE}.blocks: {layers} layers do not split into {spec.blocks} equal groups; "
            f"expected one of {fitting}"
        )
    group = layers // spec.blocks
    found: list[Layer] = []
    for index in range(layers):
        found.append(Layer(index))
        if (index + 1) % group == 0:
            found.append(Layer(index, new=True, silent=True))
    return tuple(found)


def budget_remark(spec: Depth, parameters: int, tokens: int) -> str | None:
    """What is known of so small a budget; None where a published one is not larger.

    ``parameters``: of the grown model; ``tokens``: of all its CPT stages. Kanana (2502.18934):
    200B tokens for 9.8B parameters and the same for 32.5B. LLaMA Pro with EEVE's stages on
    Mistral-7B: 10B tokens for a model of about 8B.
    """
    ratio = tokens / parameters
    given = f"{tokens:,} CPT tokens are {ratio:.2g} for each parameter of the grown model"
    if isinstance(spec, LlamaPro):
        if ratio >= 1.2:
            return None
        return (
            f"{given}; the smallest known budget for identity blocks is 1.2 (10B tokens, "
            f"Mistral-7B grown to about 8B). The grown model begins as the old one, so nothing is "
            f"lost at first, but how much the new blocks learn from so little is not known"
        )
    if ratio >= 6:
        return None
    return (
        f"{given}; the published budgets of depth up-scaling are 20 and 6 (Kanana: 200B tokens for "
        f"9.8B and for 32.5B parameters). A seam makes the model worse at first and has to be "
        f"healed; with a small budget use {{kind: llama_pro}}, which begins as the old model"
    )
