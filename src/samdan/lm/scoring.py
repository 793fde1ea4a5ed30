"""The one way into a model: a packed batch to the log-probability of every predicted token.

CPT, SFT, DPO, its reference pass and the evaluation by log-likelihood are sums over what this
returns. Head and loss lie inside the root's forward, as sharded training demands.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from samdan.lm.batch import Batch
from samdan.lm.dropout import DropoutContext


class Scorer(nn.Module):
    """Wraps a transformers causal language model whose attention is ``samdan``'s."""

    def __init__(self, model: Any, bf16: bool = False) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16
        self.dropout = DropoutContext()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities [N], fp32, of ``batch.targets_N``."""
        logits_NV = self._logits(batch)
        targets = batch.targets_N.to(logits_NV.device)
        return -nn.functional.cross_entropy(logits_NV.float(), targets, reduction="none")

    def likeliest(self, batch: Batch) -> Tensor:
        """The likeliest token [N] at every predicted position."""
        return self._logits(batch).argmax(-1)

    def _logits(self, batch: Batch) -> Tensor:
        device = self.device
        with self._precision(device):
            logits: Tensor = self.model(
                input_ids=batch.tokens_T[None].to(device),
                position_ids=batch.positions_T[None].to(device),
                use_cache=False,
                # The model's own head, at the predicting positions only: whatever a model does to
                # its logits (scaling, soft caps) stays right.
                logits_to_keep=batch.rows_N.to(device),
                layout=batch.layout.to(device),
            ).logits
        return logits[0]

    def _precision(self, device: torch.device) -> Any:
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def sum_by_sequence(logp_N: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Per sequence: the sum of its log-probabilities and how many there are."""
    sequence_N = batch.sequence_N.to(logp_N.device)
    sums = logp_N.new_zeros(batch.sequences).index_add(0, sequence_N, logp_N)
    counts = logp_N.new_zeros(batch.sequences).index_add(0, sequence_N, torch.ones_like(logp_N))
    return sums, counts
