"""`samdan judge auto`: a model behind an endpoint judges a run's pairs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence

from samdan.judge.asking import Judge, JudgeSettings
from samdan.judge.store import Votes
from samdan.lm.client import Teacher
from samdan.lm.endpoint import parse_endpoint, read_key, read_settings
from samdan.run.judging import Judged
from samdan.run.votes_view import judge_lines

EVERY_SECONDS = 10.0


def ask_judge(
    judged: Judged, endpoint: str, model: str, settings: Sequence[str]
) -> Iterator[str]:
    """Asks, then yields what it came to. Raises DataError for wrong settings or endpoint."""
    how = read_settings(settings, JudgeSettings)
    place = parse_endpoint(endpoint, how.allow_plain_http)
    teacher = Teacher(place, model, read_key(how.api_key_env, os.environ), how)
    with Votes(judged.ledger.votes()) as votes:
        judge = Judge(teacher, votes, judged.seed)
        asked = judge.judge(judged.pairs, _progress())
        unread = ", ".join(f"{reason} {n}" for reason, n in asked.unread.items())
        yield (
            f"{judge.name}: {asked.now} verdicts now, {asked.before} before, of no use: "
            f"{unread or 'none'}; {asked.tokens_in:,} tokens in, {asked.tokens_out:,} tokens out"
        )
        found = judged.summary(votes)
        if judge.name in found["judges"]:
            yield from judge_lines(judge.name, found["judges"][judge.name])


class _Lines:
    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        if time.monotonic() - self.last > EVERY_SECONDS:
            self.last = time.monotonic()
            print(f"{done} of {of} verdicts", file=sys.stderr, flush=True)


def _progress() -> _Lines:
    return _Lines()
