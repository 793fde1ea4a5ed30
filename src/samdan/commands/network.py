"""Pages are for this machine, unless somebody says otherwise."""

from __future__ import annotations

from typing import Annotated

import typer

from samdan.pages.addresses import NOT_LOOPBACK, is_loopback

AllowNetwork = Annotated[
    bool,
    typer.Option(
        "--allow-network",
        help="Let --host be one that other machines reach. Plain http: who listens on the way "
        "reads the token and everything else.",
    ),
]


def require_local(host: str, allowed: bool, what: str) -> None:
    """``what``: others could do with the page. Raises typer.BadParameter for a foreign address."""
    if not (allowed or is_loopback(host)):
        raise typer.BadParameter(NOT_LOOPBACK.format(host=host, what=what), param_hint="--host")
