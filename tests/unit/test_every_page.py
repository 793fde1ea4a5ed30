"""What holds for every page that samdan serves: one list of checks, run over all of them.

A page that is not in ``PAGES`` fails ``test_no_page_is_forgotten``. Requests are made by hand, byte
by byte, as a browser never would.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

pytest.importorskip("starlette")

from fuzz.targets import DOCUMENTED
from judged import make_run
from samdan import cli
from samdan.judge import server as judging
from samdan.judge.store import Votes
from samdan.pages import guard, listening
from samdan.pages.completions import Asked, Counts, application
from samdan.pages.guard import Rate
from samdan.pages.listening import Listening
from samdan.pages.live import Live
from samdan.records import DataError
from samdan.run.judging import judged

SOURCES = Path(cli.__file__).parent
TOKEN = "t" * 32


@dataclass(frozen=True)
class Page:
    """A page that listens: where its code is, what it takes, and a body that it answers."""

    module: str
    path: str
    body: bytes
    start: Callable[[Path], Any]


class Echo:
    """Answers without a model."""

    names: Sequence[str] = ("m",)

    def answer(self, name: str, asked: Asked, counts: Counts) -> Iterator[str]:
        yield "네"


def judge_page(folder: Path) -> Any:
    found = judged(make_run(folder / "run", 3), ["sft", "dpo"])
    votes = Votes(found.ledger.votes())
    session = judging.Session("a", found.pairs, votes, lambda: found.summary(votes), token=TOKEN)
    return judging.Listening(session, "127.0.0.1", 0)


def watch_page(_: Path) -> Any:
    state = {"id": "1", "title": "a", "blocks": {"a": "b"}, "again": 2}
    return Live("a", lambda: state, ("127.0.0.1", 0))


def serve_page(_: Path) -> Any:
    return Listening(application(Echo(), TOKEN, ["127.0.0.1"]), TOKEN, "127.0.0.1", 0)


PAGES = {
    "judge": Page("judge/server.py", "/next", b'{"rater": "kim"}', judge_page),
    "watch": Page("pages/live.py", "/state", b'{"seen": ""}', watch_page),
    "serve": Page("run/served.py", "/v1/chat/completions",
                  b'{"messages": [{"role": "user", "content": "a"}]}', serve_page),
}  # fmt: skip


@dataclass(frozen=True)
class Served:
    page: Page
    server: Any

    @property
    def port(self) -> int:
        return int(self.server.port)

    @property
    def token(self) -> str:
        return str(self.server.address).partition("token=")[2]

    def head(self, method: str = "POST", path: str | None = None, **headers: str | None) -> bytes:
        """A right head, with some headers changed, or left out where None."""
        given: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self.port}", "X-Samdan-Token": self.token,
            "Content-Type": "application/json", "Content-Length": str(len(self.page.body)),
            "Connection": "close",
        }  # fmt: skip
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
        first = f"{method} {path or self.page.path} HTTP/1.1"
        return "\r\n".join([first, *lines, "", ""]).encode("utf-8")

    def sent(self, content: bytes) -> bytes:
        """What comes back, until the server closes."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=60)) as opened:
            try:
                opened.sendall(content)
                return opened.makefile("rb").read()
            except ConnectionError:
                return b""

    def status(self, method: str = "POST", path: str | None = None, **headers: str | None) -> int:
        body = self.page.body if method == "POST" else b""
        if method != "POST":
            headers.setdefault("Content_Length", None)
        return status_of(self.sent(self.head(method, path, **headers) + body))


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.fixture(scope="module", params=PAGES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:  # fmt: skip
    page = PAGES[request.param]
    server = page.start(tmp_path_factory.mktemp(request.param))
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield Served(page, server)
    server.stop()
    thread.join(60)


# --- none is forgotten ----------------------------------------------------------------------------


def test_no_page_is_forgotten() -> None:
    listens = re.compile(r"(?<!class )\bListening\(|\(pages\.Listening\)|\(Listening\)")
    sources = {str(f.relative_to(SOURCES)): f.read_text("utf-8") for f in SOURCES.rglob("*.py")}
    found = {name for name, text in sources.items() if listens.search(text)}
    assert found == {page.module for page in PAGES.values()} | {"run/serving.py"}
    assert "from samdan.judge.server import Listening" in sources["run/serving.py"]
    other = re.compile(r"uvicorn\.|http\.server|socketserver|start_server|create_server|\.bind\(")
    assert {n for n, text in sources.items() if other.search(text)} == {"pages/listening.py"}
    # Whoever builds an application puts the guard before it.
    made = {name for name, text in sources.items() if "Starlette(routes" in text}
    assert made == {name for name, text in sources.items() if "Guard(Starlette(" in text}


def _commands(command: click.Command, names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    yield command, names
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*names, name))


