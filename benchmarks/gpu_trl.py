"""TRL's DPO at its best flags, on the same records: the peer of `benchmarks.gpu`.

Best flags: reference log-probabilities precomputed, bf16, no gradient checkpointing while it fits,
fused AdamW (its default), no logging in the measured steps. The micro-batch begins at all pairs of
a step and shrinks through its divisors until it fits; then checkpointing is tried. TRL computes the
reference while the trainer is made, so ``reference_pass_s`` is the time of that.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.shapes import SHAPES, build
from samdan.lm.batch import Encoded
from samdan.recipe import Lora


def measure_trl(args: argparse.Namespace, work: Any, reference_P2: Tensor) -> dict[str, Any]:
    """TRL's median step. Before it is timed, its log-probabilities are held to ours [pairs, 2]."""
    if args.job != "dpo":
        raise SystemExit("--peer: TRL is measured on dpo only")
    rows = [row_of(record) for unit in work.units for record in unit]
    tried = [(batch, False) for batch in _halves(work.per_step)] + [(1, True)]
    for batch, checkpointing in tried:
        gc.collect()
        if args.device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            return _run(args, rows, work.per_step, batch, checkpointing, reference_P2)
        except torch.OutOfMemoryError:
            continue
    raise SystemExit("TRL does not fit this device at any batch size")


def _halves(count: int) -> list[int]:
    """Divisors of ``count``, largest first: TRL's steps must hold equally many micro-batches."""
    return [size for size in range(count, 0, -1) if count % size == 0 and size <= 64]


def row_of(record: Encoded) -> dict[str, list[int]]:
    """A pair as TRL's collator wants it."""
    ids = record.tokens.tolist()
    return {
        "prompt_ids": ids[: record.prefix],
        "chosen_ids": ids[record.prefix : record.span],
        "rejected_ids": ids[record.span :],
    }


class _Clock:
    """A trainer callback that notes when each optimizer step ends."""

    def __new__(cls, device: str) -> Any:
        from transformers import TrainerCallback

        class Clock(TrainerCallback):  # type: ignore[misc]
            def __init__(self) -> None:
                self.at: list[float] = []

            def _note(self, *_: Any, **__: Any) -> None:
                if device != "cpu":
                    torch.cuda.synchronize()
                self.at.append(time.perf_counter())

            on_train_begin = _note
            on_step_end = _note

        return Clock()


def _run(
    args: argparse.Namespace, rows: list[dict[str, list[int]]], per_step: int, batch: int,
    checkpointing: bool, reference_P2: Tensor,
) -> dict[str, Any]:  # fmt: skip
    import datasets
    import trl

    clock = _Clock(args.device)
    dtype = torch.bfloat16 if args.lora else torch.float32
    with tempfile.TemporaryDirectory() as folder:
        config = trl.DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=per_step // batch,
            max_steps=args.warmup + args.steps,
            learning_rate=5e-7,
            lr_scheduler_type="constant",
            max_length=4096,
            bf16=not args.fp32,
            gradient_checkpointing=checkpointing,
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=min(batch, 8),
            logging_steps=args.warmup + args.steps,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=args.device == "cpu",
            adam_beta2=0.95,
            dataloader_pin_memory=args.device != "cpu",
        )
        model = build(SHAPES[args.shape], torch.device(args.device), dtype, "sdpa")
        started = time.perf_counter()
        trainer = taking_token_ids(trl.DPOTrainer)(
            model=model,
            args=config,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=stand_in_tokenizer(),
            callbacks=[clock],
            **({"peft_config": _lora()} if args.lora else {}),
        )
        reference_s = time.perf_counter() - started
        difference = _difference(trainer, rows[: min(batch, 8)], reference_P2)
        if difference > (2e-4 if args.fp32 else 0.02):
            raise SystemExit(f"TRL scores the records differently: off by {difference:.2g}")
        trainer.train()
    times = [b - a for a, b in zip(clock.at, clock.at[1:], strict=False)]
    return {
        "median_step_s": statistics.median(times[args.warmup :]),
        "step_s": [round(t, 4) for t in times],
        "pairs_per_micro_batch": batch,
        "gradient_checkpointing": checkpointing,
        "reference_pass_s": reference_s,
        "precompute_ref_log_probs": True,
        "attention": "sdpa",
        "log_prob_difference": difference,
        "loss": [row["loss"] for row in trainer.state.log_history if "loss" in row],
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if args.device != "cpu" else None,
    }


def taking_token_ids(trainer: Any) -> Any:
    """The TRL trainer, taking token ids in the order given: both sides train on the same."""

    class Trainer(trainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    return Trainer


def stand_in_tokenizer(pad: int = 1) -> Any:
    """A stand-in: the records are token ids already. ``pad``: the id of padding."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<eos>": 0, "<pad>": pad}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", unk_token="<pad>"
    )


def _lora() -> Any:
    from peft import LoraConfig

    spec = Lora()
    return LoraConfig(
        r=spec.r, lora_alpha=spec.alpha, lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip


@torch.no_grad()
def _difference(trainer: Any, rows: list[dict[str, list[int]]], reference_P2: Tensor) -> float:
    """Largest difference of log-probabilities per answer to ours, relative to ours."""
    inputs = trainer._prepare_inputs(trainer.data_collator(rows))
    trainer.model.eval()
    with trainer.compute_loss_context_manager():
        theirs = trainer.compute_ref_log_probs(trainer.model, inputs)
    trainer.model.train()
    chosen, rejected = theirs[:2]
    found = torch.stack([chosen, rejected], -1).float().cpu()
    ours = reference_P2[: len(rows)]
    return float(((found - ours) / ours).abs().max())
