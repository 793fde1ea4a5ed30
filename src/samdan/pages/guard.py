"""What every request has to pass before anything looks at it. Pure ASGI, no framework.

The page is for this machine, but every web site that is open in the same browser can send requests
to it. Therefore: the name in ``Host`` is an address or one that was allowed (a foreign name that
resolves to this machine is refused: DNS rebinding); the token is in a header that another site may
not set, and never in a cookie; a request that tells a foreign origin is refused; bodies are small,
come in time, and no address may ask more often than many people together would.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY: Final = 8192
MAX_HEAD: Final = 16_384  # bytes of all names and values of a request's headers
MAX_BODY_SECONDS: Final = 10.0
MAX_UNREAD: Final = 1 << 20  # bytes of a refused request's body that are read all the same
MAX_UNREAD_SECONDS: Final = 0.5
# Two hundred people on one machine (a proxy, a test), one action every two seconds, two requests
# each, are 200 a second.
RATE: Final = 300.0
BURST: Final = 600
TOKEN_HEADER: Final = b"x-samdan-token"


class Rate:
    """A bucket of permits for every address: ``burst`` at once, ``per_second`` after that."""

    MOST_ADDRESSES: Final = 1024

    def __init__(
        self,
        per_second: float = RATE,
        burst: int = BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left: dict[str, tuple[float, float]] = {}  # permits, and when they were counted

    def allows(self, address: str) -> bool:
        """Takes a permit of this address, if it has one."""
        now = self._clock()
        left, since = self._left.pop(address, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_second)
        while len(self._left) >= self.MOST_ADDRESSES:  # the one that asked longest ago
            del self._left[next(iter(self._left))]
        self._left[address] = (left - 1 if left >= 1 else left, now)
        return left >= 1


class Guard:
    """Stands before an application; ``policy`` is the page's Content-Security-Policy."""

    def __init__(
        self,
        app: App,
        token: str,
        names: Collection[str],
        policy: str,
        rate: Rate | None = None,
        most: int = MAX_BODY,
    ) -> None:
        """``names``: host names that are allowed beside addresses and ``localhost``; ``most``:
        bytes of a body.
        """
        self.app = app
        self._rate = rate or Rate()
        self._most = most
        self._token = token.encode()
        self._names = frozenset(name.lower() for name in names) | {"localhost"}
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        if not self._rate.allows((scope.get("client") or ("",))[0]):
            await _refuse(receive, guarded, 429, "too many requests; wait a second")
            return
        if fault := self._fault(scope):
            await _refuse(receive, guarded, *fault)
            return
        try:
            async with asyncio.timeout(MAX_BODY_SECONDS):
                body = await _body(receive, self._most)
        except TimeoutError:
            why = f"a body is sent within {MAX_BODY_SECONDS:.0f} seconds"
            await _refuse(receive, guarded, 408, why)
            return
        if body is None:
            await _refuse(receive, guarded, 413, f"a body has at most {self._most} bytes")
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, guarded)

    def _fault(self, scope: Scope) -> tuple[int, str] | None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD:
            return 431, f"headers have at most {MAX_HEAD} bytes"
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or not self._is_ours(host := hosts[0].decode("latin-1")):
            return 421, "this name is not served here; open the address that samdan printed"
        origins = headers.get(b"origin", [])
        if any(_netloc(origin) != host.lower() for origin in origins):
            return 403, "sent by another site"
        if not self._has_token(scope, headers):
            return 403, "the token is missing or wrong; open the address that samdan printed"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _has_token(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> bool:
        """In the address for the page itself, in a header for everything else."""
        if scope["path"] == "/" and scope["method"] == "GET":
            found = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
            given = [value.encode() for value in found]
        else:
            given = headers.get(TOKEN_HEADER, [])
        return len(given) == 1 and hmac.compare_digest(given[0], self._token)


def _netloc(origin: bytes) -> str:
    try:
        return urlsplit(origin.decode("latin-1")).netloc.lower()
    except ValueError:
        return ""


async def _body(receive: Receive, most: int) -> bytes | None:
    """The whole body, or None as soon as it is too long."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message.get("body", b"")
        if len(body) > most:
            return None
        if not message.get("more_body", False):
            return body


async def _refuse(receive: Receive, send: Send, status: int, why: str) -> None:
    """Answers and closes. A connection closed over an unread body is reset, and a client that is
    still sending never sees the answer: so a little of the body is read first."""
    with suppress(TimeoutError):
        async with asyncio.timeout(MAX_UNREAD_SECONDS):
            await _body(receive, MAX_UNREAD)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    if status == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{why}\n".encode()})
