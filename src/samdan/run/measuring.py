"""One model measured on everything: each result once, kept by model and question, by all processes.

Processes take one question after the other, each with a whole model of its own, where there is room
for that; otherwise the main process measures alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from samdan.contexts import OnDocuments
from samdan.evals.generate import greedy
from samdan.evals.score import Scored, Subject, score_heldout, score_task
from samdan.lm.files import write_json
from samdan.lm.shards import Shard
from samdan.plan import MEASURED
from samdan.recipe import AnyStage
from samdan.records import DataError, Message, Preempted, SamdanError, first_line
from samdan.run.choices import has_room_for_all
from samdan.run.context import Run, resolve_precision
from samdan.run.growing import old_pieces
from samdan.run.ledger import clean
from samdan.tasks import Task, locations
from samdan.train import parallel
from samdan.train.loop import is_out_of_memory

SAMPLE_TOKENS = 96


class Measuring:
    """Measures one model, which is loaded when the first result is not known yet."""

    def __init__(self, run: Run, stage: str | None, model_hash: str) -> None:
        self.run, self.stage, self.model_hash = run, stage, model_hash
        # A process that finds out for itself, beside others that do the same, may find another one.
        self.precision = parallel.share(resolve_precision("auto"))[0]

    @cached_property
    def subject(self) -> Subject:
        scorer = self.run.scorer(self.stage, self.precision)
        subject = Subject(scorer, self.run.chat(), poll=self.run.poll)
        grow = self.run.recipe.grow
        if self.stage is None and grow is not None and grow.vocab is not None:
            # The base as it came reads with the tokenizer that it came with.
            return replace(subject, chat=self.run.base_chat(), read=old_pieces(self.run))
        return subject


@dataclass(frozen=True)
class Question:
    """What is asked of a model. ``key``: all that the result depends on, beside the model and the
    precision."""

    name: str
    key: Sequence[Any]
    measure: Callable[[], dict[str, Any]]
    measuring: Measuring

    @property
    def place(self) -> Path:
        """In the run's cache."""
        named = [MEASURED, self.measuring.precision, self.measuring.model_hash, *self.key]
        text = json.dumps(named, ensure_ascii=False, sort_keys=True, default=str)
        ledger = self.measuring.run.ledger
        return ledger.evaluation_cache(hashlib.sha256(text.encode()).hexdigest())

    def result(self) -> dict[str, Any]:
        """From the cache where it was measured before."""
        if not self.place.is_file():
            self.measuring.run.poll()
            write_json(self.place, clean(self.measure()))
        found: dict[str, Any] = json.loads(self.place.read_text("utf-8"))
        return found


def measured(measuring: Measuring, prepared: Sequence[str]) -> dict[str, Any] | None:
    """Held-out sets of the ``prepared`` steps, the recipe's tasks, and answers to its samples.

    All processes take part; None in all but the main one.
    """
    questions = list(_questions(measuring, prepared))
    if parallel.world_size() > 1:
        _share(questions, measuring)
    if not parallel.is_main():
        return None
    *asked, samples = questions
    found = {question.name: question.result() for question in asked}
    return {
        "results": [row for one in found.values() for row in one["results"]],
        "items": {name: one["items"] for name, one in found.items()},
        "samples": samples.result()["answers"],
    }


def _share(questions: Sequence[Question], measuring: Measuring) -> None:
    """Every process takes a question that nobody has taken, until there is none left."""
    run, said = measuring.run, ""
    if parallel.is_main():
        # Tasks come first, last in the order: answers are written in them, which takes longest.
        missing = [n for n, question in enumerate(questions) if not question.place.is_file()][::-1]
        rounded = measuring.precision == "bf16"
        if len(missing) > 1 and not has_room_for_all(measuring.subject.scorer.model, rounded):
            _tell(run, "one process measures alone: there is no room for a model in each of them")
            missing = []
        said = json.dumps(missing)
    missing = json.loads(parallel.share(said)[0])
    problem = ""
    for number in parallel.dealt(len(missing)):
        question = questions[missing[number]]
        try:
            question.result()
        except (SamdanError, RuntimeError) as error:
            if parallel.is_main() or isinstance(error, Preempted) or not _is_left(error):
                raise
            problem = f"{question.name}: left to the main process: {first_line(error)}"
            break
    for process, text in enumerate(parallel.share(problem)):
        if text and parallel.is_main():
            _tell(run, f"process {process}: {text}")


