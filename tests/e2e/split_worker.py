"""What two processes run in ``test_split.py``: gradients of a split model against a whole one's."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import tiny
from e2e.worker import carry_out
from samdan.lm.batch import Batch
from samdan.lm.model import add_lora
from samdan.lm.scoring import Scorer
from samdan.recipe import Lora
from samdan.train import parallel, sharding
from samdan.train.loop import _accumulate
from samdan.train.objectives import NextToken
from samdan.train.optim import make_optimizer, state_tensors
from samdan.train.state import Progress, load_checkpoint, save_checkpoint

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "adapters": {"lora": True, "tie_word_embeddings": True},
    "checkpointing": {"checkpointing": True},
    "odd": {"hidden_size": 36, "num_attention_heads": 2, "vocab_size": 99},
    "bf16": {"bf16": True},
}


def build(lora: bool = False, checkpointing: bool = False, **shape: Any) -> Any:
    model = tiny.model(**shape)
    if lora:
        model = add_lora(model, Lora(r=3), (5, 6), 0)
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(1)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def whole_gradients(model: Any, batches: list[Batch], bf16: bool) -> dict[str, torch.Tensor]:
    """By one process, without any of the code that is tested."""
    scorer = Scorer(model, bf16=bf16).train()
    weight = sum(batch.num_targets for batch in batches)
    for batch in batches:
        (-scorer(batch, total=True) / weight).backward()
    return tiny.gradients(model)


def compare(name: str, folder: Path, bf16: bool = False, **options: Any) -> None:
    records = [tiny.document(n, seed=n) for n in (14, 12, 9)]
    steps = tiny.steps(folder / name / f"{parallel.rank()}", records, 3, 16)
    mine = replace(steps, rank=parallel.rank(), world_size=2).micro_batches(1)
    empty = [not batch.num_targets for batch in mine]
    assert any(empty) == parallel.is_main()  # it has to take part without records of its own
    with contextlib.nullcontext() if parallel.is_main() else torch.device("meta"):
        model = build(**options)
    scorer = Scorer(model, bf16=bf16)
    sharding.shard(scorer, torch.device("cpu"), bf16)
    optimizer = make_optimizer(model, tiny.cpt(learning_rate=1e-3), False)
    _accumulate(scorer, NextToken(), mine, 0, 1)
    parameters = [p for p in scorer.parameters() if p.requires_grad]
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    ours = {n: p.grad.full_tensor() for n, p in trained.items()}
    norm = parallel.clip_gradients(parameters, 1e9)
    if parallel.is_main():
        theirs = whole_gradients(build(**options), steps.micro_batches(1), bf16)
        limit = 3e-2 if bf16 else 1e-5
        assert tiny.distance(ours, theirs) < limit, (name, tiny.distance(ours, theirs))
        expected = float(torch.nn.utils.get_total_norm(theirs.values()))
        assert abs(norm - expected) < limit * expected
    optimizer.step()
    kept = sharding.whole_tensors(model)
    state = {n: sharding.local_part(t).clone() for n, t in state_tensors(optimizer).items()}
    progress = Progress(1, 1, "", "id", {})
    path = save_checkpoint(folder / name / "checkpoints", model, optimizer, progress, 1)
    parallel.barrier()
    optimizer.step()  # away from what was saved
    assert load_checkpoint(path, model, optimizer) == progress
    again = sharding.whole_tensors(model)
    assert all(torch.equal(tensor, again[n]) for n, tensor in kept.items())
    for n, tensor in state_tensors(optimizer).items():
        assert torch.equal(sharding.local_part(tensor), state[n]), n
    if parallel.is_main():
        other = build(**options)  # not split: reads what two have written
        load_checkpoint(path, other, make_optimizer(other, tiny.cpt(learning_rate=1e-3), False))
        found = dict(other.named_parameters())
        assert all(torch.equal(tensor, found[n]) for n, tensor in kept.items())
        print("same", name, flush=True)


if __name__ == "__main__":
    carry_out(CASES, lambda case, folder: compare(case, folder, **CASES[case]))
