"""How likely a model finds what is expected: sums of log-probabilities, and greedy agreement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch

from samdan.evals.items import Row, text_of
from samdan.evals.subject import Subject
from samdan.lm.batch import Encoded, collate
from samdan.lm.chat import ChatFormat
from samdan.lm.passes import sequence_sums
from samdan.packing import best_fit_decreasing
from samdan.records import Message


def sequence_log_probs(
    records: Sequence[Encoded], subject: Subject
) -> list[list[tuple[float, int]]]:
    """Per record and sequence: log-probability of what is trained in it, and how many tokens."""
    sequences = [1 + record.has_branch for record in records]
    sums_S2 = sequence_sums(
        subject.scorer, lambda number: records[number], [len(record) for record in records],
        sequences, subject.capacity, subject.poll, subject.hands,
    )  # fmt: skip
    values = iter(sums_S2.tolist())
    return [[(logp, int(n)) for logp, n in islice(values, count)] for count in sequences]


def greedy_hits(records: Sequence[Encoded], subject: Subject) -> list[float]:
    """Per record: 1 where every trained token is the likeliest one at its place."""
    hits: list[tuple[int, bool]] = []
    with subject.scorer.computing():
        for numbers in best_fit_decreasing([len(r) for r in records], subject.capacity):
            subject.poll()
            hits += zip(numbers, _argmax_hits(records, numbers, subject), strict=True)
    return [float(hit) for _, hit in sorted(hits)]


def _argmax_hits(
    records: Sequence[Encoded], numbers: Sequence[int], subject: Subject
) -> list[bool]:
    """Per record: is every trained token the likeliest one at its place?"""
    batch = collate([records[number] for number in numbers])
    subject.scorer.eval()
    with torch.inference_mode():
        best_N = subject.scorer.likeliest(batch)
    right_N = best_N == batch.targets_N.to(best_N.device)
    wrong_S = torch.zeros(batch.sequences, device=best_N.device).index_add(
        0, batch.sequence_N.to(best_N.device), (~right_N).float()
    )
    return [count == 0 for count in wrong_S.tolist()]


def continued(item: Row, answer: str, as_chat: bool, chat: ChatFormat) -> Encoded:
    """Prompt and answer with the answer trained; in plain text, tokenized as one text."""
    prompt = text_of(item, "prompt")
    if as_chat:
        return chat.answered((Message("user", prompt),), answer)
    ids, whole = chat.encode_text(prompt), chat.encode_text(prompt + answer)
    shared = next((i for i, (a, b) in enumerate(zip(ids, whole, strict=False)) if a != b), len(ids))
    record = chat.documents([prompt + answer])[0]
    offset = int(chat.document_start is not None)
    trained = record.trained.copy()
    trained[: offset + max(1, shared)] = False
    trained[offset + len(whole) :] = False
    return Encoded(record.tokens, trained)
