"""`samdan plan` and `samdan schema`: what is asked before anything is paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[Path, typer.Argument(help="The recipe (YAML).", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field: stages.dpo.beta=0.05", show_default=False),
]


def add_to(app: typer.Typer) -> None:
    app.command(
        epilog="Examples: `samdan plan recipe.yaml`, `samdan plan recipe.yaml --calibrate`, "
        "`samdan plan recipe.yaml --device h100 --price 2.5`, `samdan plan recipe.yaml --json`"
    )(plan)
    app.command(
        epilog="Examples: `samdan schema --out samdan.schema.json`, `samdan schema | jq .title`"
    )(schema)


def plan(
    recipe: RecipePath,
    out: Annotated[
        Path | None,
        typer.Option(help="The run to compare with (default: runs/<name>).", show_default=False),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage, or after base.")] = None,
    set_: Set = None,
    processes: Annotated[
        int, typer.Option(min=1, help="GPUs that will train together, under torchrun or srun.")
    ] = 1,
    device: Annotated[
        str, typer.Option(help="'here', or a card of the table: h100, h200, a100, l40s, rtx4090.")
    ] = "here",
    price: Annotated[
        float | None,
        typer.Option(min=0, help="Of an hour of one device, in any currency.", show_default=False),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(help="Train a few steps of the stages' shapes here, once, to know the time."),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a run would do and why, what every stage takes and costs, and what looks wrong.

    Exits with 1 where a path of the recipe leads nowhere: the run would be refused.
    """
    from samdan.records import RecipeError
    from samdan.run.loading import load_recipe
    from samdan.run.planning import HERE, target_of
    from samdan.run.planning_view import print_plan

    if calibrate and device != HERE:
        raise RecipeError(f"--calibrate measures this machine, and --device is {device}: leave one")
    loaded = load_recipe(recipe, set_ or ())
    target = target_of(device, processes, price, calibrate)
    if not print_plan(loaded, out, until, json_, target):
        raise typer.Exit(1)


def schema(
    out: Annotated[
        Path | None,
        typer.Option(help="Write it to this file instead of printing it.", show_default=False),
    ] = None,
) -> None:
    """The recipe's JSON schema, for editors: see docs/recipe.md."""
    from samdan.recipe import schema as recipe_schema

    text = json.dumps(recipe_schema(), ensure_ascii=False, indent=1)
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", "utf-8")
        print(out)
