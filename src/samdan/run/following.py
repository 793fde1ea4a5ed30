"""`samdan watch`: a run directory as a page that follows it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from samdan.recipe import Recipe
from samdan.records import DataError, EnvironmentFailure
from samdan.report.watch import blocks, pill, title
from samdan.run.accepted import accepted, effective
from samdan.run.curves import Reader
from samdan.run.ledger import Ledger
from samdan.run.loading import load_recipe
from samdan.run.reporting import assemble
from samdan.run.status import status_of
from samdan.run.strangers import understood

AGAIN = 2.0  # seconds between two looks
SHARE = 0.1  # of one core at most: what takes longer is looked at less often


class Following:
    """The state of a run directory, whoever asks; read again only as often as it is cheap."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder)
        self._reader = Reader(self.ledger.metrics_file)
        self._lock = threading.Lock()
        self._recipe: tuple[int, Recipe] | None = None
        self._state: dict[str, Any] = {}
        self._fresh_until = 0.0

    def __call__(self) -> dict[str, Any]:
        """``id`` (changes when something else is to be seen), ``title``, ``blocks``, ``again``."""
        with self._lock:
            if time.monotonic() < self._fresh_until:
                return self._state
            began = time.monotonic()
            self._state = self._read()
            took = time.monotonic() - began
            again = max(AGAIN, took / SHARE)
            self._state["again"] = round(again, 1)
            self._fresh_until = time.monotonic() + again - 0.5
            return self._state

    def _read(self) -> dict[str, Any]:
        with understood(self.ledger.folder):
            return self._assembled()

    def _assembled(self) -> dict[str, Any]:
        state = status_of(self.ledger.folder)
        recipe = self.recipe()
        report = assemble(self.ledger, effective(recipe, accepted(self.ledger, recipe)),
                          self._reader.read())  # fmt: skip
        report["status"] = "stopped" if state["status"] == "interrupted" else state["status"]
        shown = blocks(report, state["now"], state["current"]) | {"status": pill(report)}
        digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
        return {"id": digest, "title": title(report, state["now"]), "blocks": shown}

    def recipe(self) -> Recipe:
        """As the run directory holds it; the run may be started again with another one."""
        try:
            changed = self.ledger.recipe_file.stat().st_mtime_ns
        except OSError:
            raise DataError(f"{self.ledger.folder}: has no recipe.yaml (yet)") from None
        if self._recipe is None or self._recipe[0] != changed:
            self._recipe = changed, load_recipe(self.ledger.recipe_file)
        return self._recipe[1]


def watch(
    folder: Path,
    place: tuple[str, int],
    lang: Literal["en", "ko"] | None,
    say: Callable[[str], None],
) -> None:
    """Serves the page until it is interrupted. ``place``: host and port."""
    try:
        from samdan.pages.listening import warnings
        from samdan.pages.live import Live
    except ImportError as error:
        raise EnvironmentFailure(
            f"samdan watch needs {error.name}: pip install 'samdan[judge]'"
        ) from None
    following = Following(folder)
    status_of(folder)  # whether it is a run
    server = Live(following.recipe().name, following, place, lang)
    for warning in warnings(place[0], "see the recipe's results"):
        say(warning)
    say(f"Open {server.address}")
    say("Stop with Ctrl-C; the run does not notice.")
    with suppress(KeyboardInterrupt):  # the way to end it
        server.serve()
