"""Many requests to one model, a bounded number at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Final

from samdan.lm.client import Reply, Teacher
from samdan.records import EnvironmentFailure

MAX_FAILURES_IN_A_ROW: Final = 10


@dataclass(frozen=True, slots=True)
class Question:
    """One request; ``id`` names it in what is kept."""

    id: str
    messages: list[dict[str, str]]
    seed: int


def ask_all(
    teacher: Teacher,
    questions: Iterator[Question],
    got: Callable[[str, Reply, int], None],
    unreachable: Callable[[str], str],
) -> None:
    """Asks every question; ``got`` receives its id, the reply and how many are under way.

    ``got`` is called in the caller's thread. Raises EnvironmentFailure, worded by ``unreachable``
    from the last failure, when ten requests in a row failed. On any exception the requests under
    way are cut off; what was answered by then has been handed over.
    """
    failures = 0
    with ThreadPoolExecutor(teacher.settings.parallel, "teacher") as pool:
        try:
            waiting: dict[Future[Reply], str] = {}
            while True:
                for one in islice(questions, teacher.settings.parallel * 2 - len(waiting)):
                    future = pool.submit(teacher.ask, one.id, one.messages, one.seed)
                    waiting[future] = one.id
                if not waiting:
                    return
                done = wait(waiting, return_when=FIRST_COMPLETED).done
                # In the order of asking, and what is answered before what ends it all.
                inside = [future for future in waiting if future in done]
                for future in sorted(inside, key=lambda future: future.exception() is not None):
                    reply = future.result()
                    got(waiting.pop(future), reply, len(waiting))
                    failures = failures + 1 if reply.status == "failed" else 0
                    if failures == MAX_FAILURES_IN_A_ROW:
                        raise EnvironmentFailure(unreachable(reply.detail))
        except BaseException:
            teacher.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
