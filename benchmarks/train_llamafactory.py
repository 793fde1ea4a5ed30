"""LLaMA-Factory's side of a training benchmark, by its own trainers, collators and loading.

Run by the interpreter of an environment of its own: ``python -m benchmarks.train_llamafactory
SPEC.json``. Its libraries are older than those that samdan needs, so nothing of samdan is imported:
weights, tokenizer and settings come from the folder that `benchmarks.train_handed` wrote.

What its examples name is set as they set it: full fine-tuning, one row a micro-batch. What they
leave open stays at its default, gradient checkpointing above all. Not as it would: no shuffling,
and no packing of texts, so that every side learns from the same records in the same steps. The
option ``neat_packing`` (sft) packs the records of a step, which then do not see each other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.train_callback import summing, taking_turns
from benchmarks.train_pipe import Told, Turns, serve
from benchmarks.train_records import (
    CHECKED,
    UNTRAINED,
    Record,
    check_reference,
    read,
    spread_evenly,
)

STAGES = {"cpt": "pt", "sft": "sft", "dpo": "dpo"}
MULTIPLE = 8  # its collators pad rows to a multiple of this
VERSIONS = ("llamafactory", "torch", "transformers", "trl", "accelerate", "peft", "datasets")


class Side:
    """The trainer is made while the side starts: its reference is computed in every step."""

    def __init__(self, told: Told) -> None:
        without_audio()
        self.told = told
        self.records = read(Path(told.work))
        self.packed = bool(told.options.get("neat_packing"))
        self.folder = tempfile.TemporaryDirectory()
        self.trainer = self._trainer()

    def about(self) -> dict[str, Any]:
        found = {name: version(name) for name in VERSIONS}
        found["python"] = sys.version.split()[0]
        return {"threads": torch.get_num_threads(), "versions": found}

    def begin(self) -> dict[str, Any]:
        """The loss of the check."""
        self.trainer.model.train()
        return {"checked_loss": self._loss(self.records[: min(CHECKED, self.told.per_step)])}

    def train(self, turns: Turns) -> None:
        self.trainer.add_callback(taking_turns(turns, self.trainer))
        self.trainer.train()

    def _trainer(self) -> Any:
        import datasets
        from llamafactory.data import get_template_and_fix_tokenizer
        from llamafactory.hparams import get_train_args
        from llamafactory.model import load_model, load_tokenizer

        model_args, data_args, training_args, tuning_args, _ = get_train_args(self._arguments())
        loaded = load_tokenizer(model_args)
        template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
        model = load_model(loaded["tokenizer"], model_args, tuning_args, is_trainable=True)
        reference = self._reference(model_args, tuning_args)
        return summing(self._trainer_class())(
            model=model,
            args=training_args,
            finetuning_args=tuning_args,
            data_collator=self._collator(model, model_args, template, loaded),
            train_dataset=datasets.Dataset.from_list(self._all_rows()),
            **loaded,
            **reference,
        )

    def _trainer_class(self) -> Any:
        if self.told.job == "cpt":
            from llamafactory.train.pt.trainer import CustomTrainer

            return CustomTrainer
        if self.told.job == "sft":
            from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer

            return CustomSeq2SeqTrainer
        from llamafactory.train.dpo.trainer import CustomDPOTrainer

        return CustomDPOTrainer

    def _reference(self, model_args: Any, tuning_args: Any) -> dict[str, Any]:
        """For dpo its frozen copy of the model, loaded once more."""
        if self.told.job != "dpo":
            return {}
        from llamafactory.train.trainer_utils import create_ref_model

        return {"ref_model": create_ref_model(model_args, tuning_args)}

    def _collator(self, model: Any, model_args: Any, template: Any, loaded: dict[str, Any]) -> Any:
        """As its workflows make them."""
        from llamafactory.data import (
            PairwiseDataCollatorWithPadding,
            SFTDataCollatorWith4DAttentionMask,
        )
        from transformers import DataCollatorForLanguageModeling

        if self.told.job == "cpt":
            made = DataCollatorForLanguageModeling(tokenizer=loaded["tokenizer"], mlm=False)
            return lambda rows: without_first(made(rows))
        given = {
            "template": template,
            "model": model,
            "pad_to_multiple_of": MULTIPLE,
            "label_pad_token_id": UNTRAINED,
            **loaded,
        }
        if self.told.job == "dpo":
            return PairwiseDataCollatorWithPadding(**given)
        return SFTDataCollatorWith4DAttentionMask(
            **given,
            block_diag_attn=model_args.block_diag_attn,
            neat_packing=self.packed,
            attn_implementation=model.config._attn_implementation,
            compute_dtype=model_args.compute_dtype,
        )

    def _arguments(self) -> dict[str, Any]:
        given, told = self.told.options, self.told
        batch, rows = int(given["batch"]), len(self._all_rows()) // told.steps
        if rows % batch:
            raise SystemExit(f"batch {batch} does not divide the {rows} rows of a step")
        settings = json.loads((Path(told.handed) / "settings.json").read_text("utf-8"))
        preference = {"pref_beta": settings.pop("beta"), "pref_loss": "sigmoid"}
        return (preference if told.job == "dpo" else {}) | settings | {
            "stage": STAGES[told.job],
            "do_train": True,
            "finetuning_type": "full",
            "model_name_or_path": told.handed,
            "template": "empty",
            "dataset": "the records",  # must be named; what is trained on is given to the trainer
            "cutoff_len": max(len(record) for record in self.records),
            "packing": self.packed,
            "neat_packing": self.packed,
            "disable_shuffling": True,
            "disable_gradient_checkpointing": not given["gradient_checkpointing"],
            "output_dir": self.folder.name,
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": rows // batch,
            "max_steps": told.steps,
            "lr_scheduler_type": "constant",
            "bf16": told.bf16,
            "logging_steps": 10,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "dataloader_pin_memory": False,
        }  # fmt: skip

    def _all_rows(self) -> list[dict[str, Any]]:
        """Equally many for every step, of its records and no others."""
        if not self.packed:
            return [self._row(record) for record in self.records]
        size = self.told.per_step
        steps = [self.records[at : at + size] for at in range(0, len(self.records), size)]
        longest = max(len(record) for record in self.records)
        most = max(sum(map(len, step)) for step in steps)
        rows = -(-most // longest)
        return [packed(part) for step in steps for part in spread_evenly(step, rows)]

    def _row(self, record: Record) -> dict[str, Any]:
        """A record as its own preprocessing leaves one."""
        if self.told.job == "dpo":
            pair = dict(zip(("chosen", "rejected"), record.answers(), strict=True))
            row: dict[str, Any] = {"images": None, "videos": None, "audios": None}
            for name, (tokens, labels) in pair.items():
                row[f"{name}_input_ids"] = tokens
                row[f"{name}_attention_mask"] = [1] * len(tokens)
                row[f"{name}_labels"] = labels
            return row
        tokens, labels = record.row()
        row = {"input_ids": tokens, "attention_mask": [1] * len(tokens)}
        return row if self.told.job == "cpt" else row | {"labels": labels}

    @torch.no_grad()
    def _loss(self, records: Sequence[Record]) -> float:
        trainer = self.trainer
        rows = [packed(records)] if self.packed else [self._row(record) for record in records]
        inputs = trainer._prepare_inputs(trainer.data_collator(rows))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.told.bf16):
            if self.told.job != "dpo":
                return float(trainer.compute_loss(trainer.model, inputs))
            found = trainer.concatenated_forward(trainer.model, inputs)
            vocab = trainer.model.config.vocab_size
            made_up = torch.from_numpy(check_reference(records, vocab))
            losses, *_ = trainer.compute_preference_loss(
                found["chosen_logps"], found["rejected_logps"], made_up[:, 0], made_up[:, 1]
            )
            return float(losses.mean())


def packed(records: Sequence[Record]) -> dict[str, Any]:
    """One row as its preprocessing makes one with ``neat_packing``, but no longer than needed.

    The mask numbers the records from 1, padding is 0; its collator makes a mask of all pairs of
    positions of it. It pads the row to the cutoff, and position ids nowhere else.
    """
    rows = [record.row() for record in records]
    lengths = [len(tokens) for tokens, _ in rows]
    padding = [0] * (-sum(lengths) % MULTIPLE)
    return {
        "input_ids": [token for tokens, _ in rows for token in tokens] + padding,
        "labels": [label for _, labels in rows for label in labels] + [UNTRAINED] * len(padding),
        "attention_mask": [n for n, size in enumerate(lengths, 1) for _ in range(size)] + padding,
        "position_ids": [place for size in lengths for place in range(size)] + padding,
    }


def without_first(batch: Any) -> Any:
    """The first token is predicted from nothing: labelled, it would only thin out the mean."""
    batch["labels"][:, 0] = UNTRAINED
    return batch


def without_audio() -> None:
    """LLaMA-Factory imports torchaudio always, and uses it for sound only.

    Its wheels are built for CUDA and do not load beside a CPU build of torch.
    """
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):
        empty = ModuleType("torchaudio")
        empty.__spec__ = ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = empty


if __name__ == "__main__":
    serve(Told, Side)
