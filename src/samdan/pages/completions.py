"""OpenAI's chat completions, as much as trying a model needs, and a page that uses them.

What a request asks for is done or refused with a reason: no field is ignored in silence but
``user`` and ``store``, which ask for nothing here.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, Literal, Protocol

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from samdan.pages import marks
from samdan.pages.guard import TOKEN_HEADER, App, Guard, Receive, Scope, Send
from samdan.pages.policy import policy
from samdan.records import Message, SamdanError

MOST_BYTES: Final = 1 << 18  # a long document may be asked about
MOST_MESSAGES: Final = 256
KNOWN: Final = frozenset([
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed",
    "stop", "stream", "stream_options", "n", "user", "store",
])  # fmt: skip
ROLES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Asked:
    """One request for an answer."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass
class Counts:
    """Tokens of a request, and how it ended (``stop`` or ``length``); filled in on the way."""

    prompt: int = 0
    completion: int = 0
    ended: str = "stop"


class Answers(Protocol):
    """Who answers: models by name."""

    names: Sequence[str]

    def answer(self, name: str, asked: Asked, counts: Counts) -> Iterator[str]:
        """The answer so far, again and again. Raises SamdanError for what cannot be asked."""


class Refused(Exception):
    """A request that makes no sense here; the text is told. ``status``: of HTTP."""

    def __init__(self, text: str, field: str = "", status: int = 400) -> None:
        super().__init__(text)
        self.field, self.status = field, status


