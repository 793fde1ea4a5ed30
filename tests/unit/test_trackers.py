"""`report_to`: every tracker through its own library, and none of them in the way of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from samdan.recipe import parse, schema
from samdan.records import EnvironmentFailure, RecipeError
from samdan.run import now as snapshot
from samdan.run.ledger import Ledger
from samdan.run.sinks import Beside, Sinks
from samdan.run.trackers import opened, require
from samdan.trackers import Mlflow, TensorBoard, Tracker, Trackio, Wandb

RECIPE = "samdan: 1\nname: x\nbase: {path: b}\nstages: [{name: cpt, data: [{path: d.md}]}]\n"


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("", []),
        ("report_to: none", []),
        ("report_to: tensorboard", ["tensorboard"]),
        ("report_to: [tensorboard, trackio]", ["tensorboard", "trackio"]),
        ("report_to: {kind: wandb, mode: online}", ["wandb"]),
        ("report_to: [mlflow, {kind: wandb, project: p}]", ["mlflow", "wandb"]),
    ],
)
def test_as_in_training_arguments(text: str, kinds: list[str]) -> None:
    assert [one.kind for one in parse(RECIPE + text, "r").report_to] == kinds


def test_a_tracker_that_nobody_knows_is_told() -> None:
    with pytest.raises(RecipeError, match="report_to"):
        parse(RECIPE + "report_to: [tensorbord]", "r")
    with pytest.raises(RecipeError, match="tracking_url"):
        parse(RECIPE + "report_to: [{kind: mlflow, tracking_url: u}]", "r")


def test_nothing_is_sent_unless_the_recipe_says_so() -> None:
    assert Wandb().mode == "offline"
    assert Mlflow().tracking_uri is None
    assert Trackio().space_id is None


def test_an_editor_knows_the_names() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(schema())
    base = {"samdan": 1, "name": "x", "base": {"path": "b"},
            "stages": [{"name": "cpt", "data": [{"path": "d"}]}]}  # fmt: skip
    assert check.is_valid({**base, "report_to": ["tensorboard", {"kind": "wandb"}]})
    assert not check.is_valid({**base, "report_to": ["tensorbord"]})


@pytest.mark.parametrize(
    ("tracker", "module"),
    [(TensorBoard(), "tensorboard.summary"), (Wandb(), "wandb"), (Mlflow(), "mlflow")],
)
def test_a_library_that_is_not_there_is_said_before_anything_begins(
    tracker: Tracker, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EnvironmentFailure, match=rf"pip install 'samdan\[{tracker.kind}\]'"):
        require(tracker)


class Standin(ModuleType):
    """A library that writes down what it is told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def noting(self, name: str, result: Any = None) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.calls.append((name, args, named))
            return result

        return call

    def named(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, given) for found, args, given in self.calls if found == name]


def test_wandb_is_offline_and_told_numbers_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Standin("wandb")
    run = SimpleNamespace(
        log=wandb.noting("log"), define_metric=wandb.noting("axis"), finish=wandb.noting("finish")
    )
    wandb.init, wandb.Settings = wandb.noting("init", run), wandb.noting("settings", "S")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    require(Wandb())
    found = opened(Wandb(), "demo", tmp_path)
    found.log("cpt", 10, {"loss": 1.5})
    found.log("cpt", 20, {"loss": 1.0})
    found.close()
    ((_, given),) = wandb.named("init")
    assert given["mode"] == "offline"
    assert given["dir"] == str(tmp_path)
    assert "config" not in given
    ((_, settings),) = wandb.named("settings")
    assert settings["x_disable_stats"] is settings["x_disable_meta"] is True
    assert settings["disable_git"] is settings["disable_code"] is True
    assert wandb.named("log") == [
        (({"cpt/step": 10, "cpt/loss": 1.5},), {}),
        (({"cpt/step": 20, "cpt/loss": 1.0},), {}),
    ]
    assert len(wandb.named("axis")) == 2
    assert len(wandb.named("finish")) == 1


def test_mlflow_writes_into_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow, entities = Standin("mlflow"), Standin("mlflow.entities")
    client = SimpleNamespace(
        get_experiment_by_name=mlflow.noting("find"),
        create_experiment=mlflow.noting("experiment", "7"),
        create_run=mlflow.noting("run", SimpleNamespace(info=SimpleNamespace(run_id="r"))),
        log_batch=mlflow.noting("log"),
        set_terminated=mlflow.noting("end"),
    )
    mlflow.MlflowClient = mlflow.noting("client", client)  # type: ignore[attr-defined]
    entities.Metric = lambda name, value, time, step: (name, value, step)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    found = opened(Mlflow(), "demo", tmp_path)
    found.log("sft", 3, {"loss": 2.0})
    found.close()
    ((_, given),) = mlflow.named("client")
    assert given == {"tracking_uri": (tmp_path / "mlflow").as_uri()}
    assert mlflow.named("log") == [(("r",), {"metrics": [("sft/loss", 2.0, 3)]})]
    opened(Mlflow(tracking_uri="http://127.0.0.1:5000"), "demo", tmp_path)
    assert mlflow.named("client")[1][1] == {"tracking_uri": "http://127.0.0.1:5000"}


