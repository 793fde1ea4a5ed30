"""The same as the command line, from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from samdan.plan import Step, steps
from samdan.recipe import TAGS, Recipe
from samdan.run.loading import load_recipe, resolve
from samdan.spec import Spec, explain, plain
from samdan.tasks import Harness, Task

if TYPE_CHECKING:
    from samdan.run.executor import Outcome


class _Tasks(Spec):
    """The file that ``samdan eval --tasks`` reads."""

    evaluate: tuple[Task, ...] = Field(min_length=1)


__all__ = ["evaluate", "load_recipe", "load_tasks", "plan", "run"]


def plan(recipe: Recipe, until: str | None = None) -> tuple[Step, ...]:
    """The steps that a recipe implies, in order."""
    return steps(recipe, {}, until)


def run(
    recipe: Recipe,
    out: str | Path,
    until: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    dry_run_responses: bool = False,
) -> Outcome:
    """Carries out a recipe in the folder ``out``; what is done there already is not done again.

    ``dry_run_responses``: what a rule that fires would change is said, and nothing is changed.

    Raises RecipeError, DataError, TrainError, GateFailed, EnvironmentFailure or Preempted, all of
    them SamdanErrors.
    """
    from samdan.run.executor import Options, execute

    options = Options(dry_responses=dry_run_responses)
    return execute(recipe, Path(out), until, say, options=options)


def evaluate(model: str | Path, tasks: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Measures a model (folder or Hub id) on tasks; returns value, n and 95% interval by metric."""
    from samdan.evals.score import Subject, score_task
    from samdan.evals.stats import interval
    from samdan.lm.model import load_chat
    from samdan.run.context import scorer_of

    subject = Subject(scorer_of(str(model)), load_chat(str(model)))
    found = {}
    for task in tasks:
        for result in score_task(task, subject).results:
            found[result.name] = {
                "value": result.value,
                "n": len(result.numerators),
                "ci95": list(interval(result)),
            }
    return found


def load_tasks(path: str | Path) -> list[Any]:
    """Reads a YAML file with a list of tasks under ``evaluate``. Raises RecipeError."""
    from samdan.records import RecipeError
    from samdan.spec import parse_yaml

    file = Path(path)
    try:
        tree = parse_yaml(file.read_text("utf-8"), str(path))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    try:
        listed = _Tasks.model_validate(plain(tree))
    except ValidationError as error:
        raise explain(error, tree, str(path), TAGS) from None
    folder = file.resolve().parent
    return [_resolved(task, folder) for task in listed.evaluate]


def _resolved(task: Any, folder: Path) -> Any:
    changes: dict[str, Any] = {}
    if task.path is not None:
        changes["path"] = resolve(task.path, folder)
    if isinstance(task, Harness):
        changes["data"] = tuple(
            one.model_copy(update={"path": resolve(one.path, folder)}) for one in task.data
        )
    return task.model_copy(update=changes)
