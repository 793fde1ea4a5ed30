"""`samdan synthesize graph` and `samdan synthesize teacher`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

EVERY_SECONDS = 10.0  # between lines of progress

app = typer.Typer(
    help="Makes synthetic documents for a source of role 'synthetic': from a knowledge graph by "
    "templates, or by a teacher model.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Out = Annotated[
    Path,
    typer.Option(
        help="Rows with text and lineage (.jsonl); OUT.dropped.jsonl and OUT.summary.json go "
        "beside it.",
        show_default=False,
    ),
]
Lang = Annotated[Literal["ko", "en", "both"], typer.Option(help="Language of the texts.")]
Seed = Annotated[int, typer.Option(help="Seed; the same one gives the same texts.")]


@app.command(
    epilog="Examples: `samdan synthesize graph triples.csv --out synthetic.jsonl --lang ko "
    "--variants 8 --seed 42`, `samdan synthesize graph facts.nt --out facts.jsonl --lang both "
    "--templates own.yaml --style qa --style article`"
)
def graph(
    triples: Annotated[
        Path,
        typer.Argument(
            help="Facts: .csv or .jsonl with subject, relation, object; or N-Triples (.nt).",
            show_default=False,
        ),
    ],
    out: Out,
    lang: Lang = "ko",
    variants: Annotated[int, typer.Option(min=1, help="Documents for each subject.")] = 8,
    min_mentions: Annotated[
        int,
        typer.Option(
            min=0, help="Every fact is told in at least so many documents and wordings."
        ),
    ] = 5,
    templates: Annotated[
        list[Path] | None,
        typer.Option(help="Own templates (YAML); may be repeated.", show_default=False),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this style (article, qa, ...); may be repeated.", show_default=False
        ),
    ] = None,
    seed: Seed = 42,
) -> None:
    """Texts from the facts of a knowledge graph, by templates; no model is needed."""
    from samdan.run.synthesizing import FromGraph, synthesize

    synthesize(
        FromGraph(
            triples,
            out,
            ("ko", "en") if lang == "both" else (lang,),
            variants,
            min_mentions,
            tuple(style or ()),
            tuple(templates or ()),
            seed,
        ),
        _say,
        _lines("subjects"),
    )


@app.command(
    epilog="Examples: `samdan synthesize teacher docs.jsonl --out qa.jsonl --task qa "
    "--endpoint http://127.0.0.1:8000/v1 --model NAME`, `samdan synthesize teacher triples.csv "
    "--out relations.jsonl --task relations --endpoint https://llm.example/v1 --model NAME "
    "--set api_key_env=LLM_KEY --set parallel=16`"
)
def teacher(
    source: Annotated[
        Path,
        typer.Argument(
            help="Documents (.txt, .md, .jsonl, .parquet, a folder or glob), or triples.",
            show_default=False,
        ),
    ],
    out: Out,
    endpoint: Annotated[
        str,
        typer.Option(
            help="OpenAI-compatible base URL; the only host that is contacted.",
            show_default=False,
        ),
    ],
    model: Annotated[str, typer.Option(help="The teacher's name there.", show_default=False)],
    task: Annotated[
        Literal["rewrite", "qa", "summary", "dialogue", "relations"],
        typer.Option(help="What is written.", show_default=False),
    ],
    lang: Lang = "ko",
    seed: Seed = 42,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE: variants, parallel, timeout_seconds, attempts, temperature, "
            "max_tokens, min_chars, max_document_chars, questions, pairs, api_key_env (name of "
            "the variable that holds the key), allow_plain_http.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Texts by a teacher model. Running it again asks only what has no answer yet."""
    from samdan.run.synthesizing import FromTeacher, synthesize

    languages: tuple[Literal["ko", "en"], ...] = ("ko", "en") if lang == "both" else (lang,)
    job = FromTeacher(source, out, endpoint, model, task, languages, seed, tuple(set_ or ()))
    synthesize(job, _say, _lines("requests"))


def _say(text: str) -> None:
    from samdan.printing import printable

    print(printable(text))


def _lines(what: str) -> Callable[[int, int], None]:
    """Progress on standard error: a line now and then."""
    last = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY_SECONDS:
            last = time.monotonic()
            print(f"{done} of {of} {what}", file=sys.stderr, flush=True)

    return progress
