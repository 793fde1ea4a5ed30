"""Tasks to workers: the same tasks on this machine's cores or on a cluster, with equal results.

A task is a function that can be imported by name and an argument that JSON can hold. It reads files
and writes into a folder of its own, which appears whole: a task whose folder is there is not done
again, and that is how preparation goes on after a crash. Results come back in the order of the
tasks, so the number of workers changes nothing but the time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from samdan.records import EnvironmentFailure

Work = Callable[[Mapping[str, Any], Path], dict[str, Any]]
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
FACTS = "facts.json"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Engine:
    """Where tasks run. ``workers``: processes, 0 for one per core that this process may use."""

    kind: Literal["local", "ray", "slurm"] = "local"
    workers: int = 0

    @property
    def processes(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Job:
    """Tasks of one kind and the folder that their results go to."""

    work: Work
    tasks: Sequence[Mapping[str, Any]]
    folder: Path

    def place(self, number: int) -> Path:
        return self.folder / f"{number:05d}"

    def is_done(self, number: int) -> bool:
        found = _read(self.place(number) / FACTS)
        return found is not None and found.get("task") == self._key(number)

    def facts(self, number: int) -> dict[str, Any]:
        found = _read(self.place(number) / FACTS)
        assert found is not None, "asked after the task was done"
        facts: dict[str, Any] = found["facts"]
        return facts

    def do(self, number: int) -> None:
        """Carries out one task; its folder appears when everything in it is written."""
        final = self.place(number)
        staging = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        facts = self.work(self.tasks[number], staging)
        value = {"task": self._key(number), "facts": facts}
        (staging / FACTS).write_text(json.dumps(value, ensure_ascii=False), "utf-8")
        shutil.rmtree(final, ignore_errors=True)
        staging.rename(final)

    def _key(self, number: int) -> str:
        named = [self.work.__module__, self.work.__qualname__, self.tasks[number]]
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def carry_out(
    job: Job, engine: Engine | None = None, poll: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Does the tasks that are not done yet and returns what all of them say, in their order.

    ``poll`` is called between tasks and may raise to stop. An error of a task is raised here;
    finished tasks are kept. Raises EnvironmentFailure when a worker is killed.
    """
    chosen = engine or Engine()
    job.folder.mkdir(parents=True, exist_ok=True)
    for leftover in job.folder.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    todo = [number for number in range(len(job.tasks)) if not job.is_done(number)]
    if chosen.kind != "local" and todo:
        from samdan.data.cluster import on_cluster

        on_cluster(job, todo, chosen, poll)
    elif len(todo) > 1 and chosen.processes > 1:
        _in_processes(job, todo, min(chosen.processes, len(todo)), poll)
    else:
        for number in todo:
            poll()
            job.do(number)
    return [job.facts(number) for number in range(len(job.tasks))]


def _in_processes(
    job: Job, todo: Sequence[int], processes: int, poll: Callable[[], None]
) -> None:
    # Spawned, not forked: torch's threads do not survive a fork.
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_begin_worker) as pool:
        waiting = {pool.submit(job.do, number) for number in todo}
        try:
            while waiting:
                poll()
                done, waiting = wait(waiting, timeout=POLL_SECONDS)
                _raise_first(done)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def mapping(
    engine: Engine | None = None, poll: Callable[[], None] = lambda: None
) -> Iterator[Map]:
    """Gives a ``map`` over the local processes that keeps the order and a few items in flight.

    For work whose pieces are too small, or too bound to each other, to be tasks with folders.
    """
    processes = (engine or Engine()).processes
    if processes == 1:
        yield map
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_begin_worker) as pool:

        def apply(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            waiting: deque[Future[Any]] = deque()
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * processes:
                    poll()
                    yield _result(waiting.popleft())
            while waiting:
                poll()
                yield _result(waiting.popleft())

        try:
            yield apply
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _raise_first(done: set[Future[None]]) -> None:
    for future in done:
        _result(future)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        raise EnvironmentFailure(
            "a worker of the preparation was killed, probably for want of memory; run again "
            "with fewer --workers (what is finished is kept)"
        ) from None


def _begin_worker() -> None:
    """A signal from the terminal reaches every process: the main one alone decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
