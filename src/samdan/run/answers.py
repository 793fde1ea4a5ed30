"""What the models of a run answered: read from its evaluations, or written anew for given prompts.

Without torch, but for ``write_answers``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from samdan.judge.choosing import Asked
from samdan.lm.files import read_regular, write_json
from samdan.records import DataError, RecipeError
from samdan.run.ledger import Ledger, read_json
from samdan.run.loading import MAX_RECIPE
from samdan.spec import nearest_key, parse_yaml, plain

# Tasks whose items hold an option or nothing, not an answer that the model wrote.
NOT_WRITTEN = frozenset(
    {"bpb", "multiple_choice", "cloze", "probes", "infill", "needle", "harness"}
)
ANSWER_TOKENS = 256
MAX_PROMPTS = 100_000_000  # bytes of a file of prompts
Say = Callable[[str], None]


def models_of(ledger: Ledger) -> list[str]:
    """The models that were evaluated, the base first. Raises DataError when there is no run."""
    stages = [str(stage.get("name") or stage.get("kind")) for stage in _recipe(ledger)["stages"]]
    found = [name for name in ("base", *stages) if ledger.evaluation(name).is_file()]
    if not found:
        raise DataError(f"{ledger.folder}: no stage is evaluated yet, so there are no answers")
    return found


def chosen_models(ledger: Ledger, wanted: Sequence[str]) -> list[str]:
    """The models to compare, in the order of the run. Raises DataError for an unknown one."""
    known = models_of(ledger)
    for name in wanted:
        if name not in known:
            raise DataError(f"--models {name}: {nearest_key(name, known)}")
    chosen = [name for name in known if name in wanted or not wanted]
    if len(chosen) < 2:
        raise DataError(f"--models: two are needed; in this run: {', '.join(known)}")
    return chosen


def seed_of(ledger: Ledger) -> int:
    return int(_recipe(ledger).get("seed") or 0)


def answers_of(ledger: Ledger) -> list[Asked]:
    """Every prompt of ``--prompts``, samples and tasks with what each model answered to it there.

    A model that was trained again has new answers; its old ones are not among these. A prompt that
    comes from several places is there as often: answers of one place only are alike in length.
    """
    recipe = _recipe(ledger)
    # What a recipe leaves out is not written: a task without a name is called by its kind.
    tasks = {str(t.get("name") or t["kind"]): t["kind"] for t in recipe.get("evaluate") or ()}
    sources = ["prompts", "samples", *(f"task:{name}" for name in tasks)]
    said: dict[str, dict[str, dict[str, str]]] = {source: {} for source in sources}
    measured: dict[str, str] = {}  # by prompt: the task that measures with it

    def add(source: str, prompt: Any, model: str, answer: Any) -> None:
        if isinstance(prompt, str) and isinstance(answer, str):
            said[source].setdefault(prompt, {}).setdefault(model, answer)

    fresh = read_json(ledger.fresh_answers())
    for model in models_of(ledger):
        kept = fresh.get(model, {})
        if kept.get("model") == _identity(ledger, model):
            for prompt, answer in kept.get("said", {}).items():
                add("prompts", prompt, model, answer)
        found = read_json(ledger.evaluation(model))
        samples = zip(recipe.get("samples") or (), found.get("samples", ()), strict=False)
        for prompt, answer in samples:
            add("samples", prompt, model, answer)
        for task, kind in tasks.items():
            for item in found.get("items", {}).get(task, ()):
                measured.setdefault(item.get("prompt"), f"task:{task}")
                if kind not in NOT_WRITTEN:
                    add(f"task:{task}", item.get("prompt"), model, item.get("said"))
    return [
        Asked(prompt, measured.get(prompt, source), answers)
        for source, prompts in said.items()
        for prompt, answers in prompts.items()
    ]


def read_prompts(path: Path) -> list[str]:
    """Prompts of a file: one a line, or JSON lines with ``prompt``. Raises DataError."""
    try:
        text = read_regular(path, MAX_PROMPTS).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--prompts {path}: cannot be read: {error}") from None
    found: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        prompt: Any = line.strip()
        if path.suffix.lower() in (".jsonl", ".json"):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"--prompts {path}:{number}: not JSON: {error}") from None
            prompt = row.get("prompt") if isinstance(row, dict) else None
        if not isinstance(prompt, str) or not prompt.strip():
            raise DataError(f"--prompts {path}:{number}: expected 'prompt' with a text")
        found.append(prompt)
    if not found:
        raise DataError(f"--prompts {path}: holds no prompt")
    return list(dict.fromkeys(found))


def write_answers(
    ledger: Ledger,
    models: Sequence[str],
    prompts: Sequence[str],
    say: Say,
    max_new_tokens: int = ANSWER_TOKENS,
) -> None:
    """Greedy answers of the models to prompts that they have not answered; kept in the run."""
    from samdan.evals.generate import greedy
    from samdan.lm.model import load_chat, load_model
    from samdan.records import Message
    from samdan.run.context import resolve_precision, to_write

    precision = resolve_precision("auto")
    kept: dict[str, Any] = dict(read_json(ledger.fresh_answers()))
    for name in models:
        identity = _identity(ledger, name)
        same = kept.get(name, {}).get("model") == identity
        same = same and kept[name]["max_new_tokens"] == max_new_tokens
        same = same and kept[name].get("precision") == precision
        said: dict[str, str] = dict(kept[name]["said"]) if same else {}
        if missing := [prompt for prompt in prompts if prompt not in said]:
            say(f"{name}: answers {len(missing)} prompts")
            chat = load_chat(str(_tokenizer(ledger, name)))
            model = to_write(load_model(*_location(ledger, name)))
            asked = [chat.prompt((Message("user", prompt),)) for prompt in missing]
            answers = greedy(model, chat, asked, max_new_tokens)
            said |= {p: text for p, (text, _) in zip(missing, answers, strict=True)}
            kept[name] = {
                "model": identity, "precision": precision, "max_new_tokens": max_new_tokens,
                "said": said,
            }  # fmt: skip
            write_json(ledger.fresh_answers(), kept)


def _location(ledger: Ledger, name: str) -> tuple[str, str | None]:
    base: Mapping[str, Any] = _recipe(ledger)["base"]
    if name != "base" or "path" not in base:
        return str(ledger.model(name)), None
    return str(base["path"]), base.get("revision")


def _tokenizer(ledger: Ledger, name: str) -> Path:
    """A base that grew tokens still reads with its own."""
    grow = _recipe(ledger)["base"].get("grow") or {}
    return ledger.vocabulary() if name != "base" and grow.get("vocab") else ledger.tokenizer()


def _identity(ledger: Ledger, name: str) -> str | None:
    """The hash of a model's weights, as the step that made it recorded."""
    outputs = ledger.outputs()
    verbs = ("train",) if name != "base" else ("train", "load")
    return next((outputs[key] for v in verbs if (key := f"{name}/{v}") in outputs), None)


def _recipe(ledger: Ledger) -> dict[str, Any]:
    """The recipe as the run resolved it, read without checking: it was checked when it ran."""
    try:
        text = read_regular(ledger.recipe_file, MAX_RECIPE).decode("utf-8")
        tree = plain(parse_yaml(text, str(ledger.recipe_file)))
    except (OSError, RecipeError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{ledger.folder}: is no run of samdan: recipe.yaml: {why}") from None
    return {"stages": [], "base": {}, **tree}
