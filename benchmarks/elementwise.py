"""Norms and SwiGLU as transformers has them and as `samdan.lm.elementwise` does, in turns.

    python -m benchmarks.elementwise        # half a minute; one JSON object

Milliseconds of a forward and backward (median of nine), 2,048 tokens of the 0.5B shape, all cores.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

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


def in_turns(ways: dict[str, Callable[..., Tensor]], inputs: list[Tensor]) -> dict[str, float]:
    rounds = [{name: seconds(way, inputs) for name, way in ways.items()} for _ in range(11)][2:]
    return {name: round(1e3 * median(row[name] for row in rounds), 1) for name in ways}


def main() -> None:
    keep_freed_memory()
    found: dict[str, object] = {"threads": torch.get_num_threads()}
    for dtype in (torch.float32, torch.bfloat16):
        theirs, ours = (Qwen2RMSNorm(HIDDEN).to(dtype) for _ in range(2))
        lighten(ours)
        x = torch.randn(TOKENS, HIDDEN).to(dtype).requires_grad_()
        gate, up = (torch.randn(TOKENS, MLP).to(dtype).requires_grad_() for _ in range(2))
        name = str(dtype).removeprefix("torch.")
        found[f"norm, {name}"] = in_turns({"transformers": theirs, "here": ours}, [x])
        found[f"swiglu, {name}"] = in_turns(
            {"transformers": lambda g, u: nn.functional.silu(g) * u, "here": _Swiglu.apply},
            [gate, up],
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
