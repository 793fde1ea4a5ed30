"""Answers of one or several models to the same question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from samdan.evals.generate import greedy
from samdan.lm.model import best_device, load_chat, load_model
from samdan.records import DataError, Message


class Models:
    """Loaded models, each with its own tokenizer and chat template; dialogues go on."""

    def __init__(self, paths: Sequence[str], max_new_tokens: int) -> None:
        self.max_new_tokens = max_new_tokens
        for path in paths:
            if path.startswith(("/", ".", "~")) and not Path(path).expanduser().is_dir():
                raise DataError(f"{path}: there is no such model folder")
        self._models = [
            (_name(path), load_model(path).to(best_device()), load_chat(path)) for path in paths
        ]
        self._dialogues: list[list[Message]] = [[] for _ in paths]

    def ask(self, question: str) -> Iterator[tuple[str, str]]:
        """(model, answer) for each model."""
        for (name, model, chat), dialogue in zip(self._models, self._dialogues, strict=True):
            dialogue.append(Message("user", question))
            ((answer, _),) = greedy(model, chat, [chat.prompt(dialogue)], self.max_new_tokens)
            dialogue.append(Message("assistant", answer))
            yield name, answer


def _name(path: str) -> str:
    parts = Path(path).parts
    return parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]
