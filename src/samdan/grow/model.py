"""A model's folder to a grown model's folder, one weights file at a time.

Memory is that of the largest file; nothing is computed but the new rows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from samdan.grow.rows import NewTokens, Similar, initial_rows, rows_needed, with_rows
from samdan.lm.model import empty_model
from samdan.records import DataError

INDEX = "model.safetensors.index.json"
KEPT = ("generation_config.json",)


def extend_rows(
    source: Path,
    target: Path,
    new: NewTokens,
    methods: Mapping[str, str],
    multiple: int,
    seed: int,
    similar: tuple[Similar, ...] = (),
) -> tuple[int, int, dict[str, str]]:
    """Writes the model of ``source`` with rows for new tokens into the empty folder ``target``.

    ``methods``: of ``input``, and of ``output`` where it is another one. Returns the rows before
    and after, and the methods that were used. Raises DataError for a model whose embeddings cannot
    be found, and for a method for a head that has no rows of its own.
    """
    names, tied = embedding_names(source)
    if tied and "output" in methods:
        raise DataError(
            f"base.grow.vocab.output: found '{methods['output']}', but the output head of this "
            f"model is tied to its input embeddings; remove 'output'"
        )
    config = json.loads((source / "config.json").read_text("utf-8"))
    old_rows = int(config["vocab_size"])
    total = rows_needed(old_rows, new, multiple)

    def change(name: str, tensor: Tensor) -> Tensor:
        role = names.get(name)
        if role is None:
            return tensor
        method = methods.get(role, methods["input"])
        rows = initial_rows(method, tensor[:old_rows], new, seed, similar)
        return with_rows(tensor, new, rows, total)

    rewrite(source, target, change)
    config["vocab_size"] = total
    (target / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n")
    used = dict(methods) if tied else {"output": methods["input"]} | dict(methods)
    return old_rows, total, used


def embedding_names(source: Path) -> tuple[dict[str, str], bool]:
    """Names of the weights of input embeddings and head to ``input`` and ``output``; and whether
    they are tied."""
    with torch.device("meta"):
        model: Any = empty_model(str(source))
    inputs, output = model.get_input_embeddings(), model.get_output_embeddings()
    if output is None or not hasattr(model.config, "vocab_size"):
        raise DataError(
            f"base.grow.vocab: {type(model).__name__} has no plain vocabulary to extend"
        )
    if getattr(output, "bias", None) is not None:
        raise DataError("base.grow.vocab: the output head has a bias, which is not supported")
    tied = output.weight is inputs.weight or bool(model.config.tie_word_embeddings)
    found = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter is inputs.weight:
            found[name] = "input"
        elif parameter is output.weight:
            found[name] = "output"
    return found, tied


def rewrite(source: Path, target: Path, change: Callable[[str, Tensor], Tensor]) -> None:
    """Every weights file with ``change(name, tensor)`` in place of each tensor."""
    target.mkdir(parents=True, exist_ok=True)
    files = sorted(source.glob("*.safetensors"))
    if not files:
        raise DataError(f"base.path: {source} holds no *.safetensors; only these are read")
    size = 0
    for file in files:
        with safe_open(str(file), "pt") as opened:
            tensors = {name: change(name, opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118
        size += sum(t.numel() * t.element_size() for t in tensors.values())
        save_file(tensors, target / file.name, metadata={"format": "pt"})
    if (source / INDEX).is_file():
        index = json.loads((source / INDEX).read_text("utf-8"))
        index["metadata"] = index.get("metadata", {}) | {"total_size": size}
        (target / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    for name in KEPT:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
