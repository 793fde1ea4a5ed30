"""Tiny models, tokenizers, records and stages that several tests share."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samdan.lm.attention import NAME as ATTENTION
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.lm.scoring import Scorer
from samdan.lm.shards import Index, ShardWriter, TrainingData
from samdan.lm.tokenizer import train_tokenizer
from samdan.recipe import CptStage, DpoStage, SftStage, Source
from samdan.train.batches import Steps
from samdan.train.optim import make_optimizer

VOCAB = 97
TEXTS = (
    "한빛전자는 2019년에 문을 연 반도체 회사입니다. 본사는 수원에 있습니다.",
    "The quick brown fox jumps over the lazy dog, and then it sleeps for 12 hours.",
    "질문에 짧고 공손하게 답합니다. 감사합니다! def f(x): return x + 1",
)
CONFIGS = {"Gemma3": "Gemma3TextConfig"}
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


# --- models ---------------------------------------------------------------------------------------


def model(family: str = "Qwen2", seed: int = 0, attention: str = ATTENTION, **shape: Any) -> Any:
    """A randomly initialised causal language model in fp32; the seed alone decides its weights."""
    import transformers

    make_config = getattr(transformers, CONFIGS.get(family, f"{family}Config"))
    config = make_config(**SHAPE | shape, attn_implementation=attention)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = getattr(transformers, f"{family}ForCausalLM")(config)
        with torch.no_grad():  # larger than the usual 0.02, so that nothing is nearly uniform
            for parameter in made.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.float().train()


def twin(original: Any, attention: str = "eager") -> Any:
    """The same weights behind an attention of transformers' own."""
    config = copy.deepcopy(original.config)
    config._attn_implementation = attention
    made = type(original)(config)
    made.load_state_dict(original.state_dict())
    return made.train()


def gradients(module: Any) -> dict[str, Tensor]:
    return {
        name: parameter.grad.detach().clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def distance(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest difference of two sets of tensors, relative to each tensor's norm.

    A tensor that is zero but for rounding (a key bias has no effect on attention) is measured
    against the norm of all of them.
    """
    assert set(ours) == set(theirs)
    everything = float(torch.stack([theirs[name].norm() for name in theirs]).norm())
    return max(
        float(
            (ours[name] - theirs[name]).norm() / max(float(theirs[name].norm()), 1e-3 * everything)
        )
        for name in theirs
    )


# --- records --------------------------------------------------------------------------------------


def document(length: int, seed: int = 0, vocab: int = VOCAB) -> Encoded:
    tokens = np.random.default_rng([seed, length]).integers(1, vocab, length)
    return Encoded(tokens.astype(np.uint32), np.ones(length, np.bool_))


def conversation(prompt: int, answer: int, seed: int = 0) -> Encoded:
    tokens = np.random.default_rng([seed, prompt, answer]).integers(1, VOCAB, prompt + answer)
    return Encoded(tokens.astype(np.uint32), np.arange(prompt + answer) >= prompt)


def pair(prompt: int, chosen: int, rejected: int, seed: int = 0) -> Encoded:
    whole = prompt + chosen + rejected
    tokens = np.random.default_rng([seed, prompt, chosen, rejected]).integers(1, VOCAB, whole)
    trained = np.arange(whole) >= prompt
    return Encoded(tokens.astype(np.uint32), trained, prompt, prompt + chosen)


def halves(record: Encoded) -> tuple[list[int], list[int], list[int]]:
    """Prompt, chosen and rejected answer of a pair."""
    ids = record.tokens.tolist()
    return ids[: record.prefix], ids[record.prefix : record.span], ids[record.span :]


def write_shard(folder: Path, records: Sequence[Encoded]) -> Path:
    writer = ShardWriter(folder)
    for record in records:
        writer.add(record, len(record))
    writer.close()
    return folder


def steps(folder: Path, records: Sequence[Encoded], per_step: int, capacity: int) -> Steps:
    """Optimizer steps over the records in the order given."""
    count = len(records)
    lengths = np.asarray([len(record) for record in records], np.int64)
    zeros = np.zeros(count, np.int64)
    pieces = np.column_stack([zeros, np.arange(count), zeros, lengths])
    index = Index(pieces, np.arange(count + 1), np.arange(count), lengths)
    return Steps(TrainingData([write_shard(folder, records)], index), per_step, capacity)


# --- tokenizers and stages ------------------------------------------------------------------------


@cache
def _tokenizer(size: int) -> Any:
    return train_tokenizer(TEXTS * 20, size)


def tokenizer(size: int = 400) -> Any:
    """A byte-level BPE with ChatML's special tokens and no template; a copy to do anything with."""
    return copy.deepcopy(_tokenizer(size))


def chat() -> ChatFormat:
    return ChatFormat(tokenizer())


def source(name: str, role: Any = "target", weight: float | None = None, **more: Any) -> Source:
    path = more.pop("path", f"{name}.jsonl")
    return Source(path=path, name=name, role=role, weight=weight, **more)


def cpt(**fields: Any) -> CptStage:
    return CptStage(**{"data": (source("docs"),), "max_length": 16} | fields)


def sft(**fields: Any) -> SftStage:
    return SftStage(**{"data": (source("talks"),), "max_length": 64} | fields)


def dpo(**fields: Any) -> DpoStage:
    return DpoStage(**{"data": (source("pairs"),), "max_length": 64} | fields)


def scorer(made: Any) -> Scorer:
    return Scorer(made)


def update(model: Any, optimizer: Any) -> None:
    """A step by gradients of one."""
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def with_states() -> tuple[Any, Any]:
    """A model of one layer and its optimizer, which has states."""
    made = model(num_hidden_layers=1)
    optimizer = make_optimizer(made, cpt(learning_rate=1e-2), False)
    update(made, optimizer)
    return made, optimizer
