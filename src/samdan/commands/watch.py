"""`samdan watch`: a run as a page that follows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samdan.commands.languages import Lang, chosen
from samdan.commands.network import AllowNetwork, require_local


def watch(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine sees the default one.")
    ] = "127.0.0.1",
    allow_network: AllowNetwork = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    lang: Lang = None,
) -> None:
    """A local page with the run's curves, rules and time left, which keeps itself up to date."""
    require_local(host, allow_network, "read the run's report")
    from samdan.printing import printable
    from samdan.run.following import watch as follow

    follow(
        run_dir,
        (host, port),
        chosen(lang),
        lambda text: print(printable(text), flush=True),
    )
