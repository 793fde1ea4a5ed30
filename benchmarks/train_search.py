"""TRL's flags: its defaults, the best known so far, and the search for better ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.train_side import Spec
from benchmarks.train_turns import SideError, last_line, run_round
from benchmarks.train_work import cut_short, save
from samdan.lm.batch import Encoded

Flags = dict[str, Any]
DEFAULT_BATCH = 8  # of transformers.TrainingArguments
BATCHES = (8, 6, 4, 3, 2, 1)
# ``--quick`` takes these unless told to search: found by ``--quick --search`` on two cores, in
# seconds a step. fp32 (AVX2): dpo, batch 4, 2, 1: 15.5, 14.1, 10.8. sft, batch 2, 1: 7.3, 5.1; 2
# without padding: 5.7. cpt, the same: 6.9, 5.7, 4.4. bf16 (AVX-512), batch 8, 4, 2, 1: dpo 21.7,
# 14.5, 14.8, 10.4. sft 18.5, 15.7, 13.9, 13.8; without padding 26.3, 16.6, 16.0. cpt 15.9, 10.9,
# 12.0, 11.5; without padding 19.9, 13.0, 11.3. `benchmarks.beside` predicts others with AMX.
BEST: dict[str, Flags] = {
    "cpt": {"batch": 2, "gradient_checkpointing": False, "padding_free": True},
    "sft": {"batch": 1, "gradient_checkpointing": False, "padding_free": False},
    "dpo": {"batch": 1, "gradient_checkpointing": False, "precompute": True},
}
BEST_BF16: dict[str, Flags] = {
    "cpt": {"batch": 4, "gradient_checkpointing": False, "padding_free": False},
    "sft": {"batch": 1, "gradient_checkpointing": False, "padding_free": False},
    "dpo": {"batch": 1, "gradient_checkpointing": False, "precompute": True},
}


def default_flags(per_step: int) -> Flags:
    """TRL's own. Its bf16, on by default also where it is emulated, is not among them."""
    return {"batch": min(DEFAULT_BATCH, per_step), "gradient_checkpointing": True}


def best_flags(job: str, per_step: int, bf16: bool) -> Flags:
    """The best known ones. No batch is larger than a step."""
    best = (BEST_BF16 if bf16 else BEST)[job]
    return best | {"batch": min(best["batch"], per_step)}


def candidates(job: str, per_step: int) -> list[Flags]:
    """The flags to try, those without checkpointing first; batches divide a step."""
    batches = [batch for batch in BATCHES if batch <= per_step and per_step % batch == 0]
    if job == "dpo":  # its padding_free is refused by TRL itself
        each: list[Flags] = [{"batch": batch, "precompute": True} for batch in batches]
    else:
        each = [{"batch": batch, "padding_free": False} for batch in batches]
        # Without padding a batch of one is the same with and without.
        each += [{"batch": batch, "padding_free": True} for batch in batches if batch > 1]
    return [
        flags | {"gradient_checkpointing": checkpointing}
        for checkpointing in (False, True)
        for flags in each
    ]


def search(plain: Spec, step: Sequence[Encoded], folder: Path) -> tuple[Flags, list[Flags]]:
    """The fastest flags for the step's first records, and all that were tried.

    Checkpointing costs a forward, so it is tried only where nothing fits without it. Raises
    SystemExit where nothing fits at all.
    """
    chosen = list(step[: max(BATCHES)])
    save(folder, [*map(cut_short, chosen), *chosen], len(chosen))
    tried: list[Flags] = []
    for flags in candidates(plain.job, len(chosen)):
        if flags["gradient_checkpointing"] and any("seconds" in one for one in tried):
            break
        spec = replace(
            plain, program="trl", options=flags, work=str(folder), per_step=len(chosen), steps=2
        )
        try:
            trace = run_round({"trl": spec})["trl"]
            took = {name: round(trace.turns[1][name], 2) for name in ("seconds", "cpu_seconds")}
            tried.append(flags | took)
        except SideError as error:
            tried.append(flags | {"error": last_line(error)})
        print(f"trl, {tried[-1]}", flush=True)
    fitting = [one for one in tried if "seconds" in one]
    if not fitting:
        raise SystemExit(f"TRL fits this machine at no flags: {tried}")
    best = min(fitting, key=lambda one: one["seconds"])
    return {name: best[name] for name in best if name not in ("seconds", "cpu_seconds")}, tried
