"""CPT, SFT and DPO on one GPU at Qwen2.5's shapes: whole steps of our own training loop.

    python -m benchmarks.gpu --job cpt --shape 1.5b
    python -m benchmarks.gpu --job cpt --shape 7b --lora
    python -m benchmarks.gpu --job dpo --shape 1.5b --prompt-share 0.7 --peer

Weights are random, records synthetic (`benchmarks.shapes`). Prints one JSON object as its last
line: medians over the steps after the warm-up, tokens (no padding exists) per second, model TFLOP/s
and their share of 989 TFLOP/s, the dense bf16 peak of an H100 or H200. A step's time is that of
everything in it: batches made, gradients, clipping, optimizer. ``--peer`` runs TRL beside it (DPO).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.shapes import (
    SHAPES,
    backbone_parameters,
    blocks,
    build,
    conversations,
    model_flops,
    pairs,
)
from samdan.lm.batch import Encoded, num_predictions
from samdan.lm.model import add_lora
from samdan.lm.scoring import Scorer
from samdan.lm.shards import Index, ShardWriter, TrainingData
from samdan.lm.skips import checkpoint_layers
from samdan.recipe import CptStage, DpoStage, Lora, SftStage, Source, Stage
from samdan.train.batches import Steps
from samdan.train.loop import train_steps
from samdan.train.objectives import NextToken, Objective, Preference
from samdan.train.optim import make_optimizer
from samdan.train.reference import reference_log_probs

PEAK = 989e12  # dense bf16 FLOP/s of an H100 SXM or H200, NVIDIA's data sheet
STAGES: dict[str, type[Stage]] = {"cpt": CptStage, "sft": SftStage, "dpo": DpoStage}


@dataclass(frozen=True)
class Work:
    """What is trained on: units (blocks, conversations, pairs), so many a step."""

    units: list[list[Encoded]]
    per_step: int

    def step(self, number: int) -> list[Encoded]:
        """The records of step ``number`` (the first is 1)."""
        chosen = self.units[(number - 1) * self.per_step : number * self.per_step]
        return [record for unit in chosen for record in unit]


def main(given: list[str] | None = None) -> dict[str, Any]:
    """Measures what the command line asks for, prints it, and returns it."""
    args = _parser().parse_args(given)
    work = make_work(args)
    result: dict[str, Any] = {"ours": measure(args, work)}
    if args.peer:
        from benchmarks.gpu_trl import measure_trl

        result["trl"] = measure_trl(args, work, result["ours"].pop("reference_log_probs"))
        result |= _ratios(result["ours"], result["trl"], args.warmup + args.steps)
    result["ours"].pop("reference_log_probs", None)
    line = {"job": args.job, "shape": args.shape, **_machine(args.device), **result}
    print(json.dumps(line))
    return line


def _ratios(ours: dict[str, Any], theirs: dict[str, Any], steps: int) -> dict[str, float]:
    """TRL's time over ours: of a step, and of one epoch with the reference pass."""
    whole = [side["reference_pass_s"] / steps + side["median_step_s"] for side in (ours, theirs)]
    return {
        "ratio_step": theirs["median_step_s"] / ours["median_step_s"],
        "ratio_epoch": whole[1] / whole[0],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--job", choices=STAGES, required=True)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--steps", type=int, default=8, help="measured steps")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--tokens-per-step", type=int, default=65_536)
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384)
    parser.add_argument("--prompt-share", type=float, default=0.7, help="of prompt and one answer")
    parser.add_argument("--lora", action="store_true", help="adapters on frozen bf16 weights")
    parser.add_argument("--offload", action="store_true", help="AdamW's states in host memory")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--eager", action="store_true", help="layers are not compiled")
    parser.add_argument("--single-calls", action="store_true", help="SDPA, not varlen_attn")
    parser.add_argument("--fp32", action="store_true")
    parser.add_argument("--peer", action="store_true", help="TRL beside it (dpo)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--profile", action="store_true", help="kernels of one step, to stdout")
    return parser


