"""What selection asks of models: perplexity of a surrogate, and embeddings of documents.

Every number is computed for a document alone, packed or padded with others without seeing them.
Results are rounded, since the last bits of a product of matrices depend on what it is computed
with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from samdan.data.selection.hashing import Float
from samdan.lm.batch import Encoded, collate
from samdan.lm.chat import ChatFormat
from samdan.lm.machine import bf16_is_fast
from samdan.lm.model import best_device, load_chat, load_model, to_best_device
from samdan.lm.rounding import to_measure
from samdan.lm.scoring import Scorer, sum_by_sequence
from samdan.lm.trust import require_data_only
from samdan.packing import best_fit_decreasing, pieces_of
from samdan.records import DataError, first_line
from samdan.selecting import HiddenStates, SentenceModel, Surrogate

# Texts to nats [n] and predicted tokens [n].
LogProbs = Callable[[Sequence[str]], tuple[Float, Float]]
# Texts to vectors [n, d].
Embed = Callable[[Sequence[str]], Float]
Poll = Callable[[], None]

CAPACITY = 8192  # tokens in one forward pass
SENTENCES_TOGETHER = 32


def no_poll() -> None:
    """For callers that nobody interrupts."""


def surrogate_log_probs(spec: Surrogate, where: str, poll: Poll = no_poll) -> LogProbs:
    """The negative log-likelihood of texts under a causal model. ``where``: its key, for errors."""
    scorer, chat = _load(spec.path, spec.revision, where)

    def log_probs(texts: Sequence[str]) -> tuple[Float, Float]:
        return score_texts(texts, scorer, chat, spec, poll)

    return log_probs


def score_texts(
    texts: Sequence[str], scorer: Scorer, chat: ChatFormat, spec: Surrogate, poll: Poll = no_poll
) -> tuple[Float, Float]:
    """Nats [n] and predicted tokens [n]; long documents are read in pieces of ``max_length``."""
    owner: list[int] = []
    pieces: list[Encoded] = []
    for number, whole in enumerate(chat.documents(texts)):
        length = min(len(whole), spec.max_tokens or len(whole))
        for start, size in pieces_of(length, spec.max_length):
            part = slice(start, start + size)
            pieces.append(Encoded(whole.tokens[part], whole.trained[part]))
            owner.append(number)
    nats, tokens = np.zeros(len(texts)), np.zeros(len(texts))
    with scorer.computing(), torch.inference_mode():
        for numbers in best_fit_decreasing([len(piece) for piece in pieces], CAPACITY):
            poll()
            batch = collate([pieces[number] for number in numbers])
            sums, counts = sum_by_sequence(scorer(batch), batch)
            rows = zip(numbers, sums.double().tolist(), counts.tolist(), strict=True)
            for number, logp, count in rows:
                nats[owner[number]] -= logp
                tokens[owner[number]] += count
    return np.round(nats, 1), tokens


def hidden_state_embedder(spec: HiddenStates, where: str, poll: Poll = no_poll) -> Embed:
    """Mean hidden states of a causal model. ``where``: its key, for errors."""
    scorer, chat = _load(spec.path, spec.revision, where)

    def embed(texts: Sequence[str]) -> Float:
        return mean_states(texts, scorer, chat, spec.max_tokens, poll)

    return embed


def mean_states(
    texts: Sequence[str], scorer: Scorer, chat: ChatFormat, max_tokens: int, poll: Poll = no_poll
) -> Float:
    """[n, d]: the mean over each text's tokens of the backbone's last hidden states."""
    records = [
        Encoded(whole.tokens[:max_tokens], whole.trained[:max_tokens])
        for whole in chat.documents(texts)
    ]
    means: list[Any] = [None] * len(records)
    with scorer.computing(), torch.inference_mode():
        for numbers in best_fit_decreasing([len(record) for record in records], CAPACITY):
            poll()
            batch = collate([records[number] for number in numbers])
            parts = scorer.states(batch).double().split([len(records[n]) for n in numbers])
            for number, part in zip(numbers, parts, strict=True):
                means[number] = part.mean(0).cpu().numpy()
    return np.round(np.stack(means), 4)


def sentence_embedder(spec: SentenceModel, where: str, poll: Poll = no_poll) -> Embed:
    """Mean hidden states of an encoder, such as a sentence-embedding model.

    Never runs code that comes with the model. ``where``: its key, for errors.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        require_data_only(spec.path, spec.revision)
        model: Any = AutoModel.from_pretrained(
            spec.path,
            revision=spec.revision,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(
            spec.path, revision=spec.revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise DataError(f"{where}.path: cannot load an encoder: {reason}") from None
    model = to_best_device(model).eval()

    def embed(texts: Sequence[str]) -> Float:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding
        means: list[Any] = [None] * len(texts)
        for start in range(0, len(order), SENTENCES_TOGETHER):
            poll()
            numbers = order[start : start + SENTENCES_TOGETHER]
            pooled = _pooled([texts[number] for number in numbers], model, tokenizer, spec)
            for number, mean in zip(numbers, pooled, strict=True):
                means[number] = mean
        return np.round(np.stack(means), 4)

    return embed


def _pooled(texts: Sequence[str], model: Any, tokenizer: Any, spec: SentenceModel) -> Float:
    inputs = tokenizer(
        list(texts), padding=True, truncation=True, max_length=spec.max_tokens, return_tensors="pt"
    ).to(model.device)
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state.double()
    mask = inputs["attention_mask"].unsqueeze(-1).double()
    pooled: Float = ((states * mask).sum(1) / mask.sum(1).clamp(min=1)).cpu().numpy()
    return pooled


def _load(path: str, revision: str | None, where: str) -> tuple[Scorer, ChatFormat]:
    try:
        model = load_model(path, revision)
    except DataError as error:
        reason = str(error).removeprefix("base.path: ")
        raise DataError(f"{where}.path: {reason}") from None
    bf16 = bf16_is_fast(best_device().type)
    return Scorer(to_measure(model, bf16), bf16).eval(), load_chat(path, revision)
