"""`samdan judge`: people and models decide which answers are better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samdan.commands.languages import Lang, chosen
from samdan.commands.network import AllowNetwork, require_local

if TYPE_CHECKING:
    from samdan.run.judging import Judged

app = typer.Typer(
    help="Answers of a run's models side by side: judged by people on a local page, or by a model; "
    "what the votes say; votes as preference pairs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RunPath = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
More = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL]...", help="Further models to compare.", show_default=False),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--models",
        help="Stages to compare (and 'base'): --models sft dpo. Default: all.",
        show_default=False,
    ),
]
Most = Annotated[int, typer.Option("--pairs", min=1, help="Pairs that each rater judges.")]
Prompts = Annotated[
    Path | None,
    typer.Option(
        help="Prompts to answer first: one a line, or JSON lines with 'prompt'.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(
    epilog="Examples: `samdan judge serve runs/first`, `samdan judge serve runs/first --models "
    "sft dpo --pairs 40 --prompts questions.txt`"
)
def serve(
    run_dir: RunPath,
    more: More = None,
    models: Models = None,
    pairs: Most = 60,
    prompts: Prompts = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine sees the default one.")
    ] = "127.0.0.1",
    allow_network: AllowNetwork = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    reveal: Annotated[
        bool, typer.Option(help="Tell after each vote which models it was between.")
    ] = True,
    lang: Lang = None,
) -> None:
    """A page for blind votes: answers side by side, which model wrote which is hidden."""
    require_local(host, allow_network, "vote under any name")
    found = _judged(run_dir, [*(models or ()), *(more or ())], pairs, prompts)
    from samdan.run.serving import listen

    listen(found, (host, port), reveal, _say, chosen(lang))


@app.command(
    epilog="Example: `samdan judge auto runs/first --endpoint http://127.0.0.1:8000/v1 "
    "--model NAME --models sft dpo`"
)
def auto(
    run_dir: RunPath,
    endpoint: Annotated[
        str,
        typer.Option(
            help="OpenAI-compatible base URL; the only host that is contacted.",
            show_default=False,
        ),
    ],
    model: Annotated[str, typer.Option(help="The judge's name there.", show_default=False)],
    more: More = None,
    models: Models = None,
    pairs: Most = 60,
    prompts: Prompts = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE: parallel, timeout_seconds, attempts, temperature, max_tokens, "
            "api_key_env (name of the variable that holds the key), allow_plain_http.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """A model judges the same pairs, each in both orders. Running it again asks what is left."""
    found = _judged(run_dir, [*(models or ()), *(more or ())], pairs, prompts)
    from samdan.run.asking import ask_judge

    for line in ask_judge(found, endpoint, model, tuple(set_ or ())):
        _say(line)


@app.command(epilog="Example: `samdan judge report runs/first --models sft dpo`")
def report(
    run_dir: RunPath, more: More = None, models: Models = None, json_: AsJson = False
) -> None:
    """What the votes say: who is preferred, how sure that is, agreement and biases."""
    from samdan.printing import json_text
    from samdan.run.judging import results
    from samdan.run.votes_view import lines

    found = results(run_dir, [*(models or ()), *(more or ())])
    if json_:
        print(json_text(found))
        return
    for line in lines(found):
        _say(line)


@app.command(epilog="Example: `samdan judge export runs/first --out pairs.jsonl`")
def export(
    run_dir: RunPath,
    out: Annotated[Path, typer.Option(help="Where the pairs go (.jsonl).", show_default=False)],
    by: Annotated[
        str, typer.Option(help="Whose votes: person, or a judging model: model:NAME.")
    ] = "person",
    with_tasks: Annotated[
        bool, typer.Option(help="Also prompts that evaluation tasks measure with.")
    ] = False,
) -> None:
    """Decided pairs as preference pairs for a dpo stage."""
    from samdan.run.judging import export as write

    found = write(run_dir, out, by, with_tasks)
    left_out = [f"undecided {found.undecided}"]
    if found.from_tasks:
        left_out.append(f"prompts of evaluation tasks {found.from_tasks}")
    _say(f"{out}: {found.written} pairs; left out: {', '.join(left_out)}")
    if found.from_tasks:
        _say(
            "who trains on a task's prompts can no longer measure with them: vote on answers to "
            "--prompts FILE, or take them with --with-tasks"
        )


def _judged(run_dir: Path, models: list[str], most: int, prompts: Path | None) -> Judged:
    from samdan.run.judging import judged

    if prompts is not None:
        from samdan.run.answers import chosen_models, read_prompts, write_answers
        from samdan.run.ledger import Ledger

        asked = read_prompts(prompts)
        ledger = Ledger(run_dir)
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        write_answers(ledger, chosen_models(ledger, models), asked, _say)
        return judged(run_dir, models, most, asked)
    return judged(run_dir, models, most)


def _say(text: str) -> None:
    from samdan.printing import printable

    print(printable(text), flush=True)