def _is_left(error: Exception) -> bool:
    """Whether the main process, asked again, will have an answer or say the same."""
    return isinstance(error, SamdanError) or is_out_of_memory(error)


def _tell(run: Run, text: str) -> None:
    run.ledger.record("measuring", text=text)
    run.say(f"measuring: {text}")


def _questions(measuring: Measuring, prepared: Sequence[str]) -> Iterator[Question]:
    run = measuring.run
    sets = _heldout_sets(run, prepared, run.ledger.outputs())
    for label, (stage_name, digest) in sets.items():
        kept = run.stage(stage_name)
        key = ["heldout", label, kept.kind, kept.heldout.max_records, digest]
        yield Question(label, key, partial(_heldout, measuring, kept, label), measuring)
    for task in run.recipe.evaluate:
        read = [run.fingerprints.get(place) for place in locations(task)]
        heldout = None
        if isinstance(task, OnDocuments) and task.source:
            folder, most, digest = _probed(run, task, sets)
            heldout = (folder, most)
            read += [digest, str(most)]
        key = ["task", task.model_dump(mode="json"), read]
        yield Question(task.name, key, partial(_task, measuring, task, heldout), measuring)
    samples = ["samples", list(run.recipe.samples)]
    yield Question("", samples, partial(_samples, run, measuring), measuring)


def _heldout_sets(
    run: Run, prepared: Sequence[str], outputs: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """By source: the stage that prepared its held-out set first, and the set's hash."""
    found: dict[str, tuple[str, str]] = {}
    for name in prepared:
        stage_name, _, label = name.split("/", 2)
        folder = run.ledger.source(stage_name, label) / "heldout"
        if label not in found and len(Shard(folder)):
            found[label] = (stage_name, outputs[name])
    return found


def _heldout(measuring: Measuring, stage: AnyStage, label: str) -> dict[str, Any]:
    folder = measuring.run.ledger.source(stage.name, label) / "heldout"
    most = stage.heldout.max_records
    return _dump(score_heldout(label, folder, stage.kind, most, measuring.subject))


def _probed(
    run: Run, task: OnDocuments, sets: Mapping[str, tuple[str, str]]
) -> tuple[Path, int, str]:
    """The held-out documents that a task asks about, how many of them, and their hash."""
    label = str(task.source)
    if label not in sets:
        raise DataError(
            f"evaluate.{task.name}: source '{label}' holds no document out; raise its stage's "
            f"'heldout', or give 'path' instead of 'source'"
        )
    stage_name, digest = sets[label]
    most = run.stage(stage_name).heldout.max_records
    return run.ledger.source(stage_name, label) / "heldout", most, digest


def _task(
    measuring: Measuring, task: Task, heldout: tuple[Path, int] | None
) -> dict[str, Any]:
    return _dump(score_task(task, measuring.subject, heldout))


def _samples(run: Run, measuring: Measuring) -> dict[str, Any]:
    if not run.recipe.samples:
        return {"answers": []}
    subject = measuring.subject
    prompts = [subject.chat.prompt((Message("user", text),)) for text in run.recipe.samples]
    answers = greedy(subject.scorer.model, subject.chat, prompts, SAMPLE_TOKENS, subject.poll)
    return {"answers": [text for text, _ in answers]}


def _dump(scored: Scored) -> dict[str, Any]:
    return {
        "results": [asdict(r) for r in scored.results],
        "items": [dict(i) for i in scored.items],
    }
