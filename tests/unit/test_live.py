"""Where a run stands: the snapshot, the terminal's lines, `samdan status`, half-written files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from samdan.records import Metrics, Verdict
from samdan.report.live import bar, lines, spark
from samdan.rules import Forgetting, LossSpike, NonFinite, Slow
from samdan.run.ledger import Ledger
from samdan.run.now import POINTS, Now, Trend
from samdan.run.status import as_text, shown, status_of

MEMORY = {"host": 2**30, "host_total": 2**33}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2.0
        return self.now


def row(step: int, **more: Any) -> dict[str, Any]:
    return {
        "stage": "cpt", "step": step, "of": 10, "tokens": 100 * step, "loss": 4.0 - step / 4,
        "lr": 1e-5, "tokens_per_second": 50.0, "logging_steps": 5, **more,
    }  # fmt: skip


def rule(name: str, near: float | None, fired: bool = False) -> dict[str, Any]:
    return {"rule": name, "fired": fired, "value": 3.0, "limit": 6.0, "near": near,
            "message": "four losses are too high"}  # fmt: skip


def training(folder: Path, steps: int = 4) -> Ledger:
    """A run in the middle of a stage."""
    folder.mkdir()
    ledger = Ledger(folder)
    ledger.record("begin", name="x", machine={})
    ledger.record("step_done", step="cpt/mix", identity="a", components={}, output="b")
    ledger.record("step_begin", step="cpt/train", why="not done yet")
    now = Now(ledger, lambda: MEMORY, Clock())
    for step in range(1, steps + 1):
        heldout = {"heldout/a/bpb": 2.0 - step / 4} if step % 2 == 0 else {}
        rules = [rule("loss_spike", 0.5), rule("rebound", None)]
        now(row(step, rules=rules, **heldout))
        values = {"loss": 4.0 - step / 4, "lr": 1e-5, **heldout}
        ledger.add_metrics("cpt/train", "cpt", Metrics(step, 100 * step, values))
    return ledger


def test_the_snapshot_tells_where_the_stage_is(tmp_path: Path) -> None:
    ledger = training(tmp_path / "run")
    now = json.loads(ledger.now_file.read_text("utf-8"))
    assert (now["step"], now["of"], now["seconds_per_step"]) == (4, 10, 2.0)
    assert now["seconds_left"] == 12.0
    assert now["heldout"] == {"a/bpb": {"step": [2, 4], "value": [1.5, 1.0]}}
    assert now["losses"] == [3.75, 3.5, 3.25, 3.0]
    assert now["memory"] == MEMORY


def test_after_a_resume_the_snapshot_holds_what_was_measured_before(tmp_path: Path) -> None:
    ledger = training(tmp_path / "run")
    ledger.record("measured_before", stage="cpt", values={"heldout/a/bpb": 1.8})
    state = Now(ledger, lambda: MEMORY, Clock())(row(5))
    assert state["heldout"]["a/bpb"]["value"] == [1.8, 1.5, 1.0]
    assert len(state["losses"]) == 5
    assert state["seconds_left"] is None, "nothing is known yet of this process's speed"


def test_a_loss_that_is_not_a_number_is_in_no_mean(tmp_path: Path) -> None:
    ledger = training(tmp_path / "run")
    state = Now(ledger, lambda: MEMORY, Clock())(row(1, loss=float("nan")))
    assert state["loss"] is None
    assert list(lines(state))


def test_a_curve_of_any_length_is_a_few_means() -> None:
    trend = Trend()
    for value in range(10_000):
        trend.add(float(value))
    assert len(trend.values) <= POINTS
    assert trend.values == sorted(trend.values)
    assert trend.values[0] < 500
    assert trend.values[-1] > 9_500


def test_the_lines_tell_everything(tmp_path: Path) -> None:
    ledger = training(tmp_path / "run")
    text = "\n".join(lines(json.loads(ledger.now_file.read_text("utf-8"))))
    assert text.splitlines()[0].startswith("cpt  step 4 of 10  40%  ████")
    assert text.splitlines()[0].endswith("12 s left")
    for fact in (
        "a/bpb 1.000  first 1.500, lowest 1.000", "50 tokens/s", "memory 1.0 / 8.0 GiB",
        "loss_spike   █████░░░░░  50% of the way to its limit (3.00, limit 6.00)",
        "too early to judge",
    ):  # fmt: skip
        assert fact in text


def test_the_nearest_rule_comes_first() -> None:
    rules = [rule("a", 0.1), rule("b", None), rule("c", 0.9), rule("d", 1.0, fired=True)]
    told = [line for line in lines({"stage": "x", "step": 1, "rules": rules}) if "rules" in line]
    assert "d" in told[0]
    assert "FIRED: four losses are too high" in told[0]


@pytest.mark.parametrize("value", [None, [], {}, "x", -1, [None], [{}], True])
def test_any_part_of_a_snapshot_may_be_missing_or_odd(value: Any) -> None:
    whole = {"stage": "a", "step": 1, "of": 2, "loss": 1.0, "losses": [1.0], "memory": MEMORY,
             "heldout": {"a": {"value": [1.0]}}, "rules": [rule("a", 0.5)], "seconds_left": 3.0,
             "tokens": 5, "tokens_per_second": 1.0}  # fmt: skip
    for key in whole:
        assert list(lines({**whole, key: value}))
    assert list(lines({**whole, "rules": [{"rule": value, "near": value}]}))


def test_drawings() -> None:
    assert spark([1.0, 2.0, None, 3.0]) == "▁▅×█" or spark([1.0, 2.0, None, 3.0]) == "▁▄×█"
    assert spark([1.0]) == ""
    assert spark([2.0, 2.0]) == "▁▁"
    assert bar(0.5, 4) == "██░░"
    assert bar(7.0, 4) == "████"


def test_status_from_another_terminal(tmp_path: Path) -> None:
    ledger = training(tmp_path / "run")
    ledger.lock()
    state = status_of(ledger.folder)
    assert state["status"] == "running"
    assert state["now"]["step"] == 4
    text = as_text(state)
    assert "now: cpt/train" in text
    assert "50% of the way to its limit" in text
    assert json.loads(shown(ledger.folder, as_json=True))["now"]["seconds_left"] == 12.0
    ledger.unlock()
    state = status_of(ledger.folder)
    assert (state["status"], state["now"]) == ("interrupted", {})
    assert "last: cpt/train step 4, loss 3" in as_text(state)


def test_status_says_how_old_a_snapshot_is(tmp_path: Path) -> None:
    ledger = training(tmp_path / "run")
    ledger.lock()
    now = json.loads(ledger.now_file.read_text("utf-8"))
    now["time"] = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    ledger.now_file.write_text(json.dumps(now))
    assert " ago)" in as_text(status_of(ledger.folder))
    ledger.unlock()


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl", "now.json"])
def test_status_reads_files_that_are_being_written(tmp_path: Path, name: str) -> None:
    ledger = training(tmp_path / "run")
    ledger.lock()
    whole = (ledger.folder / name).read_bytes()
    for size in range(len(whole) - 150, len(whole), 11):
        (ledger.folder / name).write_bytes(whole[:size])
        assert as_text(status_of(ledger.folder)).startswith(f"{ledger.folder}: ")
    (ledger.folder / name).write_bytes(whole + b'{"event": "\xff\xfe\n[1]\n"x"\n{}\n')
    assert as_text(status_of(ledger.folder)).startswith(f"{ledger.folder}: ")
    ledger.unlock()


def test_nearness() -> None:
    spike = LossSpike()
    assert spike.nearness(Verdict("loss_spike", False, 3.0, 6.0, "no spike")) == 0.5
    assert spike.nearness(Verdict("loss_spike", False, -3.0, 6.0, "no spike")) == 0.0
    assert spike.nearness(spike([Metrics(1, 1, {"loss": 1.0})])) is None
    assert Slow().nearness(Verdict("slow", False, 1.0, 0.33, "")) == 0.0
    near = Slow().nearness(Verdict("slow", False, 0.4, 0.33, ""))
    assert near is not None
    assert 0.8 < near < 1.0
    assert Slow().nearness(Verdict("slow", True, 0.2, 0.33, "")) == 1.0
    assert NonFinite().nearness(Verdict("non_finite", False, 0.0, 0.0, "finite")) == 0.0
    assert Forgetting().nearness(Verdict("forgetting", False, float("nan"), 0.25, "")) is None
