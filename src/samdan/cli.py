"""The command line. A command imports what it needs when it is called: ``--help`` stays quick."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from samdan import __version__
from samdan.commands import planning, starting
from samdan.commands.chat import chat
from samdan.commands.compare import compare
from samdan.commands.export import export
from samdan.commands.judge import app as judge
from samdan.commands.languages import Lang, chosen
from samdan.commands.merge import app as merge
from samdan.commands.quiet import quiet_libraries
from samdan.commands.serve import serve
from samdan.commands.synthesize import app as synthesize
from samdan.commands.vocab import app as vocab
from samdan.commands.watch import watch
from samdan.printing import json_text, printable
from samdan.records import SamdanError
from samdan.redaction import redacted, secrets_of

EXITS = (
    "Exit codes: 0 done, 1 wrong input, 2 wrong usage, 3 a gate stopped the run (or an export "
    "differs), 4 environment."
)
OUT_OF_MEMORY = (
    "out of memory, outside a training step, which would have taken less at a time; `samdan plan` "
    "tells what fits: a smaller base, max_length, or several GPUs"
)
app = typer.Typer(
    name="samdan",
    help="Adapts a language model in three stages (CPT, SFT, DPO) from one recipe, with evidence "
    f"after each.\n\n{EXITS}",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # rich takes a tenth of a second to import
    pretty_exceptions_enable=False,
)
starting.add_to(app)
planning.add_to(app)


class Engines(StrEnum):
    """As in ``data.engine``, which the command line does not load before it is needed."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


RecipePath = Annotated[Path, typer.Argument(help="The recipe (YAML).", show_default=False)]
RunPath = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field: stages.dpo.beta=0.05", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Where the run goes (default: runs/<name>).", show_default=False),
]
EngineKind = Annotated[
    Engines, typer.Option(help="Where data are prepared: this machine, Ray or Slurm.")
]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes that prepare data; 0: one per core.")
]
DryResponses = Annotated[
    bool,
    typer.Option("--dry-run-responses", help="Say what a rule would change, and change nothing."),
]
Until = Annotated[
    str | None, typer.Option(help="Stop after this stage, or after base.", show_default=False)
]


def main() -> None:
    """Runs a command and turns every known failure into one message and an exit code."""
    os.umask(os.umask(0o022) | 0o002)  # nothing that everybody may write to
    try:
        app()
    except SamdanError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os._exit(0)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except OSError as error:
        _fail(_environment(error), 4)
    except MemoryError:
        _fail(OUT_OF_MEMORY, 4)
    except RuntimeError as error:  # torch's, of a device or the host; named, not imported
        if type(error).__name__ != "OutOfMemoryError" and "DefaultCPUAllocator" not in str(error):
            raise
        _fail(OUT_OF_MEMORY, 4)


def _fail(message: str, code: int) -> None:
    shown = printable(redacted(message, secrets_of(os.environ)))
    print(f"samdan: {shown}", file=sys.stderr)
    raise SystemExit(code)


