"""Evaluation tasks as specs: what is measured after every stage, on which file or built-in set.

To add one: write a class here with a ``kind`` and name it in ``Task``, and add its function to
``SCORERS`` in ``evals/score.py``; a test holds that the two agree.
Held-out text of every source and held-out preference pairs are measured without being asked for.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from samdan.contexts import Infill, Needle, OnDocuments
from samdan.spec import Count, NonNegative, Share, Spec, Whole

BUILT_IN = "built-in:"  # begins the location of a set that comes with the program


class OnFile(Spec):
    """A task whose items are the JSON lines of a file."""

    name: str
    path: str

    @property
    def location(self) -> str:
        """Where its items come from: what its results depend on beside the model."""
        return self.path


class OnSet(Spec):
    """A task on a file, or without a ``path`` on the set that comes with the program."""

    path: str | None = None
    language: Literal["ko", "en"] = "ko"
    """Of the built-in set."""
    set_name: ClassVar[str]

    @property
    def location(self) -> str:
        return self.path or f"{BUILT_IN}{self.set_name}-{self.language}"


class BitsPerByte(OnFile):
    """Bits per UTF-8 byte (and perplexity per token) of the documents in a file."""

    metrics: ClassVar[tuple[str, ...]] = ("bpb", "perplexity")
    kind: Literal["bpb"] = "bpb"


class MultipleChoice(OnFile):
    """``{"prompt", "choices", "answer": index}``: likeliest choice, by log-likelihood per byte."""

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    kind: Literal["multiple_choice"] = "multiple_choice"
    chat: bool = False
    """Put the prompt into the model's chat template."""


class Cloze(OnFile):
    """``{"prompt", "answer"}``: is every token of the answer the likeliest one?"""

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    kind: Literal["cloze"] = "cloze"
    chat: bool = False


class Exact(OnFile):
    """``{"prompt", "answer"}``: the greedy answer equals the expected one after normalisation.

    Normalisation: Unicode NFC, outer white space and final punctuation removed, then what ``strip``
    matches.
    """

    kind: Literal["exact"] = "exact"
    chat: bool = True
    max_new_tokens: Count = 64
    strip: tuple[str, ...] = ()
    """Regular expressions of what does not count, each removed once: ``(입니다|이다)$``."""
    quality: bool = False
    """Also measure length, repetition, form, refusals and the share of Hangul."""

    @field_validator("strip")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            _compiles(pattern)
        return value


class Pattern(OnFile):
    """``{"prompt"}``: the share of greedy answers in which a regular expression is found."""

    kind: Literal["pattern"] = "pattern"
    pattern: str
    metric: str = "share"
    """The second half of the metric's name, as in ``polite/share``."""
    higher_is_better: bool = True
    chat: bool = True
    max_new_tokens: Count = 64
    quality: bool = False

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return _compiles(value)


class Instructions(OnSet):
    """``{"prompt", "checks": [{kind: ...}]}``: does the greedy answer do what a program can verify?

    The built-in set is generated from topics: ``max_items`` prompts, always the same for a seed.
    """

    kind: Literal["instructions"] = "instructions"
    name: str = "instructions"
    seed: Whole = 0
    max_items: Count = 200
    chat: bool = True
    max_new_tokens: Count = 512
    set_name = "topics"


class QuestionAnswering(OnFile):
    """``{"prompt", "answer" or "answers"}``: exact match and F1 of the greedy answer.

    With a ``context`` key it stands before the prompt. Korean is compared by character.
    """

    kind: Literal["qa"] = "qa"
    chat: bool = True
    max_new_tokens: Count = 64


class Overlap(OnFile):
    """``{"prompt", "answer" or "answers"}``: summaries and translations against references."""

    kind: Literal["overlap"] = "overlap"
    metrics: tuple[Literal["rouge_1", "rouge_2", "rouge_l", "chrf"], ...] = Field(
        ("rouge_l", "chrf"), min_length=1
    )
    chat: bool = True
    max_new_tokens: Count = 256


class Open(OnSet):
    """``{"prompt"}`` or ``{"turns": [...]}``: answers are kept for people and judges to compare.

    Measured is only what holds of any answer: length, repetition, form and the like.
    """

    kind: Literal["open"] = "open"
    name: str = "open"
    chat: bool = True
    max_new_tokens: Count = 512
    temperature: NonNegative = 0.0
    """0: the likeliest token; else samples, alike for the same seed and item in any batch."""
    top_p: Share = 1.0
    seed: Whole = 0
    set_name = "open"


class Refusal(OnSet):
    """``{"prompt", "unsafe": bool}``: refusals of harmless and of unsafe requests, by wording.

    Wording is a measure of drift between models of one family, not of safety.
    """

    kind: Literal["refusal"] = "refusal"
    name: str = "refusal"
    chat: bool = True
    max_new_tokens: Count = 96
    set_name = "refusal"


class Probes(OnDocuments):
    """Closed-book questions out of documents: which date, number or name stood here?"""

    kind: Literal["probes"] = "probes"
    per_document: Count = 2
    max_items: Count = 300


class LocalData(Spec):
    """Files in place of a harness task's own data set."""

    task: str
    path: str
    """A JSON lines file with the columns of the original."""
    split: Literal["train", "validation", "test"] = "test"
    """``train`` is where examples for ``num_fewshot`` come from."""


class Harness(Spec):
    """Tasks of lm-evaluation-harness (the extra ``harness``), by their names there.

    Their data come from the Hub unless ``data`` names files or the tasks lie in ``path``.
    """

    kind: Literal["harness"] = "harness"
    name: str
    tasks: tuple[str, ...] = Field(min_length=1)
    path: str | None = None
    """A folder of task files (YAML) of one's own."""
    data: tuple[LocalData, ...] = ()
    num_fewshot: Whole | None = None
    limit: Count | None = None
    """At most so many items of each task."""
    chat: bool = False
    allow_code: bool = False
    """Let task files in ``path`` run Python of their own (``!function``)."""

    @property
    def location(self) -> str:
        return self.path or ""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"'{pattern}' is not a regular expression: {error}") from None
    return pattern


Task = Annotated[
    BitsPerByte
    | MultipleChoice
    | Cloze
    | Exact
    | Pattern
    | Instructions
    | QuestionAnswering
    | Overlap
    | Open
    | Refusal
    | Probes
    | Infill
    | Needle
    | Harness,
    Field(discriminator="kind"),
]


def locations(task: Task) -> tuple[str, ...]:
    """Every file, folder or built-in set that a task reads; none where it reads a shard."""
    data = [one.path for one in task.data] if isinstance(task, Harness) else []
    return tuple(place for place in (task.location, *data) if place)
