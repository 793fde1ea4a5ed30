"""Asks a teacher about passages, makes rows of what it answers; a rerun asks what is left."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from samdan import __version__
from samdan.data.synthesis.checks import teacher_fault
from samdan.data.synthesis.journal import Journal
from samdan.data.synthesis.passages import Passage
from samdan.data.synthesis.requests import Prompter, Request, entities_in, request_seed
from samdan.data.synthesis.write import Output
from samdan.lm.asking import Question, ask_all
from samdan.lm.client import Reply, Teacher
from samdan.records import EnvironmentFailure, Preempted

Progress = Callable[[int, int], None]


@dataclass
class Bill:
    """What was asked in this run, and what all answers that are used cost."""

    asked: int = 0
    retries: int = 0
    before: int = 0  # answered by an earlier run
    failures: Counter[str] = field(default_factory=Counter)

    def line(self, teacher: str, tokens: dict[str, int]) -> str:
        """One line for a person."""
        uncounted = tokens["answers_without_counts"]
        return (
            f"teacher {teacher}: {self.asked} requests now, {self.before} answered before, "
            f"{self.retries} retries, {tokens['in']:,} tokens in, {tokens['out']:,} tokens out"
            + (f" ({uncounted} answers without counts)" if uncounted else "")
        )


@dataclass(frozen=True)
class Lesson:
    """A teacher, how it is prompted, and where its answers are kept."""

    teacher: Teacher
    prompters: Sequence[Prompter]  # one for each language
    journal: Journal
    seed: int
    method: str  # "documents" or "triples": what the ids of a passage are
    min_chars: int  # shortest answer that is used


def teach(
    lesson: Lesson, passages: Sequence[Sequence[Passage]], output: Output, progress: Progress
) -> tuple[dict[str, Any], int, str]:
    """Asks, and writes the rows; ``passages`` has one sequence for each prompter.

    Returns the summary's part, how many texts were asked for, and the bill in one line. Raises
    EnvironmentFailure when the teacher cannot be reached or used; what was answered is kept.
    """
    bill, asked = Bill(), 0
    dropped_before = output.dropped.total()
    for prompter, texts in zip(lesson.prompters, passages, strict=True):
        if prompter.task == "relations":
            known = (prompter.entity_request(p) for p in texts if not p.entities)
            _ask_all(lesson, known, bill, progress)
        _ask_all(lesson, _requests(lesson, prompter, texts), bill, progress)
    tokens, seen = Counter[str](), set[str]()
    for prompter, texts in zip(lesson.prompters, passages, strict=True):
        asked += _write(lesson, prompter, texts, output, (tokens, seen), bill)
    counts = {name: tokens[name] for name in ("in", "out", "answers_without_counts")}
    failed = bill.failures.total()
    if failed and not output.kept and output.dropped.total() - dropped_before == failed:
        raise EnvironmentFailure(_unreachable(lesson, bill.failures.most_common(1)[0][0]))
    part = {
        "teacher": lesson.teacher.model,
        "endpoint": lesson.teacher.endpoint.shown,
        "requests": {"now": bill.asked, "before": bill.before, "retries": bill.retries},
        "tokens": counts,
    }
    return part, asked, bill.line(lesson.teacher.model, counts)


def _requests(
    lesson: Lesson, prompter: Prompter, passages: Iterable[Passage]
) -> Iterator[Request]:
    for passage in passages:
        yield from prompter.requests(passage, _entities(lesson, prompter, passage))


def _entities(lesson: Lesson, prompter: Prompter, passage: Passage) -> Sequence[str]:
    """What a passage is about: known beforehand, or from the teacher's answer."""
    if prompter.task != "relations" or passage.entities:
        return passage.entities
    reply = lesson.journal.replies.get(prompter.entity_request(passage).id)
    return entities_in(reply.text, passage) if reply is not None and reply.status == "ok" else ()


