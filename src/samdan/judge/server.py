"""The local page on which people judge pairs of answers."""

from __future__ import annotations

import json
import math
import secrets
import socket
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from samdan.judge.choosing import side
from samdan.judge.guard import App, Guard
from samdan.judge.page import page
from samdan.judge.store import Votes
from samdan.preferences.votes import Choice, Pair, Vote
from samdan.records import EnvironmentFailure

MAX_NAME: Final = 40
MAX_SECONDS: Final = 86_400.0
MAX_CONNECTIONS: Final = 512  # 200 raters, each with two: a browser opens a second one at times
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
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class _Bad(Exception):
    """A request that makes no sense; its text is told."""


def application(session: Session, names: Sequence[str] = ()) -> App:
    """The guarded application. ``names``: host names it may be called by."""
    made = page(session.run)
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


class Listening:
    """A server on a port of its own: ``serve`` blocks until it is interrupted or stopped."""

    def __init__(self, session: Session, host: str, port: int, names: Sequence[str] = ()) -> None:
        """Raises EnvironmentFailure when the address cannot be used."""
        self.session = session
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = socket.socket(family, kind)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(MAX_CONNECTIONS)  # they wait until they are served
        except OSError as error:
            why = error.strerror or error
            raise EnvironmentFailure(f"--host {host} --port {port}: {why}") from None
        self.port: int = self._socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self.port}/?token={session.token}"
        config = uvicorn.Config(
            application(session, [host, *names]),
            log_level="warning",
            access_log=False,  # the address holds the token
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            http="h11",
            h11_max_incomplete_event_size=16_384,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=10,
        )
        self._server = uvicorn.Server(config)

    def serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        self._server.should_exit = True
