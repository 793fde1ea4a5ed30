"""Growing in depth: layouts, configs, exact identity, flat memory, what cannot be grown."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from samdan.grow.depth import Deeper, grow_depth
from samdan.growing.config import grown_config
from samdan.growing.depth import (
    PUBLISHED_SKIPS,
    Depth,
    Layer,
    budget_remark,
    layout,
    skips_of,
)
from samdan.lm.model import load_model
from samdan.lm.skips import checkpoint_layers
from samdan.lm.tensors import Checkpoint
from samdan.records import DataError, RecipeError
from tiny import model as tiny_model

DEPTH: TypeAdapter[Any] = TypeAdapter(Depth)
IDS = torch.arange(1, 25).reshape(2, 12)


def ours(folder: Path) -> Any:
    """As samdan loads it, behind an attention that needs no packed batch."""
    made = load_model(str(folder)).eval()
    made.set_attn_implementation("eager")
    return made


def spec(kind: str, **fields: Any) -> Any:
    return DEPTH.validate_python({"kind": kind, **fields})


def sources(made: Any, layers: int) -> list[int]:
    return [layer.source for layer in layout(made, layers)]


def saved(folder: Path, family: str = "Qwen2", layers: int = 4, **shape: Any) -> Any:
    made = tiny_model(family, num_hidden_layers=layers, attention="eager", **shape).eval()
    made.save_pretrained(folder)
    return made


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


def plain_load(folder: Path) -> Any:
    """As somebody without samdan loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


# --- layouts --------------------------------------------------------------------------------------


def test_solar_is_the_published_one() -> None:
    assert sources(spec("solar"), 32) == [*range(24), *range(8, 32)]
    assert len(layout(spec("solar"), 28)) == 42  # Qwen2.5-7B: m = 7
    new = [i for i, layer in enumerate(layout(spec("solar"), 32)) if layer.new]
    assert new == list(range(24, 40))  # layers 8 to 23 stand there for the second time


def test_solar_pro_is_the_published_one() -> None:
    assert sources(spec("solar_pro"), 40) == [*range(32), *range(8, 40)]
    assert skips_of(spec("solar_pro"), 64) == PUBLISHED_SKIPS


def test_llama_pro_puts_a_silent_copy_behind_every_group() -> None:
    found = layout(spec("llama_pro", blocks=2), 4)
    copy = {"new": True, "silent": True}
    assert found == (
        Layer(0), Layer(1), Layer(1, **copy), Layer(2), Layer(3), Layer(3, **copy),
    )  # fmt: skip


def test_passthrough_takes_any_slices() -> None:
    assert sources(spec("passthrough", slices=[[0, 3], [1, 2], [1, 4]]), 4) == [0, 1, 2, 1, 1, 2, 3]
    assert sources(spec("passthrough", slices=[[0, 2]]), 4) == [0, 1]


@given(st.integers(3, 80), st.data())
def test_solar_keeps_the_first_and_the_last_layers(layers: int, data: st.DataObject) -> None:
    drop = data.draw(st.integers(1, (layers - 1) // 2))
    found = sources(spec("solar", drop=drop), layers)
    assert len(found) == 2 * (layers - drop)
    assert (found[0], found[-1]) == (0, layers - 1)
    jumps = [(a, b) for a, b in pairwise(found) if b != a + 1]
    assert jumps == [(layers - drop - 1, drop)]


@pytest.mark.parametrize(
    ("made", "layers", "said"),
    [
        (spec("solar", drop=16), 32, "base.grow.depth.drop: 16 of 32"),
        (spec("llama_pro", blocks=5), 24, "expected one of 1, 2, 3, 4, 6, 8, 12, 24"),
        (spec("passthrough", slices=[[0, 3], [2, 5]]), 4, "[2, 5] ends behind the model"),
    ],
)
def test_what_does_not_fit_is_said(made: Any, layers: int, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        layout(made, layers)
    assert said in str(caught.value)


def test_published_blends_are_not_stretched_in_silence() -> None:
    with pytest.raises(RecipeError, match=r"those of 64 layers.*\[3, 4\]"):
        skips_of(spec("solar_pro"), 16)
    with pytest.raises(RecipeError, match=r"\[3, 16\] leads to a layer"):
        skips_of(spec("solar_pro", skips=[[3, 16]]), 16)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "passthrough", "slices": [[2, 2]]},
        {"kind": "passthrough", "slices": []},
        {"kind": "solar_pro", "skips": [[5, 4]]},
        {"kind": "llama_pro"},
        {"kind": "solar", "m": 8},
    ],
)
def test_specs_refuse_nonsense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DEPTH.validate_python(fields)


