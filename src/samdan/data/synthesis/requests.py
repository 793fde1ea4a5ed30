"""What a teacher is asked: passages and prompts as requests, each with an identity of its own."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import combinations
from typing import Any, Final

from samdan.data.synthesis.passages import Passage
from samdan.data.synthesis.places import fill
from samdan.data.synthesis.settings import Task, TeacherSettings
from samdan.data.synthesis.values import Language
from samdan.spec import parse_yaml, plain

MAX_ENTITIES: Final = 12
MAX_ENTITY_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the teacher. ``ids`` are the documents or triples it is about."""

    id: str
    prompt: str  # "qa/ko/0"
    system: str
    user: str
    ids: tuple[str, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": self.user},
        ]


class Prompter:
    """Makes the requests of one task, language, model and seed; the same ones every time."""

    def __init__(
        self, task: Task, language: Language, model: str, seed: int, settings: TeacherSettings
    ) -> None:
        text = (resources.files("samdan.data.synthesis") / "prompts.yaml").read_text("utf-8")
        tree = plain(parse_yaml(text, "prompts.yaml"))
        self.task = task
        self.language: Language = language
        self._model = model
        self._seed = seed
        self._settings = settings
        self._system: str = tree["system"][language]
        self._prompts: list[str] = tree["tasks"][task][language]
        self._entities: str = tree["entities"][language]

    def requests(self, passage: Passage, entities: Sequence[str] = ()) -> Iterator[Request]:
        """The passage's requests; ``entities`` are those of the task relations."""
        if self.task == "relations":
            for number, (first, second) in enumerate(self._pairs(passage, entities)):
                yield self._request(passage, number, {"first": first, "second": second})
            return
        for number in range(self._settings.variants):
            yield self._request(passage, number, {"count": str(self._settings.questions)})

    def _pairs(self, passage: Passage, entities: Sequence[str]) -> list[tuple[str, str]]:
        """As many pairs as are wanted, chosen by the seed and the text."""
        pairs = list(combinations(list(dict.fromkeys(entities))[:MAX_ENTITIES], 2))
        wanted = self._settings.pairs * self._settings.variants
        rng = random.Random(f"{self._seed}/{passage.text}")
        return rng.sample(pairs, min(wanted, len(pairs)))

    def _request(self, passage: Passage, number: int, values: dict[str, str]) -> Request:
        which = number % len(self._prompts)
        user = fill(self._prompts[which], {**values, "document": passage.text}, self.language)
        return self._made(f"{self.task}/{self.language}/{which}", user, number, passage)

    def entity_request(self, passage: Passage) -> Request:
        """Asks what the passage is about: the first step of relations."""
        values = {"document": passage.text, "count": str(MAX_ENTITIES)}
        user = fill(self._entities, values, self.language)
        return self._made(f"entities/{self.language}", user, 0, passage)

    def _made(self, prompt: str, user: str, number: int, passage: Passage) -> Request:
        settings = self._settings
        parts = [
            self._model, self._seed, number, settings.temperature, settings.max_tokens,
            self._system, user,
        ]  # fmt: skip
        identity = hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:32]
        return Request(identity, prompt, self._system, user, passage.ids)


def request_seed(request: Request, seed: int) -> int:
    """The seed that goes to the server with a request: another for each."""
    digest = hashlib.sha256(f"{seed}/{request.id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def entities_in(answer: str, passage: Passage) -> list[str]:
    """The names of an entity answer that stand in the passage; none when it is no JSON array."""
    found = re.search(r"\[.*\]", answer, re.DOTALL)
    try:
        names: Any = json.loads(found[0]) if found else []
    except (ValueError, RecursionError):
        return []
    texts = (name.strip() for name in names if isinstance(name, str))
    known = (name for name in texts if 0 < len(name) <= MAX_ENTITY_CHARS and name in passage.text)
    return list(dict.fromkeys(known))[:MAX_ENTITIES]
