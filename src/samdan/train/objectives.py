"""The two objectives: masked next-token prediction and preference.

Per loss term an objective returns a *weight* (what its mean is over) and a loss *sum*. The loop
adds the weights of all micro-batches and processes first and divides once, so that any split of a
batch gives the same gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from samdan.lm.batch import Batch
from samdan.lm.scoring import Scorer, sum_by_sequence
from samdan.lm.varlen import to_device
from samdan.recipe import DpoStage, Stage


@dataclass(frozen=True, slots=True)
class LossSums:
    """``losses``: per term, a sum with a gradient. ``logged``: sums over pairs, to be averaged."""

    losses: Mapping[str, Tensor]
    logged: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    logged: tuple[str, ...]  # names in LossSums.logged, the same in every process

    def weights(self, batch: Batch) -> Mapping[str, float]:
        """Per loss term, how much of its mean the batch is. Known without the model."""

    def loss_sums(self, scorer: Scorer, batch: Batch) -> LossSums:
        """Per loss term, the sum that the weight belongs to."""

    def coefficients(self) -> Mapping[str, float]:
        """What each term's mean is multiplied with in the loss."""


class NextToken:
    """Mean negative log-likelihood of the trained tokens: CPT and SFT."""

    logged: tuple[str, ...] = ()

    def weights(self, batch: Batch) -> Mapping[str, float]:
        return {"nll": float(batch.num_targets)}

    def loss_sums(self, scorer: Scorer, batch: Batch) -> LossSums:
        return LossSums({"nll": -scorer(batch, total=True)})

    def coefficients(self) -> Mapping[str, float]:
        return {"nll": 1.0}


class Preference:
    """Direct preference optimization (Rafailov et al. 2305.18290) and its variants.

    ``reference`` holds the frozen parent's log-probability of [chosen, rejected] for every record
    id. Definitions of the variants follow TRL's, which the tests hold them to.
    """

    logged: tuple[str, ...] = (
        "rewards/accuracy",
        "rewards/margin",
        "rewards/chosen",
        "rewards/rejected",
        "chosen_logp_change_per_token",
        "logp_shift_per_token",
    )

    def __init__(self, stage: DpoStage, reference: Tensor) -> None:
        self.stage = stage
        self.reference_P2 = reference

    def weights(self, batch: Batch) -> Mapping[str, float]:
        chosen = int((batch.sequence_N % 2 == 0).sum())
        return {"pair": float(batch.records)} | (
            {"nll": float(chosen)} if self.stage.nll_weight else {}
        )

    def coefficients(self) -> Mapping[str, float]:
        return {"pair": 1.0} | ({"nll": self.stage.nll_weight} if self.stage.nll_weight else {})

    def loss_sums(self, scorer: Scorer, batch: Batch) -> LossSums:
        logp_N = scorer(batch)
        sums_S, counts_S = sum_by_sequence(logp_N, batch)
        logp_P2, length_P2 = sums_S.view(-1, 2), counts_S.view(-1, 2)
        reference_P2 = self.reference_P2[list(batch.record_ids)].to(logp_P2.dtype)
        ratio_P2 = logp_P2 - to_device(reference_P2, logp_P2.device)
        losses = {"pair": preference_loss(self.stage, ratio_P2, length_P2).sum()}
        if self.stage.nll_weight:
            losses["nll"] = -logp_P2[:, 0].sum()
        return LossSums(losses, self._logged(ratio_P2.detach(), length_P2))

    def _logged(self, ratio_P2: Tensor, length_P2: Tensor) -> dict[str, Tensor]:
        rewards_P2 = self.stage.beta * ratio_P2
        margin_P = rewards_P2[:, 0] - rewards_P2[:, 1]
        values_P = (
            (margin_P > 0).float(),
            margin_P,
            rewards_P2[:, 0],
            rewards_P2[:, 1],
            ratio_P2[:, 0] / length_P2[:, 0],
            (ratio_P2 / length_P2).abs().mean(dim=1),
        )
        return {name: value.sum() for name, value in zip(self.logged, values_P, strict=True)}


def preference_loss(stage: DpoStage, ratio_P2: Tensor, length_P2: Tensor) -> Tensor:
    """Loss per pair [P] from log-ratios to the reference [P, 2] (chosen, rejected)."""
    margin = ratio_P2[:, 0] - ratio_P2[:, 1]
    mean_margin = ratio_P2[:, 0] / length_P2[:, 0] - ratio_P2[:, 1] / length_P2[:, 1]
    beta, noise = stage.beta, stage.label_smoothing
    if stage.loss_type == "sigmoid":
        return -F.logsigmoid(beta * margin)
    if stage.loss_type == "hinge":  # SLiC, 2305.10425
        return torch.relu(1 - beta * margin)
    if stage.loss_type == "ipo":  # 2310.12036, on means over tokens as its authors confirmed
        return (mean_margin - 1 / (2 * beta)) ** 2
    if stage.loss_type == "sigmoid_norm":  # Tulu 3's length-normalised DPO, 2411.15124
        return -F.logsigmoid(beta * mean_margin)
    # Robust DPO, 2403.00409: unbiased when a share ``noise`` of the labels is flipped.
    clean, flipped = -F.logsigmoid(beta * margin), -F.logsigmoid(-beta * margin)
    return ((1 - noise) * clean - noise * flipped) / (1 - 2 * noise)


def objective_for(stage: Stage, reference: Tensor | None) -> Objective:
    if isinstance(stage, DpoStage):
        assert reference is not None, "a dpo stage has a reference step before it"
        return Preference(stage, reference)
    return NextToken()
