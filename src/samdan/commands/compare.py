"""`samdan compare`: what two runs differ in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samdan.commands.languages import Lang, chosen


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="B.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Write a page too (.html).", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    lang: Lang = None,
) -> None:
    """Two runs beside each other: recipe, cost, and metrics with intervals."""
    from samdan.printing import printable
    from samdan.run.comparing import compare as look

    print(printable(look(first, second, out, json_, chosen(lang))), end="")
