"""`samdan watch`: a page that follows a run, for whoever has its address."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samdan.pages.listening import Listening, warnings
from samdan.pages.live import SCRIPT, Live
from samdan.records import DataError, EnvironmentFailure, Metrics
from samdan.report.watch import blocks
from samdan.run.following import Following, watch
from samdan.run.ledger import Ledger

RECIPE = """
samdan: 1
name: <b>demo</b>
base: {path: base-model}
stages:
  - {name: cpt, data: [{path: a.md}]}
  - {name: sft, data: [{path: b.jsonl}]}
"""
NAME = RECIPE.replace("<b>demo</b>", "demo")
NOW = {
    "time": "2026-01-01T00:00:00+00:00", "stage": "cpt", "step": 30, "of": 60, "loss": 2.5,
    "tokens_per_second": 100.0, "seconds_left": 90.0, "memory": {"host": 2**30},
    "heldout": {"<i>a</i>/bpb": {"step": [10, 20], "value": [2.0, 1.5]}},
    "rules": [
        {"rule": "unstable", "fired": False, "near": 0.8, "message": "<script>x</script>"},
        {"rule": "rebound", "fired": False, "near": None, "message": "too few"},
    ],
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Ledger]:
    """A run in the middle of its first stage."""
    ledger = Ledger(tmp_path / "run")
    ledger.lock()
    ledger.recipe_file.write_text(NAME)
    ledger.record("begin", name="demo", machine={"device": "cpu"})
    ledger.record("step_begin", step="cpt/train", why="not done yet")
    for step in range(1, 31):
        ledger.add_metrics("cpt/train", "cpt", Metrics(step, step, {"loss": 4 - step / 20}))
    ledger.now_file.write_text(json.dumps(NOW))
    yield ledger
    ledger.unlock()


def test_the_page_shows_where_the_run_is(run: Ledger) -> None:
    state = Following(run.folder)()
    assert state["title"] == "50% cpt \u00b7 demo \u00b7 samdan"
    found = state["blocks"]
    assert "step 30 of 60" in found["now"]
    assert "60스텝 중 30스텝" in found["now"]
    assert "1 min 30 s" in found["now"]
    assert "2.000 \u2192 1.500" in found["now"]
    assert "unstable: 80%" in found["rules"]
    assert "too early to judge" in found["rules"]
    assert found["verdict"] == ""
    assert 'class="smooth"' in found["curves"]


def test_text_of_the_run_is_text_and_nothing_is_styled_in_place(run: Ledger) -> None:
    shown = "".join(Following(run.folder)()["blocks"].values())
    assert "<script" not in shown
    assert "<i>" not in shown
    assert "&lt;script&gt;" in shown
    assert not re.search(r"<[^>]*\s(style|on\w+|src|href=\"http)", shown)


def test_what_changes_is_seen_and_what_does_not_has_the_same_id(run: Ledger) -> None:
    following = Following(run.folder)
    first = following()
    assert following() is first, "asked again at once, it is not read again"
    following._fresh_until = 0
    assert following()["id"] == first["id"]
    run.add_metrics("cpt/train", "cpt", Metrics(31, 31, {"loss": 9.0}))
    following._fresh_until = 0
    second = following()
    assert second["id"] != first["id"]
    assert second["blocks"]["now"] == first["blocks"]["now"]
    assert second["blocks"]["curves"] != first["blocks"]["curves"]


def test_when_the_run_has_ended_the_verdict_takes_the_place_of_the_progress(run: Ledger) -> None:
    run.record("ended", status="done", seconds=3.0)
    run.unlock()
    found = Following(run.folder)()["blocks"]
    assert found["now"] == found["rules"] == ""
    assert "Not finished" in found["verdict"]


def test_a_run_that_has_just_begun_and_one_that_is_none(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("begin", name="demo", machine={})
    with pytest.raises(DataError, match=r"recipe\.yaml"):
        Following(tmp_path)()
    ledger.recipe_file.write_text(NAME)
    assert Following(tmp_path)()["blocks"]["tiers"]
    with pytest.raises(DataError, match="does not exist"):
        watch(tmp_path / "nothing", ("127.0.0.1", 0), None, print)


def test_an_empty_snapshot_is_no_fault() -> None:
    report = {"name": "x", "status": "running", "stages": []}
    for now in ({}, {"stage": "cpt"}, {"step": 1, "of": 0, "rules": [1], "heldout": [2]}):
        assert set(blocks(report, now, None)) == {
            "top", "now", "rules", "verdict", "tiers", "curves", "evidence", "events",
        }  # fmt: skip


@pytest.fixture
def server(run: Ledger) -> Iterator[Live]:
    live = Live("demo", Following(run.folder), ("127.0.0.1", 0), "ko")
    thread = threading.Thread(target=live.serve, daemon=True)
    thread.start()
    yield live
    live.stop()
    thread.join(60)


def ask(
    server: Live, method: str, path: str, body: str = "", **more: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"X-Samdan-Token": server.token, "Content-Type": "application/json"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    connection.request(method, path, body.encode() or None, headers)
    found = connection.getresponse()
    result = found.status, {k.lower(): v for k, v in found.getheaders()}, found.read()
    connection.close()
    return result


def test_the_page_over_http(server: Live) -> None:
    status, headers, body = ask(server, "GET", f"/?token={server.token}")
    assert status == 200
    assert b'<html lang="ko">' in body
    assert server.token.encode() not in body
    assert b"http://" not in body
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "trusted-types samdan" in policy
    assert "'samdan'" in SCRIPT
    status, _, body = ask(server, "POST", "/state", "{}")
    state = json.loads(body)
    assert status == 200
    assert state["again"] >= 2
    assert state["blocks"]["status"]
    again = json.loads(ask(server, "POST", "/state", json.dumps({"seen": state["id"]}))[2])
    assert again["blocks"] == {}


def test_nobody_else_gets_in(server: Live) -> None:
    tries: list[tuple[int, tuple[str, str], dict[str, str]]] = [
        (403, ("GET", "/"), {}),
        (403, ("GET", "/?token=x"), {}),
        (403, ("POST", "/state"), {"X_Samdan_Token": "x"}),
        (403, ("POST", "/state"), {"Origin": "http://evil.example"}),
        (421, ("POST", "/state"), {"Host": "evil.example"}),
        (404, ("GET", "/events.jsonl"), {}),
        (405, ("GET", "/state"), {}),
    ]
    assert [ask(server, *where, **headers)[0] for _, where, headers in tries] == [
        status for status, _, _ in tries
    ]


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that is never asked."""


def test_a_port_that_is_taken_is_one_clear_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailure, match=f"--port {port}: another program already"):
            Listening(nothing, "t", "127.0.0.1", port)
    with pytest.raises(EnvironmentFailure, match="no such address"):
        Listening(nothing, "t", "203.0.113.7", 0)


def test_who_can_reach_it_is_said_where_that_is_not_this_machine_alone() -> None:
    assert list(warnings("127.0.0.1", "see it")) == []
    assert list(warnings("localhost", "see it")) == []
    assert "can see it" in next(warnings("192.0.2.1", "see it"))
    assert len(list(warnings("0.0.0.0", "see it"))) == 2