def make_work(args: argparse.Namespace) -> Work:
    """Synthetic units for all steps; about ``tokens_per_step`` tokens in each step."""
    vocab, count = SHAPES[args.shape].vocab, args.warmup + args.steps + args.profile
    longest = min(4096 if args.job != "dpo" else 2048, args.micro_batch_tokens)
    if args.job == "cpt":
        per_step = max(1, args.tokens_per_step // longest)
        return Work(blocks(count * per_step, longest, vocab), per_step)

    def make(number: int) -> list[list[Encoded]]:
        if args.job == "sft":
            return conversations(number, longest, vocab)
        return pairs(number, longest, vocab, args.prompt_share)

    mean = np.mean([sum(len(record) for record in unit) for unit in make(256)])
    per_step = max(1, round(args.tokens_per_step / float(mean)))
    return Work(make(count * per_step), per_step)


def training_data(folder: Path, work: Work) -> TrainingData:
    """The units as a shard and an index over it, as prepared data lies on disk."""
    writer = ShardWriter(folder)
    rows: list[tuple[int, int, int, int]] = []
    unit_offsets, unit_tokens = [0], []
    for unit in work.units:
        for record in unit:
            rows.append((0, len(rows), 0, len(record)))
            writer.add(record, len(record))
        unit_offsets.append(len(rows))
        unit_tokens.append(sum(len(record) for record in unit))
    writer.close()
    index = Index(
        np.asarray(rows, np.int64),
        np.asarray(unit_offsets, np.int64),
        np.arange(len(rows), dtype=np.int64),
        np.asarray(unit_tokens, np.int64),
    )
    return TrainingData([folder], index)


def make_stage(args: argparse.Namespace) -> Any:
    """The job's stage at its default rate, held constant."""
    return STAGES[args.job](
        data=(Source(path="synthetic.jsonl"),),  # type: ignore[call-arg]
        lr_scheduler_type="constant",
        warmup_steps=0,
        lora=Lora() if args.lora else None,
        optim="adamw_offload" if args.offload else "adamw",
    )


def measure(args: argparse.Namespace, work: Work) -> dict[str, Any]:
    """Our loop over the work: median step, tokens and FLOPs per second, memory, loss."""
    device, stage = torch.device(args.device), make_stage(args)
    shape = SHAPES[args.shape]
    model = build(shape, device, torch.bfloat16 if args.lora else torch.float32)
    backbone = backbone_parameters(model)
    if args.lora:
        model = add_lora(model, stage.lora, (), seed=0)
    if args.checkpointing:
        checkpoint_layers(model)
    scorer = Scorer(model, not args.fp32, not args.eager, not args.checkpointing)
    scorer.varlen = not args.single_calls
    with tempfile.TemporaryDirectory() as folder:
        data = training_data(Path(folder) / "shard", work)
        objective, reference, reference_s = _objective(args, stage, scorer, data)
        steps = Steps(data, work.per_step, args.micro_batch_tokens)
        optimizer = make_optimizer(model, stage, from_scratch=False)
        _reset_peak(device)
        times, losses, micro = _timed(args, scorer, optimizer, objective, steps, stage)
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    flops = [
        model_flops(shape, backbone, work.step(n), sum(trained) if args.lora else None)
        for n in range(args.warmup + 1, len(times) + 1)
    ]
    return {
        **_summary(args, work, times, losses, flops, device),
        "micro_batch_tokens": micro,
        "compiled": scorer.fused,
        "varlen": scorer._form(device),
        "reference_pass_s": reference_s,
        "reference_log_probs": reference,
        "trained_parameters": sum(trained),
    }


def _objective(
    args: argparse.Namespace, stage: Any, scorer: Scorer, data: TrainingData
) -> tuple[Objective, Any, float | None]:
    """For dpo also the reference and the seconds of its pass, the second one: nothing compiles."""
    if args.job != "dpo":
        return NextToken(), None, None
    reference_log_probs(scorer, data, args.micro_batch_tokens)
    started = time.perf_counter()
    reference = reference_log_probs(scorer, data, args.micro_batch_tokens)
    return Preference(stage, reference), reference, time.perf_counter() - started


def _timed(
    args: argparse.Namespace, scorer: Scorer, optimizer: Any, objective: Objective, steps: Steps,
    stage: Stage,
) -> tuple[list[float], list[float], int]:  # fmt: skip
    """Seconds and loss of every step, the warm-up's too, and the micro-batch at the end."""
    times, losses, micro = [], [], steps.micro_batch_tokens
    started = time.perf_counter()
    for metrics in train_steps(scorer, optimizer, objective, steps, stage, seed=0):
        if args.device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
        losses.append(float(metrics.values["loss"]))
        micro = int(metrics.values["micro_batch_tokens"])
        if len(times) == args.warmup + args.steps:
            break
        started = time.perf_counter()
    if args.profile:
        _profile(scorer, objective, steps, len(times) + 1)
    return times, losses, micro


def _profile(scorer: Scorer, objective: Objective, steps: Steps, step: int) -> None:
    """One more step's forward and backward under torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if scorer.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        for batch in steps.micro_batches(step):
            torch.stack(list(objective.loss_sums(scorer, batch).losses.values())).sum().backward()
    by = "self_cuda_time_total" if scorer.device.type == "cuda" else "self_cpu_time_total"
    print(seen.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=60))


def _summary(
    args: argparse.Namespace, work: Work, times: list[float], losses: list[float],
    flops: list[float], device: torch.device,
) -> dict[str, Any]:  # fmt: skip
    measured = times[args.warmup :]
    numbers = range(args.warmup + 1, len(times) + 1)
    records = [work.step(n) for n in numbers]
    tokens = [sum(len(r) for r in step) for step in records]
    predicted = [sum(num_predictions(r) for r in step) for step in records]
    rates = [f / t for f, t in zip(flops, measured, strict=True)]
    return {
        "median_step_s": statistics.median(measured),
        "step_s": [round(t, 4) for t in times],
        "tokens_per_s": statistics.median(n / t for n, t in zip(tokens, measured, strict=True)),
        "supervised_tokens_per_s": statistics.median(
            n / t for n, t in zip(predicted, measured, strict=True)
        ),
        "tokens_per_step": statistics.mean(tokens),
        "tflops": statistics.median(rates) / 1e12,
        "share_of_989": statistics.median(rates) / PEAK,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
        "loss": [losses[0], losses[-1]],
    }


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _machine(device: str) -> dict[str, Any]:
    import transformers

    name = torch.cuda.get_device_name() if device != "cpu" else "cpu"
    return {"device": name, "torch": torch.__version__, "transformers": transformers.__version__}


if __name__ == "__main__":
    main()
