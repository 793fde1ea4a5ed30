"""Positions for longer texts: what is written into a config, and that we train with the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import tiny
from samdan.lm.batch import collate
from samdan.lm.model import load_model
from samdan.lm.rope import stretched
from samdan.lm.scoring import Scorer
from samdan.plan import numbers
from samdan.recipe import CptStage, ScratchTraining
from samdan.records import RecipeError
from samdan.rope import Rope

YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
WAYS: list[dict[str, Any]] = [{"theta": 1e6}, YARN, YARN | {"theta": 5e4, "beta_fast": 16.0}]


def stage(rope: dict[str, Any] | None, max_length: int = 256) -> CptStage:
    return tiny.cpt(rope=Rope.model_validate(rope) if rope else None, max_length=max_length)


@pytest.fixture(scope="module", params=["Qwen2", "Llama", "Mistral"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    more = {"sliding_window": None} if request.param == "Mistral" else {}
    tiny.model(request.param, max_position_embeddings=64, **more).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("way", WAYS, ids=["theta", "yarn", "yarn-more"])
def test_packed_logits_equal_those_of_plain_transformers(
    saved: Path, way: dict[str, Any], tmp_path: Path
) -> None:
    """The exported folder in transformers' own attention, document by document."""
    from transformers import AutoModelForCausalLM

    ours = load_model(str(saved), change=stretched(stage(way)))
    ours.save_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(
        tmp_path, attn_implementation="eager", dtype=torch.float32
    )
    rotary, theirs = ours.model.rotary_emb, plain.model.rotary_emb
    assert torch.equal(rotary.inv_freq, theirs.inv_freq)
    assert rotary.attention_scaling == theirs.attention_scaling
    assert (theirs.attention_scaling > 1) == (way.get("type") == "yarn")
    records = [tiny.document(length, seed) for seed, length in enumerate((150, 40, 9))]
    with torch.no_grad():
        got = Scorer(ours.eval())(collate(records))
        want = []
        for record in records:
            ids = torch.from_numpy(record.tokens.astype("int64"))[None]
            logp = plain.eval()(input_ids=ids).logits[0, :-1].log_softmax(-1)
            want.append(logp.gather(1, ids[0, 1:, None])[:, 0])
    assert torch.allclose(got, torch.cat(want), atol=2e-5)


def test_the_change_changes_what_is_computed(saved: Path) -> None:
    records = [tiny.document(150)]
    with torch.no_grad():
        outputs = [
            Scorer(load_model(str(saved), change=stretched(stage(way))).eval())(collate(records))
            for way in (None, *WAYS)
        ]
    for n, one in enumerate(outputs):
        assert all(not torch.allclose(one, other, atol=1e-3) for other in outputs[:n])


def test_the_config_says_it_and_how_long_texts_may_be(saved: Path) -> None:
    def config(way: dict[str, Any], max_length: int) -> Any:
        return load_model(str(saved), change=stretched(stage(way, max_length))).config

    by_theta = config({"theta": 1e6}, 256)
    assert by_theta.rope_parameters["rope_theta"] == 1e6
    assert by_theta.max_position_embeddings == 256
    assert config({"theta": 1e6}, 32).max_position_embeddings == 64  # never shorter than it was
    by_yarn = config(YARN, 128)
    assert by_yarn.rope_parameters["rope_type"] == "yarn"
    assert by_yarn.rope_parameters["factor"] == 4.0
    assert by_yarn.max_position_embeddings == 256


def test_a_second_stretching_replaces_the_first_but_nothing_of_another_kind() -> None:
    yarn = Rope.model_validate(YARN)
    first = yarn.parameters({"rope_type": "default", "rope_theta": 1e4})
    assert yarn.parameters(first) == first
    llama3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    assert Rope(theta=1e6).parameters(llama3) == llama3 | {"rope_theta": 1e6}
    with pytest.raises(ValueError, match="stretched already"):
        yarn.parameters(llama3)


def test_a_model_without_one_base_is_refused(tmp_path: Path) -> None:
    tiny.model("Gemma3").save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=r"stages\.cpt\.rope: a Gemma3TextConfig has no single"):
        load_model(str(tmp_path), change=stretched(stage({"theta": 1e6})))


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({}, "expected 'theta'"),
        ({"type": "yarn", "factor": 4.0}, "needs 'original_max_position_embeddings'"),
        ({"theta": 1e6, "factor": 2.0}, "'factor' belongs to type 'yarn'"),
        ({"type": "linear"}, "'default' or 'yarn'"),
    ],
)
def test_settings_that_do_not_go_together(way: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Rope.model_validate(way)


def test_packs_longer_than_yarn_reaches_are_refused() -> None:
    with pytest.raises(ValidationError, match="256, less than max_length 512"):
        stage(YARN, 512)
    with pytest.raises(ValidationError, match="rope_theta"):
        ScratchTraining(rope=Rope(theta=1e6))


def test_the_setting_is_part_of_what_training_computes() -> None:
    one, other = (numbers(stage(way)) for way in ({"theta": 1e6}, YARN))
    assert json.dumps(one) != json.dumps(other)