def test_trackio_ignores_a_space_that_the_recipe_does_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trackio = Standin("trackio")
    seen: list[str | None] = []

    def init(**given: Any) -> Any:
        seen.extend([os.environ.get("TRACKIO_SPACE_ID"), os.environ.get("TRACKIO_DIR")])
        trackio.noting("init")(**given)
        return SimpleNamespace(log=trackio.noting("log"), finish=trackio.noting("finish"))

    trackio.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    found = opened(Trackio(), "demo", tmp_path)
    found.log("dpo", 5, {"loss": 0.5})
    found.close()
    assert seen == [None, str(tmp_path / "trackio")]
    assert os.environ["TRACKIO_SPACE_ID"] == "somebody/space"
    ((_, given),) = trackio.named("init")
    assert given["space_id"] is None
    assert given["auto_log_gpu"] is given["auto_log_cpu"] is False
    assert trackio.named("log") == [(({"dpo/loss": 0.5},), {"step": 5})]


def test_tensorboard_for_real(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    require(TensorBoard())
    found = opened(TensorBoard(), "demo", tmp_path)
    for step in (1, 2, 3):
        found.log("cpt", step, {"loss": 4.0 - step, "heldout/a/bpb": 1.0})
    found.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    events = read.Tensors("cpt/loss")
    assert [(e.step, float(make_ndarray(e.tensor_proto))) for e in events] == [
        (1, 3.0), (2, 2.0), (3, 1.0),
    ]  # fmt: skip
    assert "cpt/heldout/a/bpb" in read.Tags()["tensors"]


ROWS = [("cpt", 1, {"loss": 3.0}), ("cpt", 2, {"loss": 2.0, "heldout/a/bpb": 1.5}),
        ("sft", 1, {"loss": 1.0, "qa/exact": 0.25})]  # fmt: skip


def told(tracker: Tracker, folder: Path) -> None:
    """The same rows to any tracker, as a run tells them: by a thread of its own."""
    require(tracker)
    beside = Beside(tracker.kind, lambda: opened(tracker, "demo", folder))
    for stage, step, values in ROWS:
        beside.log(stage, step, values)
    beside.close(120.0)
    assert beside.fault is None


def wandb_records(path: Path) -> Iterator[bytes]:
    """Of a LevelDB log: blocks of 32 KiB, chunks with crc (4 bytes), length (2), type (1)."""
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_wandb_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "online")  # the recipe says what is sent
    told(Wandb(), tmp_path)
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    rows, kinds = [], set()
    for record in map(Record.FromString, wandb_records(path)):
        kind = record.WhichOneof("record_type")
        kinds.add(kind)
        if kind == "history":
            items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            rows.append({k: float(v) for k, v in items.items() if not k.startswith("_")})
        elif kind == "run":
            assert record.run.run_group == record.run.display_name == "demo"
            assert record.run.git.commit == ""
            assert record.run.host == "-"
    assert kinds >= {"run", "history", "exit"}
    assert rows == [
        {f"{stage}/step": float(step)} | {f"{stage}/{name}": v for name, v in values.items()}
        for stage, step, values in ROWS
    ]
    assert "stats" not in kinds
    names = {p.name for p in (tmp_path / "wandb").rglob("*") if p.is_file()}
    assert not {n for n in names if "metadata" in n or "requirements" in n or n.endswith(".patch")}