def _ask_all(
    lesson: Lesson, requests: Iterable[Request], bill: Bill, progress: Progress
) -> None:
    """Asks what the journal does not hold, a bounded number at the same time."""
    journal, done = lesson.journal, 0

    def got(request: str, reply: Reply, under_way: int) -> None:
        nonlocal done
        journal.add(request, reply)
        done += 1
        bill.asked += 1
        bill.retries += reply.attempts - 1
        if reply.status == "failed":
            bill.failures[reply.detail] += 1
        progress(done, done + under_way)

    questions = (
        Question(one.id, one.messages, request_seed(one, lesson.seed))
        for one in _unanswered(journal, requests, bill)
    )
    try:
        ask_all(lesson.teacher, questions, got, partial(_unreachable, lesson))
    except KeyboardInterrupt:
        kept = f"stopped; {done} answers of this run are kept in {journal.path}"
        raise Preempted(signal.SIGINT, f"{kept}: the same command goes on") from None


def _unanswered(journal: Journal, requests: Iterable[Request], bill: Bill) -> Iterator[Request]:
    begun: set[str] = set()
    for request in requests:
        if request.id in begun:
            continue
        begun.add(request.id)
        if request.id in journal.replies:
            bill.before += 1
        else:
            yield request


def _unreachable(lesson: Lesson, detail: str) -> str:
    return (
        f"{lesson.teacher.endpoint.shown}: gives no answers ({detail}); is --endpoint right and "
        f"the server up? Those so far are kept in {lesson.journal.path}: run the same command "
        f"again to go on"
    )


def _write(
    lesson: Lesson,
    prompter: Prompter,
    passages: Iterable[Passage],
    output: Output,
    totals: tuple[Counter[str], set[str]],
    bill: Bill,
) -> int:
    """The rows of one prompter in the order of its passages; returns how many were asked for."""
    asked = 0
    tokens, seen = totals
    for passage in passages:
        entities = _entities(lesson, prompter, passage)
        if prompter.task == "relations":
            asked += _drop_without_pair(lesson, prompter, passage, output, tokens)
        for request in prompter.requests(passage, entities):
            asked += 1
            reply = lesson.journal.replies.get(request.id) or Reply("failed")
            _count(tokens, reply)
            lineage = _lineage(lesson, prompter, request.prompt, request.ids)
            lineage["request"] = request.id
            fault = _fault(reply, request, prompter, lesson, seen)
            if fault:
                output.drop(fault, reply.text, lineage, reply.detail)
            else:
                seen.add(reply.text)
                output.keep(reply.text, lineage)
    return asked


def _drop_without_pair(
    lesson: Lesson, prompter: Prompter, passage: Passage, output: Output, tokens: Counter[str]
) -> int:
    """Drops a passage of which no two entities are known; returns how many: 1 or 0."""
    request = prompter.entity_request(passage)
    reply = Reply("ok") if passage.entities else lesson.journal.replies.get(request.id)
    if not passage.entities:
        _count(tokens, reply)
    if len(_entities(lesson, prompter, passage)) >= 2:
        return 0
    status = "failed" if reply is None else reply.status
    lineage = _lineage(lesson, prompter, request.prompt, passage.ids)
    reason = "fewer_than_two_entities" if status == "ok" else status
    output.drop(reason, reply.text if reply else "", lineage)
    return 1


def _fault(
    reply: Reply, request: Request, prompter: Prompter, lesson: Lesson, seen: set[str]
) -> str:
    if reply.status != "ok":
        return reply.status
    if reply.text in seen:
        return "duplicate"
    return teacher_fault(reply.text, request.user, prompter.language, lesson.min_chars)


def _count(tokens: Counter[str], reply: Reply | None) -> None:
    if reply is None or reply.status in ("failed", "rejected"):
        return
    tokens["in"] += reply.tokens_in or 0
    tokens["out"] += reply.tokens_out or 0
    tokens["answers_without_counts"] += reply.tokens_in is None or reply.tokens_out is None


def _lineage(
    lesson: Lesson, prompter: Prompter, prompt: str, ids: Sequence[str]
) -> dict[str, Any]:
    return {
        "method": "teacher",
        "language": prompter.language,
        "task": prompter.task,
        "prompt": prompt,
        lesson.method: list(ids),
        "teacher": lesson.teacher.model,
        "seed": lesson.seed,
        "samdan": __version__,
    }
