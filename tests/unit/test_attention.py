"""Packed attention equals each record alone, in value and gradient, for the families we support."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tiny
from samdan.lm import attention as packed
from samdan.lm.attention import Branch, Layout, Span, attention
from samdan.lm.batch import Batch, Encoded, collate
from samdan.lm.model import load_model
from samdan.lm.scoring import Scorer, sum_by_sequence
from samdan.records import DataError, RecipeError

# Families whose layers pass `layout` on to the attention function; grouped-query attention unless
# said otherwise. Gemma 2 only without its soft cap, which real checkpoints have (refused below).
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2": ("Qwen2", {}),
    "Qwen2, every head its own keys": ("Qwen2", {"num_key_value_heads": 4}),
    "Qwen2, tied": ("Qwen2", {"tie_word_embeddings": True}),
    "Llama": ("Llama", {}),
    "Mistral": ("Mistral", {"sliding_window": 64}),
    "Mixtral": ("Mixtral", {"num_local_experts": 4}),
    "Qwen3": ("Qwen3", {"head_dim": 16}),
    "Gemma": ("Gemma", {"head_dim": 16}),
    "Gemma2, no cap": ("Gemma2", {"head_dim": 16, "attn_logit_softcapping": None}),
    "Gemma3": ("Gemma3", {"head_dim": 16, "sliding_window": 64}),
    "Phi3": ("Phi3", {}),
    "Olmo2": ("Olmo2", {}),
}
MIXED = (17, 3, 16, 1, 9, 30, 2)


@pytest.fixture(params=FAMILIES)
def models(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A model with our attention and its twin with transformers' own eager attention."""
    family, shape = FAMILIES[request.param]
    ours = tiny.model(family, **shape)
    return ours, tiny.twin(ours)


def alone(model: Any, tokens: Sequence[int]) -> Tensor:
    """Log-probability of each token but the first, by transformers: one sequence, no padding."""
    ids = torch.tensor([list(tokens)])
    logits = model(input_ids=ids, use_cache=False).logits[0].float()
    return logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


def documents(lengths: Sequence[int]) -> list[Encoded]:
    return [tiny.document(length, seed) for seed, length in enumerate(lengths)]


def test_a_packed_document_scores_and_learns_as_it_does_alone(models: tuple[Any, Any]) -> None:
    ours, theirs = models
    records = documents(MIXED)
    packed = Scorer(ours)(collate(records))
    single = torch.cat([alone(theirs, record.tokens.tolist()) for record in records])
    torch.testing.assert_close(packed, single, rtol=1e-5, atol=1e-5)
    weights = torch.linspace(-1, 2, len(single))  # any sum of outputs, not only the mean
    (packed * weights).sum().backward()
    (single * weights).sum().backward()
    assert tiny.distance(tiny.gradients(ours), tiny.gradients(theirs)) < 1e-5


def test_a_pair_scores_and_learns_as_its_two_sequences_do(models: tuple[Any, Any]) -> None:
    """Also the first answer token, which the last token of the shared prompt predicts."""
    ours, theirs = models
    pairs = [tiny.pair(5, 7, 3, 0), tiny.pair(9, 1, 12, 1), tiny.pair(1, 4, 4, 2)]
    batch = collate(pairs)
    packed = Scorer(ours)(batch)
    single = []
    for record in pairs:
        prompt, *answers = tiny.halves(record)
        single += [alone(theirs, prompt + answer)[len(prompt) - 1 :] for answer in answers]
    torch.testing.assert_close(packed, torch.cat(single), rtol=1e-5, atol=1e-5)
    starts = np.cumsum([0, *(len(s) for s in single[:-1])])
    first = packed[torch.from_numpy(starts)]
    torch.testing.assert_close(first, torch.stack([s[0] for s in single]), rtol=1e-5, atol=1e-5)
    weights = torch.linspace(-1, 2, len(packed))
    (packed * weights).sum().backward()
    (torch.cat(single) * weights).sum().backward()
    assert tiny.distance(tiny.gradients(ours), tiny.gradients(theirs)) < 1e-5


def test_neighbours_in_the_pack_change_nothing() -> None:
    """Negative control beside it: plain causal attention over the same row does."""
    ours = tiny.model()
    first, second = tiny.document(8, 1), tiny.document(8, 2)
    other = tiny.document(8, 3)
    seen = Scorer(ours)(collate([first, second]))[7:]
    torch.testing.assert_close(seen, Scorer(ours)(collate([other, second]))[7:])
    theirs = tiny.twin(ours)
    rows = [np.concatenate([x.tokens, second.tokens]).tolist() for x in (first, other)]
    contaminated = [alone(theirs, row)[8:] for row in rows]
    assert (contaminated[0] - contaminated[1]).abs().max() > 0.01


def test_pairs_and_documents_share_a_row_in_any_order() -> None:
    ours = tiny.model()
    records = [tiny.pair(4, 6, 5, 0), tiny.document(9, 1), tiny.pair(3, 2, 8, 2)]
    one = _by_record(ours, records, [0, 1, 2])
    two = _by_record(ours, records, [2, 0, 1])
    for record in range(3):
        torch.testing.assert_close(one[record], two[record], rtol=1e-5, atol=1e-5)


def _by_record(model: Any, records: Sequence[Encoded], order: Sequence[int]) -> dict[int, Tensor]:
    batch = collate([records[i] for i in order], order)
    sums, _ = sum_by_sequence(Scorer(model)(batch), batch)
    sizes = [1 + records[i].has_branch for i in order]
    return dict(zip(order, sums.detach().split(sizes), strict=True))


# --- the layout -----------------------------------------------------------------------------------


