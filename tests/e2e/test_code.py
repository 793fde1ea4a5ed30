"""A run with fill-in-the-middle and a long phase: what is prepared, trained, exported, measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from samdan.lm.batch import Encoded, collate
from samdan.lm.model import load_model
from samdan.lm.scoring import Scorer
from samdan.run.api import load_recipe, run

RECIPE = """\
samdan: 1
name: small
decontaminate: null
base:
  scratch: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2,
            max_position_embeddings: 64}
  tokenizer: {vocab_size: 400}
  data: [{path: code.jsonl, name: code, fim: &fim {add_missing: true}}]
  train: {max_length: 64, per_device_train_batch_size: 2, gradient_accumulation_steps: 1,
          max_steps: 3, precision: fp32, heldout: {share: 0.2}, dedup: null}
stages:
  - name: long
    kind: cpt
    data: [{path: code.jsonl, name: code, fim: *fim}]
    rope: {type: yarn, factor: 4.0, original_max_position_embeddings: 64}
    max_length: 256
    per_device_train_batch_size: 1
    gradient_accumulation_steps: 1
    max_steps: 2
    precision: fp32
    heldout: {share: 0.2}
    dedup: null
    gates: []
evaluate:
  - {kind: infill, name: infill, source: code, max_items: 4, max_new_tokens: 4}
  - {kind: needle, name: needle, source: code, language: en, lengths: [96, 160], per_cell: 1}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    texts = [
        f"def add_{n}(x):\n    y = x + {n}\n    return y\n" * (1 + n % 4) for n in range(60)
    ]
    rows = "\n".join(json.dumps({"text": text}) for text in texts)
    (folder / "code.jsonl").write_text(rows, "utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, "utf-8")
    run(load_recipe(folder / "recipe.yaml"), folder / "run")
    return folder / "run"


def test_what_does_not_fit_a_short_pack_is_taken_apart_in_a_long_one(finished: Path) -> None:
    counts = [
        json.loads((finished / stage / "data" / "code" / "manifest.json").read_text())["infilling"]
        for stage in ("base", "long")
    ]
    assert counts[0]["too_long"] > 0 == counts[1]["too_long"]
    assert counts[1]["psm"] + counts[1]["spm"] > 0.7 * counts[1]["documents"]


def test_tokens_are_accounted_for(finished: Path) -> None:
    row = json.loads((finished / "long" / "data" / "manifest.json").read_text())["by_source"]
    code = row["code"]
    assert code["in"] + code["repeated"] == code["trained"] + code["masked"] + sum(
        code["dropped"].values()
    )


def test_the_exported_model_computes_in_plain_transformers_what_was_trained(
    finished: Path,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished / "long" / "model"
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    assert plain.config.rope_parameters["rope_type"] == "yarn"
    assert plain.config.max_position_embeddings == 256
    assert len(AutoTokenizer.from_pretrained(folder)) == plain.config.vocab_size
    tokens = np.arange(5, 205, dtype=np.uint32)
    record = Encoded(tokens, np.ones(200, np.bool_))
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.no_grad():
        ours = Scorer(load_model(str(folder)).eval())(collate([record]))
        theirs = plain(input_ids=ids).logits[0, :-1].log_softmax(-1)
    assert torch.allclose(ours, theirs.gather(1, ids[0, 1:, None])[:, 0], atol=2e-5)


def test_both_models_are_measured_and_compared(finished: Path) -> None:
    gate = json.loads((finished / "long" / "gate.json").read_text())["metrics"]
    assert {"infill/exact", "infill/first_line", "needle/at_160", "needle/depth_50"} <= set(gate)
    assert gate["needle/accuracy"]["n"] == 10
    card = (finished / "long" / "data" / "README.md").read_text("utf-8")
    assert "Read with the middle last" in card