def test_mlflow_for_real(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    told(Mlflow(), tmp_path)
    client = MlflowClient(tracking_uri=(tmp_path / "mlflow").as_uri())
    found = client.get_experiment_by_name("samdan")
    (run,) = client.search_runs([found.experiment_id])
    assert (run.info.run_name, run.info.status) == ("demo", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "cpt/loss")
    assert [(m.step, m.value) for m in history] == [(1, 3.0), (2, 2.0)]
    assert run.data.metrics["sft/qa/exact"] == 0.25
    assert run.data.metrics["cpt/heldout/a/bpb"] == 1.5
    assert run.data.params == {}


def test_trackio_for_real(tmp_path: Path) -> None:
    """In a process of its own: the library reads its folder when it is imported."""
    pytest.importorskip("trackio")
    script = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from samdan.run.sinks import Beside\n"
        "from samdan.run.trackers import opened, require\n"
        "from samdan.trackers import Trackio\n"
        "require(Trackio())\n"
        "beside = Beside('trackio', lambda: opened(Trackio(), 'demo', Path(sys.argv[1])))\n"
        "for stage, step, values in json.loads(sys.argv[2]): beside.log(stage, step, values)\n"
        "beside.close(120.0)\n"
        "assert beside.fault is None, beside.fault\n"
        "import trackio\n"
        "from trackio.sqlite_storage import SQLiteStorage\n"
        "(run,) = trackio.Api().runs('samdan')\n"
        "rows = SQLiteStorage.get_logs('samdan', run.name)\n"
        "print(json.dumps({'config': run.config, 'rows': rows}, default=str))\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), json.dumps(ROWS)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # nothing of its own on the standard output
    assert found["config"]["_Group"] == "demo"
    shown = [{k: v for k, v in one.items() if "/" in k or k == "step"} for one in found["rows"]]
    assert shown == [
        {"step": step} | {f"{stage}/{name}": v for name, v in values.items()}
        for stage, step, values in ROWS
    ]
    assert list((tmp_path / "trackio").glob("*.db"))


class Odd:
    """A tracker that fails, or hangs."""

    def __init__(self, at: int = 0, waits: threading.Event | None = None) -> None:
        self.at, self.waits = at, waits
        self.rows: list[tuple[str, int, Mapping[str, float]]] = []
        self.closed = False

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if self.waits is not None:
            self.waits.wait(60)
        if step == self.at:
            raise ConnectionError("the server is gone")
        self.rows.append((stage, step, values))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Sinks, list[str]]:
    monkeypatch.setattr(snapshot, "usage", dict)
    said: list[str] = []
    return Sinks(Ledger(tmp_path), (), said.append, lambda row: None), said


def row(step: int, of: int = 10, **more: Any) -> dict[str, Any]:
    return {
        "stage": "cpt", "step": step, "of": of, "tokens": step, "loss": float(step),
        "lr": 1e-5, "tokens_per_second": 9.0, "logging_steps": 4, "rules": [], **more,
    }  # fmt: skip


def test_trackers_get_means_every_logging_steps_and_what_was_measured(
    run: tuple[Sinks, list[str]],
) -> None:
    sinks, said = run
    tracker = Odd()
    sinks._open = [Beside("odd", lambda: tracker)]
    for step in range(1, 11):
        sinks.row(row(step, **({"heldout/a/bpb": 1.0} if step == 6 else {})))
    sinks.results("cpt", {"qa/exact": {"after": 0.5}, "odd": {"after": None}})
    sinks.end()
    assert tracker.closed
    losses = [(step, values.get("loss")) for _, step, values in tracker.rows]
    assert losses == [(4, 2.5), (6, 5.5), (8, 7.5), (10, 9.5), (10, None)]
    assert tracker.rows[1][2]["heldout/a/bpb"] == 1.0
    assert tracker.rows[-1][2] == {"eval/qa/exact": 0.5}
    assert "rules" not in tracker.rows[0][2]
    assert said == []


def test_a_tracker_that_fails_is_told_once_and_the_others_go_on(
    run: tuple[Sinks, list[str]],
) -> None:
    sinks, said = run
    good = Odd()
    bad = Beside("bad", lambda: Odd(at=4))
    sinks._open = [bad, Beside("good", lambda: good)]
    for step in range(1, 6):
        sinks.row(row(step))
    bad._thread.join(60)
    for step in range(6, 11):
        sinks.row(row(step))
    sinks.end()
    assert [step for _, step, _ in good.rows] == [4, 8, 10]
    assert len(said) == 1
    assert "report_to: bad ConnectionError: the server is gone; the run goes on" in said[0]
    events = [event["event"] for event in sinks._ledger.events()]
    assert events == ["tracker_failed"]


def test_a_tracker_that_hangs_holds_up_nothing() -> None:
    waits = threading.Event()
    slow = Beside("slow", lambda: Odd(waits=waits))
    for step in range(5000):
        slow.log("cpt", step + 1, {})
    assert slow.left_out > 0
    slow.close(patience=0.05)
    assert slow.fault is not None
    waits.set()


def test_a_tracker_that_cannot_begin_does_not_stop_the_run(run: tuple[Sinks, list[str]]) -> None:
    def make() -> Odd:
        raise PermissionError("no key")

    sinks, said = run
    sinks._open = [Beside("wandb", make)]
    sinks._open[0]._thread.join(60)
    sinks.row(row(1))
    sinks.row(row(4))
    sinks.end()
    assert said == [
        "report_to: wandb PermissionError: no key; the run goes on, metrics.jsonl has everything"
    ]
