"""The page over HTTP: a rater is led through, and nobody else gets in."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from judged import make_run
from samdan.commands.judge import app
from samdan.judge.server import Listening, Session
from samdan.judge.store import Votes
from samdan.pages import guard
from samdan.pages.addresses import is_loopback
from samdan.pages.guard import Rate
from samdan.records import SamdanError
from samdan.run.judging import judged


class Client:
    """Talks to the page as a browser, or as somebody else."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.token = server.session.token
        self.host = f"127.0.0.1:{server.port}"

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        given: dict[str, str | None] = {"Host": self.host, "X-Samdan-Token": self.token}
        given["Content-Type"] = "application/json"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.putrequest(method, path, skip_host=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            found = connection.getresponse()
            return found.status, {k.lower(): v for k, v in found.getheaders()}, found.read()
        finally:
            connection.close()

    def ask(self, path: str, **values: Any) -> dict[str, Any]:
        status, _, body = self.send("POST", path, json.dumps(values).encode())
        return {"status": status, **json.loads(body)}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    found = judged(make_run(tmp_path / "run", 3), ["sft", "dpo"])
    with Votes(found.ledger.votes()) as opened:
        session = Session(
            "<run>", found.pairs, opened, lambda: found.summary(opened)
        )
        server = Listening(session, "127.0.0.1", 0, ["judge.example"])
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield Client(server)
        server.stop()
        thread.join(60)


def test_a_rater_is_led_through_the_pairs(client: Client) -> None:
    first = client.ask("/next", rater="kim")
    assert (first["done"], first["of"]) == (0, 4)
    assert set(first["pair"]) == {"id", "prompt", "left", "right"}
    assert client.ask("/next", rater=" kim ")["pair"] == first["pair"]
    name = first["pair"]["id"]
    cast = client.ask("/vote", rater="kim", pair=name, choice="left", seconds=2.5)
    assert cast["added"]
    assert set(cast["models"].values()) == {"sft", "dpo"}
    (counted,) = client.server.session.votes.counting()
    pair = {p.id: p for p in client.server.session.pairs}[name]
    answers = {pair.a: pair.answer_a, pair.b: pair.answer_b}
    assert answers[cast["models"]["left"]] == first["pair"]["left"]
    assert counted.choice == counted.left == ("a" if cast["models"]["left"] == pair.a else "b")
    assert not client.ask("/vote", rater="kim", pair=name, choice="right")["added"]
    assert client.ask("/results", rater="kim")["status"] == 400
    for _ in range(3):
        name = client.ask("/next", rater="kim")["pair"]["id"]
        client.ask("/vote", rater="kim", pair=name, choice="tie", seconds="x")
    assert client.ask("/next", rater="kim")["pair"] is None
    assert client.ask("/results", rater="kim")["people"]["votes"] == 4
    assert client.ask("/withdraw", rater="kim", pair=name)["withdrawn"]
    assert client.ask("/next", rater="lee")["done"] == 0


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("/next", {}, "rater"),
        ("/next", {"rater": 3}, "rater"),
        ("/next", {"rater": "x" * 41}, "rater"),
        ("/next", {"rater": "model:x"}, "rater"),
        ("/next", {"rater": "a\u202eb"}, "rater"),
        ("/vote", {"rater": "kim", "pair": "../../etc/passwd", "choice": "left"}, "pair"),
        ("/vote", {"rater": "kim", "pair": ["x"], "choice": "left"}, "pair"),
        ("/vote", {"rater": "kim", "choice": "left"}, "pair"),
    ],
)
def test_wrong_questions_are_refused(
    client: Client, path: str, values: dict[str, Any], message: str
) -> None:
    found = client.ask(path, **values)
    assert found["status"] == 400
    assert found["error"].startswith(message)


def test_a_wrong_choice_is_refused(client: Client) -> None:
    name = client.server.session.pairs[0].id
    for choice in ("a", "withdrawn", None, 1, ["left"]):
        assert client.ask("/vote", rater="kim", pair=name, choice=choice)["status"] == 400
    assert client.server.session.votes.counting() == []


