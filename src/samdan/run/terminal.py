"""What a person sees in the terminal while a run goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from samdan.printing import printable
from samdan.redaction import redacted, secrets_of
from samdan.report.live import lines
from samdan.report.numbers import duration


class Terminal:
    """A live view of the stage on a terminal; a line every ``logging_steps`` elsewhere.

    Only the main process speaks. rich takes a tenth of a second to import, so it is asked for only
    where there is a terminal.
    """

    def __init__(self) -> None:
        self._speaks = os.environ.get("RANK", "0") == "0"
        self._view: Any = None
        self._losses: list[float] = []  # since the last line
        self._speeds: list[float] = []

    def __enter__(self) -> Terminal:
        if self._speaks and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._view = View()
        return self

    def __exit__(self, *_: object) -> None:
        if self._view is not None:
            self._view.stop()

    def say(self, text: str) -> None:
        text = printable(redacted(text, secrets_of(os.environ)))
        if self._view is not None:
            self._view.say(text)
        elif self._speaks:
            print(text, file=sys.stderr, flush=True)

    def progress(self, row: Mapping[str, Any]) -> None:
        """Takes what an optimizer step measured, and under ``now`` where the stage stands."""
        if not self._speaks:
            return
        if self._view is not None:
            self._view.show(row)
        else:
            self._line(row)

    def _line(self, row: Mapping[str, Any]) -> None:
        self._losses.append(row["loss"])
        self._speeds.append(row["tokens_per_second"])
        if row["step"] % row["logging_steps"] and row["step"] != row["of"]:
            return
        left = row.get("now", {}).get("seconds_left")
        print(
            f"{row['stage']} step {row['step']}/{row['of']} loss {fmean(self._losses):.4f} "
            f"lr {row['lr']:.2e} {fmean(self._speeds):,.0f} tokens/s"
            + (f" {duration(left)[0]} left" if left is not None else ""),
            file=sys.stderr,
            flush=True,
        )
        self._losses.clear()
        self._speeds.clear()


class View:
    """Lines at the bottom of a terminal that change while messages scroll above them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._text = Text
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._live = Live(
            console=self._console, transient=True, refresh_per_second=4, redirect_stdout=False,
            vertical_overflow="ellipsis",
        )  # fmt: skip
        self._shown = False
        self._live.start()

    def show(self, row: Mapping[str, Any]) -> None:
        """After the last step of a stage nothing is left of it but the messages."""
        shown = self._text(overflow="ellipsis", no_wrap=True)
        if row["step"] != row["of"] and "now" in row:
            for number, line in enumerate(lines(row["now"], self._console.width - 1)):
                style = "bold" if number == 0 else "bold red" if " FIRED: " in line else ""
                shown.append(line + "\n", style)
        # The view draws itself again four times a second; the first time it is drawn at once.
        self._live.update(shown, refresh=not self._shown)
        self._shown = True

    def say(self, text: str) -> None:
        """``text`` may hold what data or a library said: nothing that the terminal would obey."""
        self._console.print(text)

    def stop(self) -> None:
        self._live.update("")
        self._live.stop()