def test_small_budgets_are_told_with_their_evidence() -> None:
    billion = 10**9
    assert budget_remark(spec("solar"), int(9.8 * billion), 200 * billion) is None
    told = budget_remark(spec("solar"), int(10.7 * billion), billion)
    assert "0.093 for each parameter" in str(told)
    assert "llama_pro" in str(told)
    assert budget_remark(spec("llama_pro", blocks=4), 8 * billion, 10 * billion) is None
    told = budget_remark(spec("llama_pro", blocks=4), 8 * billion, billion)
    assert "nothing is lost" in str(told)


# --- configs --------------------------------------------------------------------------------------


def test_lists_and_indices_of_layers_follow_the_layers() -> None:
    old = {
        "num_hidden_layers": 4,
        "layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"],
        "max_window_layers": 2,
        "mlp_only_layers": [1],
        "architectures": ["X"],
        "eos_token_id": [1, 2, 3, 4],
    }
    grown = grown_config(old, layout(spec("solar", drop=1), 4))
    assert grown["num_hidden_layers"] == 6
    assert [kind[0] for kind in grown["layer_types"]] == ["f", "f", "s", "f", "s", "f"]
    assert grown["max_window_layers"] == 2
    assert grown["mlp_only_layers"] == [1, 3]
    assert grown["eos_token_id"] == [1, 2, 3, 4]


def test_a_window_that_no_layer_has_begins_behind_the_last() -> None:
    old = {"num_hidden_layers": 4, "layer_types": ["full_attention"] * 4, "max_window_layers": 4}
    assert grown_config(old, layout(spec("solar", drop=1), 4))["max_window_layers"] == 6


def test_an_unknown_list_of_that_length_is_refused() -> None:
    with pytest.raises(DataError, match="'strange' has 4 entries, as many as there are layers"):
        grown_config({"num_hidden_layers": 4, "strange": [1, 2, 3, 4]}, layout(spec("solar"), 4))


# --- models ---------------------------------------------------------------------------------------

FAMILIES = [
    ("Qwen2", {"tie_word_embeddings": True}),
    ("Qwen2", {"tie_word_embeddings": False}),
    ("Llama", {"attention_bias": True, "mlp_bias": True}),
    ("Mistral", {}),
    ("Gemma3", {"head_dim": 8, "sliding_window": 4, "sliding_window_pattern": 2}),
    ("Qwen3", {"head_dim": 8}),
    ("Mixtral", {"num_local_experts": 2}),
    ("Olmo2", {}),
    ("SmolLM3", {}),
]


@pytest.mark.parametrize(("family", "shape"), FAMILIES)
def test_identity_blocks_change_nothing_at_all(
    family: str, shape: dict[str, Any], tmp_path: Path
) -> None:
    saved(tmp_path / "old", family, **shape)
    old = plain_load(tmp_path / "old")
    found = grow_depth(tmp_path / "old", tmp_path / "new", spec("llama_pro", blocks=2))
    grown = plain_load(tmp_path / "new")
    assert (found.layers_before, found.layers_after, found.new_layers) == (4, 6, (2, 5))
    assert (logits(grown) - logits(old)).abs().max() == 0.0
    with torch.no_grad():  # the control: a copy that is not silent is seen
        grown.model.layers[2].self_attn.o_proj.weight.add_(0.1)
    assert (logits(grown) - logits(old)).abs().max() > 1e-4


@pytest.mark.parametrize("family", ["Qwen2", "Llama"])
def test_reloaded_equals_grown_in_memory(family: str, tmp_path: Path) -> None:
    old = saved(tmp_path / "old", family)
    made = spec("passthrough", slices=[[0, 3], [1, 4]])
    found = grow_depth(tmp_path / "old", tmp_path / "new", made)
    grown = plain_load(tmp_path / "new")
    assert [layer.self_attn.layer_idx for layer in grown.model.layers] == list(range(6))
    order = [0, 1, 2, 1, 2, 3]
    old.model.layers = torch.nn.ModuleList([old.model.layers[i] for i in order])
    old.config.num_hidden_layers = 6
    old.config.layer_types = ["full_attention"] * 6
    with torch.no_grad():
        expected = old(input_ids=IDS, use_cache=False).logits
    assert torch.equal(logits(grown), expected)
    assert found.parameters_after == sum(p.numel() for p in grown.parameters())
    assert found.parameters_after - found.parameters_before == 2 * sum(
        p.numel() for p in grown.model.layers[0].parameters()
    )


