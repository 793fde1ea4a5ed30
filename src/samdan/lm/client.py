"""A model behind an OpenAI-compatible endpoint, asked over HTTP with the standard library.

Only the host that the user named is contacted: no proxy from the environment, no redirect, no
compression. The key stands in one header and nowhere else.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from samdan import __version__
from samdan.lm.endpoint import AskSettings, Endpoint
from samdan.records import EnvironmentFailure

MAX_RESPONSE_BYTES: Final = 16_000_000
MAX_WAIT_SECONDS: Final = 60.0
RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
FATAL: Final = frozenset({401, 402, 403, 404, 405})
_THOUGHT = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request.

    ``status``: ok, refused, empty, truncated, rejected (the server will not answer this one), or
    failed (asking again may help). Tokens are None where the server did not count them.
    """

    status: str
    text: str = ""
    detail: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    attempts: int = 1


class _Again(Exception):
    """A failure that may pass; never leaves this module."""

    def __init__(self, detail: str, wait: float | None = None) -> None:
        super().__init__(detail)
        self.wait = wait


class Teacher:
    """Asks one model; may be used by several threads."""

    def __init__(
        self, endpoint: Endpoint, model: str, key: str, settings: AskSettings
    ) -> None:
        self.endpoint = endpoint
        self.model = model
        self.settings = settings
        self._key = key
        self._stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Ends every request that is under way; those that wait to ask again end as failed."""
        self._stopped.set()
        with self._lock:
            for one in self._open:
                _cut(one)

    def ask(self, identity: str, messages: list[dict[str, str]], seed: int) -> Reply:
        """One answer, asked for up to ``attempts`` times.

        Raises EnvironmentFailure when no request at all can succeed: a wrong key or model, a
        redirect.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
            "seed": seed,
            "stream": False,
        }
        payload = json.dumps(body, ensure_ascii=False).encode()
        detail = "stopped"
        for attempt in range(1, self.settings.attempts + 1):
            if self._stopped.is_set():
                break
            try:
                return self._once(payload, attempt)
            except _Again as failure:
                detail = str(failure)
                if attempt < self.settings.attempts:
                    self._stopped.wait(self._pause(identity, attempt, failure.wait))
        return Reply("failed", detail=detail, attempts=self.settings.attempts)

    def _pause(self, identity: str, attempt: int, asked: float | None) -> float:
        """Doubles with every attempt, with a share by chance so that not all ask at once."""
        draw = hashlib.sha256(f"{identity}/{attempt}".encode()).digest()[0] / 255
        own = self.settings.backoff_seconds * 2 ** (attempt - 1) * (0.5 + draw / 2)
        return min(MAX_WAIT_SECONDS, max(own, asked or 0.0))

    def _once(self, payload: bytes, attempt: int) -> Reply:
        status, headers, body = self._exchange(payload)
        if 300 <= status < 400:
            target = urlsplit(headers.get("location") or "").hostname or "nowhere"
            raise EnvironmentFailure(
                f"{self.endpoint.shown}: redirects to {target}; redirects are not followed: name "
                "the right host in --endpoint"
            )
        detail = f"HTTP {status}"
        if status in RETRIED:
            raise _Again(detail, _seconds(headers.get("retry-after")))
        if status in FATAL:
            raise EnvironmentFailure(
                f"{self.endpoint.shown}: {detail}: {_said(body)}; is the key, the path or the "
                f"model ({self.model}) wrong?"
            )
        if status != 200:
            return Reply("rejected", detail=f"{detail}: {_said(body)}", attempts=attempt)
        return _reply(body, attempt)

    def _exchange(self, payload: bytes) -> tuple[int, Mapping[str, str], str]:
        """Status, headers and text of one exchange, within the time that is given to it."""
        connection = self._connection()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"samdan/{__version__}",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        late = threading.Event()
        try:
            connection.connect()
            with self._cut_when_due(connection.sock, late):
                connection.request(
                    "POST", f"{self.endpoint.path}/chat/completions", payload, headers
                )
                response = connection.getresponse()
                body = response.read(MAX_RESPONSE_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise _Again(f"no answer within {self.settings.timeout_seconds:g} s") from None
            raise _Again(f"{type(error).__name__}: {error}"[:200]) from None
        finally:
            connection.close()
        if len(body) > MAX_RESPONSE_BYTES:
            raise _Again(f"the answer is longer than {MAX_RESPONSE_BYTES} bytes")
        text = body.decode("utf-8", errors="replace")
        if self._key:
            text = text.replace(self._key, "***")
        return response.status, {k.lower(): v for k, v in response.getheaders()}, text

    @contextmanager
    def _cut_when_due(self, connection: socket.socket, late: threading.Event) -> Iterator[None]:
        """Cuts the connection at the end of the time, or when ``stop`` is called.

        The time limit of a socket is one for every read: a server that sends a byte now and then
        would hold us for ever.
        """

        def cut() -> None:
            late.set()
            _cut(connection)

        timer = threading.Timer(self.settings.timeout_seconds, cut)
        timer.daemon = True
        timer.start()
        with self._lock:
            self._open.add(connection)
        try:
            if self._stopped.is_set():
                raise _Again("stopped")
            yield
        finally:
            timer.cancel()
            with self._lock:
                self._open.discard(connection)

    def _connection(self) -> http.client.HTTPConnection:
        place, limit = self.endpoint, self.settings.timeout_seconds
        if place.scheme == "http":
            return http.client.HTTPConnection(place.host, place.port, timeout=limit)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(place.host, place.port, timeout=limit, context=context)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text or ""))
    except ValueError:
        return None  # a date: our own pause serves as well


def _said(body: str) -> str:
    """The server's own words on a failure, on one line."""
    try:
        value = json.loads(body)
        error = value.get("error", value) if isinstance(value, dict) else value
        body = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, RecursionError):
        pass
    return re.sub(r"\s+", " ", body)[:200] or "no message"


def _reply(body: str, attempt: int) -> Reply:
    try:
        value = json.loads(body)
        choice = value["choices"][0]
        message = choice["message"]
        text, finish = message.get("content"), choice.get("finish_reason")
        refusal = message.get("refusal")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise _Again("the answer is no chat completion in JSON") from None
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    counted = (_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"), attempt)
    if refusal or finish == "content_filter":
        return Reply("refused", "", str(refusal or finish)[:200], *counted)
    text = _THOUGHT.sub("", text).strip() if isinstance(text, str) else ""
    if finish == "length" or text.startswith("<think>"):
        return Reply("truncated", text, "stopped at max_tokens", *counted)
    return Reply("ok" if text else "empty", text, "", *counted)


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
