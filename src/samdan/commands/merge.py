"""`samdan merge linear`, `samdan merge slerp` and `samdan merge task`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    help="Merges models that come from one base, tensor by tensor: a 70B model needs no more "
    "memory than a small one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Out = Annotated[
    Path, typer.Option(help="Folder of the merged model; must not exist.", show_default=False)
]


@app.command(
    epilog="Examples: `samdan merge linear runs/a/dpo/model runs/b/dpo/model --out merged`, "
    "`samdan merge linear A B C --weight 2 --weight 1 --weight 1 --out merged`"
)
def linear(
    models: Annotated[
        list[str], typer.Argument(help="Two or more folders or Hub ids.", show_default=False)
    ],
    out: Out,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of each model, in their order; absent: all equal.", show_default=False
        ),
    ] = None,
) -> None:
    """The weighted mean of models, as of several seeds or of the last epochs."""
    from samdan.growing.merging import Linear

    _merge(models, out, Linear, {"weights": tuple(weight or ())})


@app.command(epilog="Example: `samdan merge slerp runs/a/dpo/model runs/b/dpo/model --out merged`")
def slerp(
    first: Annotated[str, typer.Argument(help="A folder or Hub id.", show_default=False)],
    second: Annotated[str, typer.Argument(help="A folder or Hub id.", show_default=False)],
    out: Out,
    t: Annotated[float, typer.Option("--t", help="0 is the first model, 1 the second.")] = 0.5,
) -> None:
    """Spherical interpolation between two models."""
    from samdan.growing.merging import Slerp

    _merge([first, second], out, Slerp, {"t": t})


@app.command(
    epilog="Example: `samdan merge task runs/korean/cpt/model --base Qwen/Qwen2.5-7B "
    "--tuned Qwen/Qwen2.5-7B-Instruct --scale 0.8 --out korean-chat`"
)
def task(
    model: Annotated[
        str, typer.Argument(help="What is changed: a folder or Hub id.", show_default=False)
    ],
    base: Annotated[str, typer.Option(help="What both come from.", show_default=False)],
    tuned: Annotated[
        str, typer.Option(help="What was tuned from the base.", show_default=False)
    ],
    out: Out,
    scale: Annotated[float, typer.Option(help="How much of the change is added.")] = 1.0,
    embeddings: Annotated[
        Literal["shared", "skip"],
        typer.Option(
            help="Rows of the vocabulary: move those that are the same token in all three "
            "models, or none."
        ),
    ] = "shared",
) -> None:
    """Task arithmetic: model + scale x (tuned - base); with a chat model, the chat vector."""
    from samdan.growing.merging import TaskArithmetic

    _merge([model, base, tuned], out, TaskArithmetic, {"scale": scale, "embeddings": embeddings})


def _merge(models: list[str], out: Path, kind: Any, fields: dict[str, Any]) -> None:
    from pydantic import ValidationError

    from samdan.records import DataError, RecipeError

    try:
        spec = kind(**fields)
    except ValidationError as error:
        problem = error.errors()[0]
        raise RecipeError(
            f"--{problem['loc'][0]}: found {problem['input']!r}, expected "
            f"{problem['msg'].removeprefix('Input should be ')}"
        ) from None
    if out.exists():
        raise DataError(f"--out {out}: exists already; give a folder that does not")
    from samdan.grow.merging import merge
    from samdan.lm.folders import local_folder
    from samdan.printing import printable

    found = merge([local_folder(model) for model in models], out, spec)
    print(printable(f"{out}: {found.tensors} tensors, {found.parameters:,} parameters"))
    if found.rows_kept:
        print(f"rows of the vocabulary: {found.rows_merged:,} merged, {found.rows_kept:,} kept")
    for note in found.notes:
        print(printable(f"note: {note}"))
