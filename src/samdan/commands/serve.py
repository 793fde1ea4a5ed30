"""`samdan serve`: a model behind a local endpoint, with a page to talk to it."""

from __future__ import annotations

from typing import Annotated

import typer

from samdan.commands.languages import Lang, chosen
from samdan.commands.network import AllowNetwork, require_local
from samdan.commands.quiet import quiet_libraries
from samdan.printing import printable


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Model folders, Hub ids, or a run: all of its models.", show_default=False
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine sees the default one.")
    ] = "127.0.0.1",
    allow_network: AllowNetwork = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Of an answer whose request does not say.")
    ] = 512,
    lang: Lang = None,
) -> None:
    """OpenAI's chat completions on this machine, and a page to try a model with."""
    require_local(host, allow_network, "ask the models")
    quiet_libraries()
    from samdan.run.served import serve as listen

    def say(text: str) -> None:
        print(printable(text), flush=True)

    listen(models, max_new_tokens, (host, port), say, chosen(lang))