def test_nobody_else_gets_in(client: Client) -> None:
    body = json.dumps({"rater": "kim"}).encode()
    page = f"/?token={client.token}"
    tries: list[tuple[int, tuple[Any, ...], dict[str, Any]]] = [
        (200, ("GET", page), {"X_Samdan_Token": None}),
        (200, ("GET", page), {"Host": f"LOCALHOST:{client.server.port}"}),
        (200, ("GET", page), {"Host": "judge.example"}),
        (200, ("POST", "/next", body), {"Origin": f"http://{client.host}"}),
        # a name that resolves to this machine (DNS rebinding), no name, a broken one
        (421, ("GET", page), {"Host": "evil.example"}),
        (421, ("POST", "/next", body), {"Host": "127.0.0.1.evil.example"}),
        (421, ("POST", "/next", body), {"Host": "[::1"}),
        # another site
        (403, ("POST", "/next", body), {"Origin": "http://evil.example"}),
        (403, ("POST", "/next", body), {"Origin": "null"}),
        (403, ("POST", "/next", body), {"Origin": "http://127.0.0.1:1"}),
        # without the token, with a wrong one, with it where a site could put it
        (403, ("GET", "/"), {}),
        (403, ("GET", "/?token="), {}),
        (403, ("GET", f"{page}x"), {}),
        (403, ("GET", f"{page}&token={client.token}"), {}),
        (403, ("POST", "/next", body), {"X_Samdan_Token": None}),
        (403, ("POST", "/next", body), {"X_Samdan_Token": "가".encode().decode("latin-1")}),
        (403, ("POST", f"/next?token={client.token}", body), {"X_Samdan_Token": None}),
        (403, ("POST", "/next", body), {"X_Samdan_Token": None, "Cookie": f"token={client.token}"}),
        # what is not there, and bodies that are not ours
        (404, ("GET", "/../../etc/passwd"), {}),
        (404, ("GET", "/judge/votes.sqlite"), {}),
        (405, ("GET", "/next"), {}),
        (415, ("POST", "/next", body), {"Content_Type": "text/plain"}),
        (400, ("POST", "/next", b"[1]"), {}),
        (400, ("POST", "/next", b"{"), {}),
        (400, ("POST", "/next", b"[" * 8000), {}),
        (413, ("POST", "/next", b" " * 8193), {}),
    ]
    found = [client.send(*arguments, **headers)[0] for _, arguments, headers in tries]
    assert found == [status for status, _, _ in tries]


def test_every_answer_forbids_what_the_page_does_not_need(client: Client) -> None:
    for path in (f"/?token={client.token}", "/nothing", "/"):
        _, headers, body = client.send("GET", path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert "set-cookie" not in headers
    status, _, body = client.send("GET", f"/?token={client.token}")
    text = body.decode()
    assert status == 200
    assert "&lt;run&gt;" in text
    assert client.token not in text
    assert "http://" not in text
    assert "https://" not in text


def test_an_address_that_asks_too_often_waits(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    rate = Rate(per_second=2, burst=3, clock=lambda: now[0])
    assert [rate.allows("a") for _ in range(4)] == [True, True, True, False]
    assert rate.allows("b")  # somebody else
    now[0] = 0.5
    assert [rate.allows("a") for _ in range(2)] == [True, False]
    now[0] = 60
    assert [rate.allows("a") for _ in range(4)] == [True, True, True, False]  # no more is saved up
    monkeypatch.setattr(Rate, "MOST_ADDRESSES", 4)
    assert all(rate.allows(f"{n}") for n in range(100))
    assert len(rate._left) == 4

    monkeypatch.setattr(Rate, "allows", lambda *_: False)
    status, headers, _ = client.send("POST", "/next", b'{"rater": "kim"}')
    assert (status, headers["retry-after"]) == (429, "1")


def test_a_body_that_does_not_come_is_not_waited_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_BODY_SECONDS", 0.2)
    connection = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=60)
    connection.putrequest("POST", "/next", skip_host=True)
    for name, value in (("Host", client.host), ("X-Samdan-Token", client.token)):
        connection.putheader(name, value)
    connection.putheader("Content-Length", "20")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "rater.example"])
def test_an_address_that_others_reach_is_asked_for_twice(host: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["serve", str(tmp_path), "--host", host])
    assert found.exit_code == 2
    assert "--allow-network" in " ".join(found.output.split())
    again = CliRunner().invoke(app, ["serve", str(tmp_path), "--host", host, "--allow-network"])
    assert again.exit_code == 1  # there is no run in this folder, which is looked at next
    assert isinstance(again.exception, SamdanError)


def test_only_loopback_is_loopback() -> None:
    names = ("127.0.0.1", "127.9.9.9", "::1", "localhost", "", "localhost.evil.example", "0.0.0.0")
    assert [is_loopback(name) for name in names] == [True] * 4 + [False] * 3
