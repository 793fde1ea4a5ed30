"""A teacher on this machine that answers, and fails, as a test tells it to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = (
    "질문: 가온의 본사는 어디에 있나요?\n답: 가온의 본사는 강릉에 있습니다. 이 답은 {n}번째 요청에 "
    "대한 것으로, 길이를 채우려고 문장을 하나 더 적었습니다."
)


@dataclass
class Seen:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def user(self) -> str:
        """What was asked."""
        return str(self.body["messages"][-1]["content"])


# What a test's function returns: an answer, or what goes wrong.
Action = Callable[["Handler"], None]
Script = Callable[[Seen, int], Action | str]


@dataclass
class Server:
    """Where it is, and what it was asked."""

    url: str
    script: Script
    seen: list[Seen] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    now: int = 0
    most: int = 0
    broken: list[Exception] = field(default_factory=list)

    def times(self, user: str) -> int:
        """How often this very question was asked."""
        return sum(seen.user == user for seen in self.seen)


class Handler(BaseHTTPRequestHandler):
    """One request; the script says what becomes of it."""

    server: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""

    def do_POST(self) -> None:
        state: Server = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen = Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        with state.lock:
            state.seen.append(seen)
            count = state.times(seen.user)
            state.now += 1
            state.most = max(state.most, state.now)
        try:
            try:
                action = state.script(seen, count)
            finally:  # before the answer: who has it may ask again at once
                with state.lock:
                    state.now -= 1
            (answer(action) if isinstance(action, str) else action)(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the other side was cut off
        except (AssertionError, LookupError, StopIteration) as error:
            state.broken.append(error)
            status(400, "the test's own script failed")(self)

    def send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def answer(text: str | None, finish: str = "stop", **message: Any) -> Action:
    """A chat completion."""
    value = {
        "choices": [{"message": {"content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    }
    return lambda handler: handler.send(200, json.dumps(value, ensure_ascii=False).encode())


def status(code: int, message: str = "no", **headers: str) -> Action:
    """An HTTP status with an error in the body."""
    content = json.dumps({"error": {"message": message}}).encode()
    return lambda handler: handler.send(code, content, **headers)


def raw(content: bytes) -> Action:
    """Status 200 and any bytes."""
    return lambda handler: handler.send(200, content)


def hang(handler: Handler) -> None:
    """No answer until the test is over."""
    handler.server.state.released.wait(60)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """A byte now and then, each within any time limit of a socket."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.state.released.wait(0.05):
        handler.wfile.write(b" ")


def reset(handler: Handler) -> None:
    """The connection is reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def cut_short(handler: Handler) -> None:
    """Less than was announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


@contextmanager
def teacher_server(script: Script) -> Iterator[Server]:
    """A server on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Server(f"http://127.0.0.1:{server.server_address[1]}/v1", script)
    server.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
    if state.broken:
        raise state.broken[0]
