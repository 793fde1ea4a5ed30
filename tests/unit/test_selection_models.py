"""Perplexity and embeddings of models, against the models' own forward, document by document."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from samdan.data.selection.models import mean_states, score_texts
from samdan.data.selection.tools import load_tools
from samdan.lm.chat import ChatFormat
from samdan.records import DataError
from samdan.selecting import Eta, Ets, Surrogate

TEXTS = ("한빛전자는 수원에 있습니다.", "a", "The quick brown fox jumps.", "감사합니다! " * 9)


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    return tiny.chat()


@pytest.fixture(scope="module")
def made(chat: ChatFormat) -> Any:
    return tiny.model(vocab_size=len(chat.tokenizer)).eval()


@pytest.fixture(scope="module")
def folder(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    made.save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


def alone(twin: Any, ids: list[int]) -> tuple[float, int]:
    """Nats and predicted tokens of one piece, by transformers' own attention."""
    with torch.inference_mode():
        logits = twin(torch.tensor([ids])).logits[0, :-1].double()
    picked = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:]).unsqueeze(1))
    return -float(picked.sum()), len(ids) - 1


def test_nats_are_those_of_every_document_alone(made: Any, chat: ChatFormat) -> None:
    twin = tiny.twin(made).eval()
    nats, tokens = score_texts(TEXTS, tiny.scorer(made), chat, Surrogate(path="m"))
    for number, record in enumerate(chat.documents(TEXTS)):
        expected = alone(twin, record.tokens.tolist())
        assert nats[number] == pytest.approx(expected[0], abs=0.06)
        assert tokens[number] == expected[1]


def test_long_documents_are_read_in_pieces_and_up_to_a_limit(made: Any, chat: ChatFormat) -> None:
    twin = tiny.twin(made).eval()
    spec = Surrogate(path="m", max_length=8, max_tokens=20)
    nats, tokens = score_texts(TEXTS[3:], tiny.scorer(made), chat, spec)
    ids = chat.documents(TEXTS[3:])[0].tokens.tolist()
    assert len(ids) > 20
    pieces = [alone(twin, ids[start:end]) for start, end in ((0, 8), (8, 16), (16, 20))]
    assert nats[0] == pytest.approx(sum(piece[0] for piece in pieces), abs=0.06)
    assert tokens[0] == 7 + 7 + 3


def test_no_document_changes_another_ones_numbers(made: Any, chat: ChatFormat) -> None:
    scorer = tiny.scorer(made)
    measures = (
        lambda texts: score_texts(texts, scorer, chat, Surrogate(path="m"))[0],
        partial(mean_states, scorer=scorer, chat=chat, max_tokens=64),
    )
    for measure in measures:
        together = measure(TEXTS)
        apart = np.concatenate([measure([text]) for text in TEXTS])
        np.testing.assert_allclose(together, apart, atol=2e-4)


def test_mean_states_are_the_mean_over_the_documents_tokens(made: Any, chat: ChatFormat) -> None:
    twin = tiny.twin(made).eval()
    found = mean_states(TEXTS, tiny.scorer(made), chat, max_tokens=16)
    for number, record in enumerate(chat.documents(TEXTS)):
        ids = torch.tensor([record.tokens[:16].tolist()])
        with torch.inference_mode():
            states = twin(ids, output_hidden_states=True).hidden_states[-1][0]
        np.testing.assert_allclose(found[number], states.mean(0), atol=2e-4)


def test_models_are_loaded_from_where_the_recipe_says(folder: Path) -> None:
    eta = Eta(use=("ppl",), surrogate={"path": str(folder)}, share=0.5)
    tools = load_tools(eta, None)
    assert tools.log_probs is not None
    nats, tokens = tools.log_probs(TEXTS[:2])
    assert nats[0] / tokens[0] == pytest.approx(math.log(400), rel=0.5)
    ets = Ets(
        tasks=("t",), share=0.5, embedding={"kind": "hidden_states", "path": str(folder)}
    )
    embed = load_tools(ets, None).embed
    assert embed is not None
    assert embed(TEXTS).shape == (4, 32)


def test_a_model_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    eta = Eta(use=("ppl",), surrogate={"path": nowhere}, share=0.5)
    with pytest.raises(DataError, match=r"^select\.surrogate\.path: cannot load a model"):
        load_tools(eta, None)
    for kind in ("hidden_states", "sentence_model"):
        ets = Ets(tasks=("t",), share=0.5, embedding={"kind": kind, "path": nowhere})
        with pytest.raises(DataError, match=r"^a\.embedding\.path: cannot load"):
            load_tools(ets, None, "a")


def test_a_sentence_model_is_pooled_over_what_is_not_padding(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    tokenizer = tiny.tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    spec = Ets(
        tasks=("t",),
        share=0.5,
        embedding={"kind": "sentence_model", "path": str(tmp_path), "max_tokens": 64},
    )
    embed = load_tools(spec, None).embed
    assert embed is not None
    found = embed(TEXTS)
    for number, text in enumerate(TEXTS):
        inputs = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            states = model(inputs.input_ids).last_hidden_state[0]
        np.testing.assert_allclose(found[number], states.mean(0), atol=2e-4)
