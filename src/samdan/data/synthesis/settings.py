"""How a teacher is asked: everything that has a default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from ruamel.yaml.comments import CommentedMap

from samdan.records import DataError, RecipeError
from samdan.spec import Count, NonNegative, Positive, Spec, explain, plain, set_value

Task = Literal["rewrite", "qa", "summary", "dialogue", "relations"]


class TeacherSettings(Spec):
    """What ``--set KEY=VALUE`` can change."""

    variants: Count = 1
    """Requests for each document; the prompts of a task take turns."""
    parallel: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    """Requests under way at the same time."""
    timeout_seconds: Positive = 120.0
    """Time for one answer."""
    attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 5
    """How often a request is tried when the server or the network fails."""
    backoff_seconds: Positive = 1.0
    """Pause before the second attempt; it doubles with every further one, up to a minute."""
    temperature: NonNegative = 0.7
    """Sampling temperature of the teacher."""
    max_tokens: Count = 2048
    """Longest answer; one that reaches it is not used."""
    min_chars: Count = 50
    """Shortest answer that is used."""
    max_document_chars: Annotated[int, Field(strict=True, ge=200)] = 6000
    """Longer documents are cut into parts, between paragraphs where there are any."""
    questions: Annotated[int, Field(strict=True, ge=1, le=50)] = 5
    """Questions in one answer of the task qa."""
    pairs: Count = 3
    """Pairs of entities for each document and variant of the task relations."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key."""
    allow_plain_http: Annotated[bool, Field(strict=True)] = False
    """Allows http to a host other than this machine."""


def read_settings(assignments: Sequence[str]) -> TeacherSettings:
    """Settings from ``KEY=VALUE`` strings. Raises DataError that names the key."""
    tree = CommentedMap()
    try:
        for assignment in assignments:
            set_value(tree, assignment)
        return TeacherSettings.model_validate(plain(tree))
    except ValidationError as error:
        message = str(explain(error, plain(tree), "--set", frozenset()))
        raise DataError(message.replace("--set:1:1: ", "--set ")) from None
    except RecipeError as error:
        raise DataError(str(error)) from None
