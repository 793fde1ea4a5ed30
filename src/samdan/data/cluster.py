"""A job's tasks on a cluster, through datatrove's executors for Ray and Slurm.

The run directory must lie on a file system that all machines share. Tasks write the same folders as
they do on one machine, byte for byte. Partition and time of Slurm are sbatch's own environment
variables (SBATCH_PARTITION, SBATCH_TIMELIMIT); Ray's address is RAY_ADDRESS, and without it a Ray
of this machine is started.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdan.data.engine import Engine, Job
from samdan.records import EnvironmentFailure

POLL_SECONDS = 5.0
LOGS = "cluster"


@dataclass(frozen=True)
class _Rank:
    """datatrove's pipeline step: the rank's task of the job."""

    job: Job
    todo: Sequence[int]

    def __call__(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        self.job.do(self.todo[rank])
        return iter(())


def on_cluster(
    job: Job, todo: Sequence[int], engine: Engine, poll: Callable[[], None] = lambda: None
) -> None:
    """Carries out the tasks ``todo``; raises EnvironmentFailure when one of them is not done."""
    try:
        from loguru import logger
    except ImportError:
        raise EnvironmentFailure(
            f"--engine {engine.kind}: needs datatrove: pip install 'samdan[cluster]'"
        ) from None
    logger.disable("datatrove")  # its logs lie in files, by task
    logs = job.folder / LOGS
    shutil.rmtree(logs, ignore_errors=True)  # completion is ours to judge, from the tasks' folders
    if engine.kind == "ray":
        _on_ray(_Rank(job, todo), len(todo), engine, logs)
    else:
        _on_slurm(_Rank(job, todo), len(todo), engine, logs)
        _wait_for(job, todo, logs, poll)
    missing = [number for number in todo if not job.is_done(number)]
    if missing:
        raise EnvironmentFailure(
            f"--engine {engine.kind}: {len(missing)} of {len(todo)} tasks failed; their logs are "
            f"in {logs / 'logs'}. What is finished is kept; run again to do the rest."
        )


def _on_ray(step: _Rank, tasks: int, engine: Engine, logs: Path) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from datatrove.executor.ray import RayPipelineExecutor
    except ImportError:
        raise EnvironmentFailure(
            "--engine ray: needs Ray: pip install 'samdan[cluster]'"
        ) from None
    started = not ray.is_initialized()
    if started:
        cores = None if "RAY_ADDRESS" in os.environ else engine.processes
        ray.init(
            num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
    try:
        RayPipelineExecutor(
            [step],
            tasks=tasks,
            workers=engine.workers or -1,
            mem_per_cpu_gb=0.5,
            logging_dir=str(logs),
        ).run()
    finally:
        if started:
            ray.shutdown()


def _on_slurm(step: _Rank, tasks: int, engine: Engine, logs: Path) -> None:
    if shutil.which("sbatch") is None:
        raise EnvironmentFailure("--engine slurm: there is no 'sbatch' on this machine")
    from datatrove.executor.slurm import SlurmPipelineExecutor

    SlurmPipelineExecutor(
        [step],
        tasks=tasks,
        time=os.environ.get("SBATCH_TIMELIMIT", "24:00:00"),
        partition=os.environ.get("SBATCH_PARTITION", ""),
        workers=engine.workers or -1,
        job_name="samdan",
        env_command=os.environ.get("SAMDAN_SLURM_ENV", "true"),
        logging_dir=str(logs),
    ).run()


def _wait_for(job: Job, todo: Sequence[int], logs: Path, poll: Callable[[], None]) -> None:
    """Until every task is done, or no job of the array is left that could do it."""
    while not all(job.is_done(number) for number in todo):
        poll()
        if (logs / "stats.json").is_file():  # datatrove's last job, after the whole array
            return
        time.sleep(POLL_SECONDS)