def test_an_address_that_others_reach_is_asked_for(tmp_path: Path) -> None:
    found = [
        (command, names)
        for command, names in _commands(typer.main.get_command(cli.app), ())
        if any("--host" in one.opts for one in command.params)
    ]
    assert {names for _, names in found} == {("judge", "serve"), ("watch",), ("serve",)}
    for command, names in found:
        assert {one.name: one.default for one in command.params}["host"] == "127.0.0.1"
        for host in ("0.0.0.0", "::", "192.168.0.7", "run.example"):
            arguments = [*names, str(tmp_path), "--host", host]
            refused = CliRunner().invoke(cli.app, arguments)
            told = " ".join(refused.output.split())
            assert refused.exit_code == 2
            assert "--allow-network" in told
            assert "other machines reach" in told
            allowed = CliRunner().invoke(cli.app, [*arguments, "--allow-network"])
            assert isinstance(allowed.exception, DataError)  # of the empty folder, looked at next
    said = "\n".join(listening.warnings("0.0.0.0", "see it"))
    assert "Others can reach this page" in said
    assert "http can be read on the way" in said
    assert list(listening.warnings("127.0.0.1", "see it")) == []


# --- the list -------------------------------------------------------------------------------------


def test_only_this_machine_and_only_with_the_token(served: Served) -> None:
    assert served.server._socket.getsockname()[0] == "127.0.0.1"
    assert len(served.token) >= 32
    own, page = f"127.0.0.1:{served.port}", f"/?token={served.token}"
    right: list[dict[str, Any]] = [
        {}, {"Origin": f"http://{own}"}, {"Host": f"LOCALHOST:{served.port}"},
        {"method": "GET", "path": page, "X_Samdan_Token": None},
    ]  # fmt: skip
    assert [served.status(**one) for one in right] == [200] * len(right)
    elsewhere = ("evil.example", f"evil.example:{served.port}", "127.0.0.1.evil.example", "[::1")
    assert {host: served.status(Host=host) for host in elsewhere} == dict.fromkeys(elsewhere, 421)
    sites = ("http://evil.example", "null", "http://127.0.0.1:1", "http://[::1", "file://", "x")
    assert {one: served.status(Origin=one) for one in sites} == dict.fromkeys(sites, 403)
    wrong: list[dict[str, Any]] = [
        {"X_Samdan_Token": None}, {"X_Samdan_Token": ""}, {"X_Samdan_Token": served.token[:-1]},
        {"X_Samdan_Token": "가"}, {"X_Samdan_Token": None, "Cookie": f"token={served.token}"},
        {"X_Samdan_Token": None, "path": f"{served.page.path}?token={served.token}"},
        {"X_Samdan_Token": None, "Authorization": "Bearer x"},
        {"method": "GET", "path": "/"}, {"method": "GET", "path": "/?token="},
        {"method": "GET", "path": f"{page}x"}, {"method": "GET", "path": f"{page}&token=x"},
    ]  # fmt: skip
    assert [served.status(**one) for one in wrong] == [403] * len(wrong)
    gone = ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/static/x")
    assert {one: served.status("GET", one) for one in gone} == dict.fromkeys(gone, 404)


def test_every_answer_has_the_policy_and_keeps_nothing(served: Served) -> None:
    tries = [
        served.head("GET", f"/?token={served.token}", Content_Length=None),
        served.head("GET", "/nothing", Content_Length=None),
        served.head("GET", "/", Content_Length=None),
        served.head() + served.page.body,
        served.head(Content_Length="3") + b"{{{",
        served.head(Host="evil.example") + served.page.body,
    ]
    for content in tries:
        told = served.sent(content)
        head = told.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
        lines = head.split("\r\n")[1:]
        headers = {one.partition(":")[0]: one.partition(":")[2].strip() for one in lines}
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "script-src 'sha256-" in policy
        for part in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
                     "require-trusted-types-for 'script'"):  # fmt: skip
            assert part in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "deny"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert not headers.keys() & {"set-cookie", "server", "access-control-allow-origin"}
        assert served.token.encode() not in told
    page = served.sent(tries[0]).decode("utf-8")
    assert not re.search(r"(?:src|href|action)\s*=\s*[\"']?(?:https?:)?//", page)


