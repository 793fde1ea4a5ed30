"""What a step takes beside its products: nothing is missed, and predictions are sums."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("psutil", reason="the extra 'bench' is not installed")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import beside, train_scale  # noqa: E402
from benchmarks.shapes import SHAPES, backbone_parameters, build  # noqa: E402
from benchmarks.train import load  # noqa: E402
from benchmarks.train_stubbed import Stubbed  # noqa: E402
from benchmarks.train_turns import Trace  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_gives_zeros_and_is_counted_forward_and_backward(dtype: torch.dtype) -> None:
    linear, x = nn.Linear(5, 7).to(dtype), torch.ones(3, 5, dtype=dtype, requires_grad=True)
    name = f"product, {str(dtype)[6:]}"
    with Stubbed() as mode:
        out = linear(x)
        assert mode.flops == {name: 2 * 3 * 5 * 7}
        out.sum().backward()
        assert mode.flops == {name: 3 * 2 * 3 * 5 * 7}
        assert torch.equal(out, torch.zeros(3, 7, dtype=dtype))
        assert float((torch.ones(2) + 1).sum()) == 4  # whatever is no product is computed
        mode.reset()
        with torch.inference_mode():
            linear(x)
        assert mode.flops == {name: 2 * 3 * 5 * 7}


@pytest.mark.parametrize("inference", [False, True])
def test_attention_is_counted_over_the_pairs_that_are_seen(inference: bool) -> None:
    query, key = (torch.ones(1, heads, 6, 4, requires_grad=True) for heads in (4, 2))
    attend = nn.functional.scaled_dot_product_attention
    with Stubbed() as mode, torch.inference_mode(inference):
        out = attend(query, key, key, is_causal=True, enable_gqa=True)
        assert out.shape == query.shape
        assert mode.flops == {"attention, float32": 4 * 4 * 6 * 6 * 4 / 2}
        if not inference:
            out.sum().backward()
            assert mode.flops["attention backward, float32"] == 2.5 * 4 * 4 * 6 * 6 * 4 / 2


def test_a_prediction_is_operators_and_products_at_their_rates() -> None:
    turn = {"beside": {"add": 1.0, "silu": 0.5}, "operators": 3, "peak_mb": 8.0}
    flops = {"product, bfloat16": 4e9, "product, float32": 2e9, "attention backward, bfloat16": 3e9}
    begun = {"beside": {"add": 6.0}, "flops": {}, "peak_mb": 9.0}
    trace = Trace({"peak_mb": 1.0}, begun, [turn | {"flops": flops}] * 2)
    rates = {"product, bfloat16": 8.0, "product, float32": 4.0, "attention": 1.0}
    found = beside.predicted(trace, [100, 300], rates)
    assert found["step_s"] == found["epoch_s"] == 1.5 + 4 / 8 + 2 / 4 + 3 / 1
    assert (found["beside_s"], found["products_s"], found["peak_mb"]) == (1.5, 4.0, 9.0)
    trace.begun["reference"] = {}  # there was a reference pass: it is dealt to all steps
    assert beside.predicted(trace, [100, 300], rates)["epoch_s"] == 5.5 + 6 * 3 / 4


@pytest.mark.parametrize("precision", ["--fp32", "--bf16-gflops=1"])
def test_no_product_of_a_step_is_missed(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a step without prompts the products are those of `model_flops`, on both sides."""
    beside.main([
        "--job", "cpt", "--shape", "tiny", "--per-step", "4", "--longest", "96", "--steps", "1",
        "--sides", "samdan", "plain", precision,
    ])  # fmt: skip
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    scale = train_scale.Scale("tiny", 4, 0, 96, 1, 1.0, False)
    data = beside.shared_data(ROOT)
    records = train_scale.make_workload("cpt", scale, data, None).step(1)
    shape = SHAPES["tiny"]
    backbone = backbone_parameters(build(shape, torch.device("cpu"), torch.float32))
    needed = load(records, "tiny", backbone).flops
    for name, side in found["sides"].items():
        counted = 1e9 * sum(side["gflop"].values())
        # Causal attention is l^2/2 there and here; vectors among the parameters are no products.
        assert counted == pytest.approx(needed, rel=0.1)
        assert side["step_s"] >= side["beside_s"] > 0
        kinds = {kind.split(", ")[1] for kind in side["gflop"]}
        scores = {"float32"} if name == "samdan" else set()  # of attention by products
        assert kinds == ({"float32"} if precision == "--fp32" else {"bfloat16"} | scores)
    assert found["predicted_ratios"].keys() == {"plain"}
