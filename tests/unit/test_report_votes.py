"""What votes say, in the report's page and in report.json."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from judged import make_run
from samdan.judge.store import Votes
from samdan.preferences.votes import Vote
from samdan.report import render
from samdan.run.judging import judged
from samdan.run.ledger import Ledger
from samdan.run.loading import load_recipe
from samdan.run.reporting import assemble


def cast(
    run: Path, wins: int, of: int, rater: str = "kim", judge: bool = False, over: str = "sft"
) -> None:
    found = judged(run, [over, "dpo"], of)
    with Votes(Ledger(run).votes()) as votes:
        votes.add_pairs(found.pairs)
        for number, pair in enumerate(found.pairs):
            choice = "b" if number < wins else "a"
            for left in ("a", "b") if judge else ("a",):
                by = "model" if judge else "person"
                votes.cast(Vote(pair.id, rater, choice, left, by))  # type: ignore[arg-type]


def told(run: Path) -> tuple[dict[str, object], str]:
    report = assemble(Ledger(run), load_recipe(run / "recipe.yaml"))
    page = re.sub(r"<[^>]+>", " ", render(report).split("<body", 1)[1])
    return report, re.sub(r"\s+", " ", html.unescape(page))


def test_a_run_without_votes_has_no_section(tmp_path: Path) -> None:
    report, page = told(make_run(tmp_path))
    assert report["votes"] == {}
    assert "People and judges" not in page


def test_votes_of_people_and_a_judge_stand_in_the_report(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    cast(run, 15, 20)
    cast(run, 12, 20, "lee")
    cast(run, 10, 20, "model:judge", judge=True)
    report, page = told(run)
    people = report["votes"]["people"]  # type: ignore[index]
    assert people["raters"] == {"kim": 20, "lee": 20}
    (match,) = [m for m in people["matches"] if (m["a"], m["b"]) == ("sft", "dpo")]
    assert (match["wins_b"], match["wins_a"], match["bad"] + match["ties"]) == (12, 5, 3)
    assert "People: 40 votes on 20 pairs" in page
    assert "사람: 20쌍에 40표" in page
    assert "dpo over sft" in page
    assert "sft 보다 dpo" in page
    assert "70.6% [44.0%, 89.7%]" in page  # 12 of 17, Clopper and Pearson
    assert "Agreement between raters: 85.0% of couples of votes alike on 20 pairs" in page
    assert "Krippendorff's alpha" in page
    assert "Position: the left answer won" in page
    assert "Length: the longer answer won" in page
    assert "Asked in both orders on 20 pairs: 0 verdicts differ" in page
    assert "Agreement with people:" in page
    json.dumps(report, allow_nan=False)


def test_three_models_have_strengths_and_two_have_none(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    cast(run, 15, 20)
    _, page = told(run)
    assert "Bradley-Terry" not in page
    cast(run, 18, 20, over="base")
    _, page = told(run)
    assert "Strength (Bradley-Terry points)" in page
    ranked = page[page.index("Strength (Bradley-Terry points)") :]
    found = re.findall(r"(base|sft|dpo) +([+-−]\d+) ", ranked)
    assert [name for name, _ in found] == ["dpo", "sft", "base"], ranked[:300]


def test_votes_that_cannot_be_told_say_why(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    cast(run, 15, 20)
    for model in ("base", "cpt", "sft", "dpo"):
        (run / model / "eval.json").unlink()
    report, page = told(run)
    assert list(report["votes"]) == ["unknown"]  # type: ignore[call-overload]
    assert "People and judges" in page
