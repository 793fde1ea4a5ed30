"""How a teacher is asked: everything that has a default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from samdan.lm import endpoint
from samdan.lm.endpoint import AskSettings
from samdan.spec import Count

Task = Literal["rewrite", "qa", "summary", "dialogue", "relations"]


class TeacherSettings(AskSettings):
    """What ``--set KEY=VALUE`` can change."""

    variants: Count = 1
    """Requests for each document; the prompts of a task take turns."""
    min_chars: Count = 50
    """Shortest answer that is used."""
    max_document_chars: Annotated[int, Field(strict=True, ge=200)] = 6000
    """Longer documents are cut into parts, between paragraphs where there are any."""
    questions: Annotated[int, Field(strict=True, ge=1, le=50)] = 5
    """Questions in one answer of the task qa."""
    pairs: Count = 3
    """Pairs of entities for each document and variant of the task relations."""


def read_settings(assignments: Sequence[str]) -> TeacherSettings:
    """Settings from ``KEY=VALUE`` strings. Raises DataError that names the key."""
    return endpoint.read_settings(assignments, TeacherSettings)
