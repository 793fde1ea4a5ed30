"""Processes that wait for one another through a store, with signs of life and without a limit."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from samdan.records import EnvironmentFailure, Preempted, first_line

BEAT = 5.0  # seconds between two signs of life
PATIENCE = 120.0  # seconds without one, after which a process counts as lost
GRACE = 20.0  # seconds that a process waits on after it was asked to stop; launchers kill after 30
LONGEST_PAUSE = 0.5


class Meeting:
    """One process's part. ``store``: torch's, of which only ``add``, ``set``, ``get``, ``check``
    are used, none of them on a key that may be absent."""

    def __init__(self, store: Any, rank: int, world_size: int) -> None:
        self.store, self.rank, self.world_size = store, rank, world_size
        self.signal: Callable[[], int] = lambda: 0  # that asked this process to stop, if one did
        self._met = 0
        self._over = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def meet(self) -> None:
        """Waits until every process is here.

        Raises EnvironmentFailure when one said that it failed or gives no sign of life, and
        Preempted when one was stopped, or this one was asked to stop and the others do not come.
        """
        self._met += 1
        key = f"met/{self._met}"
        watch = _Watch(self)
        pause = 0.002
        arrived = self._add(key, 1)
        while arrived < self.world_size:
            watch.look()
            time.sleep(pause)
            pause = min(1.3 * pause, LONGEST_PAUSE)
            arrived = self._add(key, 0)

    def share(self, text: str) -> list[str]:
        """What every process says, by number."""
        turn = self._met + 1
        self._call(lambda: self.store.set(f"said/{turn}/{self.rank}", text))
        self.meet()
        return [self._get(f"said/{turn}/{number}") for number in range(self.world_size)]

    def ticket(self) -> int:
        """How many tickets were drawn before, by any process, since all of them met last."""
        return self._add(f"tickets/{self._met}", 1) - 1

    def tell_failure(self, text: str) -> None:
        """The others, waiting, leave with this reason."""
        try:
            if not self.store.check(["failed"]):
                self.store.set("failed", f"process {self.rank}: {text}")
        except RuntimeError:
            pass  # the store is gone, and the others know by that

    def tell_stop(self, number: int) -> None:
        """The others stop as well, as if they had received this signal."""
        with contextlib.suppress(RuntimeError):  # as above
            self.store.set("stopped", str(number))

    def told_to_stop(self) -> int:
        """The signal that another process was stopped by; 0 while none was."""
        if not self._call(lambda: self.store.check(["stopped"])):
            return 0
        return int(self._get("stopped"))

    def end(self) -> None:
        """Ends the signs of life. Process 0, which may keep the store, waits for the others."""
        try:
            left = self.store.add("left", 1)
            deadline = time.monotonic() + GRACE / 2
            while self.rank == 0 and left < self.world_size and time.monotonic() < deadline:
                time.sleep(0.02)
                left = self.store.add("left", 0)
        except RuntimeError:
            pass  # its keeper left first
        self._over.set()

    def beats(self) -> Sequence[int]:
        """Signs of life so far, by process."""
        return [self._add(f"beat/{number}", 0) for number in range(self.world_size)]

    def failure(self) -> str | None:
        if not self._call(lambda: self.store.check(["failed"])):
            return None
        return self._get("failed")

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            try:
                self.store.add(f"beat/{self.rank}", 1)
            except RuntimeError:
                return  # whoever waits notices too

    def _get(self, key: str) -> str:
        text: str = self._call(lambda: self.store.get(key)).decode()
        return text

    def _add(self, key: str, amount: int) -> int:
        return int(self._call(lambda: self.store.add(key, amount)))

    def _call(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except RuntimeError as error:
            raise EnvironmentFailure(
                f"process {self.rank} lost the connection to the process that keeps the store "
                f"({first_line(error)[:200]}); run the same command again to go on"
            ) from None


class _Watch:
    """Looks after the other processes while one waits."""

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        self.beats: list[int] = [-1] * meeting.world_size
        self.changed = [time.monotonic()] * meeting.world_size
        self.next_look = time.monotonic() + LONGEST_PAUSE
        self.asked_at: float | None = None

    def look(self) -> None:
        now = time.monotonic()
        self._stop_if_asked(now)
        if now < self.next_look:
            return
        self.next_look = now + min(BEAT, LONGEST_PAUSE)
        if number := self.meeting.told_to_stop():
            raise Preempted(number, "another process was asked to stop; run the same command again")
        if (failure := self.meeting.failure()) is not None:
            raise EnvironmentFailure(f"this process stops because another one failed: {failure}")
        for number, beat in enumerate(self.meeting.beats()):
            if beat != self.beats[number]:
                self.beats[number], self.changed[number] = beat, now
            elif number != self.meeting.rank and now - self.changed[number] > PATIENCE:
                raise EnvironmentFailure(
                    f"process {number} has given no sign of life for {PATIENCE:.0f} seconds; its "
                    f"machine or process is gone. Run the same command again to go on"
                )

    def _stop_if_asked(self, now: float) -> None:
        if not (signal := self.meeting.signal()):
            return
        self.asked_at = self.asked_at or now
        if now - self.asked_at > GRACE:
            raise Preempted(
                signal,
                f"process {self.meeting.rank} was asked to stop, and the others did not come "
                f"within {GRACE:.0f} seconds; run the same command again to go on",
            )