def test_sliding_windows_go_with_their_layers(tmp_path: Path) -> None:
    saved(tmp_path / "old", sliding_window=4, use_sliding_window=True, max_window_layers=2)
    grow_depth(tmp_path / "old", tmp_path / "new", spec("solar", drop=1))
    grown = plain_load(tmp_path / "new")
    windows = [layer.self_attn.sliding_window for layer in grown.model.layers]
    assert windows == [None, None, 4, None, 4, 4]
    out = grown.generate(IDS, max_new_tokens=4, do_sample=False)
    assert out.shape == (2, 16)


def test_an_old_config_without_layer_types_is_read_as_it_was_meant(tmp_path: Path) -> None:
    """Qwen2.5's own config.json knows ``max_window_layers`` only."""
    saved(tmp_path / "old", sliding_window=4, use_sliding_window=True, max_window_layers=2)
    path = tmp_path / "old" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    del config["layer_types"]
    path.write_text(json.dumps(config), "utf-8")
    grow_depth(tmp_path / "old", tmp_path / "new", spec("solar", drop=1))
    kinds = json.loads((tmp_path / "new" / "config.json").read_text("utf-8"))["layer_types"]
    assert [kind[0] for kind in kinds] == ["f", "f", "s", "f", "s", "s"]


def test_many_shards_in_small_pieces_are_the_same_model(tmp_path: Path) -> None:
    old = saved(tmp_path / "old")
    old.save_pretrained(tmp_path / "split", max_shard_size="20KB")
    assert len(list((tmp_path / "split").glob("*.safetensors"))) > 3
    (tmp_path / "split" / "consolidated.safetensors").write_bytes(b"the same weights once more")
    made = spec("solar", drop=1)
    grow_depth(tmp_path / "old", tmp_path / "one", made)
    grow_depth(tmp_path / "split", tmp_path / "many", made, shard_bytes=20_000)
    assert (tmp_path / "one" / "model.safetensors").is_file()
    assert len(list((tmp_path / "many").glob("model-*-of-*.safetensors"))) > 3
    assert torch.equal(logits(plain_load(tmp_path / "one")), logits(plain_load(tmp_path / "many")))


