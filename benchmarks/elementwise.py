"""What is no matrix product, as others have it and as samdan does, in turns.

    python -m benchmarks.elementwise        # a minute; one JSON object

Milliseconds (median of nine), all cores. Norms and SwiGLU: a forward and backward, 2,048 tokens of
the 0.5B shape, transformers beside `samdan.lm.elementwise`. The head's softmax and its gradient:
all rows at once beside the blocks of `samdan.lm.softmax`, rows x tokens of the vocabulary.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from samdan.lm import softmax
from samdan.lm.elementwise import _Swiglu, lighten
from samdan.lm.machine import keep_freed_memory

TOKENS, HIDDEN, MLP = 2048, 896, 4864


def seconds(function: Callable[..., Tensor], inputs: list[Tensor]) -> float:
    for tensor in inputs:
        tensor.grad = None
    began = time.perf_counter()
    result = function(*inputs)
    result.backward(inputs[0].detach())
    return time.perf_counter() - began


def in_turns(ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Milliseconds of ways that tell their seconds."""
    rounds = [{name: way() for name, way in ways.items()} for _ in range(11)][2:]
    return {name: round(1e3 * median(row[name] for row in rounds), 1) for name in ways}


def both(theirs: Callable[..., Tensor], ours: Callable[..., Tensor], *inputs: Tensor) -> Any:
    ways = {"transformers": theirs, "here": ours}
    return in_turns({name: partial(seconds, way, list(inputs)) for name, way in ways.items()})


def of_softmax(rows: int, vocab: int, dtype: torch.dtype) -> dict[str, float]:
    logits, targets = torch.randn(rows, vocab).to(dtype), torch.randint(0, vocab, (rows,))

    def took(way: Callable[..., Any]) -> float:
        given = logits.clone()  # the gradient may lie where they were
        began = time.perf_counter()
        way(given, targets)
        return time.perf_counter() - began

    blocks = partial(softmax.minus_slopes, fused=False)
    return in_turns({"whole": partial(took, softmax._minus_slopes), "here": partial(took, blocks)})


def main() -> None:
    keep_freed_memory()
    found: dict[str, object] = {"threads": torch.get_num_threads()}
    for dtype in (torch.float32, torch.bfloat16):
        theirs, ours = (Qwen2RMSNorm(HIDDEN).to(dtype) for _ in range(2))
        lighten(ours)
        x = torch.randn(TOKENS, HIDDEN).to(dtype).requires_grad_()
        gate, up = (torch.randn(TOKENS, MLP).to(dtype).requires_grad_() for _ in range(2))
        name = str(dtype).removeprefix("torch.")
        found[f"norm, {name}"] = both(theirs, ours, x)
        found[f"swiglu, {name}"] = both(
            lambda g, u: nn.functional.silu(g) * u, _Swiglu.apply, gate, up
        )
        for rows, vocab in ((683, 151_936), (508, 49_152)):
            found[f"softmax, {rows} x {vocab}, {name}"] = of_softmax(rows, vocab, dtype)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
