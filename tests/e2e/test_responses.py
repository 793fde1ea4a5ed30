"""Rules that fire: the stage is changed, goes again, and both attempts can be looked at."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.helpers import events, killed_when_said, rows_of, samdan, stopped_before, weights
from samdan.evals.score import Scored
from samdan.records import EnvironmentFailure, GateFailed, Metrics, TrainError, Verdict
from samdan.rules import LossSpike
from samdan.run import watching
from samdan.run.executor import Options, execute
from samdan.run.ledger import Ledger
from samdan.run.loading import load_recipe
from samdan.run.watching import Training
from samdan.train import room

# Nothing reaches this: every attempt fails.
HOPELESS = "{kind: at_most, metric: docs/bpb, value: 0.01, respond: [%s]}"


@pytest.fixture
def world(recipe: Path, reference: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The tiny world's base and CPT stage, and a run that stands before the stage's training."""
    text = recipe.read_text("utf-8")
    kept = text[: text.index("  - name: sft")] + text[text.index("decontaminate:") :]
    folder = tmp_path / "world"
    folder.mkdir()
    for file in recipe.parent.glob("*.jsonl"):
        (folder / file.name).write_bytes(file.read_bytes())
    path = folder / "recipe.yaml"
    path.write_text(kept, "utf-8")
    return path, stopped_before(reference, "cpt/train", tmp_path / "run")


def with_gates(path: Path, gates: str, more: str = "") -> Path:
    text = path.read_text("utf-8").replace("    gates: []\n", f"    gates: [{gates}]\n{more}")
    path.write_text(text, "utf-8")
    return path


def responded(run: Path) -> list[dict[str, Any]]:
    return events(run, "responded")


def stage_of(run: Path) -> dict[str, Any]:
    report = json.loads((run / "report.json").read_text("utf-8"))
    return next(stage for stage in report["stages"] if stage["name"] == "cpt")


def test_attempts_that_all_fail_are_bounded_shown_and_the_best_is_kept(
    world: tuple[Path, Path],
) -> None:
    path, run = world
    with_gates(path, HOPELESS % "{kind: more_replay}, {kind: lower_rate}")
    done = samdan("run", path, "--out", run)
    assert done.code == 3, done.err
    first, second = responded(run)
    assert [row["kind"] for row in first["responses"]] == ["more_replay"]
    assert first["changes"] == {"replay_share": 0.5}
    assert [row["kind"] for row in second["responses"]] == ["lower_rate"]
    assert second["changes"] == {"learning_rate": 0.0005}
    stage = stage_of(run)
    assert stage["attempts"] == 4  # three, and the place of the one that was brought back
    shown = [attempt for attempt in stage["history"] if attempt["changes"]]
    assert [a["changes"] for a in shown] == ["replay_share 0.5", "learning_rate 0.0005"]
    # All attempts failed one gate, so the one nearest to its limit is kept.
    (chosen,) = events(run, "attempt_chosen")
    found = re.findall(r"attempt (\d): 1 gates failed, by ([\d.e+]+) limits", chosen["why"])
    beyond = {int(number): float(limits) for number, limits in found}
    assert set(beyond) == {1, 2, 3}
    assert beyond[chosen["attempt"]] == min(beyond.values())
    assert stage["settings"]["learning_rate"] == 0.001
    assert (run / "cpt" / "model" / "config.json").is_file()
    before = len(events(run))
    again = samdan("run", path, "--out", run)
    assert again.code == 3  # nothing is tried for a third time
    new = [e["event"] for e in events(run)[before:]]
    assert "responded" not in new
    begun = [e["step"] for e in events(run)[before:] if e["event"] == "step_begin"]
    assert "cpt/train" not in begun


def test_of_attempts_that_all_fail_a_later_one_is_kept_where_it_is_nearer(
    world: tuple[Path, Path],
) -> None:
    """A hundredth of the rate is asked for: the second attempt comes nearer and not near enough."""
    path, run = world
    with_gates(path, "{kind: at_least, metric: docs/bpb, value: 1000.0, "
               "respond: [{kind: lower_rate, factor: 0.01}]}")  # fmt: skip
    with pytest.raises(GateFailed):
        execute(load_recipe(path), run, say=lambda text: None)
    (chosen,) = events(run, "attempt_chosen")
    assert chosen["attempt"] == 2
    stage = stage_of(run)
    assert stage["settings"]["learning_rate"] == pytest.approx(1e-5)
    first = stage["history"][0]["metrics"]["docs/bpb"]["after"]
    assert stage["metrics"]["docs/bpb"]["after"] > first
    assert stage["kept"]["attempt"] == 2