def test_bf16_stays_bf16(tmp_path: Path) -> None:
    tiny_model(num_hidden_layers=4).bfloat16().save_pretrained(tmp_path / "old")
    grow_depth(tmp_path / "old", tmp_path / "new", spec("solar"))
    assert {t.dtype for t in Checkpoint(tmp_path / "new").tensors.values()} == {"BF16"}
    assert json.loads((tmp_path / "new" / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"


def test_the_new_layers_are_named(tmp_path: Path) -> None:
    import re

    saved(tmp_path / "old")
    found: Deeper = grow_depth(tmp_path / "old", tmp_path / "new", spec("llama_pro", blocks=2))
    names = [name for name, _ in plain_load(tmp_path / "new").named_parameters()]
    matched = {n.split(".")[2] for n in names if re.search(found.new_names, n)}
    assert matched == {"2", "5"}


# --- Solar Pro ------------------------------------------------------------------------------------


def test_blends_are_those_of_the_published_code(tmp_path: Path) -> None:
    old = saved(tmp_path / "old")
    made = spec("solar_pro", drop=1, skips=[[1, 3], [2, 4]])
    found = grow_depth(tmp_path / "old", tmp_path / "new", made)
    assert found.skips == ((1, 3), (2, 4))
    grown = ours(tmp_path / "new")
    for share, training in ((0.8, False), (0.9, True)):
        grown.train(training)
        assert torch.allclose(logits(grown), _by_hand(old, share), atol=2e-5)
        assert not torch.allclose(logits(grown), _by_hand(old, 0.5), atol=2e-3)


def _by_hand(old: Any, share: float) -> Tensor:
    """Layers 0 1 2 1 2 3, with the input of 1 before 3 and that of 2 before 4."""
    with torch.no_grad():
        hidden = old.model.embed_tokens(IDS)
        length = IDS.shape[1]
        rotary = old.model.rotary_emb(hidden, torch.arange(length)[None])
        mask = torch.full((length, length), -torch.inf).triu(1)[None, None]
        saved_states = {}
        for index, source in enumerate([0, 1, 2, 1, 2, 3]):
            if index in (1, 2):
                saved_states[index] = hidden
            if index in (3, 4):
                hidden = share * saved_states[index - 2] + (1 - share) * hidden
            hidden = old.model.layers[source](
                hidden, attention_mask=mask, position_embeddings=rotary
            )
        found: Tensor = old.lm_head(old.model.norm(hidden))
    return found


def test_its_export_is_refused_by_others_and_read_by_us(tmp_path: Path) -> None:
    from samdan.lm.skips import export_config

    saved(tmp_path / "old")
    grow_depth(
        tmp_path / "old", tmp_path / "new", spec("solar_pro", drop=1, skips=[[1, 3], [2, 4]])
    )
    with pytest.raises(ValueError, match="samdan_solar_pro"):
        plain_load(tmp_path / "new")
    first = ours(tmp_path / "new")
    first.save_pretrained(tmp_path / "again")
    export_config(tmp_path / "again", first.config)
    again = ours(tmp_path / "again")
    assert torch.equal(logits(first), logits(again))
    out = again.generate(IDS, max_new_tokens=3, do_sample=False)  # with a cache
    whole = again(input_ids=out[:, :-1]).logits[:, -1].argmax(-1)
    assert torch.equal(out[:, -1], whole)
    with pytest.raises(DataError, match="its blends are those of its present layers"):
        grow_depth(tmp_path / "new", tmp_path / "deeper", spec("solar"))


def test_a_config_with_blends_out_of_range_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "old")
    grow_depth(tmp_path / "old", tmp_path / "new", spec("solar_pro", drop=1, skips=[[1, 3]]))
    path = tmp_path / "new" / "config.json"
    path.write_text(path.read_text("utf-8").replace('"samdan_shares"', '"x"'), "utf-8")
    with pytest.raises(DataError, match="expected 'samdan_base'"):
        load_model(str(tmp_path / "new"))


def test_checkpointing_gives_the_same_gradients_with_blends(tmp_path: Path) -> None:
    saved(tmp_path / "old")
    grow_depth(tmp_path / "old", tmp_path / "new", spec("solar_pro", drop=1, skips=[[1, 3]]))
    found = []
    for checkpointing in (False, True):
        grown = ours(tmp_path / "new").train()
        if checkpointing:
            checkpoint_layers(grown)
        grown(input_ids=IDS, use_cache=False).logits.square().mean().backward()
        found.append(grown.model.layers[0].mlp.up_proj.weight.grad)
    assert torch.allclose(found[0], found[1], rtol=1e-5, atol=1e-8)


# --- what cannot be grown -------------------------------------------------------------------------


def test_layers_that_depend_on_their_place_are_refused(tmp_path: Path) -> None:
    """GPT-2's option to scale attention by the layer's number: a copy would be another layer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=97, n_embd=32, n_layer=4, n_head=4, n_positions=64,
        scale_attn_by_inverse_layer_idx=True,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "old")
    with pytest.raises(DataError):
        grow_depth(tmp_path / "old", tmp_path / "new", spec("solar", drop=1))
    assert not (tmp_path / "new").exists()


def test_a_pattern_of_dense_and_expert_layers_is_refused(tmp_path: Path) -> None:
    saved(
        tmp_path / "old", "Qwen2Moe", num_experts=2, num_experts_per_tok=1, decoder_sparse_step=2,
        moe_intermediate_size=16, shared_expert_intermediate_size=16,
    )  # fmt: skip
    with pytest.raises(DataError, match="depends on where it stands"):
        grow_depth(tmp_path / "old", tmp_path / "new", spec("passthrough", slices=[[0, 2], [1, 4]]))


def test_damage_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "old")
    weights = tmp_path / "old" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="not a whole safetensors file"):
        grow_depth(tmp_path / "old", tmp_path / "new", spec("solar", drop=1))
    weights.unlink()
    with pytest.raises(DataError, match=r"no model\.safetensors"):
        grow_depth(tmp_path / "old", tmp_path / "new", spec("solar", drop=1))
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_stopping_leaves_nothing_half_done(tmp_path: Path) -> None:
    saved(tmp_path / "old")
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grow_depth(tmp_path / "old", tmp_path / "new", spec("solar", drop=1), stop)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
