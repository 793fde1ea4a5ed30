"""Merging: exact at its ends, by rows where vocabularies differ, refused where it must be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import tiny
from samdan.grow.merging import merge
from samdan.growing.merging import Linear, Slerp, TaskArithmetic, shares, slerp_shares
from samdan.lm.tensors import Checkpoint
from samdan.records import DataError

EMBEDDINGS = "model.embed_tokens.weight"


def saved(folder: Path, seed: int, tokenizer: Any = None, rows: int = 0, **shape: Any) -> Path:
    tokenizer = tokenizer or tiny.tokenizer()
    shape = {"vocab_size": rows or len(tokenizer), "tie_word_embeddings": False} | shape
    made = tiny.model(seed=seed, attention="eager", **shape)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    found = Checkpoint(folder)
    return {name: found.read(name) for name in found.tensors}


def larger_tokenizer() -> Any:
    """The same ids for the same tokens, and two more."""
    found = tiny.tokenizer()
    found.add_tokens(["한빛전자", "반도체"])
    return found


def test_the_ends_of_linear_and_slerp_are_the_models(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    for number, (spec, expected) in enumerate(
        [
            (Linear(weights=(3.0, 0.0)), a),
            (Linear(weights=(0.0, 1.0)), b),
            (Slerp(t=0.0), a),
            (Slerp(t=1.0), b),
        ]
    ):
        merge([a, b], tmp_path / str(number), spec)
        merged, wanted = weights(tmp_path / str(number)), weights(expected)
        assert merged.keys() == wanted.keys()
        assert all(torch.equal(merged[name], wanted[name]) for name in wanted)


def test_the_middle_is_in_the_middle(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    found = merge([a, b], tmp_path / "mean", Linear(), shard_bytes=20_000)
    assert len(list((tmp_path / "mean").glob("model-*.safetensors"))) > 2
    one, two, mean = weights(a), weights(b), weights(tmp_path / "mean")
    for name in mean:
        assert torch.allclose(mean[name], (one[name] + two[name]) / 2)
    assert found.parameters == sum(t.numel() for t in one.values())
    assert found.notes == ()


def test_slerp_goes_along_the_arc(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    merge([a, b], tmp_path / "arc", Slerp(t=0.3))
    one, two, arc = weights(a), weights(b), weights(tmp_path / "arc")
    for name in arc:
        v0, v1 = one[name].double().flatten(), two[name].double().flatten()
        angle = math.acos(float(v0 @ v1 / (v0.norm() * v1.norm())))
        if math.cos(angle) > 0.9995:
            expected = 0.7 * v0 + 0.3 * v1
        else:
            expected = (math.sin(0.7 * angle) * v0 + math.sin(0.3 * angle) * v1) / math.sin(angle)
        assert torch.allclose(arc[name].double().flatten(), expected, atol=1e-6)


def test_the_chat_vector_is_exact_where_it_can_be(tmp_path: Path) -> None:
    base, tuned = saved(tmp_path / "base", 1), saved(tmp_path / "tuned", 2)
    model = saved(tmp_path / "model", 3)
    merge([model, base, base], tmp_path / "nothing", TaskArithmetic())
    same, own = weights(tmp_path / "nothing"), weights(model)
    assert all(torch.equal(same[name], own[name]) for name in own)
    merge([base, base, tuned], tmp_path / "all", TaskArithmetic())
    moved, wanted = weights(tmp_path / "all"), weights(tuned)
    assert all(torch.allclose(moved[name], wanted[name], atol=1e-6) for name in wanted)
    merge([model, base, tuned], tmp_path / "half", TaskArithmetic(scale=0.5))
    half, b, t = weights(tmp_path / "half"), weights(base), weights(tuned)
    assert all(torch.allclose(half[n], own[n] + 0.5 * (t[n] - b[n]), atol=1e-6) for n in own)


def test_new_tokens_stay_and_old_ones_move(tmp_path: Path) -> None:
    old = tiny.tokenizer()
    base, tuned = saved(tmp_path / "base", 1, old), saved(tmp_path / "tuned", 2, old)
    model = saved(tmp_path / "model", 3, larger_tokenizer(), rows=len(old) + 8)
    found = merge([model, base, tuned], tmp_path / "out", TaskArithmetic())
    n = len(old)
    assert (found.rows_merged, found.rows_kept) == (n, 8)
    assert "the tokenizers differ" in found.notes[0]
    own, out = weights(model), weights(tmp_path / "out")
    change = weights(tuned)[EMBEDDINGS] - weights(base)[EMBEDDINGS]
    for name in (EMBEDDINGS, "lm_head.weight"):
        assert torch.equal(out[name][n:], own[name][n:])
    assert torch.allclose(out[EMBEDDINGS][:n], own[EMBEDDINGS][:n] + change, atol=1e-6)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()["반도체"] == n + 1
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.vocab_size == n + 8


def test_embeddings_can_be_left_alone(tmp_path: Path) -> None:
    base, tuned = saved(tmp_path / "base", 1), saved(tmp_path / "tuned", 2)
    model = saved(tmp_path / "model", 3)
    merge([model, base, tuned], tmp_path / "out", TaskArithmetic(embeddings="skip"))
    own, out = weights(model), weights(tmp_path / "out")
    changed = {name for name in own if not torch.equal(own[name], out[name])}
    assert changed == own.keys() - {EMBEDDINGS, "lm_head.weight"}


def test_an_id_that_means_something_else_is_not_moved(tmp_path: Path) -> None:
    other = tiny.tokenizer()
    other.add_tokens(["다른말"])
    base, tuned = saved(tmp_path / "base", 1, other), saved(tmp_path / "tuned", 2, other)
    model = saved(tmp_path / "model", 3, larger_tokenizer())
    n = len(tiny.tokenizer())
    found = merge([model, base, tuned], tmp_path / "out", TaskArithmetic())
    assert found.rows_merged == n
    kept = weights(tmp_path / "out")[EMBEDDINGS][n]
    assert torch.equal(kept, weights(model)[EMBEDDINGS][n])


def test_padding_of_a_vocabulary_is_no_reason_to_refuse(tmp_path: Path) -> None:
    size = len(tiny.tokenizer())
    a, b = saved(tmp_path / "a", 1, rows=size + 16), saved(tmp_path / "b", 2)
    found = merge([a, b], tmp_path / "out", Linear())
    assert (found.rows_merged, found.rows_kept) == (size, 16)
    out, own = weights(tmp_path / "out"), weights(a)
    assert torch.equal(out[EMBEDDINGS][size:], own[EMBEDDINGS][size:])


def test_the_tuned_models_chat_template_comes_along(tmp_path: Path) -> None:
    chatty = tiny.tokenizer()
    chatty.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    base, tuned = saved(tmp_path / "base", 1), saved(tmp_path / "tuned", 2, chatty)
    model = saved(tmp_path / "model", 3)
    merge([model, base, tuned], tmp_path / "out", TaskArithmetic())
    from samdan.lm.tokenizer import load_tokenizer

    assert load_tokenizer(str(tmp_path / "out")).chat_template == chatty.chat_template


def test_bf16_is_computed_in_fp32_and_stays_bf16(tmp_path: Path) -> None:
    folders = [saved(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2), ("c", 3))]
    from transformers import AutoModelForCausalLM

    for folder in folders:
        AutoModelForCausalLM.from_pretrained(folder).bfloat16().save_pretrained(folder)
    merge(folders, tmp_path / "out", TaskArithmetic(scale=0.3))
    m, b, t = (weights(folder)[EMBEDDINGS] for folder in folders)
    expected = (m.float() + 0.3 * (t.float() - b.float())).bfloat16()
    assert torch.equal(weights(tmp_path / "out")[EMBEDDINGS], expected)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"num_hidden_layers": 3}, "num_hidden_layers is 2 in a and 3 in b"),
        ({"hidden_size": 64}, "hidden_size is 32 in a and 64 in b"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is False in a and True in b"),
        ({"hidden_act": "gelu"}, "hidden_act is silu in a and gelu in b"),
    ],
)
def test_another_shape_is_refused_by_its_field(
    shape: dict[str, Any], said: str, tmp_path: Path
) -> None:
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2, **shape)
    with pytest.raises(DataError) as caught:
        merge([a, b], tmp_path / "out", Linear())
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_another_tokenizer_is_refused_where_all_rows_count(tmp_path: Path) -> None:
    size = len(tiny.tokenizer())
    a = saved(tmp_path / "a", 1, rows=size + 2)
    b = saved(tmp_path / "b", 2, larger_tokenizer())
    for spec in (Linear(), Slerp()):
        with pytest.raises(DataError, match=f"'한빛전자' has id none in a and {size} in b"):
            merge([a, b], tmp_path / "out", spec)


def test_no_tokenizer_and_other_sizes_are_refused(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2, rows=500)
    for file in b.glob("*token*"):
        file.unlink()
    with pytest.raises(DataError, match="b has no tokenizer, and the models have vocabularies"):
        merge([a, b], tmp_path / "out", Linear())


def test_another_rope_is_noted(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    config = json.loads((b / "config.json").read_text("utf-8"))
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6}
    (b / "config.json").write_text(json.dumps(config), "utf-8")
    found = merge([a, b], tmp_path / "out", Linear())
    assert any("rope_parameters" in note and "the first is kept" in note for note in found.notes)


def test_the_number_of_models_must_fit(tmp_path: Path) -> None:
    a = saved(tmp_path / "a", 1)
    for spec, said in (
        (Linear(), "two models or more"),
        (Slerp(), "slerp takes 2"),
        (TaskArithmetic(), "task_arithmetic takes 3"),
    ):
        with pytest.raises(DataError, match=said):
            merge([a], tmp_path / "out", spec)
    with pytest.raises(DataError, match="3 weights for 2 models"):
        merge([a, a], tmp_path / "out", Linear(weights=(1.0, 1.0, 1.0)))


# --- arithmetic -----------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(-1, 1), st.floats(0.1, 10))
def test_slerp_keeps_the_norm_of_equal_norms(t: float, cosine: float, norm: float) -> None:
    a, b = slerp_shares(t, cosine * norm * norm, norm, norm)
    square = a * a + b * b + 2 * a * b * cosine
    if abs(cosine) <= 0.9995:
        assert math.isclose(square, 1.0, rel_tol=1e-6)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=5).filter(any))
def test_shares_sum_to_one(given_weights: list[float]) -> None:
    assert math.isclose(sum(shares(given_weights, len(given_weights))), 1.0, rel_tol=1e-9)


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(DataError, match="all zero"):
        shares((0.0, 0.0), 2)
