"""`samdan compare`: what two runs differ in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from samdan.commands.watch import Language


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="B.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Write a page too (.html).", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    lang: Annotated[
        Language | None,
        typer.Option(help="Of the page; default: the browser's.", show_default=False),
    ] = None,
) -> None:
    """Two runs beside each other: recipe, cost, and metrics with intervals."""
    from samdan.run.comparing import compare as look
    from samdan.run.status import printable

    chosen: Literal["en", "ko"] | None = "ko" if lang == "ko" else "en" if lang == "en" else None
    print(printable(look(first, second, out, json_, chosen)), end="")
