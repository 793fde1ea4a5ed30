"""`samdan init`: looks at a base and at data, and writes a recipe with comments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdan.budget import (
    GIB,
    KNOWN_SHAPES,
    Setting,
    Shape,
    memory,
    shape_from_config,
    ways_that_fit,
)
from samdan.data.formats import records
from samdan.data.sources import Row, read_rows
from samdan.recipe import AnyStage, CptStage, DpoStage, SftStage, Source
from samdan.records import DataError, Drop, RecipeError
from samdan.run.amounts import BYTES_PER_TOKEN, Look, look_at
from samdan.run.ledger import read_json
from samdan.run.loading import is_hub_id

STAGES: dict[str, type[AnyStage]] = {"cpt": CptStage, "sft": SftStage, "dpo": DpoStage}
# Column names that people give to what we call by the key.
USUAL = {
    "text": ("content", "body", "document", "article", "본문", "내용", "문서"),
    "prompt": ("question", "query", "Q", "input", "instruction", "질문", "문제"),
    "completion": ("answer", "response", "A", "output", "target", "답변", "답", "정답"),
    "chosen": ("preferred", "better", "accepted", "winner", "선호"),
    "rejected": ("dispreferred", "worse", "refused", "loser", "비선호"),
}
ENOUGH_STEPS = 150  # so many steps are aimed at where data are few
LOOKED_AT = 50


@dataclass(frozen=True)
class Wishes:
    """What the user says. Paths as given; ``device``: bytes of memory of where it will run."""

    base: str
    documents: str | None = None
    general: str | None = None
    questions: str | None = None
    pairs: str | None = None
    adapts_to: str = "domain"
    name: str = "first"
    device: float = 0.0
    device_title: str = ""


@dataclass(frozen=True)
class Found:
    """A source that was looked at: how many records, tokens, and how its columns are called."""

    kind: str
    path: str
    records: int
    tokens: int
    columns: dict[str, str]


def write_recipe(wishes: Wishes, folder: Path, say: Callable[[str], None]) -> str:
    """The recipe's text; paths in it are relative to ``folder``. ``say`` is told what was found.

    Raises DataError where a path leads to nothing that can be read, RecipeError without any data.
    """
    asked = [("cpt", wishes.documents), ("sft", wishes.questions), ("dpo", wishes.pairs)]
    stages = [(kind, look(kind, path)) for kind, path in asked if path]
    if not stages:
        raise RecipeError(
            "init: no data; name at least one of --documents, --questions and --pairs"
        )
    general = look("cpt", wishes.general) if wishes.general else None
    for found in [f for _, f in stages] + ([general] if general else []):
        say(f"{found.path}: {found.records:,} records, about {found.tokens:,} tokens")
    shape = _shape(wishes.base)
    lines = [*_head(wishes, folder, shape)]
    for kind, found in stages:
        lines += _stage(kind, found, general if kind == "cpt" else None, wishes, folder, shape)
    lines += _tail(stages)
    return "\n".join(lines) + "\n"


def look(kind: str, path: str) -> Found:
    """Reads the source as the stage would. Raises DataError where nothing of it is a record."""
    source = Source(path=str(Path(path).expanduser().absolute()))  # type: ignore[call-arg]
    columns = _columns(kind, source)
    source = source.model_copy(update={"columns": columns})
    stage = STAGES[kind](data=(source,))  # type: ignore[call-arg]
    seen: Look = look_at(stage, source, BYTES_PER_TOKEN)
    if not seen.records:
        first = next((row for row in records(stage.kind, source) if isinstance(row, Drop)), None)
        why = f"; the first: {first.reason} {first.detail}" if first else ""
        raise DataError(f"{path}: holds no record that a {kind} stage can read{why}")
    whole = seen.whole
    tokens = round(seen.bytes / BYTES_PER_TOKEN * whole)
    return Found(kind, path, round(seen.records * whole), tokens, columns)


def _columns(kind: str, source: Source) -> dict[str, str]:
    """Our names for the file's columns, where they are called otherwise and it is plain how."""
    rows = read_rows(source)
    row = next((r for r in rows if isinstance(r, Row)), None)
    if row is None:
        return {}
    wanted = {"cpt": ("text",), "sft": ("prompt", "completion"), "dpo": ("prompt", "chosen",
              "rejected")}[kind]  # fmt: skip
    stage = STAGES[kind](data=(source,))  # type: ignore[call-arg]
    first = next(iter(records(stage.kind, source)), None)
    if not (isinstance(first, Drop) and first.reason == "missing_column"):
        return {}
    names = {str(name).casefold(): str(name) for name in row.values}
    found = {}
    for ours in wanted:
        if ours in row.values:
            continue
        theirs = next((names[n.casefold()] for n in USUAL[ours] if n.casefold() in names), None)
        if theirs is not None:
            found[ours] = theirs
    return found


def _shape(base: str) -> Shape | None:
    return KNOWN_SHAPES.get(base) or shape_from_config(read_json(Path(base) / "config.json"))


def _relative(path: str, folder: Path) -> str:
    return os.path.relpath(Path(path).expanduser().absolute(), folder.absolute())


