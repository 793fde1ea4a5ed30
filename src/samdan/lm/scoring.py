"""The one way into a model: a packed batch to the log-probability of every predicted token.

CPT, SFT, DPO, its reference pass and the evaluation by log-likelihood are sums over what this
returns. Head and loss lie inside the root's forward, as sharded training demands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from samdan.lm import head, varlen
from samdan.lm.batch import Batch
from samdan.lm.compiled import compile_layers as compile_decoder_layers
from samdan.lm.compiled import is_compiled
from samdan.lm.copies import Copies
from samdan.lm.dropout import DropoutContext
from samdan.lm.elementwise import lighten, restore


class Scorer(nn.Module):
    """Wraps a transformers causal language model whose attention is ``samdan``'s.

    ``bf16``: compute in bf16 whatever precision the weights have; masters, gradients and optimizer
    stay fp32. ``keep_copies``: of the layers' weights in bf16, instead of casting at each use.
    ``compile_layers``: compile the decoder layers, and the softmax of the head.
    """

    def __init__(
        self,
        model: Any,
        bf16: bool = False,
        compile_layers: bool = False,
        keep_copies: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16
        self._copies = Copies(model, keep_copies)
        self.dropout = DropoutContext()
        self.varlen = True  # use the variable-length kernel where the device has it
        self.fused = bool(compile_layers and compile_decoder_layers(model))
        if is_compiled(model):  # the compiler fuses what it finds, and finds its way in theirs
            restore(model)
        elif self.device.type == "cpu":
            lighten(model)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def computing(self) -> AbstractContextManager[None]:
        """Around forwards, and around the backwards that follow them.

        In bf16 the layers compute with copies of their weights, made once for all that lies within.
        """
        return self._copies.in_place() if self.bf16 else contextlib.nullcontext()

    def forward(self, batch: Batch, total: bool = False) -> Tensor:
        """Log-probabilities [N], fp32, of ``batch.targets_N``; with ``total`` only their sum.

        The sum's gradient by the output head is computed in the forward: faster, and without the
        memory of the logits.
        """
        device = self.device
        targets_N = varlen.to_device(batch.targets_N, device)
        plain = head.plain_head(self.model)
        if plain is None:
            logits_NV = self._logits(batch)
            logp_N = -nn.functional.cross_entropy(logits_NV.float(), targets_N, reduction="none")
            return logp_N.sum() if total else logp_N
        hidden_Nd = self._hidden(plain[0], batch)
        with torch.autocast(device.type, enabled=False):  # the head chooses its precisions itself
            return head.log_probs(
                hidden_Nd,
                plain[1].weight,
                targets_N,
                torch.bfloat16 if self.bf16 else None,
                total=total,
                fused=self.fused,
            ).float()

    @torch.no_grad()
    def likeliest(self, batch: Batch) -> Tensor:
        """The likeliest token [N] at every predicted position."""
        plain = head.plain_head(self.model)
        if plain is None:
            return self._logits(batch).argmax(-1)
        hidden_Nd = self._hidden(plain[0], batch)
        with torch.autocast(self.device.type, enabled=False):
            dtype = torch.bfloat16 if self.bf16 else None
            return head.likeliest(hidden_Nd, plain[1].weight, dtype)

    @torch.no_grad()
    def states(self, batch: Batch) -> Tensor:
        """The last hidden states [T, d] of every token, before the head."""
        plain = head.plain_head(self.model)
        backbone = plain[0] if plain is not None else self.model.base_model
        with self.precision():
            states: Tensor = backbone(**self._inputs(batch)).last_hidden_state
        return states[0]

    def _hidden(self, backbone: nn.Module, batch: Batch) -> Tensor:
        """Hidden states [N, d] at the predicting positions."""
        device = self.device
        rows_N = varlen.to_device(batch.rows_N, device)
        with self.precision():
            states: Tensor = backbone(**self._inputs(batch)).last_hidden_state
        return states[0].index_select(0, rows_N)

    def _logits(self, batch: Batch) -> Tensor:
        device = self.device
        with self.precision():
            logits: Tensor = self.model(
                # The model's own head, at the predicting positions only: whatever a model does to
                # its logits (scaling, soft caps) stays right.
                logits_to_keep=varlen.to_device(batch.rows_N, device),
                **self._inputs(batch),
            ).logits
        return logits[0]

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        device = self.device
        return {
            "input_ids": varlen.to_device(batch.tokens_T, device)[None],
            "position_ids": varlen.to_device(batch.positions_T, device)[None],
            "use_cache": False,
            "layout": batch.layout.to(device, self._form(device)),
        }

    def _form(self, device: torch.device) -> varlen.Form | None:
        """Whether, and how, the variable-length kernel serves this model here."""
        if device.type != "cuda" or not self.varlen:
            return None
        config = self.model.config.get_text_config()
        heads = config.num_attention_heads
        key_heads = getattr(config, "num_key_value_heads", None) or heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        dtype = torch.bfloat16 if self.bf16 else next(self.model.parameters()).dtype
        return varlen.choose_form(device, dtype, heads, key_heads, width)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Around forwards of the model itself: in bf16 what is fp32 still is cast at its use."""
        if not self.bf16:
            yield
            return
        with self.computing(), torch.autocast(self.device.type, dtype=torch.bfloat16):
            yield


def sum_by_sequence(logp_N: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Per sequence: the sum of its log-probabilities and how many there are."""
    sequence_N = varlen.to_device(batch.sequence_N, logp_N.device)
    sums = logp_N.new_zeros(batch.sequences).index_add(0, sequence_N, logp_N)
    counts = logp_N.new_zeros(batch.sequences).index_add(0, sequence_N, torch.ones_like(logp_N))
    return sums, counts
