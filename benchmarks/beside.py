"""What a bf16 step takes beside its matrix products, for a CPU that multiplies bf16 slowly.

    python -m benchmarks.beside --job sft
    python -m benchmarks.beside --job cpt --shape 0.5b --per-step 8 --longest 2048

The sides of `benchmarks.train` take turns as there, but products and attention kernels give zeros
(`benchmarks.train_stubbed`): every other operator runs and is timed. With rates of products and
attention, measured elsewhere and given here, that *predicts* a step: operators + FLOPs / rates.
``--fp32`` predicts what `benchmarks.train` can measure on any machine, which tells how far to trust
the rest. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.corpus import shared_data
from benchmarks.shapes import SHAPES
from benchmarks.train import changed, load, micro_batch, sides_of
from benchmarks.train_peak import matmul_peak
from benchmarks.train_scale import QUICK, QUICK_BF16, Workload, make_workload
from benchmarks.train_search import best_flags, candidates
from benchmarks.train_side import Spec
from benchmarks.train_turns import Trace, run_round
from benchmarks.train_work import save
from benchmarks.watch import ROOT, machine

# GFLOP/s. Of bf16: two cores with AMX, the reference of docs/performance.md; attention at documents
# of 256 to 1,024 tokens reached 96 to 212 there.
RATES = {"product, bfloat16": 2200.0, "product, float32": 300.0, "attention": 150.0}
LARGEST = 12  # operators that are listed
Result = dict[str, Any]


def main(given: list[str] | None = None) -> Result:
    """Runs what the command line asks for, prints it, and returns it."""
    args = _parser().parse_args(given)
    scale = changed((QUICK if args.fp32 else QUICK_BF16)[args.job], args)
    work = make_workload(args.job, scale, args.data, args.share)
    micro = micro_batch(args.job, scale)
    rates = {
        "product, bfloat16": args.bf16_gflops,
        "product, float32": args.fp32_gflops,
        "attention": args.attention_gflops,
    }
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), work.records, work.per_step)
        specs = _specs(args, work, Spec(
            args.job, scale.shape, not args.fp32, folder, work.per_step, work.steps, micro, "", {}
        ))  # fmt: skip
        traces: dict[str, Trace] = {}
        for batch in ([[name] for name in specs] if args.alone else [list(specs)]):
            traces |= run_round({name: _stubbed(specs[name]) for name in batch})
    sides = {name: predicted(trace, work.tokens(), rates) for name, trace in traces.items()}
    backbone = int(traces["samdan"].about["backbone"])
    needed = [load(work.step(n), scale.shape, backbone) for n in range(1, work.steps)]
    ours = sides["samdan"]
    peers = {name: side for name, side in sides.items() if name != "samdan"}
    whole = "epoch_s" if args.job == "dpo" else "step_s"
    peak = args.fp32_gflops if args.fp32 else args.bf16_gflops
    line = {
        "job": args.job,
        "shape": scale.shape,
        "precision": "fp32" if args.fp32 else "bf16",
        "predicted_ratios": {
            name: round(side[whole] / ours[whole], 2) for name, side in peers.items()
        },
        "predicted_peak_share": round(
            statistics.median(one.flops for one in needed) / ours["step_s"] / peak / 1e9, 3
        ),
        "memory_ratios": {
            name: round(ours["peak_mb"] / side["peak_mb"], 3) for name, side in peers.items()
        },
        "sides": sides,
        "flags": {name: spec.options for name, spec in specs.items() if spec.options},
        "records": {"texts": work.texts, "tokens_per_step": [one.tokens for one in needed]},
        "rates_gflops": rates,
        "own_fp32_peak_gflops": round(matmul_peak(torch.float32) / 1e9, 1),
        "machine": machine(),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)
    return line


def _specs(args: argparse.Namespace, work: Workload, plain: Spec) -> dict[str, Spec]:
    """The sides that are asked for, samdan first."""
    specs = sides_of(plain, False, best_flags(args.job, work.per_step, plain.bf16))
    if args.search:
        specs = {"samdan": specs["samdan"]} | {
            json.dumps(flags): replace(specs["trl_best"], options=flags)
            for flags in candidates(args.job, work.per_step)
            if not flags["gradient_checkpointing"]
        }
    return {name: spec for name, spec in specs.items() if name in (args.sides or specs)}


def _stubbed(spec: Spec) -> Spec:
    return replace(spec, program="stubbed", options={**spec.options, "side": spec.program})


def predicted(trace: Trace, tokens: list[int], rates: dict[str, float]) -> Result:
    """Of one side: medians over its measured steps. Seconds, MB.

    A reference pass is dealt to the steps by their tokens; the forward of the check is in it.
    """
    beside = [sum(turn["beside"].values()) for turn in trace.turns[1:]]
    products = [_seconds(turn["flops"], rates) for turn in trace.turns[1:]]
    steps = [a + b for a, b in zip(beside, products, strict=True)]
    before = 0.0
    if "reference" in trace.begun:
        before = sum(trace.begun["beside"].values()) + _seconds(trace.begun["flops"], rates)
    share = [own / sum(tokens) for own in tokens[1:]]
    last = trace.turns[-1]
    largest = sorted(last["beside"].items(), key=lambda item: -item[1])[:LARGEST]
    return {
        "step_s": round(statistics.median(steps), 3),
        "epoch_s": round(
            statistics.median(a + b * before for a, b in zip(steps, share, strict=True)), 3
        ),
        "beside_s": round(statistics.median(beside), 3),
        "products_s": round(statistics.median(products), 3),
        "peak_mb": round(trace.peak_mb, 1),
        "operators": last["operators"],
        "gflop": {name: round(flops / 1e9, 1) for name, flops in last["flops"].items()},
        "largest_s": dict(largest),
    }


def _seconds(flops: dict[str, float], rates: dict[str, float]) -> float:
    """Of all products and kernels. The rate of attention is the same in both precisions."""
    return sum(
        count / (rates["attention"] if name.startswith("attention") else rates[name]) / 1e9
        for name, count in flops.items()
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.beside", description=__doc__)
    parser.add_argument("--job", choices=QUICK, required=True)
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--steps", type=int, default=3, help="measured steps")
    parser.add_argument("--per-step", type=int, help="records a step")
    parser.add_argument("--longest", type=int, help="tokens of the longest record")
    parser.add_argument("--share", type=float, help="dpo: drawn pairs' prompt share")
    parser.add_argument("--fp32", action="store_true")
    parser.add_argument("--alone", action="store_true", help="one process at a time")
    parser.add_argument("--sides", nargs="*", help="names of sides, samdan among them")
    parser.add_argument("--search", action="store_true", help="TRL at all flags")
    parser.add_argument("--bf16-gflops", type=float, default=RATES["product, bfloat16"])
    parser.add_argument("--fp32-gflops", type=float, default=RATES["product, float32"])
    parser.add_argument("--attention-gflops", type=float, default=RATES["attention"])
    parser.add_argument("--data", type=Path, default=shared_data(ROOT), help="real data")
    return parser


if __name__ == "__main__":
    main()
