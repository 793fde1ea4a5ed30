"""A page on a port of its own, for this machine unless it is told otherwise."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from samdan.pages.addresses import is_loopback
from samdan.pages.guard import App
from samdan.records import EnvironmentFailure

ANY = ("0.0.0.0", "::")
MAX_CONNECTIONS = 512  # 200 raters, each with two: a browser opens a second one at times
MAX_HEAD_SECONDS = 10.0  # from a connection or an answer to the whole head of the next request
MAX_UNREAD_SECONDS = 30.0  # an answer that nobody takes


class Prompt(H11Protocol):
    """Closes connections that ask nothing, or whose request comes a byte at a time.

    uvicorn itself waits for ever for the head of a request: a few hundred connections that send one
    would keep everybody else out.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._look()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        left = MAX_HEAD_SECONDS - (0 if busy else self.loop.time() - self._idle_since)
        if left <= 0:
            self.transport.close()
        else:
            self.loop.call_later(left, self._look)


class Listening:
    """A server on a port of its own: ``serve`` blocks until it is interrupted or stopped."""

    def __init__(self, app: App, token: str, host: str, port: int) -> None:
        """``app``: behind its guard. Raises EnvironmentFailure when the address cannot be used."""
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = socket.socket(family, kind)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            unread = round(1000 * MAX_UNREAD_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread)
            self._socket.bind(address)
            self._socket.listen(MAX_CONNECTIONS)  # they wait until they are served
        except OSError as error:
            raise EnvironmentFailure(_fault(host, port, error)) from None
        self.port: int = self._socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self.port}/?token={token}"
        config = uvicorn.Config(
            app,
            log_level="error",  # a warning for every malformed request would fill a terminal
            access_log=False,  # the address holds the token
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            http=Prompt,
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


def _fault(host: str, port: int, error: OSError) -> str:
    where = f"--host {host} --port {port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where}: another program already listens there; choose another --port, or leave it "
            f"out for any that is free"
        )
    if error.errno == errno.EACCES:
        return f"{where}: not permitted; ports below 1024 belong to the system, choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{where}: this machine has no such address; 127.0.0.1 is this machine alone"
    return f"{where}: {error.strerror or error}"


def warnings(host: str, what: str) -> Iterator[str]:
    """What a person has to know before others can reach the page; ``what`` they can then do."""
    if not is_loopback(host):
        yield (
            f"Others can reach this page: whoever has the address can {what}, and http can be "
            f"read on the way. Use it in a network that you trust."
        )
    if host in ANY:
        yield f"In place of {host}, others write the address of this machine."
