"""A plain PyTorch loop over a transformers model: what one writes by hand, written with care.

Rows are padded on the right, so that causal attention needs no mask; the output head computes the
labelled positions only; the reference is computed once; micro-batches hold as many tokens, padding
counted, as samdan's. A pair is two rows, each with its prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from benchmarks.shapes import build
from benchmarks.train_pipe import Turns
from benchmarks.train_records import check_reference
from benchmarks.train_samdan import stage_of
from benchmarks.train_side import Spec
from benchmarks.train_work import records_of
from benchmarks.watch import timed
from samdan.lm.batch import Encoded

Row = tuple[Tensor, Tensor]  # token ids, and which of them are predicted


def rows_of(record: Encoded) -> list[Row]:
    """One row for a document or conversation, two for a pair."""
    tokens = torch.from_numpy(record.tokens.astype(np.int64))
    trained = torch.from_numpy(record.trained)
    if not record.has_branch:
        return [(tokens, trained)]
    prompt = slice(0, record.prefix)
    parts = (slice(record.prefix, record.span), slice(record.span, None))
    return [
        (torch.cat([tokens[prompt], tokens[part]]), torch.cat([trained[prompt], trained[part]]))
        for part in parts
    ]


def grouped(records: Sequence[Encoded], capacity: int) -> list[list[int]]:
    """Record numbers in micro-batches, in order, of at most ``capacity`` tokens with padding."""
    groups: list[list[int]] = []
    longest = rows = 0
    for number, record in enumerate(records):
        own = rows_of(record)
        most = max(len(tokens) for tokens, _ in own)
        if groups and (rows + len(own)) * max(longest, most) <= capacity:
            longest, rows = max(longest, most), rows + len(own)
            groups[-1].append(number)
        else:
            longest, rows = most, len(own)
            groups.append([number])
    return groups


class Side:
    """The loop, with the stage's optimizer settings."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.stage = stage_of(spec.job)
        self.model = build(spec.sizes, torch.device("cpu"), torch.float32, "sdpa").train()
        self.records = records_of(spec.data())
        self.reference_P2 = torch.zeros(len(self.records), 2)

    def about(self) -> dict[str, Any]:
        return {"threads": torch.get_num_threads()}

    def begin(self) -> dict[str, Any]:
        """The loss of the check, and for dpo the reference pass, timed."""
        checked = self.spec.checked()
        with torch.no_grad():
            made_up = torch.from_numpy(check_reference(checked, self.spec.sizes.vocab))
            loss = float(self._loss_sum(checked, made_up) / self._weight(checked))
        if self.spec.job != "dpo":
            return {"checked_loss": loss}
        return {"checked_loss": loss, "reference": timed(self._fill_reference)[1]}

    def train(self, turns: Turns) -> None:
        stage = self.stage
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay,
            betas=(stage.adam_beta1, stage.adam_beta2), eps=stage.adam_epsilon, fused=True,
        )  # fmt: skip
        for step in range(self.spec.steps):
            turns.wait()
            optimizer.zero_grad(set_to_none=True)
            loss = self._gradients(step * self.spec.per_step)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), stage.max_grad_norm)
            optimizer.step()
            turns.done(loss=loss)

    def _gradients(self, first: int) -> float:
        chosen = self.records[first : first + self.spec.per_step]
        weight, total = self._weight(chosen), 0.0
        for group in grouped(chosen, self.spec.micro_batch_tokens):
            reference = self.reference_P2[[first + number for number in group]]
            loss = self._loss_sum([chosen[number] for number in group], reference) / weight
            loss.backward()
            total += float(loss.detach())
        return total

    @torch.inference_mode()
    def _fill_reference(self) -> None:
        for group in grouped(self.records, self.spec.micro_batch_tokens):
            sums, _ = self._log_probs([self.records[number] for number in group])
            self.reference_P2[group] = sums.view(-1, 2)

    def _weight(self, records: Sequence[Encoded]) -> int:
        if self.spec.job == "dpo":
            return len(records)
        return sum(int(record.trained[1:].sum()) for record in records)

    def _loss_sum(self, records: Sequence[Encoded], reference_P2: Tensor) -> Tensor:
        sums_R = self._log_probs(records)[0]
        if self.spec.job != "dpo":
            return -sums_R.sum()
        ratio_P2 = sums_R.view(-1, 2) - reference_P2
        return -F.logsigmoid(self.stage.beta * (ratio_P2[:, 0] - ratio_P2[:, 1])).sum()

    def _log_probs(self, records: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        """Per row the sum of its predicted tokens' log-probabilities, and their number."""
        rows = [row for record in records for row in rows_of(record)]
        tokens_RT = pad_sequence([tokens for tokens, _ in rows], batch_first=True)
        trained_RT = pad_sequence([trained for _, trained in rows], batch_first=True)[:, 1:]
        bf16 = torch.autocast("cpu", torch.bfloat16)
        with bf16 if self.spec.bf16 else contextlib.nullcontext():
            hidden = self.model.model(input_ids=tokens_RT, use_cache=False).last_hidden_state
            logits_NV = self.model.lm_head(hidden[:, :-1][trained_RT])
        targets_N = tokens_RT[:, 1:][trained_RT]
        logp_N = -F.cross_entropy(logits_NV.float(), targets_N, reduction="none")
        row_N = trained_RT.nonzero()[:, 0]
        counts_R = trained_RT.sum(1)
        return logp_N.new_zeros(len(rows)).index_add(0, row_N, logp_N), counts_R
