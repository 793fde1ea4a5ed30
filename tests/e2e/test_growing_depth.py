"""Runs that add layers first: what trains, what is measured, what is exported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import growing
from samdan.lm import growth
from samdan.lm.batch import collate
from samdan.lm.model import load_chat, load_model
from samdan.lm.scoring import Scorer
from samdan.lm.tensors import Checkpoint
from samdan.recipe import CptStage, Recipe, parse
from samdan.run.executor import execute
from samdan.run.ledger import Ledger

ONLY = "grow: {vocab: {merges: 60, min_count: 20}}"


def text_of(folder: Path, grow: str) -> str:
    found = growing.recipe(folder)
    assert ONLY in found
    return found.replace(ONLY, f"grow: {{{grow}}}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return growing.world(tmp_path_factory.mktemp("deep"))


def carried_out(world: Path, name: str, grow: str) -> Ledger:
    folder = world / name
    execute(parse(text_of(world, grow), "r.yaml"), folder, say=lambda text: None)
    return Ledger(folder)


@pytest.fixture(scope="module")
def pro(world: Path) -> Ledger:
    return carried_out(world, "pro", "depth: {kind: llama_pro, blocks: 2}")


def report(ledger: Ledger) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ledger.folder / "report.json").read_text("utf-8"))
    return found


def moved(ledger: Ledger, before: str, after: str) -> set[str]:
    """Names of the tensors that training changed."""
    old, new = Checkpoint(ledger.model(before)), Checkpoint(ledger.model(after))
    assert old.tensors.keys() == new.tensors.keys()
    return {name for name in old.tensors if not torch.equal(old.read(name), new.read(name))}


def test_identity_blocks_begin_as_the_base_and_train_alone(pro: Ledger) -> None:
    grown = growth.read(pro.model("base"))
    assert grown is not None
    assert grown.new_layers == (1, 3)
    healing = report(pro)["growth"]["healing"]
    assert {"docs/bpb", "en/bpb"} <= healing.keys()
    for row in healing.values():
        assert row["grown"]["value"] == row["base"]
        assert row["grown"]["ci95"] == [0.0, 0.0]
    layers = {re.sub(r"^model\.layers\.(\d+)\..*", r"\1", n) for n in moved(pro, "base", "cpt")}
    assert layers == {"1", "3"}


def test_healing_is_measured_against_tokens(pro: Ledger) -> None:
    found = report(pro)["growth"]
    assert found["facts"]["layers"] == [2, 4]
    assert found["facts"]["parameters"][1] > found["facts"]["parameters"][0]
    after = found["healing"]["docs/bpb"]["after"]["cpt"]["value"]
    assert after < found["healing"]["docs/bpb"]["base"]
    curve = found["curves"]["docs/bpb"]
    assert curve["tokens"][0] == 0
    assert len(curve["tokens"]) == len(curve["value"])
    page = (pro.folder / "report.html").read_text("utf-8")
    assert 'id="growth"' in page
    assert "키운 기본 모델" in page


def test_exports_compute_in_plain_transformers_what_training_computed(pro: Ledger) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = pro.model("cpt")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    [record] = load_chat(str(folder)).documents(["손해를 배상하여야 한다 12."])
    ids = torch.from_numpy(record.tokens.astype("int64"))[None]
    with torch.no_grad():
        ours = Scorer(load_model(str(folder))).eval()(collate([record]))
        logp = model(input_ids=ids).logits.log_softmax(-1)[0, :-1]
    theirs = logp.gather(-1, ids[0, 1:, None])[:, 0]
    assert torch.allclose(ours, theirs, atol=1e-5)
    said = model.generate(**tokenizer("계약", return_tensors="pt"), max_new_tokens=4)
    assert said.shape[1] > 1


def test_a_seam_is_measured_and_everything_trains(world: Path) -> None:
    made = carried_out(world, "seam", "depth: {kind: passthrough, slices: [[0, 2], [0, 2]]}")
    row = report(made)["growth"]["healing"]["docs/bpb"]
    assert row["grown"]["value"] != row["base"]
    low, high = row["grown"]["ci95"]
    assert low <= row["grown"]["value"] - row["base"] <= high
    assert len(moved(made, "base", "cpt")) == len(Checkpoint(made.model("cpt")).tensors)


def test_depth_and_vocabulary_grow_together(world: Path) -> None:
    grow = "vocab: {merges: 30, min_count: 20}, depth: {kind: llama_pro, blocks: 1}"
    made = carried_out(world, "both", grow)
    grown = growth.read(made.model("base"))
    assert grown is not None
    assert (grown.new_layers, bool(grown.new_ids)) == ((2,), True)
    names = moved(made, "base", "cpt")
    assert any(name.startswith("model.layers.2.") for name in names)
    assert not any(re.match(r"model\.layers\.[01]\.", name) for name in names)
    embeddings = "model.embed_tokens.weight"
    old, new = (Checkpoint(made.model(model)).read(embeddings) for model in ("base", "cpt"))
    rows = set((old != new).any(-1).nonzero().flatten().tolist())
    assert rows
    assert rows <= set(grown.new_ids)


def test_solar_pro_trains_and_says_what_its_export_needs(world: Path) -> None:
    from transformers import AutoModelForCausalLM

    deeper = growing.base(world / "model4", num_hidden_layers=4)
    text = text_of(world, "depth: {kind: solar_pro, drop: 1, skips: [[1, 3], [2, 4]]}")
    text = text.replace(str(world / "model"), str(deeper))
    execute(parse(text, "r.yaml"), world / "blend", say=lambda text: None)
    folder = Ledger(world / "blend").model("cpt")
    assert "needs samdan's code" in (folder / "README.md").read_text("utf-8")
    with pytest.raises(ValueError, match="samdan_solar_pro"):
        AutoModelForCausalLM.from_pretrained(folder)
    from samdan.run.chatting import Models

    *_, said = Models([str(folder)], 4).ask("계약은?")
    assert len(said) == 1


def test_what_does_not_fit_is_told_before_data_are_read(world: Path) -> None:
    """2 layers: one less of each copy leaves 2."""
    from samdan.run.check import check

    with pytest.raises(ValueError, match="not deeper"):
        carried_out(world, "flat", "depth: {kind: solar, drop: 1}")
    assert not list((world / "flat").glob("cpt/data/*"))
    recipe = parse(text_of(world, "depth: {kind: solar, drop: 1}"), "r.yaml")
    assert any("not deeper" in problem for problem in check(recipe).problems)


def stage(recipe: Recipe) -> CptStage:
    found = recipe.stages[0]
    assert isinstance(found, CptStage)
    return found


def test_only_new_blocks_is_a_default_that_a_recipe_can_change(world: Path) -> None:
    text = text_of(world, "depth: {kind: llama_pro, blocks: 2}")
    assert [p.train for p in stage(parse(text, "r")).unfreeze or ()] == [("new_layers",)]
    other = parse(text, "r", ["stages.cpt.unfreeze=[all]"])
    assert [p.train for p in stage(other).unfreeze or ()] == [("all",)]
    assert stage(parse(text, "r", ["stages.cpt.train_only=[mlp]"])).unfreeze is None
    solar = text.replace("kind: llama_pro, blocks: 2", "kind: solar, drop: 1")
    assert stage(parse(solar, "r")).unfreeze is None