def parse(body: bytes, names: Sequence[str]) -> tuple[str, Asked, Mapping[str, Any]]:
    """The model's name, the request, and the whole object. Raises Refused."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("the body is not JSON") from None
    if not isinstance(found, dict):
        raise Refused("expected a JSON object")
    if strange := sorted(found.keys() - KNOWN):
        raise Refused(f"'{strange[0]}' is not supported here; use vLLM for it", strange[0])
    name = found.get("model", names[0])
    if name not in names:
        raise Refused(f"no model is called '{name}'; there are: {', '.join(names)}", "model", 404)
    if found.get("n", 1) != 1:
        raise Refused("n: one answer at a time", "n")
    asked = Asked(
        messages=_messages(found.get("messages")),
        max_tokens=_number(found, "max_completion_tokens", 1, 1 << 20, int)
        or _number(found, "max_tokens", 1, 1 << 20, int),
        temperature=_or(_number(found, "temperature", 0, 2, float), 1.0),
        top_p=_or(_number(found, "top_p", 1e-6, 1, float), 1.0),
        seed=_number(found, "seed", -(1 << 63), (1 << 63) - 1, int),
        stop=_stops(found.get("stop")),
    )
    return name, asked, found


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _number(found: Mapping[str, Any], key: str, least: float, most: float, kind: type) -> Any:
    value = found.get(key)
    if value is None:
        return None
    right = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if not right or not least <= value <= most:
        raise Refused(f"{key}: found {value!r:.60}, expected a number {least:g} to {most:g}", key)
    return kind(value)


def _stops(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or len(texts) > 4 or not all(
        isinstance(text, str) and text for text in texts
    ):
        raise Refused("stop: expected a text, or up to four of them", "stop")
    return tuple(texts)


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise Refused("messages: expected a list of at least one", "messages")
    if len(value) > MOST_MESSAGES:
        raise Refused(f"messages: {len(value)} of them, at most {MOST_MESSAGES}", "messages")
    found = []
    for number, one in enumerate(value):
        role = ROLES.get(str(one.get("role"))) if isinstance(one, dict) else None
        if role is None:
            raise Refused(f"messages[{number}].role: expected {', '.join(ROLES)}", "messages")
        found.append(Message(role, _text(one.get("content"), number)))  # type: ignore[arg-type]
    return tuple(found)


def _text(content: Any, number: int) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        return "".join(part["text"] for part in content)
    raise Refused(f"messages[{number}].content: expected text", "messages")


def application(
    answers: Answers,
    token: str,
    names: Sequence[str] = (),
    lang: Literal["en", "ko"] | None = None,
) -> App:
    """The guarded application. ``names``: host names it may be called by.

    ``lang``: of the page; without it, the browser's.
    """
    files = resources.files("samdan.pages")
    style, script = ((files / f"chat.{kind}").read_text("utf-8") for kind in ("css", "js"))
    script = marks.SCRIPT + script
    document = (files / "chat.html").read_text("utf-8")
    if lang is not None:
        document = document.replace('lang="en" data-auto', f'lang="{lang}"')
    document = document.replace("<!--STYLE-->", style).replace("<!--SCRIPT-->", script)

    async def page(_: Request) -> Response:
        return HTMLResponse(document)

    async def models(_: Request) -> Response:
        rows = [{"id": name, "object": "model", "owned_by": "samdan"} for name in answers.names]
        return JSONResponse({"object": "list", "data": rows})

    routes = [
        Route("/", page, methods=["GET"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/chat/completions", _completions(answers), methods=["POST"]),
    ]
    guard = Guard(Starlette(routes=routes), token, names, policy(style, script), most=MOST_BYTES)
    return _with_bearer(guard)


def _with_bearer(app: App) -> App:
    """OpenAI's clients send their key as ``Authorization: Bearer``: here it is the page's token."""

    async def passing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            keys = [
                value.removeprefix(b"Bearer ").strip()
                for name, value in scope["headers"]
                if name.lower() == b"authorization" and value.startswith(b"Bearer ")
            ]
            scope["headers"] = [*scope["headers"], *((TOKEN_HEADER, key) for key in keys)]
        await app(scope, receive, send)

    return passing


def _completions(answers: Answers) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            name, asked, found = parse(await request.body(), answers.names)
            writing = _Writing(name, answers.answer(name, asked, counts := Counts()), counts)
            first = await run_in_threadpool(writing.first)  # what cannot be asked is told now
        except Refused as error:
            return _refusal(str(error), error.field, error.status)
        except SamdanError as error:
            return _refusal(str(error))
        if not found.get("stream"):
            return JSONResponse(await run_in_threadpool(writing.whole, first))
        usage = bool((found.get("stream_options") or {}).get("include_usage"))
        events = iterate_in_threadpool(writing.events(first, usage))
        return StreamingResponse(_encoded(events), media_type="text/event-stream")

    return endpoint


async def _encoded(events: AsyncIterator[str]) -> AsyncIterator[bytes]:
    async for event in events:
        yield event.encode()


def _refusal(text: str, field: str = "", status: int = 400) -> Response:
    error = {"message": text, "type": "invalid_request_error", "param": field or None}
    return JSONResponse({"error": error}, status)


@dataclass
class _Writing:
    """An answer on its way, in OpenAI's words."""

    model: str
    texts: Iterator[str]
    counts: Counts
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(8)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def first(self) -> str:
        return next(self.texts, "")

    def whole(self, text: str) -> dict[str, Any]:
        for text in self.texts:  # noqa: B007 - the last one is wanted
            pass
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": self.counts.ended}
        return self._object("chat.completion", [choice]) | {"usage": self._usage()}

    def events(self, text: str, usage: bool) -> Iterator[str]:
        shown = ""
        yield self._delta({"role": "assistant", "content": ""})
        while True:
            if len(text) > len(shown):
                yield self._delta({"content": text[len(shown) :]})
                shown = text
            following = next(self.texts, None)
            if following is None:
                break
            text = following
        yield self._delta({}, self.counts.ended)
        if usage:
            yield _event(self._object("chat.completion.chunk", []) | {"usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _delta(self, delta: Mapping[str, str], ended: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": ended}
        return _event(self._object("chat.completion.chunk", [choice]))

    def _object(self, kind: str, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model,
                "choices": list(choices)}  # fmt: skip

    def _usage(self) -> dict[str, int]:
        prompt, completion = self.counts.prompt, self.counts.completion
        return {"prompt_tokens": prompt, "completion_tokens": completion,
                "total_tokens": prompt + completion}  # fmt: skip


def _event(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