def _head(wishes: Wishes, folder: Path, shape: Shape | None) -> Iterator[str]:
    yield "samdan: 1"
    yield f"name: {_quoted(wishes.name)}                  # the run goes to runs/{wishes.name}"
    yield "seed: 42"
    yield "# A base model; not one tuned to instructions, which continued pre-training undoes."
    base = wishes.base if is_hub_id(wishes.base) else _relative(wishes.base, folder)
    yield f"base: {{path: {_quoted(base)}}}"
    if shape is not None and wishes.device:
        yield (
            f"# {_count(shape.parameters)} parameters; {wishes.device_title}, "
            f"{wishes.device / GIB:.0f} GiB"
        )
    yield ""
    yield "stages:"


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 1e8 else f"{parameters / 1e6:.1f}M"


def _stage(
    kind: str,
    found: Found,
    general: Found | None,
    wishes: Wishes,
    folder: Path,
    shape: Shape | None,
) -> Iterator[str]:
    defaults = STAGES[kind].model_fields
    yield f"  - name: {kind}"
    yield "    data:"
    yield f"      - {_source(found, folder, 'target')}"
    if kind == "cpt":
        if general is not None:
            yield f"      - {_source(general, folder, 'replay')}"
        else:
            yield "      # General text keeps what the base knows; without it, it forgets:"
            yield "      # - {path: general.jsonl, role: replay}"
        yield f"    adapts_to: {wishes.adapts_to}   # {_replay(wishes.adapts_to)}"
    rate, epochs = defaults["learning_rate"].default, defaults["num_train_epochs"].default
    way = _way(kind, shape, wishes.device)
    if way.get("lora"):
        rate = 10 * rate
    yield f"    learning_rate: {rate:g}"
    yield f"    num_train_epochs: {epochs}"
    size, accumulation = _batch(kind, found)
    yield f"    per_device_train_batch_size: {size}      # records a step: this times the next"
    yield f"    gradient_accumulation_steps: {accumulation}"
    yield f"    max_length: {defaults['max_length'].default}"
    for line in way["lines"]:
        yield f"    {line}"
    if kind == "dpo":
        yield f"    beta: {defaults['beta'].default}   # lower lets the answers move further"


def _source(found: Found, folder: Path, role: str) -> str:
    columns = "".join(f", {ours}: {_quoted(theirs)}" for ours, theirs in found.columns.items())
    parts = [f"path: {_quoted(_relative(found.path, folder))}"]
    if role != "target":
        parts.append(f"role: {role}")
    if columns:
        parts.append(f"columns: {{{columns[2:]}}}")
    return "{" + ", ".join(parts) + "}"


def _replay(adapts_to: str) -> str:
    share = {"language": "25%", "domain": "5%", "synthetic": "10%"}[adapts_to]
    what = {"language": "a language that the base hardly knows",
            "domain": "a domain in a language that it knows",
            "synthetic": "a small set that was made up"}[adapts_to]  # fmt: skip
    return f"{what}: {share} of the tokens are general text"


def _batch(kind: str, found: Found) -> tuple[int, int]:
    """The golden batch, or a smaller one where the data would make few steps of it."""
    stage = STAGES[kind].model_fields
    size = stage["per_device_train_batch_size"].default
    accumulation = stage["gradient_accumulation_steps"].default
    units = found.records if kind != "cpt" else found.tokens / stage["max_length"].default
    wanted = units * stage["num_train_epochs"].default / ENOUGH_STEPS
    while accumulation > 1 and size * accumulation > wanted:
        accumulation //= 2
    while size > 1 and size * accumulation > wanted:
        size //= 2
    return size, accumulation


def _way(kind: str, shape: Shape | None, device: float) -> dict[str, Any]:
    """How it fits into the device: lines of the stage, and whether adapters are trained."""
    if shape is None or not device:
        return {"lines": []}
    stage = STAGES[kind](data=(Source(path="."),))  # type: ignore[call-arg]
    ways = ways_that_fit(shape, stage, device)
    if not ways:
        return {"lines": ["# nothing fits here: `samdan plan --device h100` tells about others"]}
    lines = ["gradient_checkpointing: true"]
    if "8-bit" in ways[0]:
        lines.append("optim: adamw_8bit   # full fine-tuning fits with states in 8 bits")
    elif "host memory" in ways[0]:
        lines.append("optim: adamw_offload   # full; 12 bytes a parameter of the host's memory")
    lora = "LoRA" in ways[0]
    if lora:
        bits = ", quantize: 4bit" if ways[0].startswith("Q") else ""
        lines.append(f"lora: {{r: 16, alpha: 32{bits}}}   # full fine-tuning does not fit")
    elif len(ways) > 1 and _fits_plainly(shape, stage, device):
        lines = []
    return {"lines": lines, "lora": lora}


def _fits_plainly(shape: Shape, stage: AnyStage, device: float) -> bool:
    return memory(shape, stage, Setting(2 * stage.max_length)).peak < 0.8 * device


def _tail(stages: list[tuple[str, Found]]) -> Iterator[str]:
    yield ""
    yield "# Of every source 2% is held out and measured after every stage, and the gates refuse a"
    yield "# stage whose targets did not improve. Your own questions say more:"
    yield "# evaluate:"
    yield "#   - {kind: multiple_choice, name: knowledge, path: eval/knowledge.jsonl}"
    if any(kind in ("sft", "dpo") for kind, _ in stages):
        yield "# Prompts whose answers stand side by side in the report:"
        yield "# samples: ['연차는 며칠인가요?']"


def _quoted(text: str) -> str:
    plain = text.replace("/", "").replace(".", "").replace("-", "").replace("_", "")
    if plain.isalnum() and not plain.isdigit() and text[0] not in "-.":
        return text
    return "'" + text.replace("'", "''") + "'"
