"""Tasks and held-out sets to metrics with a value per item."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samdan.answers.probes import counts, probes
from samdan.contexts import Infill, Needle, OnDocuments
from samdan.evals import answering, contexts
from samdan.evals.harness import run_harness
from samdan.evals.items import Row, choices_of, items_of, text_of
from samdan.evals.likelihood import continued, greedy_hits, sequence_log_probs
from samdan.evals.subject import Scored, Subject, share
from samdan.lm.batch import Encoded
from samdan.lm.shards import Shard
from samdan.packing import pieces_of
from samdan.records import DataError, EvalResult
from samdan.tasks import (
    BitsPerByte,
    Cloze,
    Exact,
    Harness,
    Instructions,
    MultipleChoice,
    Open,
    Overlap,
    Pattern,
    Probes,
    QuestionAnswering,
    Refusal,
)


def score_heldout(name: str, folder: Path, kind: str, most: int, subject: Subject) -> Scored:
    """Up to ``most`` held-out documents, conversations or pairs of one source."""
    shard = Shard(folder)
    chosen = _measured(shard, most)
    records = [subject.read(shard.record(number)) for number in chosen]
    if kind == "dpo":
        return _score_pairs(name, records, subject)
    return _score_text(name, records, [int(shard.bytes[number]) for number in chosen], subject)


def score_task(
    task: Any, subject: Subject, heldout: tuple[Path, int] | None = None
) -> Scored:
    """One task of the recipe.

    ``heldout``: the shard that probes of a source are made from, and how many of its documents.
    """
    if isinstance(task, Harness):
        return run_harness(task, subject)
    if isinstance(task, OnDocuments) and task.source and heldout is None:
        raise DataError(
            f"evaluate.{task.name}: the held-out documents of '{task.source}' are known within a "
            f"run only; give 'path'"
        )
    if isinstance(task, OnDocuments) and heldout is not None:
        return SCORERS[type(task)](task, _documents(*heldout, subject), subject)
    return SCORERS[type(task)](task, items_of(task), subject)


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
    """Implicit rewards of a model against its reference on held-out pairs (DPO's own measure).

    ``accuracy_not_longer``: on the pairs whose chosen answer is not the longer one, where liking
    length does not help.
    """
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
    short = [row["chosen_tokens"] <= row["rejected_tokens"] for row in after]
    fair = [hit for hit, is_short in zip(correct, short, strict=True) if is_short]
    controlled = [share(f"{name}/accuracy_not_longer", fair)] if fair else []
    return (
        EvalResult(f"{name}/accuracy", tuple(correct), ones, True),
        EvalResult(f"{name}/margin", tuple(margins), ones, True),
        EvalResult(f"{name}/chosen_logp_change", tuple(chosen), lengths, True),
        *controlled,
    )


def _bits_per_byte(task: BitsPerByte, items: Sequence[Row], subject: Subject) -> Scored:
    texts = [text_of(item, "text") for item in items]
    records = subject.chat.documents(texts)
    return _score_text(task.name, records, [len(text.encode()) for text in texts], subject)


def _multiple_choice(task: MultipleChoice, items: Sequence[Row], subject: Subject) -> Scored:
    """The choice with the highest log-likelihood per byte (acc_norm in lm-evaluation-harness)."""
    correct, kept = _ranked(items, task.chat, subject)
    return Scored((share(f"{task.name}/accuracy", correct),), kept)


def _ranked(
    items: Sequence[Row], as_chat: bool, subject: Subject
) -> tuple[list[float], tuple[Row, ...]]:
    """Per item: 1 where the right choice is the likeliest per byte; and what was said."""
    records: list[Encoded] = []
    sizes: list[int] = []
    for item in items:
        choices = choices_of(item)
        records += [continued(item, str(choice), as_chat, subject.chat) for choice in choices]
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
    return correct, tuple(kept)


def _cloze(task: Cloze, items: Sequence[Row], subject: Subject) -> Scored:
    records = [continued(item, text_of(item, "answer"), task.chat, subject.chat) for item in items]
    correct = greedy_hits(records, subject)
    kept = tuple(
        {"prompt": i["prompt"], "correct": bool(c)} for i, c in zip(items, correct, strict=True)
    )
    return Scored((share(f"{task.name}/accuracy", correct),), kept)


def _documents(heldout: Path, most: int, subject: Subject) -> list[Row]:
    """The held-out documents of a source that are measured, as items with a text."""
    shard = Shard(heldout)
    decode = subject.chat.tokenizer.decode
    records = [(n, subject.read(shard.record(n))) for n in _measured(shard, most)]
    return [
        {"text": decode(record.tokens.tolist(), skip_special_tokens=True), "_where": n}
        for n, record in records
    ]


def _measured(shard: Shard, most: int) -> list[int]:
    """Those of the smallest position: a random choice that another source or stage makes alike,
    and the one that ``protect`` knows."""
    chosen: list[int] = np.sort(np.argsort(shard.positions, kind="stable")[:most]).tolist()
    return chosen


def _probes(task: Probes, documents: Sequence[Row], subject: Subject) -> Scored:
    """``/accuracy``, and by kind: ``/dates``, ``/numbers``, ``/names``."""
    texts = [text_of(document, "text") for document in documents]
    asked = probes(texts, task.seed, task.per_document, task.max_items)
    if not asked:
        raise DataError(
            f"evaluate.{task.name}: no sentence of {len(texts)} documents holds a date, a number "
            f"or a name to ask for; take longer documents, or leave the task out"
        )
    items = [{**item, "_where": f"{task.name}:{n}"} for n, item in enumerate(asked, 1)]
    correct, kept = _ranked(items, False, subject)
    results = [share(f"{task.name}/accuracy", correct)]
    for kind in counts(asked):
        mine = [hit for item, hit in zip(asked, correct, strict=True) if item["kind"] == kind]
        results.append(share(f"{task.name}/{kind}", mine))
    return Scored(tuple(results), kept)


SCORERS: dict[type, Callable[[Any, Sequence[Row], Subject], Scored]] = {
    BitsPerByte: _bits_per_byte,
    MultipleChoice: _multiple_choice,
    Cloze: _cloze,
    Exact: answering.exact,
    Pattern: answering.pattern,
    Instructions: answering.instructions,
    QuestionAnswering: answering.question_answering,
    Overlap: answering.overlapping,
    Open: answering.open_ended,
    Refusal: answering.refusal,
    Probes: _probes,
    Infill: contexts.infill,
    Needle: contexts.needle,
}
