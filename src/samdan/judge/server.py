"""The local page on which people judge pairs of answers."""

from __future__ import annotations

import json
import math
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from samdan.judge.choosing import side
from samdan.judge.page import page
from samdan.judge.store import Votes
from samdan.pages import listening as pages
from samdan.pages.guard import App, Guard
from samdan.preferences.votes import Choice, Pair, Vote

MAX_NAME: Final = 40
MAX_SECONDS: Final = 86_400.0
CHOICES: Final = ("left", "right", "tie", "bad")


@dataclass(frozen=True)
class Session:
    """What is judged. ``results``: makes the summary, asked for when a rater is done."""

    run: str
    pairs: Sequence[Pair]
    votes: Votes
    results: Callable[[], dict[str, Any]]
    reveal: bool = True
    """Tell after a vote which models they were."""
    lang: Literal["en", "ko"] | None = None
    """Of the page; without it, the browser's."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class _Bad(Exception):
    """A request that makes no sense; its text is told."""


def application(session: Session, names: Sequence[str] = ()) -> App:
    """The guarded application. ``names``: host names it may be called by."""
    made = page(session.run, session.lang)
    judging = _Judging(session)

    async def document(_: Request) -> Response:
        return HTMLResponse(made.html)

    routes = [
        Route("/", document, methods=["GET"]),
        Route("/next", _json(judging.next), methods=["POST"]),
        Route("/vote", _json(judging.vote), methods=["POST"]),
        Route("/withdraw", _json(judging.withdraw), methods=["POST"]),
        Route("/results", _json(judging.results), methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), session.token, names, made.policy)


class _Judging:
    """What the page asks; every answer is made of the votes as they are on disk."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._pairs = {pair.id: pair for pair in session.pairs}
        self._secret = session.votes.secret
        session.votes.add_pairs(session.pairs)

    def next(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The next pair of a rater, without a word on who answered."""
        rater = _rater(asked)
        seen = self.session.votes.seen_by(rater)
        left = [name for name in self._pairs if name not in seen]
        done = len(self._pairs) - len(left)
        return {"done": done, "of": len(self._pairs), "pair": self._shown(rater, left)}

    def _shown(self, rater: str, left: Sequence[str]) -> dict[str, str] | None:
        if not left:
            return None
        pair = self._pairs[left[0]]
        answers = [pair.answer_a, pair.answer_b]
        if side(self._secret, rater, left[0]) == "b":
            answers.reverse()
        return {"id": left[0], "prompt": pair.prompt, "left": answers[0], "right": answers[1]}

    def vote(self, asked: dict[str, Any]) -> dict[str, Any]:
        rater, name = _rater(asked), self._pair(asked)
        said = asked.get("choice")
        if said not in CHOICES:
            raise _Bad(f"choice: expected one of {', '.join(CHOICES)}")
        pair, left = self._pairs[name], side(self._secret, rater, name)
        right = "b" if left == "a" else "a"
        choice: Choice = {"left": left, "right": right}.get(said, said)
        added = self.session.votes.cast(Vote(name, rater, choice, left), _seconds(asked))
        models = {"a": pair.a, "b": pair.b}
        shown = {"left": models[left], "right": models[right]} if self.session.reveal else None
        return {"added": added, "models": shown}

    def withdraw(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"withdrawn": self.session.votes.withdraw(self._pair(asked), _rater(asked))}

    def results(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The summary, for a rater who is done: it would tell the others what to expect."""
        seen = self.session.votes.seen_by(_rater(asked))
        if any(name not in seen for name in self._pairs):
            raise _Bad("results are shown when every pair is judged")
        return self.session.results()

    def _pair(self, asked: dict[str, Any]) -> str:
        name = asked.get("pair")
        if not isinstance(name, str) or name not in self._pairs:
            raise _Bad("pair: this pair is not being judged; load the page again")
        return name


def _rater(asked: dict[str, Any]) -> str:
    name = asked.get("rater")
    if not isinstance(name, str):
        raise _Bad("rater: expected a name")
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name or len(name) > MAX_NAME or not name.isprintable() or name.startswith("model:"):
        raise _Bad(f"rater: expected a name of 1 to {MAX_NAME} printable characters")
    return name


def _seconds(asked: dict[str, Any]) -> float | None:
    value = asked.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return min(max(float(value), 0.0), MAX_SECONDS) if math.isfinite(value) else None


def _json(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Request], Any]:
    """An endpoint that takes and gives a JSON object; the database is asked in a thread."""
    from starlette.concurrency import run_in_threadpool

    async def endpoint(request: Request) -> Response:
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            return JSONResponse({"error": "expected application/json"}, 415)
        try:
            asked = json.loads(await request.body())
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            return JSONResponse({"error": "expected a JSON object"}, 400)
        try:
            return JSONResponse(await run_in_threadpool(answer, asked))
        except _Bad as error:
            return JSONResponse({"error": str(error)}, 400)

    return endpoint


class Listening(pages.Listening):
    """The page of one session."""

    def __init__(self, session: Session, host: str, port: int, names: Sequence[str] = ()) -> None:
        """Raises EnvironmentFailure when the address cannot be used."""
        self.session = session
        super().__init__(application(session, [host, *names]), session.token, host, port)
