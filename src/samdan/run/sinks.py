"""What a person sees while a run goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from samdan.redaction import redacted, secrets_of
from samdan.run.status import printable


class Terminal:
    """A progress bar per stage on a terminal; a line every ``logging_steps`` elsewhere.

    Only the main process speaks.
    """

    def __init__(self) -> None:
        self._speaks = os.environ.get("RANK", "0") == "0"
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._progress: Progress | None = None
        self._task: Any = None
        self._stage = ""
        self._losses: list[float] = []  # since the last line
        self._speeds: list[float] = []

    def __enter__(self) -> Terminal:
        if self._console.is_terminal and self._speaks:
            self._progress = Progress(
                TextColumn("{task.fields[stage]:>6}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} tokens/s"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, text: str) -> None:
        if self._speaks:
            self._console.print(printable(redacted(text, secrets_of(os.environ))))

    def progress(self, row: Mapping[str, Any]) -> None:
        """Takes what an optimizer step measured; ``stage``, ``step``, ``of``, ``logging_steps``."""
        if not self._speaks:
            return
        if self._progress is None:
            self._line(row)
            return
        fields = {"stage": row["stage"], "loss": row["loss"], "speed": row["tokens_per_second"]}
        if row["stage"] != self._stage:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage = row["stage"]
            self._task = self._progress.add_task("", total=row["of"], **fields)
        self._progress.update(self._task, completed=row["step"], **fields)

    def _line(self, row: Mapping[str, Any]) -> None:
        self._losses.append(row["loss"])
        self._speeds.append(row["tokens_per_second"])
        if row["step"] % row["logging_steps"] and row["step"] != row["of"]:
            return
        print(
            f"{row['stage']} step {row['step']}/{row['of']} loss {fmean(self._losses):.4f} "
            f"lr {row['lr']:.2e} {fmean(self._speeds):,.0f} tokens/s",
            file=sys.stderr,
            flush=True,
        )
        self._losses.clear()
        self._speeds.clear()
