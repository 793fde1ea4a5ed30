"""A gate waits for people: a run stops, people vote on fresh answers, the same command goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from urllib.request import Request, urlopen

from e2e.helpers import Program, done_again, samdan
from samdan.judge.store import Votes
from samdan.preferences.votes import Vote
from samdan.run.answers import write_answers
from samdan.run.judging import judged
from samdan.run.ledger import Ledger

QUESTIONS = [f"{name}의 본사는 어디인가요?" for name in ("가온", "나람", "다별", "라솔", "마빛")]
GATE = "stages.sft.gates=[{kind: preferred, min_pairs: 3}]"


def test_a_gate_waits_for_votes_and_judges_again_when_they_are_there(
    recipe: Path, reference: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(reference, tmp_path / "run"))
    command = ("run", recipe, "--out", run, "--set", GATE)
    stopped = samdan(*command)
    assert stopped.code == 3, stopped.err
    assert "no pair of answers is judged by people, 3 are needed" in stopped.err
    assert "samdan judge serve RUN" in stopped.err
    gate = json.loads((run / "sft" / "gate.json").read_text("utf-8"))
    assert gate["gate"] == "failed"

    ledger, said = Ledger(run), []
    write_answers(ledger, ["cpt", "sft"], QUESTIONS, said.append, max_new_tokens=12)
    assert said == ["cpt: answers 5 prompts", "sft: answers 5 prompts"]
    write_answers(ledger, ["cpt", "sft"], QUESTIONS[:2], said.append, max_new_tokens=12)
    assert len(said) == 2  # kept with the run
    pairs = judged(run, ["cpt", "sft"], prompts=QUESTIONS).pairs
    assert len(pairs) == 5
    assert {pair.source for pair in pairs} == {"prompts"}

    with Votes(ledger.votes()) as votes:
        votes.add_pairs(pairs)
        for pair in pairs[:2]:
            votes.cast(Vote(pair.id, "kim", "b", "a"))
        waiting = samdan(*command)
        assert waiting.code == 3
        assert "only 2 pairs of answers are judged by people" in waiting.err
        votes.cast(Vote(pairs[2].id, "kim", "a", "b"))

    passed = samdan(*command)
    assert passed.code == 0, passed.err
    # The gate, and nothing else: dpo's steps were done before.
    assert list(done_again(run)) == ["sft/gate"]
    report = json.loads((run / "report.json").read_text("utf-8"))
    metric = next(s for s in report["stages"] if s["name"] == "sft")["metrics"]["votes/over_before"]
    assert (metric["n"], round(metric["after"], 3)) == (3, 0.667)
    assert "votes/over_before" in (run / "report.html").read_text("utf-8")

    told = samdan("judge", "report", run, "--models", "cpt", "sft")
    assert told.code == 0, told.err
    assert "sft over cpt: 66.7% of decided pairs" in told.out
    exported = samdan("judge", "export", run, "--out", tmp_path / "pairs.jsonl")
    assert "3 pairs; left out: undecided 0" in exported.out
    planned = samdan("plan", recipe, "--out", run, "--set", GATE)
    assert "do   " not in planned.out
    nothing = samdan("judge", "report", reference)
    assert nothing.code == 1
    assert "no votes yet" in nothing.err


def test_the_page_is_served_until_it_is_interrupted(reference: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(reference, tmp_path / "run"))
    questions = tmp_path / "questions.txt"
    questions.write_text("\n".join(QUESTIONS), "utf-8")
    words = ("--models", "cpt", "sft", "--pairs", "3", "--prompts", questions)
    program = Program("judge", "serve", run, *words)
    end = time.monotonic() + 120
    while not (found := re.search(r"Open (http://127\.0\.0\.1:\d+/)\?token=(\S+)", program.out)):
        assert program.process.is_alive(), program.err
        assert time.monotonic() < end, program.out
        time.sleep(0.1)
    address, token = found.groups()

    def ask(path: str, **values: str) -> dict[str, object]:
        headers = {"Content-Type": "application/json", "X-Samdan-Token": token}
        body = json.dumps({"rater": "kim", **values}).encode()
        with urlopen(Request(f"{address}{path}", body, headers), timeout=60) as answer:
            return dict(json.load(answer))

    shown = ask("next")
    assert shown["of"] == 3
    assert ask("vote", pair=shown["pair"]["id"], choice="tie")["added"]  # type: ignore[index]
    assert program.process.pid
    os.kill(program.process.pid, signal.SIGINT)
    ended = program.wait()
    assert ended.code == 0, ended.err
    assert "cpt: answers 5 prompts" in ended.out
    assert f"votes: 1 in {run / 'judge' / 'votes.sqlite'}" in ended.out
    assert token not in ended.err  # nor in a log of requests
    with Votes(Ledger(run).votes(), read_only=True) as votes:
        assert [vote.choice for vote in votes.counting()] == ["tie"]
