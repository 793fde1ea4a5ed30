"""All pages that samdan shows, served or written, of one report with any text in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from judged import make_run
from reported import sample, with_strings
from samdan.judge.server import Listening as Judging
from samdan.judge.server import Session
from samdan.judge.store import Votes
from samdan.pages.completions import Asked, Counts, application
from samdan.pages.listening import Listening
from samdan.pages.live import Live
from samdan.report import render
from samdan.report.compare_view import as_page
from samdan.report.watch import blocks, pill, title
from samdan.run.judging import judged

Lang = Literal["en", "ko"]
TOKEN = "a-token-of-the-test"


class Parrot:
    """A model that says always the same."""

    def __init__(self, names: Sequence[str], said: str) -> None:
        self.names = names
        self._said = said

    def answer(self, name: str, asked: Asked, counts: Counts) -> Iterator[str]:
        counts.prompt, counts.completion = len(name), len(asked.messages)
        half = len(self._said) // 2
        yield self._said[:half]
        yield self._said


def plain_report() -> dict[str, Any]:
    """Every section, and enough answers for a search."""
    report = sample()
    answers = {"base": "모름", "cpt": "3일", "sft": "사흘", "dpo": "사흘입니다"}
    report["samples"] += [
        {"prompt": f"질문 {n}", "answers": answers, "task": "qa", "expected": "3일",
         "right": {"base": False, "cpt": n > 3, "sft": True, "dpo": n > 1}}
        for n in range(9)
    ]  # fmt: skip
    report["stages"][1]["metrics"] |= {
        f"refusal-{kind}/share": report["stages"][1]["metrics"]["qa/exact"]
        for kind in ("benign", "unsafe")
    }
    return report


def snapshot(say: Callable[[], str]) -> dict[str, Any]:
    """Of now.json, with text from ``say``."""
    return {
        "stage": say(), "step": 30, "of": 60, "loss": 2.5, "tokens_per_second": 100.0,
        "seconds_left": 90.0, "memory": {"host": 2**30},
        "heldout": {say(): {"step": [10, 20], "value": [2.0, 1.5]}},
        "rules": [
            {"rule": say(), "fired": False, "near": 0.8, "message": say()},
            {"rule": say(), "fired": True, "near": 1.0, "message": say()},
            {"rule": say(), "fired": False, "near": None, "message": say()},
        ],
    }  # fmt: skip


@contextmanager
def every_page(
    folder: Path, say: Callable[[], str] | None = None, lang: Lang | None = None
) -> Iterator[Mapping[str, str]]:
    """Address by page. ``say``: another text for every string of the data."""
    report = plain_report()
    said = say or iter(lambda: "텍스트 text", None).__next__
    if say is not None:
        report = with_strings(report, say)
    running = report | {"status": "running"}
    now = snapshot(said)
    shown = blocks(running, now, said()) | {"status": pill(running)}
    state = {"id": "1", "title": title(running, now), "blocks": shown, "again": 600.0}
    (folder / "report.html").write_text(render(report, lang), "utf-8", "replace")
    other = as_page((said(), report), (said(), plain_report()), lang)
    (folder / "compare.html").write_text(other, "utf-8", "replace")
    hidden = {name: said().replace("{", "(").replace("}", ")") + f"{name} {{n}}"
              for name in ("base", "cpt", "sft", "dpo")}  # fmt: skip
    found = judged(make_run(folder / "judged", 3, None if say is None else hidden), ["sft", "dpo"])
    parrot = Parrot([said(), "dpo"], said())
    with ExitStack() as stack:
        votes = stack.enter_context(Votes(found.ledger.votes()))
        session = Session(said(), found.pairs, votes, partial(found.summary, votes), lang=lang)
        chat = application(parrot, TOKEN, ["127.0.0.1"], lang)
        servers = {
            "watch": Live(said(), lambda: state, ("127.0.0.1", 0), lang),
            "chat": Listening(chat, TOKEN, "127.0.0.1", 0),
            "judge": Judging(session, "127.0.0.1", 0),
        }
        for server in servers.values():
            stack.enter_context(_served(server))
        yield {
            "report": (folder / "report.html").as_uri(),
            "compare": (folder / "compare.html").as_uri(),
            **{name: server.address for name, server in servers.items()},
        }


@contextmanager
def _served(server: Listening) -> Iterator[None]:
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(60)
