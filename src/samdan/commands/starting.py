"""`samdan init`, `samdan doctor` and `samdan import-recipe`: before there is a recipe."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

SCHEMA_FILE = "samdan.schema.json"
SCHEMA_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"


class AdaptsTo(StrEnum):
    """As `stages.cpt.adapts_to`."""

    language = "language"
    domain = "domain"
    synthetic = "synthetic"


class Tool(StrEnum):
    """Whose configuration is read."""

    llamafactory = "llamafactory"
    axolotl = "axolotl"
    trl = "trl"
    swift = "ms-swift"


class Kind(StrEnum):
    """Of a stage."""

    cpt = "cpt"
    sft = "sft"
    dpo = "dpo"


def add_to(app: typer.Typer) -> None:
    app.command(
        epilog="Examples: `samdan init`, `samdan init --base Qwen/Qwen2.5-1.5B --documents docs/ "
        "--questions qa.jsonl --pairs pairs.jsonl`"
    )(init)
    app.command(epilog="Examples: `samdan doctor`, `samdan doctor --json`")(doctor)
    app.command(
        "import-recipe",
        epilog="Examples: `samdan import-recipe sft.yaml --from llamafactory`, "
        "`samdan import-recipe train.sh --from ms-swift --out recipe.yaml`",
    )(import_recipe)


def init(
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.yaml"),
    base: Annotated[
        str | None, typer.Option(help="A base model: a folder or a Hub id.", show_default=False)
    ] = None,
    documents: Annotated[
        str | None, typer.Option(help="Text to read (CPT): file, folder or glob.")
    ] = None,
    general: Annotated[
        str | None, typer.Option(help="General text that keeps what the base knows.")
    ] = None,
    questions: Annotated[
        str | None, typer.Option(help="Questions with answers, or dialogues (SFT).")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Pairs of a better and a worse answer (DPO).")
    ] = None,
    adapts_to: Annotated[
        AdaptsTo, typer.Option(help="What is new to the base: decides how much is replayed.")
    ] = AdaptsTo.domain,
    name: Annotated[str | None, typer.Option(help="Of the run.", show_default=False)] = None,
    device: Annotated[
        str, typer.Option(help="Where it will run: 'here', or a card as in `samdan plan`.")
    ] = "here",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing recipe.")] = False,
) -> None:
    """Looks at base and data and writes a recipe with comments. Asks only on a terminal."""
    from samdan.lm.files import write_text
    from samdan.records import RecipeError
    from samdan.run.loading import load_recipe
    from samdan.run.planning import target_of
    from samdan.run.sketch import Wishes, write_recipe

    if out.exists() and not force:
        raise RecipeError(f"{out} is there already; give another --out, or --force")
    given = {"base": base, "documents": documents, "general": general, "questions": questions,
             "pairs": pairs}  # fmt: skip
    if sys.stdin.isatty() and sys.stdout.isatty():
        given = _asked(given)
    if not given["base"]:
        raise RecipeError("init: no base; name one with --base, such as Qwen/Qwen2.5-1.5B")
    target = target_of(device)
    wishes = Wishes(
        str(given["base"]), given["documents"], given["general"], given["questions"],
        given["pairs"], adapts_to.value, name or out.stem, target.bytes, target.title,
    )  # fmt: skip
    text = write_recipe(wishes, out.parent, lambda line: print(line, file=sys.stderr))
    write_text(out.parent / SCHEMA_FILE, _schema())
    write_text(out, SCHEMA_LINE + text)
    load_recipe(out)
    print(out)
    print(f"next: samdan check {out}, then samdan plan {out} --calibrate", file=sys.stderr)


def _asked(given: dict[str, str | None]) -> dict[str, str | None]:
    """What no flag has said, asked; an empty answer leaves it out."""
    questions = {
        "base": "Base model (folder or Hub id)",
        "documents": "Text to read, for continued pre-training (file, folder, glob; empty: none)",
        "general": "General text that keeps what the base knows (empty: none)",
        "questions": "Questions with answers (empty: none)",
        "pairs": "Pairs of a better and a worse answer (empty: none)",
    }
    answers = dict(given)
    for key, text in questions.items():
        if answers[key] is None and not (key == "general" and not answers["documents"]):
            said = typer.prompt(text, default="", show_default=False, err=True).strip()
            answers[key] = said or None
    return answers


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What this machine has (cores, bf16, GPU, memory, disk, versions) and what that means.

    Exits with 4 where something has to be put right before training.
    """
    from samdan.printing import json_text
    from samdan.run.doctor import as_json, as_text, examine

    lines = examine(Path())
    if json_:
        print(json_text(as_json(lines)))
    else:
        for line in as_text(lines):
            print(line)
    if any(line.level == "wrong" for line in lines):
        raise typer.Exit(4)


def import_recipe(
    file: Annotated[
        Path, typer.Argument(help="YAML, JSON or a shell script.", show_default=False)
    ],
    tool: Annotated[Tool, typer.Option("--from", help="The tool whose configuration it is.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Write the recipe to this file instead of printing it."),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Of the stage, where the file does not say it.")
    ] = None,
) -> None:
    """Another trainer's configuration as a stage of a recipe, and what could not be taken over."""
    from samdan.importing import convert, read_configuration, recipe_text
    from samdan.importing.text import comments
    from samdan.lm.files import write_text
    from samdan.records import RecipeError
    from samdan.redaction import masked

    if out is not None and out.exists():
        raise RecipeError(f"{out} is there already; give another --out")
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise RecipeError(f"{file}: {why}") from None
    tree = masked(read_configuration(text, str(file)))
    found = convert(tool.value, tree, _registry(file, tree), kind.value if kind else None)
    written = SCHEMA_LINE + recipe_text(found, tool.value, f"from-{tool.value}")
    if out is None:
        print(written, end="")
        return
    write_text(out, written)
    write_text(out.parent / SCHEMA_FILE, _schema())
    for line in comments(found, tool.value):
        print(line.removeprefix("# ").removeprefix("#"))
    print(f"next: samdan check {out}", file=sys.stderr)


def _registry(file: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """LLaMA-Factory's dataset_info.json, where it lies by the file or in the working folder."""
    from samdan.run.ledger import read_json

    folder = str(tree.get("dataset_dir") or "data")
    for place in (Path(folder), file.parent / folder, *(up / folder for up in file.parents)):
        found = read_json(place / "dataset_info.json")
        if found:
            return found
    return {}


def _schema() -> str:
    from samdan.recipe import schema

    return json.dumps(schema(), ensure_ascii=False, indent=1) + "\n"
