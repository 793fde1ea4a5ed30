"""What `benchmarks.cpt`, `benchmarks.sft` and `benchmarks.dpo` share: whole steps next to peers.

Sides: samdan; TRL at its defaults; TRL at its best flags; a plain PyTorch loop; LLaMA-Factory, if
its interpreter is named. Each is a process of its own on all cores, and they take turns, step by
step, on the same records. The last line is one JSON object; docs/performance.md says what its
numbers mean.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.corpus import shared_data
from benchmarks.shapes import SHAPES, model_flops, parameters
from benchmarks.train_figures import Load, Step, compared, side_figures
from benchmarks.train_handed import Factory, figures, llamafactory
from benchmarks.train_peak import matmul_peak
from benchmarks.train_samdan import stage_of
from benchmarks.train_scale import FULL, QUICK, QUICK_BF16, TINY, Scale, Workload, make_workload
from benchmarks.train_search import Flags, best_flags, default_flags, search
from benchmarks.train_side import Spec
from benchmarks.train_turns import FEWEST, Agreement, Trace, run_alone, run_round
from benchmarks.train_work import prompt_share, save
from benchmarks.watch import ROOT, machine
from samdan.lm.batch import Encoded, num_predictions
from samdan.lm.machine import bf16_is_fast
from samdan.run.choices import choose_micro_batch, free_memory

SHARES = (0.3, 0.7, 0.9)  # prompt shares of the drawn pairs
STATE_BYTES = 20  # a parameter in fp32: weight, gradient, AdamW's two, TRL's reference
WORKING_BYTES = 6e9  # activations and logits of the side whose turn it is
Result = dict[str, Any]


def measure(
    job: str, scale: Scale, data: Path | None, share: float | None, bf16: bool, alone: bool | None,
    started: float, factory: Factory | None, compiled: bool,
) -> Result:  # fmt: skip
    """One workload, all sides. ``alone`` None: as the memory allows; ``compiled``: ours only."""
    shape = SHAPES[scale.shape]
    work = make_workload(job, scale, data, share)
    available = free_memory()
    micro = micro_batch(job, scale)
    plain = Spec(job, scale.shape, bf16, "", work.per_step, 0, micro, "", {}, int(available * 0.95))
    peak = matmul_peak(torch.bfloat16 if bf16 else torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        tried: list[Result] = []
        best = best_flags(job, work.per_step, bf16)
        best["batch"] = scale.trl_batch or best["batch"]
        if scale.search:
            best, tried = search(plain, work.step(1), Path(folder) / "search")
        sides = sides_of(plain, compiled, best) | llamafactory(
            plain, factory, work.records, Path(folder) / "handed"
        )
        if alone is None:
            needed = len(sides) * STATE_BYTES * parameters(shape) + WORKING_BYTES
            alone = needed > available
        agreement = Agreement(bf16)
        failed: dict[str, str] = {}
        rounds = _rounds(
            sides, work, Path(folder), agreement, scale.budget_s, started, alone, failed
        )
    peak = max(peak, matmul_peak(torch.bfloat16 if bf16 else torch.float32))
    steps, peaks, backbone = gathered(rounds)
    count = len(steps["samdan"])
    loads = [load(work.step(number + 1), scale.shape, backbone) for number in range(count)]
    found = outcome(job, steps, loads, peaks, peak)
    if factory is not None:
        found |= figures(found, rounds[-1][1])
    return {
        **found,
        "matmul_peak_gflops": round(peak / 1e9, 1),
        "flags": {name: spec.options for name, spec in sides.items() if spec.options},
        "tried": tried,
        "left_out": failed,
        "loss_differences": agreement.largest(),
        "records": {
            "texts": work.texts,
            "per_step": work.per_step,
            "tokens_per_step": [one.tokens for one in loads],
            "supervised_per_step": [one.supervised for one in loads],
            "prompt_share": prompt_share(work.records[work.per_step :]),
            "longest": scale.longest,
            "micro_batch_tokens": micro,
        },
        "steps": count,
        "in_turn": "processes" if alone else "steps",
        "threads": rounds[0][1]["samdan"].about["threads"],
    }


def micro_batch(job: str, scale: Scale) -> int:
    """Tokens of samdan's micro-batch, which it chooses by the memory that is free."""
    stage = stage_of(job).model_copy(update={"max_length": scale.longest})
    shape = SHAPES[scale.shape]
    return choose_micro_batch(stage, shape.vocab, shape.hidden * shape.layers)


def changed(scale: Scale, args: argparse.Namespace) -> Scale:
    """The scale with what the command line says of it."""
    names = ("shape", "steps", "per_step", "longest")
    chosen = {name: getattr(args, name) for name in names}
    return replace(scale, **{name: value for name, value in chosen.items() if value})


def sides_of(plain: Spec, compiled: bool, best: Flags) -> dict[str, Spec]:
    """The sides that run under this interpreter."""
    default = default_flags(plain.per_step)
    return {
        "samdan": replace(plain, program="samdan", options={"compile": compiled}),
        "trl_default": replace(plain, program="trl", options=default),
        "trl_best": replace(plain, program="trl", options=best),
        "plain": replace(plain, program="plain"),
    }


