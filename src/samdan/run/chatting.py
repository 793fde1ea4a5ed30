"""Answers of one or several models to the same question, as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from samdan.evals.generate import Sampling, Written, stream
from samdan.lm.folders import require_model
from samdan.lm.model import load_chat, load_model
from samdan.records import DataError, Message, RecipeError
from samdan.run.context import to_write
from samdan.run.ledger import Ledger
from samdan.run.loading import load_recipe


class Models:
    """Loaded models, each with its own tokenizer and chat template; dialogues go on."""

    def __init__(self, places: Sequence[str], max_new_tokens: int) -> None:
        """``places``: model folders, Hub ids, or runs, which stand for all of their models."""
        self.max_new_tokens = max_new_tokens
        found = [one for place in places for one in models_of(place)]
        paths = [path for _, path in found]
        names = [name for name, _ in found]
        # Two runs have stages of the same names.
        twice = {name for name in names if names.count(name) > 1}
        self.names = [_longer(path) if name in twice else name for name, path in found]
        self._models = [
            (to_write(load_model(path, key="")), load_chat(path)) for path in paths
        ]
        self._dialogues: list[list[Message]] = [[] for _ in paths]

    def forget(self) -> None:
        """The next question begins new dialogues."""
        self._dialogues = [[] for _ in self._models]

    def ask(self, question: str, sampling: Sampling | None = None) -> Iterator[list[str]]:
        """All answers so far, after each round of one token a model; the last are whole."""
        writing: list[Iterator[Written]] = []
        for (model, chat), dialogue in zip(self._models, self._dialogues, strict=True):
            dialogue.append(Message("user", question))
            prompt = chat.prompt(dialogue)
            writing.append(stream(model, chat, prompt, self.max_new_tokens, sampling))
        answers = [""] * len(writing)
        going = set(range(len(writing)))
        while going:
            for number in sorted(going):
                written = next(writing[number], None)
                if written is None:
                    going.remove(number)
                else:
                    answers[number] = written.text
            yield list(answers)
        for dialogue, answer in zip(self._dialogues, answers, strict=True):
            dialogue.append(Message("assistant", answer))


def models_of(place: str) -> list[tuple[str, str]]:
    """Names and paths of the models behind a place: one, or of a run the base's and each stage's.

    Raises DataError where there is none.
    """
    folder = Path(place).expanduser()
    if (folder / "recipe.yaml").is_file():
        found = _models_of_run(folder)
        if not found:
            raise DataError(f"{place}: this run has no model yet")
        return found
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise DataError(
            f"{place}: neither a model folder (it has no config.json) nor a run (no recipe.yaml)"
        )
    require_model(place)
    return [(_name(place), str(folder) if folder.is_dir() else place)]


def _models_of_run(folder: Path) -> list[tuple[str, str]]:
    ledger = Ledger(folder, writes=False)
    recipe = load_recipe(ledger.recipe_file)
    names = ["base", *(stage.name for stage in recipe.stages)]
    found = [
        (name, str(ledger.model(name)))
        for name in names
        if (ledger.model(name) / "config.json").is_file()
    ]
    base = getattr(recipe.base, "path", None)
    if base is not None and not any(name == "base" for name, _ in found):
        found.insert(0, ("base", base))
    return found


def sampling_of(temperature: float, top_p: float, seed: int) -> Sampling | None:
    """None for temperature 0: the likeliest token. Raises RecipeError for values out of range."""
    if temperature == 0:
        return None
    if not (0 < temperature <= 5 and 0 < top_p <= 1):
        raise RecipeError(
            f"temperature {temperature:g}, top_p {top_p:g}: expected a temperature from 0 to 5 and "
            f"a top_p above 0, at most 1"
        )
    return Sampling(temperature, top_p, str(seed))


def _name(path: str) -> str:
    parts = Path(path).parts
    return parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]


def _longer(path: str) -> str:
    parts = Path(path).parts
    kept = parts[:-1] if parts[-1] == "model" else parts
    return "/".join(kept[-2:])
