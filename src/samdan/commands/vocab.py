"""`samdan vocab report`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Looks at tokenizers: what they make of your text, and what new tokens would save.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _vocab() -> None:
    """A group, so that `report` is named."""


@app.command(
    epilog="Examples: `samdan vocab report Qwen/Qwen2.5-7B --text docs.jsonl`, "
    "`samdan vocab report ./qwen ./mistral --text law.jsonl.gz --text english/ --extend 8000 "
    "--learn law.jsonl.gz`"
)
def report(
    tokenizers: Annotated[
        list[str],
        typer.Argument(
            help="Models or tokenizers: folders or Hub ids; the first is compared with.",
            show_default=False,
        ),
    ],
    text: Annotated[
        list[str],
        typer.Option(help="A file, folder or glob; may be repeated.", show_default=False),
    ],
    extend: Annotated[
        int,
        typer.Option(
            min=0,
            help="Also extend the first tokenizer by up to so many merges; what it learns from is "
            "measured on the twentieth of its documents that is held out.",
        ),
    ] = 0,
    learn: Annotated[
        list[str] | None,
        typer.Option(help="What it learns from (default: every --text).", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE of the extension, as in base.grow.vocab: min_count, scripts, "
            "morphemes.",
            show_default=False,
        ),
    ] = None,
    max_chars: Annotated[
        int, typer.Option(min=1, help="Characters that are read of each --text or --learn.")
    ] = 20_000_000,
    cpt_tokens: Annotated[
        int,
        typer.Option(min=1, help="Training that the new tokens need, for the break-even."),
    ] = 2_000_000_000,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tokens per character, word and byte by source and language, side by side."""
    from samdan.growing import Vocab
    from samdan.printing import json_text, printable
    from samdan.records import RecipeError
    from samdan.run.vocabulary import Asked, lines_of
    from samdan.run.vocabulary import report as make
    from samdan.spec import explain, parse_yaml, plain, set_value

    asked: Vocab | None = None
    if extend:
        tree = parse_yaml(f"merges: {extend}\n", "--extend")
        for assignment in set_ or ():
            set_value(tree, assignment)
        asked = _spec(Vocab, plain(tree), explain)
    elif set_ or learn:
        raise RecipeError("--set and --learn say how a tokenizer is extended: give --extend too")
    found = make(
        Asked(tuple(tokenizers), tuple(text), tuple(learn or ()), asked, max_chars, cpt_tokens),
        lambda line: print(printable(line), file=sys.stderr, flush=True),
    )
    if json_:
        print(json_text(found))
        return
    for line in lines_of(found):
        print(printable(line))


def _spec(kind: Any, tree: Any, explain: Any) -> Any:
    from pydantic import ValidationError

    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise explain(error, tree, "--set", frozenset()) from None
