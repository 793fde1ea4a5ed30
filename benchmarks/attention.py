"""Attention of one record on a CPU, by torch's kernel and by matrix products, in turns.

    python -m benchmarks.attention        # a minute where bf16 is fast; one JSON object

bf16, a forward and backward, all cores, milliseconds (median of nine): `samdan.lm.attention`'s
kernel beside `samdan.lm.causal`. ``errors``: of the result and of the gradients of queries, keys
and values, by the norm, against fp64.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import starmap

import torch
from torch import Tensor

from benchmarks.elementwise import in_turns, seconds
from samdan.lm import causal
from samdan.lm.attention import _sdpa
from samdan.lm.machine import keep_freed_memory

# Tokens, tokens of a prefix, heads, heads of keys and values.
RECORDS = (
    (40, 0, 9, 3), (97, 0, 9, 3), (192, 0, 9, 3), (320, 0, 9, 3),
    (600, 0, 14, 2), (200, 400, 14, 2), (1024, 0, 14, 2), (2048, 0, 14, 2),
)  # fmt: skip
WIDTH = 64


def kernel(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    prefix = len(key) - len(query)
    mask = torch.ones(len(query), len(key), dtype=torch.bool).tril(prefix) if prefix else None
    return _sdpa(query, key, value, WIDTH**-0.5, mask)


def products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return causal.attend(query, key, value, WIDTH**-0.5, None)


def compared(tokens: int, prefix: int, heads: int, few: int) -> dict[str, object]:
    shapes = ((tokens, heads), (tokens + prefix, few), (tokens + prefix, few))
    inputs = [torch.randn(*shape, WIDTH).bfloat16().requires_grad_() for shape in shapes]
    ways = {"kernel": kernel, "products": products}
    took = in_turns({name: partial(seconds, way, inputs) for name, way in ways.items()})
    exact = _with_gradients(kernel, [x.detach().double().requires_grad_() for x in inputs])
    errors = {
        name: [
            f"{float((x - y).norm() / y.norm()):.1e}"
            for x, y in zip(_with_gradients(way, inputs), exact, strict=True)
        ]
        for name, way in ways.items()
    }
    name = f"{prefix} + {tokens}" if prefix else str(tokens)
    return {"tokens": name, "heads": f"{heads} / {few}", "ms": took, "errors": errors}


def _with_gradients(way: object, inputs: list[Tensor]) -> list[Tensor]:
    assert callable(way)
    result = way(*inputs)
    return [result.detach(), *torch.autograd.grad(result, inputs, inputs[0].detach())]


def main() -> None:
    keep_freed_memory()
    torch.manual_seed(0)
    found = {"threads": torch.get_num_threads(), "records": list(starmap(compared, RECORDS))}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