@st.composite
def layouts(draw: st.DrawFn) -> Batch:
    records = []
    for seed in range(draw(st.integers(1, 8))):
        if draw(st.booleans()):
            prompt, chosen, rejected = (draw(st.integers(1, 14)) for _ in range(3))
            records.append(tiny.pair(prompt, chosen, rejected, seed))
        else:
            records.append(tiny.document(draw(st.integers(1, 30)), seed))
    return collate(records)


def _reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention as it is defined, with a full mask: [T, H, D] each."""
    groups = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v)


@settings(max_examples=80)
@given(layouts(), st.sampled_from([(4, 4), (4, 2), (4, 1)]), st.sampled_from([0, 12, 40, 64]))
def test_attend_is_attention_under_the_dense_mask(
    batch: Batch, heads: tuple[int, int], shared: int
) -> None:
    """Also however many neighbours share a call: none, few, most."""
    with mock.patch.object(packed, "SHARED", shared):
        calls = batch.layout._calls  # are made once
    tokens = [sum(calls.key_sizes[n] for n in call.keys) for call in calls.each]
    assert len(calls.each) == len(batch.layout.spans) + len(batch.layout.branches) or shared
    assert sum(calls.query_sizes) == batch.num_tokens <= sum(tokens)
    generator = torch.Generator().manual_seed(batch.num_tokens)
    many, few = heads

    def draw(count: int) -> Tensor:
        shape = (batch.num_tokens, count, 8)
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    q, k, v = draw(many), draw(few), draw(few)
    ours = batch.layout.attend(q, k, v, 0.3)
    theirs = _reference(q, k, v, batch.layout.dense_mask(), 0.3)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), (q, k, v)),
        torch.autograd.grad((theirs * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_keys_are_repeated_where_no_fused_kernel_knows_shared_heads() -> None:
    for dtype, widths, masked, known in (
        (torch.bfloat16, (64, 64), False, True), (torch.bfloat16, (64, 64), True, False),
        (torch.float32, (64, 64), False, False), (torch.bfloat16, (512, 512), False, False),
        (torch.bfloat16, (192, 128), False, False),
    ):  # fmt: skip
        assert packed.knows_shared_heads("cuda", dtype, widths, masked) is known
        assert packed.knows_shared_heads("cpu", dtype, widths, masked)
    layout = Layout([Span(0, 70), Span(70, 70)], [Branch(140, 66, 0, 30)])
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(206, heads, 16, generator=generator).requires_grad_() for heads in (4, 2, 2)
    ]
    kernel, seen = torch.nn.functional.scaled_dot_product_attention, set()

    def watched(q: Tensor, k: Tensor, v: Tensor, **given: Any) -> Tensor:
        seen.add((k.shape[1], given["enable_gqa"]))
        return kernel(q, k, v, **given)

    expected = layout.attend_each(*inputs, 0.25)
    with (
        mock.patch.object(packed, "knows_shared_heads", return_value=False),
        mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", watched),
    ):
        found = layout.attend_each(*inputs, 0.25)
    assert seen == {(4, False)}
    for ours, theirs in zip(
        (found, *torch.autograd.grad(found.square().sum(), inputs)),
        (expected, *torch.autograd.grad(expected.square().sum(), inputs)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_the_dense_mask_is_what_the_words_say() -> None:
    layout = Layout([Span(0, 3), Span(4, 2)], [Branch(3, 1, prefix_start=0, prefix=2)])
    rows = ["".join("x" if seen else "." for seen in row) for row in layout.dense_mask().tolist()]
    assert rows == ["x.....", "xx....", "xxx...", "xx.x..", "....x.", "....xx"]
    assert layout.longest == 3


@given(layouts())
def test_positions_restart_with_each_record_and_a_branch_goes_on_behind_its_prompt(
    batch: Batch,
) -> None:
    """A token's position is the number of tokens that it sees before itself."""
    seen = batch.layout.dense_mask().sum(1) - 1
    assert batch.positions_T.tolist() == seen.tolist()


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_gradient_checkpointing_gives_the_same_gradient() -> None:
    plain, saving = tiny.model(), tiny.model()
    saving.gradient_checkpointing_enable({"use_reentrant": False})
    batch = collate([tiny.pair(5, 7, 3), *documents(MIXED)])
    for model in (plain, saving):
        Scorer(model)(batch).sum().backward()
    assert tiny.distance(tiny.gradients(saving), tiny.gradients(plain)) < 1e-6


def test_a_record_beyond_the_sliding_window_is_refused_not_cut() -> None:
    ours = Scorer(tiny.model("Mistral", sliding_window=16))
    assert len(ours(collate(documents([16, 5])))) == 19
    with pytest.raises(RecipeError, match="set max_length to 16 or less"):
        ours(collate(documents([17, 5])))


@pytest.mark.parametrize(
    ("family", "shape", "what"),
    [
        ("Gemma2", {"head_dim": 16}, "softcap"),
        ("GptOss", {"head_dim": 16, "num_local_experts": 4}, "s_aux"),
    ],
)
def test_families_whose_scores_the_kernels_cannot_compute_are_refused(
    family: str, shape: dict[str, Any], what: str
) -> None:
    scorer = Scorer(tiny.model(family, **shape))
    with pytest.raises(RecipeError, match=what):
        scorer(collate(documents([5, 4])))


def test_a_family_with_an_attention_of_its_own_is_refused_on_loading(tmp_path: Path) -> None:
    """Bloom's layers never call the function they are given: documents would see each other."""
    from transformers import BloomConfig, BloomForCausalLM

    config = BloomConfig(vocab_size=64, hidden_size=16, n_layer=1, n_head=2)
    BloomForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="BloomForCausalLM, which cannot be packed"):
        load_model(str(tmp_path))


def test_attention_without_a_layout_is_an_error() -> None:
    x = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="needs the layout"):
        attention(torch.nn.Identity(), x, x, x, None)