def test_a_response_that_helps_ends_the_matter(world: tuple[Path, Path]) -> None:
    path, run = world
    # Between what the stage reaches at its rate and at a hundredth of it.
    reached = _docs_after(path, run)
    with_gates(path, f"{{kind: at_least, metric: docs/bpb, value: {reached + 0.05}, "
               "respond: [{kind: lower_rate, factor: 0.01}]}")  # fmt: skip
    done = samdan("run", path, "--out", run)
    assert done.code == 0, done.err
    assert len(responded(run)) == 1
    stage = stage_of(run)
    assert stage["gate"] == "passed"
    assert stage["settings"]["learning_rate"] == pytest.approx(1e-5)
    kept = Ledger(run).attempts("cpt")[-1]
    assert (kept / "model" / "config.json").is_file()
    # Another run goes the same way again without training anything.
    assert "cpt/train: done before" in samdan("run", path, "--out", run).err


def _docs_after(path: Path, run: Path) -> float:
    execute(load_recipe(path), run, say=lambda text: None)
    gate = json.loads((run / "cpt" / "gate.json").read_text("utf-8"))
    return float(gate["metrics"]["docs/bpb"]["after"])


def test_what_would_be_done_is_only_said(world: tuple[Path, Path]) -> None:
    path, run = world
    with_gates(path, HOPELESS % "{kind: more_replay}")
    said: list[str] = []
    with pytest.raises(GateFailed):
        execute(load_recipe(path), run, say=said.append, options=Options(dry_responses=True))
    assert any("Would respond with more_replay: replay_share 0.5" in line for line in said)
    assert not responded(run)
    assert len(events(run, "response_proposed")) == 1


