"""New rows land where the ids say and begin as asked; everything else of a model is untouched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import growing
import tiny
from samdan.grow.model import extend_rows
from samdan.grow.rows import NewTokens, Similar, initial_rows
from samdan.grow.similar import similar_tokens, sparsemax
from samdan.lm import growth
from samdan.lm.batch import Encoded
from samdan.lm.growth import Growth
from samdan.lm.tokenizer import text_encoder
from samdan.records import DataError

NEW = NewTokens((400, 401, 402), ((5, 6), (7,), (5, 7, 8)), ((3, 1), (2,), (1, 1, 2)), 400)


def old_rows(rows: int = 410) -> Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(0))


def test_each_initialiser_is_what_it_says() -> None:
    old = old_rows()
    rows = {m: initial_rows(m, old, NEW, 0) for m in ("mean", "weighted_mean", "first", "normal")}
    assert torch.allclose(rows["mean"][0], (old[5] + old[6]) / 2)
    assert torch.allclose(rows["mean"][2], (old[5] + old[7] + old[8]) / 3)
    assert torch.allclose(rows["weighted_mean"][0], 0.75 * old[5] + 0.25 * old[6])
    assert torch.allclose(rows["weighted_mean"][2], (old[5] + old[7] + 2 * old[8]) / 4)
    assert torch.equal(rows["first"], old[[5, 7, 5]])
    alike = (Similar((3, 4), (0.25, 0.75)), Similar((1,), (1.0,)), Similar((2,), (1.0,)))
    assert torch.allclose(
        initial_rows("similar", old, NEW, 0, alike)[0], 0.25 * old[3] + 0.75 * old[4]
    )
    many = NewTokens(tuple(range(400, 1400)), ((5,),) * 1000, ((1,),) * 1000, 400)
    drawn = initial_rows("normal", old, many, 1)
    assert torch.allclose(drawn.mean(0), old[:400].mean(0), atol=0.15)
    assert torch.allclose(drawn.std(0), old[:400].std(0), rtol=0.1)
    assert torch.equal(drawn, initial_rows("normal", old, many, 1))
    assert not torch.equal(drawn, initial_rows("normal", old, many, 2))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("padding", [0, 2, 100])
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_rows_land_where_the_ids_say(
    tmp_path: Path, tied: bool, padding: int, sharded: bool
) -> None:
    from transformers import AutoModelForCausalLM

    tokens = 400
    made = tiny.model(vocab_size=tokens + padding, tie_word_embeddings=tied).bfloat16()
    made.generation_config.max_length = 77
    made.save_pretrained(tmp_path / "old", max_shard_size="20KB" if sharded else "1GB")
    methods = {"input": "mean"} | ({} if tied else {"output": "first"})
    before, after, used = extend_rows(tmp_path / "old", tmp_path / "new", NEW, methods, 64, 0)
    assert before == tokens + padding
    assert after == (tokens + padding if padding == 100 else 448)
    assert used == methods
    grown, info = AutoModelForCausalLM.from_pretrained(
        tmp_path / "new", dtype="auto", output_loading_info=True
    )
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert grown.dtype == torch.bfloat16
    assert grown.config.vocab_size == after
    assert grown.generation_config.max_length == 77
    for new, old, method in (
        (grown.get_input_embeddings(), made.get_input_embeddings(), "mean"),
        (grown.get_output_embeddings(), made.get_output_embeddings(), "mean" if tied else "first"),
    ):
        assert new.weight.shape[0] == after
        assert torch.equal(new.weight[:tokens], old.weight[:tokens])
        rows = initial_rows(method, old.weight.detach(), NEW, 0).bfloat16()
        assert torch.equal(new.weight[400:403], rows)
        kept = [n for n in range(tokens, tokens + padding) if n not in NEW.ids]
        assert torch.equal(new.weight[kept], old.weight[kept])
    others = dict(made.model.layers.named_parameters())
    for name, parameter in grown.model.layers.named_parameters():
        assert torch.equal(parameter, others[name])
    if sharded:
        index = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())
        sizes = sum(
            t.numel() * t.element_size()
            for file in (tmp_path / "new").glob("*.safetensors")
            for t in load_file(file).values()
        )
        assert index["metadata"]["total_size"] == sizes


def test_without_new_tokens_the_old_logits_are_the_same(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    made = tiny.model(vocab_size=400, attention="eager", tie_word_embeddings=False)
    made.save_pretrained(tmp_path / "old")
    extend_rows(tmp_path / "old", tmp_path / "new", NEW, {"input": "mean", "output": "mean"}, 8, 0)
    ids = torch.arange(1, 40)[None]
    old, new = (AutoModelForCausalLM.from_pretrained(tmp_path / n).eval() for n in ("old", "new"))
    with torch.no_grad():
        assert torch.equal(old(ids).logits, new(ids).logits[..., :400])


def test_a_tied_head_begins_as_the_embeddings_do_and_no_other_way(tmp_path: Path) -> None:
    growing.base(tmp_path / "tied")
    methods = {"input": "mean", "output": "first"}
    with pytest.raises(DataError, match="tied to its input embeddings; remove 'output'"):
        extend_rows(tmp_path / "tied", tmp_path / "new", NEW, methods, 8, 0)
    growing.base(tmp_path / "untied", tied=False)
    _, _, used = extend_rows(tmp_path / "untied", tmp_path / "new", NEW, {"input": "mean"}, 8, 0)
    assert used == {"input": "mean", "output": "mean"}


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    growing.base(tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"no \*\.safetensors"):
        extend_rows(tmp_path / "old", tmp_path / "new", NEW, {"input": "mean"}, 8, 0)


def test_growth_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert growth.read(tmp_path) is None
    made = Growth(410, NEW.ids, NEW.pieces, {"input": "mean"}, (3, 4), {"base/load": "a"})
    growth.write(tmp_path, made)
    assert growth.read(tmp_path) == made
    (tmp_path / growth.FILE).write_text("{}")
    with pytest.raises(DataError, match="no growth of a model"):
        growth.read(tmp_path)


# --- tokens that are used alike -------------------------------------------------------------------


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = np.sort(rng.normal(size=6))[::-1].astype(np.float32)
        found = sparsemax(scores)
        assert found.min() >= 0
        assert found.sum() == pytest.approx(1, abs=1e-5)
        for _ in range(20):
            other = rng.dirichlet(np.ones(6))
            assert ((found - scores) ** 2).sum() <= ((other - scores) ** 2).sum() + 1e-5
    assert sparsemax(np.asarray([5, 1, 0], np.float32)).tolist() == [1, 0, 0]


def test_a_new_token_begins_like_the_old_one_that_stands_in_the_same_places() -> None:
    """고양이 is said to do what a fox does."""
    from samdan.grow.vocabulary import grow_vocabulary
    from samdan.growing import Vocab

    animals = [f"{who} {does} {what}." for who in ("고양이", "fox") for does in ("runs", "jumps")
               for what in ("and sleeps", "over the dog", "for hours")]  # fmt: skip
    others = [f"return {n} def f(x): 12 책상" for n in range(6)]
    texts = (animals + others) * 30
    made = grow_vocabulary(tiny.tokenizer(), lambda: texts, Vocab(min_count=30))
    numbers = {t.decode(errors="replace").strip(): n for n, t in made.learned.new.items()}
    new = NewTokens(
        tuple(made.learned.new), tuple(made.learned.pieces[n] for n in made.learned.new),
        ((1,),) * len(made.learned.new), min(made.learned.new),
    )  # fmt: skip
    found = similar_tokens(texts, text_encoder(made.tokenizer), new, 0)
    alike = found[new.ids.index(numbers["고양이"])]
    assert sum(alike.weights) == pytest.approx(1, abs=1e-4)
    (fox,) = text_encoder(tiny.tokenizer()).encode("fox", add_special_tokens=False).ids[-1:]
    assert fox in alike.ids
    assert all(n < 403 for one in found for n in one.ids)


def test_a_token_too_rare_to_be_compared_begins_as_the_mean_of_its_pieces() -> None:
    encoder: Any = text_encoder(tiny.tokenizer())
    found = similar_tokens(["abc"], encoder, NEW, 0)
    assert found[0] == Similar((5, 6), (0.5, 0.5))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_adapters_train_the_new_rows_of_embeddings_and_head(tied: bool) -> None:
    from samdan.lm.model import add_lora, merged
    from samdan.stages import Lora

    made = tiny.model(attention="eager", tie_word_embeddings=tied)
    tables = (made.get_input_embeddings(), made.get_output_embeddings())
    before = [table.weight.detach().clone() for table in tables]
    adapted = add_lora(made, Lora(r=2), (90, 91), 0)
    ids = torch.tensor([[1, 90, 91, 5, 90]])
    adapted(input_ids=ids, labels=ids).loss.backward()
    learning = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    torch.optim.SGD(learning, lr=1.0).step()
    whole = merged(adapted)
    for old, new in zip(
        before, (whole.get_input_embeddings(), whole.get_output_embeddings()), strict=True
    ):
        moved = (old - new.weight).abs().sum(1).nonzero().flatten().tolist()
        assert moved == [90, 91]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_training_sees_the_new_rows_of_adapters(tied: bool) -> None:
    """The loss that is trained on is the adapted model's own, moved rows included."""
    from samdan.lm.batch import collate
    from samdan.lm.model import add_lora
    from samdan.stages import Lora

    made = tiny.model(tie_word_embeddings=tied)
    adapted = add_lora(made, Lora(r=2), (90, 91), 0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "trainable_tokens_delta" in name:
                parameter.add_(0.3)
    record = Encoded(np.asarray([1, 90, 91, 5, 90], np.uint32), np.ones(5, np.bool_))
    scorer = tiny.scorer(adapted)
    ours = scorer(collate([record]))
    whole = tiny.twin(adapted.merge_and_unload())
    logp = whole(torch.tensor([[1, 90, 91, 5, 90]])).logits[0, :-1].log_softmax(-1)
    theirs = logp.gather(1, torch.tensor([[90], [91], [5], [90]]))[:, 0]
    assert torch.allclose(ours, theirs, atol=1e-4)
