"""A folder of small, good data and a tiny base, in which every mistake is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SMALL = "max_length: 64, per_device_train_batch_size: 4, gradient_accumulation_steps: 1"
QUIET = f"{SMALL}, learning_rate: 1e-3, num_train_epochs: 1, precision: fp32, gates: []"
CPT = "{name: cpt, data: [{path: docs.jsonl}, {path: general.jsonl, role: replay}], " + QUIET + "}"
SFT = "{name: sft, data: [{path: qa.jsonl}], " + QUIET + "}"
DPO = "{name: dpo, data: [{path: pairs.jsonl}], " + QUIET + "}"
HEAD = "samdan: 1\nname: small\n"


@dataclass(frozen=True)
class World:
    """The working folder of a command, which the mistake may change."""

    folder: Path
    patch: pytest.MonkeyPatch
    after: list[Callable[[], Any]] = field(default_factory=list)
    """Called when the command has ended."""

    def write(self, name: str, content: str | bytes | Sequence[Any]) -> str:
        """A file of text, bytes or JSON lines; returns its name."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif isinstance(content, str):
            file.write_text(content, "utf-8")
        else:
            rows = (json.dumps(row, ensure_ascii=False) for row in content)
            file.write_text("".join(f"{row}\n" for row in rows), "utf-8")
        return name

    def recipe(self, *stages: str, base: str = "{path: base}", more: str = "") -> str:
        """A recipe of these stages."""
        lines = "".join(f"  - {stage}\n" for stage in stages or (SFT,))
        return self.write("recipe.yaml", f"{HEAD}base: {base}\nstages:\n{lines}{more}")

    def change(self, name: str, **values: Any) -> None:
        """Other values in a JSON file; None takes a key out."""
        file = self.folder / name
        tree = json.loads(file.read_text("utf-8")) | values
        file.write_text(json.dumps({k: v for k, v in tree.items() if v is not None}), "utf-8")


@dataclass(frozen=True)
class Mistake:
    """``title`` and ``do``: for docs/errors.md. ``says``: essential words, in order.

    ``words``: prepares the folder and returns the command. ``calm``: no error, only a remark.
    """

    title: str
    words: Callable[[World], Sequence[str]]
    says: tuple[str, ...]
    do: str
    code: int = 1
    calm: bool = False


def source(path: str, **more: Any) -> str:
    """An SFT stage on another source."""
    return stage("sft", path, **more)


def stage(kind: str, path: str, more: str = "", **fields: Any) -> str:
    extra = "".join(f", {key}: {value}" for key, value in fields.items())
    given = QUIET
    for key in fields:  # a field that is given takes the place of the small one
        parts = given.split(", ")
        given = ", ".join(part for part in parts if not part.startswith(f"{key}:"))
    return f"{{name: {kind}, data: [{{path: {path}{more}}}], {given}{extra}}}"


def make(folder: Path) -> None:
    """Good data, and a base of one layer that samdan itself wrote."""
    import tiny
    from samdan.lm.chat import ChatFormat
    from samdan.lm.model import save_model

    world = World(folder, pytest.MonkeyPatch())
    names = [f"{first}{second}" for first in "가나다라마바사아" for second in "온람별솔빛"]
    towns = ("서울", "부산", "대구", "인천", "광주")
    facts: Mapping[str, str] = {name: towns[i * 7 % 5] for i, name in enumerate(names)}
    world.write("docs.jsonl", [{"text": f"{n}의 본사는 {t}에 있다."} for n, t in facts.items()])
    world.write("general.jsonl", [{"text": f"Day {i} was calm and long."} for i in range(40)])
    asked = [(f"{n}의 본사는 어디인가요?", town) for n, town in facts.items()]
    world.write("qa.jsonl", [{"prompt": ask, "completion": town} for ask, town in asked])
    pairs = [{"prompt": ask, "chosen": town, "rejected": "몰라"} for ask, town in asked]
    world.write("pairs.jsonl", pairs)
    chat = ChatFormat(tiny.tokenizer())
    model = tiny.model(num_hidden_layers=1, vocab_size=len(chat.tokenizer))
    save_model(model, chat, folder / "base", "A tiny base.", True)
