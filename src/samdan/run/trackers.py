"""The trackers of ``report_to``, each through its own library, told no more than the numbers."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from samdan.records import EnvironmentFailure
from samdan.trackers import Mlflow, TensorBoard, Tracker, Trackio, Wandb


class Opened(Protocol):
    """A tracker that takes numbers."""

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def require(tracker: Tracker) -> None:
    """Raises EnvironmentFailure where its library is not installed: before a run begins."""
    try:
        with _said_nothing():
            _import(tracker)
    except ImportError as error:
        raise EnvironmentFailure(
            f"report_to: {tracker.kind} needs {error.name}: pip install 'samdan[{tracker.kind}]', "
            f"or take it out of report_to"
        ) from None


def _import(tracker: Tracker) -> None:
    if isinstance(tracker, TensorBoard):
        from tensorboard.summary import Writer  # noqa: F401
    elif isinstance(tracker, Wandb):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
        import wandb  # noqa: F401
    elif isinstance(tracker, Mlflow):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient  # noqa: F401
    else:
        _import_trackio(None)


def _import_trackio(folder: Path | None) -> Any:
    """It reads its folder from the environment when it is imported."""
    if folder is not None:
        os.environ.setdefault("TRACKIO_DIR", str(folder))
        import trackio

        return trackio
    from importlib.util import find_spec

    if find_spec("trackio") is None:
        raise ModuleNotFoundError("no trackio", name="trackio")
    return None


def opened(tracker: Tracker, name: str, folder: Path) -> Opened:
    """``name``: of the run. ``folder``: the run's. Whatever the library raises comes through."""
    with _said_nothing():
        if isinstance(tracker, TensorBoard):
            return _TensorBoard(folder / "tensorboard")
        if isinstance(tracker, Wandb):
            return _Wandb(tracker, name, folder)
        if isinstance(tracker, Mlflow):
            return _Mlflow(tracker, name, folder / "mlflow")
        return _Trackio(tracker, name, folder / "trackio")


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from tensorboard.summary import Writer

        self._writer = Writer(str(folder))

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of its own for every start of the command, grouped by the run's name.

    Nothing about the machine, the code or the recipe is collected.
    """

    def __init__(self, tracker: Wandb, name: str, folder: Path) -> None:
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            host="-",
        )
        self._run = wandb.init(
            project=tracker.project,
            entity=tracker.entity,
            name=name,
            group=name,
            mode=tracker.mode,
            dir=str(folder),
            settings=settings,
        )
        self._known: set[str] = set()

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Every stage has steps of its own, so each has an axis of its own."""
        if stage not in self._known:
            self._known.add(stage)
            self._run.define_metric(f"{stage}/step")
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        told = {f"{stage}/{name}": value for name, value in values.items()}
        self._run.log({f"{stage}/step": step, **told})

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    """A run of its own for every start of the command."""

    def __init__(self, tracker: Mlflow, name: str, folder: Path) -> None:
        from mlflow import MlflowClient

        if tracker.tracking_uri is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._client = MlflowClient(tracking_uri=tracker.tracking_uri or folder.resolve().as_uri())
        known = self._client.get_experiment_by_name(tracker.experiment)
        number = (
            known.experiment_id if known else self._client.create_experiment(tracker.experiment)
        )
        self._run = self._client.create_run(number, run_name=name).info.run_id

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        told = [Metric(f"{stage}/{name}", value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=told)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _Trackio:
    """A run of its own for every start of the command, grouped by the run's name."""

    def __init__(self, tracker: Trackio, name: str, folder: Path) -> None:
        trackio = _import_trackio(folder)
        with _without("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL"):
            self._run = trackio.init(
                project=tracker.project,
                group=name,
                space_id=tracker.space_id,
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log({f"{stage}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        with _said_nothing():
            self._run.finish()


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """The environment without variables that send numbers where the recipe does not say."""
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ |= before


@contextlib.contextmanager
def _said_nothing() -> Iterator[None]:
    """Greetings of the libraries do not belong into the output of the run."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