def test_the_best_epoch_is_exported(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of five steps; the first is made to look better."""
    path, run = world
    text = path.read_text("utf-8").replace("    gates: []\n", '    keep_best: knowledge/accuracy\n'
                                           "    gates: []\n")  # fmt: skip
    path.write_text(text, "utf-8")
    measure, seen = watching.score_task, []

    def graded(*given: Any) -> Any:
        (result,) = measure(*given).results
        seen.append(len(seen))
        worse = replace(result, numerators=(float(len(seen) == 1),) * len(result.numerators))
        return Scored((worse,))

    monkeypatch.setattr(watching, "score_task", graded)
    said: list[str] = []
    execute(load_recipe(path), run, say=said.append)
    assert "cpt: knowledge/accuracy was best at step 5; that model is kept" in said
    rows = [r for r in rows_of(run / "metrics.jsonl") if "keep_best" in r]
    assert [(r["step"], r["knowledge/accuracy"]) for r in rows] == [(5, 1.0), (10, 0.0)]
    (done,) = [e for e in events(run, "step_done") if e["step"] == "cpt/train"]
    assert done["facts"]["kept_step"] == 5


def test_no_response_no_second_attempt(world: tuple[Path, Path]) -> None:
    path, run = world
    with_gates(path, HOPELESS % "{kind: more_replay}", "    max_responses: 0\n")
    with pytest.raises(GateFailed):
        execute(load_recipe(path), run, say=lambda text: None)
    assert not responded(run)
    assert not Ledger(run).attempts("cpt")


@pytest.mark.parametrize("moment", ["cpt: docs/bpb is", "cpt/train: ", "cpt/gate: "])
def test_a_crash_behind_a_response_loses_nothing(
    moment: str, world: tuple[Path, Path], tmp_path: Path
) -> None:
    """Right behind the decision, before the second attempt, and at its end."""
    path, run = world
    with_gates(path, HOPELESS % "{kind: lower_rate}, {kind: lower_rate, factor: 0.1}")
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(run, undisturbed)
    assert samdan("run", path, "--out", undisturbed).code == 3
    assert killed_when_said(path, run, moment) == -signal.SIGKILL
    assert samdan("run", path, "--out", run).code == 3
    assert [e["changes"] for e in responded(run)] == [e["changes"] for e in responded(undisturbed)]
    assert weights(run, "cpt") == weights(undisturbed, "cpt")
    for number in (2, 3):
        mine, theirs = (Ledger(r).attempt("cpt", number) for r in (run, undisturbed))
        assert learned(mine) == learned(theirs)


def learned(attempt: Path) -> list[tuple[int, float]]:
    rows = rows_of(attempt / "metrics.jsonl")
    return [(row["step"], row["loss"]) for row in rows]


def spike_once(monkeypatch: pytest.MonkeyPatch, at: int, since: int, times: int = 1) -> None:
    """The rule fires at a step of the first attempts."""
    fired: list[int] = []

    def judge(self: LossSpike, history: Sequence[Metrics]) -> Verdict:
        fires = history[-1].step == at and len(fired) < times
        if fires:
            fired.append(at)
        return Verdict("loss_spike", fires, 9.0, 6.0, "a spike", since=since)

    monkeypatch.setattr(LossSpike, "__call__", judge)


def test_after_a_spike_training_goes_on_from_the_checkpoint_before_it(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = world
    spike_once(monkeypatch, at=9, since=5)  # checkpoints at 4 and 8
    execute(load_recipe(path), run, say=lambda text: None)
    (event,) = responded(run)
    assert event["checkpoint"] == "cpt/attempt-1/checkpoints/step-000004"
    assert event["changes"] == {"learning_rate": 0.0005}
    rows = [r for r in rows_of(run / "metrics.jsonl") if r["stage"] == "cpt"]
    assert [r["step"] for r in rows] == list(range(1, 11))
    earlier = rows_of(run / "cpt" / "attempt-1" / "metrics.jsonl")
    assert [r["step"] for r in earlier] == list(range(1, 10))
    assert rows[3]["lr"] == earlier[3]["lr"]  # the same past
    assert rows[8]["lr"] == pytest.approx(earlier[8]["lr"] / 2)


def test_rules_see_only_what_all_processes_measured(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row but the start has gone through the mean over processes, held-out text with it."""
    path, run = world
    seen: list[Metrics] = []
    reduced: list[dict[str, float]] = []

    def mean(values: Mapping[str, float]) -> dict[str, float]:
        reduced.append({name: value + 1000.0 for name, value in values.items()})
        return reduced[-1]

    def judge(self: LossSpike, history: Sequence[Metrics]) -> Verdict:
        seen.append(history[-1])
        return Verdict("loss_spike", False, 0.0, 6.0, "")

    monkeypatch.setattr(watching.parallel, "mean_over_ranks", mean)
    monkeypatch.setattr(LossSpike, "__call__", judge)
    execute(load_recipe(path), run, say=lambda text: None)
    assert [row.values for row in seen] == reduced
    assert len(seen) == 10
    assert any("heldout/docs/bpb" in row.values for row in seen)
    assert all(row.values["tokens_per_second"] > 1000 for row in seen)


def test_what_rules_have_seen_survives_a_crash(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Patience is counted in the history: after a crash it is the one of a run without."""
    path, run = world
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(run, undisturbed)
    seen: dict[int, list[Metrics]] = {}

    def judge(self: LossSpike, history: Sequence[Metrics]) -> Verdict:
        seen[history[-1].step] = list(history)
        return Verdict("loss_spike", False, 0.0, 6.0, "")

    def crash(where: str, step: int) -> None:
        if (where, step) == ("updated", 7):
            raise EnvironmentFailure("the machine is gone")

    monkeypatch.setattr(LossSpike, "__call__", judge)
    execute(load_recipe(path), undisturbed, say=lambda text: None)
    expected, seen = seen, {}
    with pytest.raises(EnvironmentFailure, match="the machine is gone"):
        execute(load_recipe(path), run, say=lambda text: None, injected=crash)
    assert max(seen) == 6
    execute(load_recipe(path), run, say=lambda text: None)
    assert sorted(seen) == list(range(1, 11))
    for step in (5, 10):  # the checkpoint is of step 4
        assert [_without_clock(row) for row in seen[step]] == [
            _without_clock(row) for row in expected[step]
        ]
    assert any("heldout/docs/bpb" in row.values for row in seen[10][:4])


def _without_clock(row: Metrics) -> tuple[int, dict[str, float]]:
    values = {name: value for name, value in row.values.items() if name != "tokens_per_second"}
    return row.step, {name: round(value, 9) for name, value in values.items()}


def test_a_filling_disk_is_said_before_it_is_full(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = world
    free = iter([10**12, *[0] * 99])  # room when the stage begins, none at step 5
    usage = shutil.disk_usage(run)
    monkeypatch.setattr(
        room.shutil, "disk_usage", lambda path: usage._replace(free=next(free))
    )
    monkeypatch.setattr(Training, "save", lambda self: None)
    said: list[str] = []
    execute(load_recipe(path), run, say=said.append)
    assert len([line for line in said if "no room for the next checkpoint" in line]) == 1
    (event,) = events(run, "disk_filling")
    assert "GB needed, 0 GB free" in event["text"]


def test_a_stage_that_cannot_be_saved_does_not_begin(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = world
    usage = shutil.disk_usage(run)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(EnvironmentFailure, match="its checkpoints do not fit the disk") as failed:
        execute(load_recipe(path), run, say=lambda text: None)
    assert "choose another --out" in str(failed.value)
    assert not [row for row in rows_of(run / "metrics.jsonl") if row["stage"] == "cpt"]


def test_a_spike_that_nothing_answers_stops_the_run(
    world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = world
    spike_once(monkeypatch, at=9, since=5, times=9)
    with pytest.raises(TrainError, match="loss_spike fired at step 9"):
        execute(load_recipe(path), run, say=lambda text: None)
    assert len(responded(run)) == 1  # the default response is used once
