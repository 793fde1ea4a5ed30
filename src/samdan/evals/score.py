"""Tasks and held-out sets to metrics with a value per item."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samdan.evals.generate import greedy
from samdan.lm.batch import Encoded, collate
from samdan.lm.chat import ChatFormat
from samdan.lm.scoring import Scorer, sum_by_sequence
from samdan.lm.shards import Shard
from samdan.packing import best_fit_decreasing, pieces_of
from samdan.records import DataError, EvalResult, Message
from samdan.tasks import BitsPerByte, Cloze, Exact, MultipleChoice, Pattern

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """The model that is measured."""

    scorer: Scorer
    chat: ChatFormat
    capacity: int = 8192  # tokens in one forward pass
    max_length: int = 4096
    poll: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Scored:
    """Metrics and, per item, what the model did: kept so that a person can look."""

    results: tuple[EvalResult, ...]
    items: tuple[Mapping[str, Any], ...] = field(default=())


def score_heldout(name: str, folder: Path, kind: str, most: int, subject: Subject) -> Scored:
    """Up to ``most`` held-out documents, conversations or pairs of one source.

    Those of the smallest position: a random choice that another source or stage makes alike, and
    the one that ``protect`` knows.
    """
    shard = Shard(folder)
    chosen = np.sort(np.argsort(shard.positions, kind="stable")[:most]).tolist()
    records = [shard.record(number) for number in chosen]
    if kind == "dpo":
        return _score_pairs(name, records, subject)
    return _score_text(name, records, [int(shard.bytes[number]) for number in chosen], subject)


def score_task(task: Any, path: Path, subject: Subject) -> Scored:
    """One task of the recipe."""
    return SCORERS[type(task)](task, read_items(path), subject)


def read_items(path: Path) -> list[Row]:
    """The JSON lines of an evaluation file; a bad line is an error: items must not get lost."""
    items: list[Row] = []
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"evaluate: cannot read {path}: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(item, dict):
            raise DataError(
                f"{path}:{number}: expected an object with keys, found {type(item).__name__}"
            )
        items.append({**item, "_where": f"{path}:{number}"})
    if not items:
        raise DataError(f"{path}: holds no items")
    return items


def sequence_log_probs(
    records: Sequence[Encoded], subject: Subject
) -> list[list[tuple[float, int]]]:
    """Per record and sequence: log-probability of what is trained in it, and how many tokens."""
    out: list[list[tuple[float, int]]] = [[] for _ in records]
    subject.scorer.eval()
    with torch.no_grad():  # a split model gathers its weights here, and trains on with them
        for numbers in best_fit_decreasing([len(r) for r in records], subject.capacity):
            subject.poll()
            batch = collate([records[number] for number in numbers])
            sums, counts = sum_by_sequence(subject.scorer(batch), batch)
            values = iter(zip(sums.double().tolist(), counts.long().tolist(), strict=True))
            for number in numbers:
                out[number] = [next(values) for _ in range(1 + records[number].has_branch)]
    return out


def _score_text(
    name: str, records: Sequence[Encoded], sizes: Sequence[int], subject: Subject
) -> Scored:
    """Bits per byte and perplexity, by document; long documents are read in pieces."""
    owner, pieces = [], []
    for number, record in enumerate(records):
        for start, length in pieces_of(len(record), subject.max_length):
            part = slice(start, start + length)
            pieces.append(Encoded(record.tokens[part], record.trained[part]))
            owner.append(number)
    nats, tokens = [0.0] * len(records), [0] * len(records)
    for number, sequences in zip(owner, sequence_log_probs(pieces, subject), strict=True):
        nats[number] -= sequences[0][0]
        tokens[number] += sequences[0][1]
    bits = tuple(value / math.log(2) for value in nats)
    bpb = EvalResult(f"{name}/bpb", bits, tuple(map(float, sizes)), higher_is_better=False)
    per_token = tuple(map(float, tokens))
    perplexity = EvalResult(f"{name}/perplexity", tuple(nats), per_token, False, exponential=True)
    return Scored((bpb, perplexity))


def _score_pairs(name: str, records: Sequence[Encoded], subject: Subject) -> Scored:
    """Raw log-probabilities of both answers; rewards need the reference's and are made later."""
    scored = sequence_log_probs(records, subject)
    likelier = tuple(float(c[0] / c[1] > r[0] / r[1]) for c, r in scored)
    items = tuple(
        {"chosen_logp": c[0], "chosen_tokens": c[1], "rejected_logp": r[0], "rejected_tokens": r[1]}
        for c, r in scored
    )
    ones = (1.0,) * len(scored)
    return Scored((EvalResult(f"{name}/likelihood_accuracy", likelier, ones, True),), items)


def reward_results(
    name: str, after: Sequence[Row], reference: Sequence[Row], beta: float
) -> tuple[EvalResult, ...]:
    """Implicit rewards of a model against its reference on held-out pairs (DPO's own measure)."""
    margins, chosen, correct = [], [], []
    for mine, frozen in zip(after, reference, strict=True):
        change = mine["chosen_logp"] - frozen["chosen_logp"]
        margin = beta * (change - (mine["rejected_logp"] - frozen["rejected_logp"]))
        margins.append(margin)
        # A model compared with itself prefers nothing: a tie counts half.
        correct.append(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0)
        chosen.append(change)
    ones = (1.0,) * len(margins)
    lengths = tuple(float(row["chosen_tokens"]) for row in after)
    return (
        EvalResult(f"{name}/accuracy", tuple(correct), ones, True),
        EvalResult(f"{name}/margin", tuple(margins), ones, True),
        EvalResult(f"{name}/chosen_logp_change", tuple(chosen), lengths, True),
    )


