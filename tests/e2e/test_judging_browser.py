"""A person judges in a browser: with keys and with a finger, blind, resumed, by two raters."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from browser import Tab, browser
from judged import make_run
from samdan.judge.server import Listening, Session
from samdan.judge.store import Votes
from samdan.run.judging import Judged, judged

pytestmark = pytest.mark.browser

PAIRS = 40
# Where a person keeps the pictures to look at: `SAMDAN_PICTURES=folder pytest ...`.
PICTURES = os.environ.get("SAMDAN_PICTURES")


@contextmanager
def served(found: Judged, votes: Votes, reveal: bool = True) -> Iterator[Listening]:
    results = partial(found.summary, votes)
    server = Listening(Session("judged", found.pairs, votes, results, reveal), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(30)


def look(tab: Tab, name: str) -> None:
    if PICTURES:
        tab.picture(Path(PICTURES) / f"{name}.png")


def begin(tab: Tab, address: str, name: str) -> None:
    """Opens the page; where it remembers somebody else, presses the name to change it."""
    tab.open(address)
    tab.until("!document.querySelector('#start').hidden || !document.querySelector('#who').hidden")
    if tab.js("document.querySelector('#start').hidden"):
        tab.until("document.querySelector('[data-choice]').disabled === false")
        tab.touch("#who")
    tab.js("document.querySelector('#name').select()")
    tab.write(name)
    tab.press("Enter")
    tab.until("!document.querySelector('#judge').hidden")


def wait_to_vote(tab: Tab, done: int) -> None:
    """Until the pair behind ``done`` votes is shown, and as long as it takes to see it."""
    tab.until(f"document.querySelector('#count').textContent.startsWith('{done} / ')")
    tab.until("document.querySelector('[data-choice]').disabled === false")
    tab.js("new Promise(done => setTimeout(done, 320))")


def polite_side(tab: Tab) -> str:
    """Which side the rater of this test prefers: the one that answers politely."""
    left = tab.js("document.querySelector('#left').textContent")
    return "left" if "습니다" in left else "right"


@pytest.mark.slow
def test_forty_votes_with_keys_then_resumed_then_a_second_rater(tmp_path: Path) -> None:
    found = judged(make_run(tmp_path / "run"), ["sft", "dpo"], PAIRS)
    with (
        Votes(found.ledger.votes()) as votes,
        browser(tmp_path / "profile") as tab,
    ):
        with served(found, votes) as server:
            tab.language("ko-KR")
            tab.screen(1280, 800)
            tab.open(server.address)
            tab.until("document.activeElement.id === 'name'")
            look(tab, "start")
            begin(tab, server.address, "김하늘")
            assert tab.js("document.documentElement.lang") == "ko"
            sides = []
            for number in range(20):
                wait_to_vote(tab, number)
                shown = tab.js("document.querySelector('main').innerText")
                assert "sft" not in shown
                assert "dpo" not in shown
                if number == 3:
                    look(tab, "desktop-light")
                    tab.screen(1280, 800, dark=True)
                    look(tab, "desktop-dark")
                    tab.screen(1280, 800)
                sides.append(side := polite_side(tab))
                # Two of twenty see no difference, one finds both bad, one is taken back.
                key = {5: "t", 9: "t", 13: "x"}.get(number) or (
                    "ArrowLeft" if side == "left" else "ArrowRight"
                )
                tab.press(key)
                wait_to_vote(tab, number + 1)
                told = tab.js("document.querySelector('#told').textContent")
                assert "dpo" in told
                assert "sft" in told
                if key.startswith("Arrow"):
                    assert told == "직전 쌍: sft보다 dpo를 골랐습니다."
                if number == 16:
                    tab.press("z")
                    tab.until("document.querySelector('#back').hidden")
            assert set(sides) == {"left", "right"}
            assert len(votes.counting()) == 19
        # The server was ended; another one goes on with the 21st pair.
        with served(judged(tmp_path / "run", ["sft", "dpo"], PAIRS), votes) as server:
            tab.screen(390, 844, dark=False, phone=True)
            begin(tab, server.address, "김하늘")
            for number in range(20, PAIRS):
                wait_to_vote(tab, number)
                if number == 22:
                    look(tab, "phone-light")
                    tab.screen(390, 844, dark=True, phone=True)
                    look(tab, "phone-dark")
                    assert tab.js("document.documentElement.scrollWidth <= innerWidth")
                tab.touch(f"[data-choice={polite_side(tab)}]")
                tab.until(f"document.querySelector('#bar').value === {number + 1}")
            tab.until("!document.querySelector('#done').hidden")
            tab.until("document.querySelector('#results table')")
            look(tab, "phone-results")
            assert tab.js("document.documentElement.scrollWidth <= innerWidth")
            assert len(votes.counting()) == PAIRS - 1

            begin(tab, server.address, "Lee")
            tab.screen(1280, 800)
            tab.touch("#language")
            tab.until("document.documentElement.lang === 'en'")
            for number in range(PAIRS):
                wait_to_vote(tab, number)
                # Prefers what stands on the left, but for a few.
                tab.press("a" if number % 8 else "t")
            tab.until("!document.querySelector('#done').hidden")
            shown = tab.js("document.querySelector('#results').innerText")
            assert "Agreement between raters" in shown
            look(tab, "desktop-results")
            assert tab.complaints() == []
            host = f"http://127.0.0.1:{server.port}/"
            later = [url for url in tab.requested() if not url.startswith(("data:", "about:"))]
            assert later
            assert all(url.startswith("http://127.0.0.1:") for url in later)
            assert any(url == f"{host}vote" for url in later)

        summary = judged(tmp_path / "run", ["sft", "dpo"]).summary(votes)
        people = summary["people"]
        assert people["raters"] == {"Lee": PAIRS, "김하늘": PAIRS - 1}
        assert people["agreement"]["pairs"] == PAIRS - 1
        mine = [vote for vote in votes.counting() if vote.rater == "김하늘"]
        assert sum(vote.choice == "b" for vote in mine) == PAIRS - 4  # dpo is the polite one
        assert [sum(vote.choice == c for vote in mine) for c in ("a", "tie", "bad")] == [0, 2, 1]
        decided = [v for v in votes.counting() if v.rater == "Lee" and v.choice != "tie"]
        assert all(vote.choice == vote.left for vote in decided)


def test_nothing_is_told_where_models_stay_hidden(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", said={"sft": "<img src=x onerror=alert(1)>{n}", "dpo": " "})
    found = judged(run, ["sft", "dpo"], 30)
    with Votes(found.ledger.votes()) as votes, browser(tmp_path / "profile") as tab:
        with served(found, votes, reveal=False) as server:
            tab.language("ko-KR")
            tab.screen(1280, 800)
            begin(tab, server.address, "kim")
            shown = ""
            for number in range(2):
                wait_to_vote(tab, number)
                shown += tab.js("document.querySelector('.answers').innerText")
                tab.press("a")
                tab.press("a")  # pressed twice: the second is for a pair that was not read yet
            wait_to_vote(tab, 2)
            assert "<img src=x" in shown
            assert "(빈 답변)" in shown
            told = tab.js("document.body.innerText")
            assert "sft" not in told
            assert "dpo" not in told
            assert len(votes.counting()) == 2
            assert tab.complaints() == []
        tab.press("b")
        tab.until("!document.querySelector('#fault').hidden")
        assert "samdan" in tab.js("document.querySelector('#fault').textContent")
