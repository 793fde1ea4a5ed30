"""`samdan synthesize`: a graph or documents in, rows for a source of role `synthetic` out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdan.data.synthesis.generate import Wish, generate
from samdan.data.synthesis.graph import READERS, read_graph
from samdan.data.synthesis.journal import Journal
from samdan.data.synthesis.passages import Passage, of_documents, of_graph
from samdan.data.synthesis.requests import Prompter
from samdan.data.synthesis.settings import Task, read_settings
from samdan.data.synthesis.statements import OTHER_COLUMNS, REQUIRED
from samdan.data.synthesis.styles import STYLES
from samdan.data.synthesis.teaching import Lesson, teach
from samdan.data.synthesis.templates import Templates, load_templates
from samdan.data.synthesis.values import Language
from samdan.data.synthesis.write import Output, beside
from samdan.lm.client import Teacher
from samdan.lm.endpoint import parse_endpoint, read_key
from samdan.lm.files import sha256_of
from samdan.records import DataError
from samdan.spec import nearest_key

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FromGraph:
    """Texts by templates. ``styles`` empty: all of them."""

    triples: Path
    out: Path
    languages: tuple[Language, ...] = ("ko",)
    variants: int = 8
    min_mentions: int = 5
    styles: tuple[str, ...] = ()
    templates: tuple[Path, ...] = ()
    seed: int = 42


@dataclass(frozen=True)
class FromTeacher:
    """Texts by a teacher model. ``settings`` are KEY=VALUE of TeacherSettings."""

    source: Path
    out: Path
    endpoint: str
    model: str
    task: Task
    languages: tuple[Language, ...] = ("ko",)
    seed: int = 42
    settings: tuple[str, ...] = ()


def synthesize(
    job: FromGraph | FromTeacher,
    say: Say = lambda text: None,
    progress: Progress = lambda done, of: None,
) -> dict[str, Any]:
    """Writes ``out``, ``out.dropped.jsonl`` and ``out.summary.json``; returns the summary.

    Raises DataError for wrong input, EnvironmentFailure when files or the teacher fail.
    """
    if isinstance(job, FromGraph):
        return _from_graph(job, say, progress)
    return _from_teacher(job, say, progress)


def _from_graph(job: FromGraph, say: Say, progress: Progress) -> dict[str, Any]:
    _check_styles(job.styles)
    _not_the_same(job.out, (job.triples, *job.templates))
    users = [(path.name, load_templates(path)) for path in job.templates]
    graph = read_graph(job.triples)
    if graph.ignored:
        say(f"{job.triples}: columns without a meaning here: {', '.join(graph.ignored)}")
    styles = tuple(name for name in STYLES if not job.styles or name in job.styles)
    wish = Wish(job.variants, job.min_mentions, styles, job.seed)
    with Output(job.out) as output:
        parts = {
            language: generate(graph, Templates(language, users), wish, output, progress)
            for language in job.languages
        }
        facts = {
            "method": "graph",
            "seed": job.seed,
            "variants": job.variants,
            "input": {
                "path": str(job.triples),
                "sha256": sha256_of(job.triples),
                "statements": dict(graph.counts),
                "ignored_columns": graph.ignored,
            },
            "languages": parts,
        }
        summary = output.finish(facts, sum(part["drafts"] for part in parts.values()))
    for language, part in parts.items():
        _say_coverage(language, part, say)
    say(_counts(job.out, summary))
    return summary


def _check_styles(styles: Sequence[str]) -> None:
    for name in styles:
        if name not in STYLES:
            raise DataError(f"--style {name}: {nearest_key(name, set(STYLES))}")


def _say_coverage(language: str, part: Mapping[str, Any], say: Say) -> None:
    found = part["coverage"]
    say(
        f"{language}: {found['facts']} facts x {found['mentions_mean']} texts on average, at least "
        f"{found['mentions_at_least']}; wordings {found['wordings_mean']} on average, at least "
        f"{found['wordings_at_least']}"
    )
    if found["below"]:
        some = ", ".join(found["first_below"][:3])
        say(
            f"{language}: {found['below']} facts are told fewer than {found['asked_at_least']} "
            f"times ({some}); more styles or own --templates help"
        )
    if lacking := part["names"]["without_label"]:
        say(
            f"{language}: {lacking} of {part['names']['all']} names have no English label and "
            "stand in Hangul; give subject_en and object_en"
        )
    if quoted := part["relations"]["quoted"]:
        say(
            f"{language}: only quoted, for want of a name in this language: "
            f"{', '.join(quoted[:5])}; give relation_{language}, or --templates"
        )


def _from_teacher(job: FromTeacher, say: Say, progress: Progress) -> dict[str, Any]:
    settings = read_settings(job.settings)
    endpoint = parse_endpoint(job.endpoint, settings.allow_plain_http)
    key = read_key(settings.api_key_env, os.environ)
    _not_the_same(job.out, (job.source,))
    passages, source = _passages(job, settings.max_document_chars)
    teacher = Teacher(endpoint, job.model, key, settings)
    prompters = [
        Prompter(job.task, language, job.model, job.seed, settings) for language in job.languages
    ]
    with (
        Journal(beside(job.out, "answers.jsonl")) as journal,
        Output(job.out) as output,
    ):
        kind, shortest = source["kind"], settings.min_chars
        lesson = Lesson(teacher, prompters, journal, job.seed, kind, shortest)
        part, asked, line = teach(lesson, passages, output, progress)
        facts = {"method": "teacher", "task": job.task, "seed": job.seed, "input": source, **part}
        facts["settings"] = settings.model_dump(mode="json")
        summary = output.finish(facts, asked)
    say(line)
    say(_counts(job.out, summary))
    if failed := summary["dropped"].get("failed"):
        say(f"{failed} requests failed; run the same command again to ask only those")
    return summary


def _passages(
    job: FromTeacher, max_chars: int
) -> tuple[list[Sequence[Passage]], dict[str, Any]]:
    """The passages for each language, and what the summary says on their source."""
    source: dict[str, Any] = {"path": str(job.source)}
    if _holds_triples(job.source):
        graph = read_graph(job.source)
        source |= {"kind": "triples", "sha256": sha256_of(job.source)}
        source["statements"] = dict(graph.counts)
        return [of_graph(graph, language, max_chars) for language in job.languages], source
    left_out: Counter[str] = Counter()
    found = of_documents(job.source, max_chars, left_out)
    if not found:
        raise DataError(f"{job.source}: no document in it; rows left out: {dict(left_out)}")
    source |= {"kind": "documents", "passages": len(found), "rows_left_out": dict(left_out)}
    return [found for _ in job.languages], source


def _holds_triples(path: Path) -> bool:
    if path.suffix.lower() not in READERS or not path.is_file():
        return False
    if path.suffix.lower() != ".jsonl":
        return True
    with path.open("rb") as opened:
        line = opened.readline(1_000_000)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    keys = {OTHER_COLUMNS.get(key.lower(), key.lower()) for key in row} if row else set()
    return isinstance(row, dict) and set(REQUIRED) <= keys


def _not_the_same(out: Path, inputs: Sequence[Path]) -> None:
    for path in inputs:
        if out.resolve() == path.resolve():
            raise DataError(f"--out {out}: is the input")


def _counts(out: Path, summary: Mapping[str, Any]) -> str:
    dropped = ", ".join(f"{reason} {n}" for reason, n in summary["dropped"].items())
    return f"{out}: {summary['out']} of {summary['in']} texts; dropped: {dropped or 'none'}"
