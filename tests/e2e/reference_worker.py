"""What two processes run in ``test_split.py``: a reference pass by both against one by nobody."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch

import tiny
from e2e.worker import carry_out
from samdan.lm.batch import collate
from samdan.lm.scoring import Scorer, sum_by_sequence
from samdan.train import parallel, sharding
from samdan.train.reference import reference_log_probs

CASES: dict[str, dict[str, Any]] = {
    "whole": {},
    "split": {"split": True},
    "tied": {"split": True, "tie_word_embeddings": True},
    "bf16": {"split": True, "bf16": True},
}
PAIRS = [tiny.pair(9, n, 12 - n, seed=n) for n in range(1, 11)]  # 21 tokens: two a batch, 5 batches


def compare(name: str, folder: Path, split: bool = False, bf16: bool = False, **shape: Any) -> None:
    data = tiny.steps(folder / name / f"{parallel.rank()}", PAIRS, 1, 1).data
    empty = split and not parallel.is_main()
    with torch.device("meta") if empty else contextlib.nullcontext():
        model = tiny.model(**shape)
    scorer = Scorer(model, bf16=bf16)
    if split:
        sharding.shard(scorer, torch.device("cpu"), bf16)
    forwards, polls = [], []
    scorer.register_forward_hook(lambda *given: forwards.append(given))
    hands = sharding.hands(scorer)
    values = reference_log_probs(scorer, data, 42, lambda: polls.append(0), hands)
    assert len(polls) == 3
    # With the last of five batches the second process helps, where it must.
    assert len(forwards) == (3 if parallel.is_main() or split else 2)
    expected = torch.cat([alone(Scorer(tiny.model(**shape), bf16=bf16), pair) for pair in PAIRS])
    difference = float((values - expected).abs().max() / expected.abs().max())
    assert difference < (1e-2 if bf16 else 1e-5), (name, difference)
    torch.save(values, folder / f"{name}-{parallel.rank()}.pt")
    parallel.barrier()
    if parallel.is_main():
        both = [torch.load(folder / f"{name}-{n}.pt", weights_only=True) for n in range(2)]
        assert torch.equal(*both)
        print("same", name, flush=True)


@torch.no_grad()
def alone(scorer: Scorer, pair: Any) -> torch.Tensor:
    batch = collate([pair])
    return sum_by_sequence(scorer(batch), batch)[0].view(1, 2)


if __name__ == "__main__":
    carry_out(CASES, lambda case, folder: compare(case, folder, **CASES[case]))
