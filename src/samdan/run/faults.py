"""The one hook through which tests break a run: ``SAMDAN_FAULT=updated:7:kill``.

``where:step:what`` with where one of gradients, updated, saving, staged, saved, exported, or the
name of a step that begins (``cpt/evaluate:0:term``), and what one of kill (SIGKILL), term
(SIGTERM), int (SIGINT), hang (for ever), full (no space left). A fourth part names the one process
that breaks: ``updated:7:kill:1``. Without the variable it does nothing.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable

from samdan.train import parallel

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}

def from_environment() -> Callable[[str, int], None]:
    """The function that the loop and the checkpoint writer call at their named places."""
    asked = os.environ.get("SAMDAN_FAULT")
    if not asked:
        return lambda where, step: None
    place, at, what, *only = asked.split(":")

    def fault(where: str, step: int) -> None:
        if where != place or step != int(at) or (only and int(only[0]) != parallel.rank()):
            return
        if what == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        while what == "hang":
            time.sleep(1)
        os.kill(os.getpid(), SIGNALS[what])

    return fault