def test_bodies_are_bounded_in_size_and_time(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 1 << 18 if served.page.module == "run/served.py" else guard.MAX_BODY
    large = served.sent(served.head(Content_Length=str(most + 1)) + b" " * (most + 1))
    assert status_of(large) in (0, 413)  # it may be closed before all is sent
    chunked = served.head(Content_Length=None, Transfer_Encoding="chunked")
    pieces = b"".join(b"1000\r\n" + b" " * 4096 + b"\r\n" for _ in range(most // 4096 + 1))
    assert status_of(served.sent(chunked + pieces)) in (0, 413)
    for size, told in ((20_000, (431,)), (1_000_000, (0, 400))):
        assert status_of(served.sent(served.head(X="y" * size) + served.page.body)) in told
    monkeypatch.setattr(guard, "MAX_BODY_SECONDS", 0.2)
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=60)) as opened:
        opened.sendall(served.head(Content_Length="5") + b"{")
        assert status_of(opened.recv(1 << 16)) == 408


def test_who_is_refused_while_still_sending_hears_why(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed over an unread body, the connection would be reset, and the answer lost with it."""
    monkeypatch.setattr(guard, "MAX_UNREAD_SECONDS", 20.0)
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=60)) as opened:
        opened.sendall(served.head(X_Samdan_Token="wrong", Content_Length="60000") + b" " * 10)
        time.sleep(0.3)
        opened.sendall(b" " * 30_000)
        time.sleep(0.3)
        opened.sendall(b" " * 29_990)
        assert status_of(opened.makefile("rb").read()) == 403


def test_what_asks_too_often_waits(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rate, "allows", lambda *_: False)
    for method, path in (("POST", served.page.path), ("GET", f"/?token={served.token}")):
        assert served.status(method, path) == 429


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /next HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_connection_that_asks_nothing_is_closed(
    served: Served, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MAX_HEAD_SECONDS", 0.3)
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=60)) as opened:
        opened.sendall(sent)
        assert opened.recv(100) == b""


def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvicorn itself waits for it for ever; after an answer, too."""
    monkeypatch.setattr(listening, "MAX_HEAD_SECONDS", 0.5)
    whole = served.head(Connection=None) + served.page.body
    for before in (b"", whole):
        with closing(socket.create_connection(("127.0.0.1", served.port), timeout=60)) as opened:
            opened.sendall(before)
            began, ended = time.monotonic(), False
            while not ended and time.monotonic() < began + 30:
                try:
                    opened.sendall(b"X")
                    time.sleep(0.05)
                    opened.settimeout(0.01)
                    ended = opened.recv(1 << 16) == b""
                except TimeoutError:
                    pass
                except ConnectionError:
                    ended = True
            assert ended


def test_more_connections_than_are_held_are_refused_and_forgotten(served: Served) -> None:
    held: list[socket.socket] = []
    try:
        for _ in range(listening.MAX_CONNECTIONS + 20):
            held.append(socket.create_connection(("127.0.0.1", served.port), timeout=60))
        assert served.status() == 503
    finally:
        for one in held:
            one.close()
    until = time.monotonic() + 60
    while (told := served.status()) != 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert told == 200


# --- anything that can be sent --------------------------------------------------------------------

_HEADERS = st.sampled_from([
    ("Origin", "null"), ("Origin", "http://["), ("Host", "evil.example"), ("Host", ""),
    ("Expect", "100-continue"),
    ("Transfer_Encoding", "chunked"), ("Transfer_Encoding", "gzip"), ("Content_Length", "-1"),
    ("Content_Length", "99999999999999999999"), ("Content_Length", "3"), ("Content_Type", "a/b"),
    ("Upgrade", "websocket"), ("Connection", "upgrade"), ("Cookie", "a=b"), ("X", "y" * 20_000),
    ("X_Samdan_Token", ""), ("Host", None), ("Content_Length", None), ("X", "\x01"), ("X", "가"),
])  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """How a request is made of a right one: its head, its body, and how it is cut into pieces."""
    method = draw(st.sampled_from(["POST", "GET", "HEAD", "OPTIONS", "TRACE", "PRI", "가", ""]))
    path = draw(st.sampled_from([None, "/", "*", "/%00", "http://evil.example/", "/?token=%ff"]))
    headers = dict(draw(st.lists(_HEADERS, max_size=3)))
    body = draw(st.none() | st.binary(max_size=200))
    edits = draw(st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=4)), max_size=2))
    again = draw(st.integers(1, 3))  # one behind the other, without waiting
    cuts = sorted(draw(st.lists(st.integers(0, 600), max_size=3)))
    return method, path, headers, body, edits, again, cuts


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_HEAD_SECONDS", 0.3)
    monkeypatch.setattr(guard, "MAX_BODY_SECONDS", 0.3)
    monkeypatch.setattr(guard, "MAX_UNREAD_SECONDS", 0.05)


@settings(max_examples=40, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(asked=requests())
@pytest.mark.usefixtures("_short_waits")
def test_whatever_is_sent_is_answered_or_closed(served: Served, asked: Any) -> None:
    method, path, headers, body, edits, again, cuts = asked
    content = served.head(method, path, **headers) + (served.page.body if body is None else body)
    for at, put in edits:
        content = content[:at] + put + content[at + len(put) :]
    content *= again
    answers = b""
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=60)) as opened:
        try:
            for first, last in zip([0, *cuts], [*cuts, len(content)], strict=True):
                opened.sendall(content[first:last])
            while piece := opened.recv(1 << 16):
                answers += piece
        except ConnectionError:  # bytes that it did not read any more
            pass
    for status in re.findall(rb"(?m)^HTTP/1\.1 (\d+) ", answers):
        assert int(status) in DOCUMENTED | {100}
    assert b"Traceback" not in answers
    assert b"Internal Server Error" not in answers


def test_it_still_serves(served: Served) -> None:
    """Behind all of the above."""
    assert served.status() == 200