def _bits_per_byte(task: BitsPerByte, items: Sequence[Row], subject: Subject) -> Scored:
    texts = [_text(item, "text") for item in items]
    records = subject.chat.documents(texts)
    return _score_text(task.name, records, [len(text.encode()) for text in texts], subject)


def _multiple_choice(task: MultipleChoice, items: Sequence[Row], subject: Subject) -> Scored:
    """The choice with the highest log-likelihood per byte (acc_norm in lm-evaluation-harness)."""
    records: list[Encoded] = []
    sizes: list[int] = []
    for item in items:
        choices = item.get("choices")
        if (
            not isinstance(choices, list)
            or len(choices) < 2
            or not isinstance(item.get("answer"), int)
        ):
            raise DataError(
                f"{item['_where']}: expected 'choices' (a list) and 'answer' (its index)"
            )
        records += [_continued(item, str(choice), task.chat, subject.chat) for choice in choices]
        sizes += [max(1, len(str(choice).encode())) for choice in choices]
    scores = iter(
        logp / size
        for ((logp, _),), size in zip(sequence_log_probs(records, subject), sizes, strict=True)
    )
    correct, kept = [], []
    for item in items:
        mine = [next(scores) for _ in item["choices"]]
        best = max(range(len(mine)), key=mine.__getitem__)
        correct.append(float(best == item["answer"]))
        kept.append(
            {"prompt": item["prompt"], "said": item["choices"][best], "correct": bool(correct[-1])}
        )
    return Scored((_share(f"{task.name}/accuracy", correct),), tuple(kept))


def _cloze(task: Cloze, items: Sequence[Row], subject: Subject) -> Scored:
    records = [_continued(item, _text(item, "answer"), task.chat, subject.chat) for item in items]
    hits: list[tuple[int, bool]] = []
    for numbers in best_fit_decreasing([len(r) for r in records], subject.capacity):
        subject.poll()
        hits += zip(numbers, _argmax_hits(records, numbers, subject), strict=True)
    correct = [float(hit) for _, hit in sorted(hits)]
    kept = tuple(
        {"prompt": i["prompt"], "correct": bool(c)} for i, c in zip(items, correct, strict=True)
    )
    return Scored((_share(f"{task.name}/accuracy", correct),), kept)


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


def _exact(task: Exact, items: Sequence[Row], subject: Subject) -> Scored:
    answers = _answers(task, items, subject)
    wanted = [normalise(_text(item, "answer"), task.strip) for item in items]
    correct = [
        float(normalise(a, task.strip) == w) for (a, _), w in zip(answers, wanted, strict=True)
    ]
    kept = tuple(
        {"prompt": item["prompt"], "said": said, "expected": item["answer"], "correct": bool(hit)}
        for item, (said, _), hit in zip(items, answers, correct, strict=True)
    )
    stopped = [float(ended) for _, ended in answers]
    return Scored(
        (_share(f"{task.name}/exact", correct), _share(f"{task.name}/stops", stopped)), kept
    )


def _pattern(task: Pattern, items: Sequence[Row], subject: Subject) -> Scored:
    answers = _answers(task, items, subject)
    pattern = re.compile(task.pattern)
    found = [float(bool(pattern.search(said.strip()))) for said, _ in answers]
    kept = tuple(
        {"prompt": item["prompt"], "said": said, "found": bool(hit)}
        for item, (said, _), hit in zip(items, answers, found, strict=True)
    )
    ones = (1.0,) * len(found)
    result = EvalResult(f"{task.name}/{task.metric}", tuple(found), ones, task.higher_is_better)
    return Scored((result,), kept)


def _answers(
    task: Exact | Pattern, items: Sequence[Row], subject: Subject
) -> list[tuple[str, bool]]:
    prompts = [_prompt(item, task.chat, subject.chat) for item in items]
    return greedy(subject.scorer.model, subject.chat, prompts, task.max_new_tokens, subject.poll)


def normalise(text: str, strip: Sequence[str] = ()) -> str:
    """NFC, white space runs to one space, final punctuation and the given endings removed."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip().rstrip(".!?。 ")
    for pattern in strip:
        text = re.sub(pattern, "", text, count=1).strip()
    return text


def _continued(item: Row, answer: str, as_chat: bool, chat: ChatFormat) -> Encoded:
    """Prompt and answer with the answer trained; in plain text, tokenized as one text."""
    prompt = _text(item, "prompt")
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


def _prompt(item: Row, as_chat: bool, chat: ChatFormat) -> list[int]:
    prompt = _text(item, "prompt")
    if as_chat:
        return chat.prompt((Message("user", prompt),))
    start = [] if chat.document_start is None else [chat.document_start]
    return start + chat.encode_text(prompt)


def _text(item: Row, key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"{item['_where']}: expected '{key}' with a text")
    return unicodedata.normalize("NFC", value)


def _share(name: str, values: Sequence[float]) -> EvalResult:
    return EvalResult(name, tuple(values), (1.0,) * len(values), higher_is_better=True)


SCORERS: dict[type, Callable[[Any, Sequence[Row], Subject], Scored]] = {
    BitsPerByte: _bits_per_byte,
    MultipleChoice: _multiple_choice,
    Cloze: _cloze,
    Exact: _exact,
    Pattern: _pattern,
}
