"""A run that grows its base first: the base is measured as it came, the stage starts grown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import growing
from samdan.lm import growth
from samdan.lm.machine import bf16_is_fast
from samdan.recipe import parse
from samdan.run.context import Run, Signals
from samdan.run.executor import execute
from samdan.run.ledger import Ledger


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = growing.world(tmp_path_factory.mktemp("world"))
    execute(parse(growing.recipe(folder), "r.yaml"), folder / "run", say=lambda text: None)
    return folder


def test_the_first_stage_starts_from_the_grown_base(run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ledger = Ledger(run / "run")
    grown = growth.read(ledger.model("base"))
    assert grown is not None
    assert len(grown.new_ids) == len(grown.pieces) > 20
    tokenizer = AutoTokenizer.from_pretrained(ledger.model("cpt"))
    model = AutoModelForCausalLM.from_pretrained(ledger.model("cpt"))
    assert len(tokenizer) == max(grown.new_ids) + 1
    assert model.config.vocab_size == model.get_input_embeddings().weight.shape[0] >= len(tokenizer)
    ids = tokenizer("계약을 해제하였다", return_tensors="pt")
    assert set(ids.input_ids[0].tolist()) & set(grown.new_ids)
    assert tokenizer.decode(ids.input_ids[0]) == "계약을 해제하였다"
    said = model.generate(**ids, max_new_tokens=4, do_sample=False)
    assert said.shape[1] > ids.input_ids.shape[1]


def test_the_base_is_measured_as_it_came(run: Path) -> None:
    """Its own tokenizer, its own weights, on the same held-out text."""
    import tiny
    from samdan.evals.score import Subject, _score_text
    from samdan.lm.model import load_chat, load_model

    ledger = Ledger(run / "run")
    results = json.loads(ledger.evaluation("base").read_text("utf-8"))["results"]
    measured = next(row for row in results if row["name"] == "docs/bpb")
    texts = dict.fromkeys(growing.korean(300, 0))
    sizes = [len(text.encode()) for text in texts]
    chat = load_chat(str(run / "model"))
    subject = Subject(tiny.scorer(load_model(str(run / "model"))), chat)
    scored = _score_text("docs", chat.documents(list(texts)), sizes, subject).results[0]
    by_text = [n / d for n, d in zip(scored.numerators, scored.denominators, strict=True)]
    for bits, size in zip(measured["numerators"], measured["denominators"], strict=True):
        assert any(math.isclose(bits / size, value, rel_tol=1e-4) for value in by_text)


def test_a_second_run_does_nothing_and_another_initialiser_keeps_the_data(run: Path) -> None:
    said: list[str] = []
    execute(parse(growing.recipe(run), "r.yaml"), run / "run", say=said.append)
    assert all("skipped" in line for line in said), said
    said.clear()
    other = growing.recipe(run, "{merges: 60, min_count: 20, input: first}")
    execute(parse(other, "r.yaml"), run / "run", say=said.append)
    again = {line.split(":")[0] for line in said if "skipped" not in line}
    assert {"base/grow", "cpt/train"} <= again
    assert not {"base/vocab", "base/evaluate", "cpt/prepare/docs", "cpt/mix"} & again


def test_the_exported_model_is_the_trained_one_in_plain_transformers(run: Path) -> None:
    """What the run measured of the stage, computed by transformers alone on the exported folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ledger = Ledger(run / "run")
    tokenizer = AutoTokenizer.from_pretrained(ledger.model("cpt"))
    model = AutoModelForCausalLM.from_pretrained(ledger.model("cpt"), attn_implementation="eager")
    results = json.loads(ledger.evaluation("cpt").read_text("utf-8"))["results"]
    measured = next(row for row in results if row["name"] == "docs/bpb")
    bits, found = measured["numerators"], []
    for text in growing.korean(300, 0):
        ids = torch.tensor([[*tokenizer(text).input_ids, tokenizer.eos_token_id]])
        with torch.no_grad():
            logp = model(ids).logits[0, :-1].log_softmax(-1)
        nats = -logp.gather(1, ids[0, 1:, None]).sum().item()
        found.append(nats / math.log(2))
    rounding = 2e-3 if bf16_is_fast("cpu") else 3e-5  # what the run measured with
    assert all(min(abs(one / other - 1) for other in found) < rounding for one in bits)
    assert len({round(one) for one in bits}) > 3


def test_check_says_what_will_grow_and_refuses_what_cannot(run: Path) -> None:
    from samdan.run.check import check

    found = check(parse(growing.recipe(run), "r.yaml"))
    assert any("base.grow.vocab: up to 60 tokens from id 4" in line for line in found.fine)
    path = run / "model" / "tokenizer.json"
    kept = path.read_text("utf-8")
    state = json.loads(kept)
    state["model"]["end_of_word_suffix"] = "</w>"
    try:
        path.write_text(json.dumps(state), "utf-8")
        assert any("expected byte-level BPE" in line for line in check(
            parse(growing.recipe(run), "r.yaml")).problems)  # fmt: skip
    finally:
        path.write_text(kept, "utf-8")


def test_a_stage_starts_grown_and_the_base_is_what_it_was(run: Path) -> None:
    made = Run(parse(growing.recipe(run), "r.yaml"), Ledger(run / "run"), Signals())
    assert made.parent("cpt") == "base"  # of a DPO stage, the reference
    assert made.model_location("base") == (str(run / "run" / "base" / "model"), None)
    assert made.model_location(None) == (str(run / "model"), None)
    assert len(made.chat().tokenizer) > len(made.base_chat().tokenizer)
    plain = growing.recipe(run).replace(", grow: {vocab: {merges: 60, min_count: 20}}", "")
    made = Run(parse(plain, "r.yaml"), Ledger(run / "run"), Signals())
    assert made.parent("cpt") is None


def test_adapters_train_the_new_rows(run: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    text = growing.recipe(run) + "samples: [계약은]\n"
    text = text.replace("precision: fp32", "precision: fp32\n    lora: {r: 2}")
    ledger = Ledger(tmp_path / "run")
    execute(parse(text, "r.yaml"), ledger.folder, say=lambda text: None)
    grown = growth.read(ledger.model("base"))
    assert grown is not None
    before, after = (
        load_file(ledger.model(name) / "model.safetensors")["model.embed_tokens.weight"]
        for name in ("base", "cpt")
    )
    moved = set((before != after).any(1).nonzero().flatten().tolist())
    assert moved
    assert moved <= {*grown.new_ids, 400, 401, 402}
    assert torch.equal(before[:400], after[:400])
