"""Memory of steps on the pretended device: beside what the plan says, and after too little of it.

Prints JSON. In bf16: for fp32 a real card has a fused attention, here all scores are made.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import tiny
from pretended.device import GIB, Device, Memory, install
from samdan.budget import Setting, Shape, memory
from samdan.lm.batch import Encoded
from samdan.lm.model import add_lora
from samdan.lm.scoring import Scorer
from samdan.lm.skips import checkpoint_layers
from samdan.recipe import Lora, Stage
from samdan.train import loop
from samdan.train.loop import train_steps
from samdan.train.objectives import NextToken, Objective, Preference
from samdan.train.optim import make_optimizer

TOKENS = 1024  # of a micro-batch: two records
DEEP, WIDE = Shape(256, 4, 704, 2048, 4, 2, True), Shape(128, 2, 352, 16_384, 4, 2, True)
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "one micro-batch": {},
    "checkpointing": {"gradient_checkpointing": True},
    "lora": {"lora": Lora(r=8)},
    "offloaded": {"optim": "adamw_offload"},
}


def records(kind: str, count: int, vocab: int) -> list[Encoded]:
    if kind == "cpt":
        return [tiny.document(512, seed, vocab) for seed in range(count)]
    if kind == "sft":
        return [tiny.conversation(300, 212, seed) for seed in range(count)]
    return [tiny.pair(112, 200, 200, seed) for seed in range(count)]


def scorer_of(shape: Shape, stage: Stage) -> Scorer:
    model = tiny.model(
        hidden_size=shape.hidden_size, num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=4, num_key_value_heads=2, intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size, tie_word_embeddings=True,
    )  # fmt: skip
    if stage.lora is not None:
        model = add_lora(model, stage.lora, (), 0)
    scorer = Scorer(model.to("cuda"), bf16=True, keep_copies=stage.keeps_copies)
    if stage.gradient_checkpointing:
        checkpoint_layers(model)
    return scorer


def training(shape: Shape, kind: str, count: int, **fields: Any) -> tuple[Any, ...]:
    """What `train_steps` is called with, but for the steps; and the stage and the records."""
    stage = getattr(tiny, kind)(learning_rate=1e-4, **fields)
    scorer = scorer_of(shape, stage)
    objective: Objective = NextToken()
    if kind == "dpo":
        objective = Preference(stage, torch.zeros(count, 2))
    optimizer = make_optimizer(scorer.model, stage, False)
    return scorer, optimizer, objective, stage, records(kind, count, shape.vocab_size)


def compared(shape: Shape, kind: str, way: str) -> tuple[float, float]:
    """Bytes at the peak of the third step: planned, and taken."""
    micro_batches = 1 if way == "one micro-batch" else 2
    scorer, optimizer, objective, stage, made = training(
        shape, kind, 3 * 2 * micro_batches, micro_batch_tokens=TOKENS, **WAYS[way]
    )
    taken = Memory.present
    with tempfile.TemporaryDirectory() as folder:
        steps = tiny.steps(Path(folder) / "shard", made, 2 * micro_batches, TOKENS)
        batch = steps.micro_batches(1)[0]
        for _ in train_steps(scorer, optimizer, objective, steps, stage, 0):
            peak, taken.peak = taken.peak, taken.bytes
    predicted = batch.num_targets / batch.num_tokens
    planned = memory(shape, stage, Setting(TOKENS, micro_batches, predicted, process=0))
    return planned.peak - planned.parts["allocator"], peak


def run_short(kind: str) -> dict[str, Any]:
    """Two steps, of which the second runs out of memory; what is allocated when it is given up."""
    scorer, optimizer, objective, stage, made = training(
        DEEP, kind, 8, micro_batch_tokens=2 * TOKENS
    )
    taken, left, halved = Memory.present, [], loop._halved

    def watched(*given: Any) -> Any:
        left.append(taken.bytes)
        return halved(*given)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(loop, "_halved", watched):
        steps = tiny.steps(Path(folder) / "shard", made, 4, 2 * TOKENS)
        sizes = []
        for metrics in train_steps(scorer, optimizer, objective, steps, stage, 0):
            sizes.append(metrics.values["micro_batch_tokens"])
            taken.limit = taken.peak + 1_000_000  # states exist from now on: it will not fit
    taken.limit = 80 * GIB
    in_bf16 = 2 * DEEP.num_hidden_layers * DEEP.layer_parameters
    return {"sizes": sizes, "left": left, "expected": 12 * DEEP.parameters + in_bf16}


CASES = (
    ("deep", "cpt", "full"), ("deep", "sft", "checkpointing"), ("deep", "sft", "lora"),
    ("deep", "dpo", "one micro-batch"), ("deep", "dpo", "offloaded"), ("wide", "cpt", "full"),
    ("wide", "sft", "checkpointing"), ("wide", "dpo", "full"),
)  # fmt: skip


if __name__ == "__main__":
    install()
    with Device():
        planned = {
            " ".join(case): compared({"deep": DEEP, "wide": WIDE}[case[0]], *case[1:])
            for case in CASES
        }
        short = {kind: run_short(kind) for kind in ("cpt", "dpo")}
    print(json.dumps({"planned": planned, "short": short}))