def _rounds(
    sides: dict[str, Spec], work: Workload, folder: Path, agreement: Agreement,
    budget_s: float | None, started: float, alone: bool, failed: dict[str, str],
) -> list[tuple[list[int], dict[str, Trace]]]:  # fmt: skip
    """Per round the tokens of its steps, and each side's trace."""

    def enough(measured: int, seconds: float) -> bool:
        if budget_s is None or measured < FEWEST:
            return False
        return time.perf_counter() - started + seconds > budget_s

    rounds = []
    parts = [work.round(n) for n in range(1, work.steps)] if alone else [work]
    for number, part in enumerate(parts):
        place = folder / f"round-{number}"
        save(place, part.records, part.per_step)
        specs = {
            name: replace(spec, work=str(place), steps=part.steps) for name, spec in sides.items()
        }
        if alone:
            traces = run_alone(specs, agreement, failed)
        else:
            traces = run_round(specs, agreement, enough, failed)
        rounds.append((part.tokens(), traces))
    return rounds


def gathered(
    rounds: Sequence[tuple[list[int], dict[str, Trace]]],
) -> tuple[dict[str, list[Step]], dict[str, float], int]:
    """Measured steps and peak memory by side, and the backbone's parameters."""
    names = rounds[-1][1]  # who failed once is in none of the later ones
    steps = {name: [s for tokens, t in rounds for s in t[name].steps(tokens)] for name in names}
    peaks = {name: max(traces[name].peak_mb for _, traces in rounds) for name in names}
    return steps, peaks, int(names["samdan"].about["backbone"])


def load(records: Sequence[Encoded], shape: str, backbone: int) -> Load:
    return Load(
        sum(len(record) for record in records),
        sum(num_predictions(record) for record in records),
        model_flops(SHAPES[shape], backbone, records),
    )


def outcome(
    job: str, steps: dict[str, list[Step]], loads: Sequence[Load], peaks: dict[str, float],
    peak_flops: float,
) -> Result:  # fmt: skip
    """The headline numbers and each side's. For dpo the ratios are of a whole epoch.

    A ratio is None where its peer was left out.
    """
    ours = steps["samdan"]
    dpo = job == "dpo"
    versus = {
        name: compared(ours, theirs, dpo) for name, theirs in steps.items() if name != "samdan"
    }
    figures = {
        name: side_figures(mine, loads, peaks[name], peak_flops) for name, mine in steps.items()
    }
    whole = "epoch" if dpo else "step"
    middle = {name: found[whole]["median"] for name, found in versus.items()}
    memory = {name: round(peaks["samdan"] / peak, 3) for name, peak in peaks.items()}
    return {
        "ratio_vs_default": middle.get("trl_default"),
        "ratio_vs_best": middle.get("trl_best"),
        "ratio_vs_plain": middle.get("plain"),
        "memory_ratio": memory.get("trl_best"),
        "memory_ratios": {name: ratio for name, ratio in memory.items() if name != "samdan"},
        "peak_share": figures["samdan"]["peak_share"]["median"],
        "ratio_is_of": whole,
        "ratios": versus,
        "sides": figures,
    }


# --- all of it ------------------------------------------------------------------------------------


def main(job: str, given: list[str] | None = None) -> Result:
    """Measures what the command line asks for, prints it, and returns it."""
    started = time.perf_counter()
    args = _parser(job).parse_args(given)
    bf16 = bf16_is_fast("cpu") and not args.fp32
    quick = QUICK_BF16 if bf16 else QUICK
    scale = TINY if args.tiny else quick[job] if args.quick else FULL
    scale = replace(changed(scale, args), trl_batch=args.trl_batch)
    if args.search is not None:
        scale = replace(scale, search=args.search)
    shares = [None, *(SHARES if args.shares is None else args.shares)]
    if job != "dpo" or (args.shares is None and (args.quick or args.tiny)):
        shares = [None]
    data = None if args.tiny else args.data
    factory = Factory(args.llamafactory, args.neat_packing) if args.llamafactory else None
    before = machine()
    found: Result = {}
    for share in shares:
        one = measure(
            job, scale, data, share, bf16, args.alone or None, started, factory, args.compile
        )
        if share is None:
            found = one
        else:
            found.setdefault("prompt_shares", {})[str(share)] = one
            started = time.perf_counter()
    line = {
        "job": job,
        "quick": args.quick,
        "shape": scale.shape,
        "precision": "bf16" if bf16 else "fp32",
        **found,
        "versions": versions(),
        "machine": before,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)
    return line


def versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "transformers", "trl", "accelerate"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _parser(job: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"benchmarks.{job}", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="135M shape, under 4 minutes")
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--steps", type=int, help="measured steps")
    parser.add_argument("--per-step", type=int, help="records a step")
    parser.add_argument(
        "--trl-batch", type=int, default=0, help="of its best side, without a search"
    )
    parser.add_argument("--longest", type=int, help="tokens of the longest record")
    parser.add_argument(
        "--search", action=argparse.BooleanOptionalAction, help="try TRL's flags (full run: yes)"
    )
    parser.add_argument(
        "--alone", action="store_true", help="one process at a time, to save memory"
    )
    parser.add_argument("--compile", action="store_true", help="our layers compiled, no peer's")
    parser.add_argument("--fp32", action="store_true", help="also where bf16 is fast")
    parser.add_argument("--shares", type=float, nargs="*", help="dpo: drawn pairs' prompt shares")
    parser.add_argument("--data", type=Path, default=shared_data(ROOT), help="real data")
    parser.add_argument(
        "--llamafactory", type=Path, metavar="PYTHON", help="a side by the interpreter that has it"
    )
    if job == "sft":
        parser.add_argument("--neat-packing", action="store_true", help="LLaMA-Factory twice")
    parser.set_defaults(neat_packing=False)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    return parser