def _environment(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    step = "; free some space and run the same command again: what is done is kept" if full else ""
    return f"{where}{error.strerror or error}{step}"


def _version(asked: bool) -> None:
    if asked:
        print(f"samdan {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command(epilog="Example: `samdan demo --out runs/demo`")
def demo(
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the generated world and of training.")] = 42,
    replay: Annotated[
        bool, typer.Option(help="Mix general text into continued pre-training.")
    ] = True,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Another recipe on the same world: recipes/demo-overfit.yaml."),
    ] = None,
) -> None:
    """A small generated world through all three stages, in minutes on two cores."""
    from samdan.demo.command import run_demo

    with _terminal() as (say, progress):
        run_demo(out, seed, recipe or ("demo" if replay else "no-replay"), say, progress)
    _summary(out)


@app.command(
    epilog="Examples: `samdan run recipe.yaml --out runs/first`, "
    "`samdan run recipe.yaml --until cpt`, `samdan run recipe.yaml --set stages.dpo.beta=0.05`"
)
def run(
    recipe: RecipePath,
    out: Out = None,
    until: Until = None,
    set_: Set = None,
    engine: EngineKind = Engines.local,
    workers: Workers = 0,
    dry_run_responses: DryResponses = False,
) -> None:
    """Carries out a recipe. Running it again goes on; what is done is skipped."""
    folder = _carried_out(recipe, out, until, set_, (engine, workers), dry=dry_run_responses)
    _summary(folder)


@app.command(epilog="Example: `samdan prepare recipe.yaml --out runs/first --workers 8`")
def prepare(
    recipe: RecipePath,
    out: Out = None,
    until: Until = None,
    set_: Set = None,
    engine: EngineKind = Engines.local,
    workers: Workers = 0,
) -> None:
    """The data steps of a recipe alone, with a data card; `samdan run` goes on from there."""
    folder = _carried_out(recipe, out, until, set_, (engine, workers), only_data=True)
    for card in sorted(folder.glob("*/data/README.md")):
        print(printable(card.read_text("utf-8")))
        print(card)


@app.command(epilog="Example: `samdan check recipe.yaml`")
def check(recipe: RecipePath, set_: Set = None) -> None:
    """Proves recipe, data and labels before anything is trained; lists what it could not verify."""
    from samdan.run.loading import load_recipe

    loaded = load_recipe(recipe, set_ or ())
    quiet_libraries()
    from samdan.run.check import check as look

    found = look(loaded)
    for where, text in found.shown:
        print(f"  {where}  (trained between ⟦ and ⟧)")
        print("    " + printable(text).replace("\n", "\n    "))
    for line in found.fine:
        print(f"ok          {printable(line)}")
    for line in found.unverified:
        print(f"unverified  {printable(line)}")
    for line in found.problems:
        print(f"wrong       {printable(line)}", file=sys.stderr)
    if found.problems:
        raise typer.Exit(1)
    print(
        f"{recipe}: accepted"
        + (f", {len(found.unverified)} not verified" if found.unverified else "")
    )


@app.command(
    epilog="Examples: `samdan preview recipe.yaml`, `samdan preview recipe.yaml --stage cpt`"
)
def preview(
    recipe: RecipePath,
    stage: Annotated[
        str | None, typer.Option(help="Only this stage.", show_default=False)
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Records shown of what is kept, and of every reason.")
    ] = 3,
    set_: Set = None,
) -> None:
    """Samples of every source: kept, dropped by which rule, masked, what would be trained."""
    from samdan.run.loading import load_recipe

    loaded = load_recipe(recipe, set_ or ())
    if stage is not None:
        loaded.stage(stage)
    quiet_libraries()
    from samdan.run.preview import shown, tokenizer_of

    for line in shown(loaded, tokenizer_of(loaded), samples, stage):
        print(printable(line))


@app.command(epilog="Example: `samdan status runs/first`")
def status(
    run_dir: RunPath,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Where a run stands: works while it is going on, from another terminal."""
    from samdan.run.status import shown

    print(shown(run_dir, json_))


@app.command(epilog="Example: `samdan report runs/first`")
def report(run_dir: RunPath, lang: Lang = None) -> None:
    """Writes report.html and report.json again and prints a summary."""
    from samdan.run.status import again

    print(again(run_dir, chosen(lang)))


@app.command(name="eval", epilog="Example: `samdan eval runs/first/dpo/model --tasks tasks.yaml`")
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder or Hub id.", show_default=False)],
    tasks: Annotated[
        Path, typer.Option(help="YAML with a list of tasks under 'evaluate'.", show_default=False)
    ],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measures a model on tasks, with 95% intervals."""
    from samdan.run.api import evaluate as measure
    from samdan.run.api import load_tasks

    listed = load_tasks(tasks)
    quiet_libraries()
    found = measure(model, listed)
    if json_:
        print(json_text(found))
        return
    for name, row in found.items():
        low, high = row["ci95"]
        print(f"{name:40} {row['value']:.4f}  [{low:.4f}, {high:.4f}]  n={row['n']}")



# Behind what every run needs, as `--help` lists them.
app.add_typer(synthesize, name="synthesize")
app.add_typer(judge, name="judge")
app.command(epilog="Examples: `samdan chat runs/demo/dpo/model`, `samdan chat runs/demo`")(chat)
app.command(epilog="Example: `samdan serve runs/first/dpo/model --port 8000`")(serve)
app.command(
    epilog="Examples: `samdan export runs/first --out hanbit-7b`, "
    "`samdan export runs/first --stage sft --dtype bfloat16 --out hanbit-7b-sft`"
)(export)
app.add_typer(merge, name="merge")
app.add_typer(vocab, name="vocab")
app.command(
    epilog="Examples: `samdan watch runs/first`, `samdan watch runs/first --port 8000 --lang ko`"
)(watch)
app.command(
    epilog="Examples: `samdan compare runs/a runs/b`, `samdan compare runs/a runs/b --out ab.html`"
)(compare)


def _carried_out(
    recipe: Path,
    out: Path | None,
    until: str | None,
    overrides: list[str] | None,
    engine: tuple[Engines, int],
    only_data: bool = False,
    dry: bool = False,
) -> Path:
    """Carries out a recipe, or only its data steps; returns the run's folder."""
    from samdan.run.loading import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    folder = out or Path("runs") / loaded.name
    with _terminal() as (say, progress):
        from samdan.data.engine import Engine
        from samdan.run.executor import PREPARING, STEPS, Options, execute

        kind, workers = engine
        options = Options(PREPARING if only_data else frozenset(STEPS), dry)
        chosen = Engine(kind.value, workers)
        execute(loaded, folder, until, say, progress, engine=chosen, options=options)
    return folder


def _summary(folder: Path) -> None:
    """What the report says, told once: the other processes may find it half written."""
    from samdan.report import summary
    from samdan.train import parallel

    if not parallel.is_main():
        return

    found = json.loads((folder / "report.json").read_text("utf-8"))
    print(printable(summary(found)))
    print(f"report: {folder / 'report.html'}")


@contextmanager
def _terminal() -> Iterator[tuple[Callable[[str], None], Callable[[Any], None]]]:
    """Progress and messages on standard error: a bar on a terminal, plain lines elsewhere."""
    quiet_libraries()
    from samdan.run.terminal import Terminal

    with Terminal() as terminal:
        yield terminal.say, terminal.progress


if __name__ == "__main__":
    main()
