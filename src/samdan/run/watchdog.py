"""A process that hangs says where, and ends: a card that waits all night costs as much as one that
works.

The thread looks only at the time since the last sign of progress. What hangs need not cooperate:
stacks are dumped by ``faulthandler``, which takes no lock, and the process ends at once. What was
saved is kept, and the same command goes on from it.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

VARIABLE = "SAMDAN_HANG_SECONDS"
LEAST = 1800.0  # seconds: an evaluation in the middle of training is no hang
TIMES = 20.0  # as long as the longest pause so far may the next one take
EXIT_CODE = 4  # of the environment


class Watchdog:
    """Ends the process when ``alive`` was not called for too long.

    ``place``: the file that gets the stacks of all threads. ``SAMDAN_HANG_SECONDS`` sets the limit;
    0 turns it off.
    """

    def __init__(
        self, place: Path, what: str, leave: Callable[[int], None] = os._exit, look: float = 1.0
    ) -> None:
        self.place, self.what = place, what
        self._leave, self._look = leave, look
        asked = os.environ.get(VARIABLE)
        self._fixed = float(asked) if asked else None
        self._longest = 0.0
        self._last = time.monotonic()
        self._over = threading.Event()

    @property
    def limit(self) -> float:
        """Seconds without progress that are too many."""
        return max(LEAST, TIMES * self._longest) if self._fixed is None else self._fixed

    def alive(self) -> None:
        """Something was done."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last)
        self._last = now

    def __enter__(self) -> Watchdog:
        if self._fixed != 0:
            self.alive()
            self._longest = 0.0
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._look):
            silent = time.monotonic() - self._last
            if silent > self.limit:
                self._end(silent)
                return

    def _end(self, silent: float) -> None:
        text = (
            f"{self.what}: no progress for {silent:.0f} seconds (limit {self.limit:.0f}; "
            f"{VARIABLE} sets it). Where every thread stands is in {self.place}. The last "
            f"checkpoint is kept: run the same command again to go on"
        )
        try:
            with self.place.open("w", encoding="utf-8") as opened:
                opened.write(text + "\n\n")
                opened.flush()
                faulthandler.dump_traceback(opened, all_threads=True)
        except OSError:
            faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        print(text, file=sys.stderr, flush=True)
        self._leave(EXIT_CODE)
