"""TRL's side of a training benchmark, by its own trainers, at the flags that the spec names.

What is equal on both sides does not depend on the flags: records and their order, precision,
optimizer, rate, clipping, effective batch, and no truncation. The options: ``batch`` (rows in a
micro-batch), ``gradient_checkpointing``, ``padding_free`` (SFTTrainer), ``precompute`` (DPOTrainer:
the reference before training instead of at every step).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpu_trl import row_of, stand_in_tokenizer, taking_token_ids
from benchmarks.shapes import build
from benchmarks.train_callback import summing, taking_turns
from benchmarks.train_pipe import Turns
from benchmarks.train_records import check_reference
from benchmarks.train_samdan import stage_of
from benchmarks.train_side import Spec
from benchmarks.train_work import records_of
from benchmarks.watch import timed
from samdan.lm.batch import Encoded


class Side:
    """The trainer is made when the side begins, as DPOTrainer runs its reference pass then."""

    def __init__(self, spec: Spec) -> None:
        import datasets  # noqa: F401
        import trl  # noqa: F401

        self.spec = spec
        self.dpo = spec.job == "dpo"
        self.records = records_of(spec.data())
        self.model = self._build()
        self.folder = tempfile.TemporaryDirectory()
        self.reference: dict[str, float] | None = None
        self.trainer: Any = None

    def about(self) -> dict[str, Any]:
        return {"threads": torch.get_num_threads()}

    def begin(self) -> dict[str, Any]:
        """The loss of the check; with ``precompute`` also what the reference pass took."""
        self._warm()
        self.trainer = self._trainer()
        self.trainer.model.train()
        facts = {"checked_loss": self._loss(self.spec.checked())}
        return facts if self.reference is None else facts | {"reference": self.reference}

    def train(self, turns: Turns) -> None:
        self.trainer.add_callback(taking_turns(turns, self.trainer))
        self.trainer.train()

    @torch.no_grad()
    def _warm(self) -> None:
        """A forward before the reference pass, as the other sides' check is one."""
        for record in self.spec.checked():
            self.model.model(torch.from_numpy(record.tokens.astype("int64"))[None])

    def _build(self) -> Any:
        return build(self.spec.sizes, torch.device("cpu"), torch.float32, "sdpa")

    def _trainer(self) -> Any:
        import datasets
        import trl

        side = self

        base: Any = summing(taking_token_ids(trl.DPOTrainer if self.dpo else trl.SFTTrainer))

        class Trainer(base):  # type: ignore[misc]
            def _precompute_ref_logps(self, *given: Any, **named: Any) -> Any:
                found, side.reference = timed(
                    lambda: super(Trainer, self)._precompute_ref_logps(*given, **named)
                )
                return found

        precompute = bool(self.spec.options.get("precompute"))
        reference = {"ref_model": self._build()} if self.dpo and not precompute else {}
        return Trainer(
            model=self.model,
            args=(trl.DPOConfig if self.dpo else trl.SFTConfig)(**self._settings()),
            train_dataset=datasets.Dataset.from_list([self._row(r) for r in self.records]),
            processing_class=stand_in_tokenizer(),
            **reference,
        )

    def _settings(self) -> dict[str, Any]:
        given, stage = self.spec.options, stage_of(self.spec.job)
        batch = int(given["batch"])
        if self.spec.per_step % batch:
            raise SystemExit(f"batch {batch} does not divide the {self.spec.per_step} of a step")
        own = (
            {
                "max_length": None,
                "precompute_ref_log_probs": bool(given.get("precompute")),
                "beta": stage.beta,
            }
            if self.dpo
            else {"max_length": None, "padding_free": bool(given.get("padding_free"))}
        )
        return own | {
            "output_dir": self.folder.name,
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": self.spec.per_step // batch,
            "max_steps": self.spec.steps,
            "learning_rate": stage.learning_rate,
            "weight_decay": stage.weight_decay,
            "adam_beta1": stage.adam_beta1,
            "adam_beta2": stage.adam_beta2,
            "adam_epsilon": stage.adam_epsilon,
            "max_grad_norm": stage.max_grad_norm,
            "lr_scheduler_type": "constant",
            "bf16": self.spec.bf16,
            "gradient_checkpointing": bool(given["gradient_checkpointing"]),
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "dataloader_pin_memory": False,
        }

    def _row(self, record: Encoded) -> dict[str, Any]:
        if self.dpo:
            return row_of(record)
        labels = [
            token if trained else -100
            for token, trained in zip(record.tokens.tolist(), record.trained.tolist(), strict=True)
        ]
        # The first token of a record is predicted from nothing, so by neither side.
        return {"input_ids": record.tokens.tolist(), "labels": [-100, *labels[1:]]}

    @torch.no_grad()
    def _loss(self, records: Sequence[Encoded]) -> float:
        trainer = self.trainer
        rows = [self._row(record) for record in records]
        if self.dpo:
            values = check_reference(records, self.spec.sizes.vocab).tolist()
            for row, (chosen, rejected) in zip(rows, values, strict=True):
                row |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        inputs = trainer._prepare_inputs(trainer.data_collator(rows))
        before = getattr(trainer, "precompute_ref_logps", None)
        trainer.precompute_ref_logps = True
        try:
            with trainer.compute_loss_context_manager():
                return float(trainer.compute_loss(trainer.model, inputs))
        finally:
            trainer.precompute_ref_logps = before
            trainer._metrics["train"].clear()
