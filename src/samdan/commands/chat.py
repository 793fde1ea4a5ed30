"""`samdan chat`: models side by side in the terminal, their answers as they are written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from samdan.commands.quiet import quiet_libraries
from samdan.printing import printable

HELP = "/new begins a new conversation, /quit ends"
NARROWEST = 24  # columns of a terminal that an answer needs beside others


def chat(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Model folders, Hub ids, or a run: all of its models.", show_default=False
        ),
    ],
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Length of an answer at most.")
    ] = 256,
    temperature: Annotated[
        float, typer.Option(help="0: always the likeliest token; above: answers are drawn.")
    ] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw among the likeliest tokens only.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn; counts up with every question.")] = 0,
) -> None:
    """Asks one or several models the same question; answers stand side by side."""
    quiet_libraries()
    from samdan.run.chatting import Models, sampling_of

    sampling_of(temperature, top_p, seed)  # wrong values are told before minutes of loading
    loaded = Models(models, max_new_tokens)
    interactive = sys.stdin.isatty()
    if interactive:
        print(f"{', '.join(map(printable, loaded.names))}. {HELP}")
    for number, line in enumerate(_questions(interactive)):
        if line == "/new":
            loaded.forget()
            continue
        answers = loaded.ask(line, sampling_of(temperature, top_p, seed + number))
        _show(loaded.names, answers)


def _questions(interactive: bool) -> Iterator[str]:
    while True:
        if interactive:
            print("\n> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() in ("/quit", "/exit"):
            return
        if line.strip():
            yield line.strip()


def _show(names: Sequence[str], answers: Iterator[list[str]]) -> None:
    """On a terminal as they are written, in columns where there are several; else when whole."""
    if not sys.stdout.isatty():
        for name, text in zip(names, _last(answers), strict=True):
            whose = f"[{printable(name)}] " if len(names) > 1 else ""
            print(whose + printable(text), flush=True)
    elif len(names) == 1:
        _type(answers)
    else:
        _columns(names, answers)


def _last(answers: Iterator[list[str]]) -> list[str]:
    found: list[str] = []
    for found in answers:  # noqa: B007 - only the last is wanted
        pass
    return found


def _type(answers: Iterator[list[str]]) -> None:
    shown = ""
    for (text,) in answers:
        sys.stdout.write(printable(text[len(shown) :]))
        sys.stdout.flush()
        shown = text
    print()


def _columns(names: Sequence[str], answers: Iterator[list[str]]) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False)
    texts: list[str] = [""] * len(names)
    with Live(console=console, refresh_per_second=12, vertical_overflow="visible") as live:
        for texts in answers:
            live.update(_table(names, texts, console.width))


def _table(names: Sequence[str], texts: Sequence[str], width: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = [Text(printable(text)) for text in texts]
    if width < NARROWEST * len(names):  # one below the other
        rows = Table(box=SIMPLE_HEAD, show_header=False, expand=True)
        rows.add_column(no_wrap=True)
        rows.add_column(ratio=1, overflow="fold")
        for name, text in zip(names, shown, strict=True):
            rows.add_row(Text(printable(name), style="bold"), text)
        return rows
    table = Table(box=SIMPLE_HEAD, expand=True)
    for name in names:
        table.add_column(Text(printable(name), style="bold"), ratio=1, overflow="fold")
    table.add_row(*shown)
    return table
