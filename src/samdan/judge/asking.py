"""A model as a judge: every pair in both orders, its verdicts as votes beside those of people."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from samdan.judge.store import Votes
from samdan.lm.asking import Question, ask_all
from samdan.lm.client import Reply, Teacher
from samdan.lm.endpoint import AskSettings
from samdan.preferences.votes import Choice, Pair, Side, Vote
from samdan.spec import Count, NonNegative, parse_yaml, plain

_VERDICT: Final = re.compile(r"\[\[\s*(A|B|TIE|BAD)\s*\]\]", re.IGNORECASE)
_HANGUL: Final = re.compile("[가-힣]")
_PLACE: Final = re.compile(r"\{(mark|prompt|first|second)\}")
SIDES: Final[tuple[Side, Side]] = ("a", "b")


class JudgeSettings(AskSettings):
    """What ``--set KEY=VALUE`` can change."""

    temperature: NonNegative = 0.0
    """Sampling temperature of the judge."""
    max_tokens: Count = 1024
    """Longest answer; a verdict that comes later is not read."""


@dataclass
class Asked:
    """What came of a session: votes made now and before, and answers that were of no use."""

    now: int = 0
    before: int = 0
    unread: Counter[str] = field(default_factory=Counter)  # by reason
    tokens_in: int = 0
    tokens_out: int = 0


class Judge:
    """Asks one model about pairs; its name among the raters is ``model:NAME``."""

    def __init__(self, teacher: Teacher, votes: Votes, seed: int = 0) -> None:
        text = (resources.files("samdan.judge") / "prompts.yaml").read_text("utf-8")
        self._words: dict[str, Any] = plain(parse_yaml(text, "prompts.yaml"))
        self._teacher = teacher
        self._votes = votes
        self._seed = seed
        self.name = f"model:{teacher.model}"

    def judge(self, pairs: Sequence[Pair], progress: Callable[[int, int], None]) -> Asked:
        """Judges what it has not judged yet; every verdict is on disk before the next is awaited.

        Raises EnvironmentFailure when the endpoint cannot be used; a rerun asks what is left.
        """
        self._votes.add_pairs(pairs)
        known = {pair.id: pair for pair in pairs}
        cast = {(v.pair, v.left) for v in self._votes.counting() if v.rater == self.name}
        open_ = [(name, side) for name in known for side in SIDES if (name, side) not in cast]
        found = Asked(before=2 * len(known) - len(open_))

        def got(question: str, reply: Reply, _under_way: int) -> None:
            name, _, side = question.rpartition("/")
            left: Side = "a" if side == "a" else "b"
            found.tokens_in += reply.tokens_in or 0
            found.tokens_out += reply.tokens_out or 0
            choice = verdict_in(reply.text, left) if reply.status == "ok" else None
            if choice is None:
                found.unread["no verdict" if reply.status == "ok" else reply.status] += 1
            elif self._votes.cast(Vote(name, self.name, choice, left, "model"), said=reply.text):
                found.now += 1
            progress(found.now + found.unread.total(), len(open_))

        ask_all(self._teacher, self._questions(known, open_), got, self._unreachable)
        return found

    def _questions(
        self, pairs: dict[str, Pair], wanted: Sequence[tuple[str, Side]]
    ) -> Iterator[Question]:
        for name, left in wanted:
            yield Question(f"{name}/{left}", self.messages(pairs[name], left), self._seed)

    def messages(self, pair: Pair, left: Side) -> list[dict[str, str]]:
        """What is asked, in the language of the prompt; ``left`` is the model that is called A."""
        language = "ko" if _HANGUL.search(pair.prompt) else "en"
        answers = (pair.answer_a, pair.answer_b)
        values = {
            "prompt": pair.prompt,
            "first": answers[left == "b"],
            "second": answers[left == "a"],
            # An answer cannot close a mark that it does not know.
            "mark": hashlib.sha256(f"{self._seed}/{pair.id}".encode()).hexdigest()[:8],
        }
        user = _PLACE.sub(lambda place: values[place[1]], self._words["user"][language])
        return [
            {"role": "system", "content": self._words["system"][language]},
            {"role": "user", "content": user},
        ]

    def _unreachable(self, detail: str) -> str:
        return (
            f"{self._teacher.endpoint.shown}: gives no answers ({detail}); verdicts so far are "
            "kept: run the same command again to go on"
        )


def verdict_in(text: str, left: Side) -> Choice | None:
    """The last verdict in a judge's words, for the model rather than the side; None without one."""
    found = _VERDICT.findall(text)
    if not found:
        return None
    right: Side = "b" if left == "a" else "a"
    meaning: dict[str, Choice] = {"A": left, "B": right, "TIE": "tie", "BAD": "bad"}
    return meaning[found[-1].upper()]
