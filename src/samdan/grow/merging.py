"""Merging models: their checkpoints read side by side, combined piece by piece, written once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samdan.growing.merging import (
    Linear,
    Merge,
    Slerp,
    TaskArithmetic,
    compare_configs,
    first_difference,
    shared_rows,
    shares,
    slerp_shares,
)
from samdan.lm import skips
from samdan.lm.folders import appearing, copy_beside
from samdan.lm.tensors import DTYPES, FLOATS, SHARD_BYTES, Checkpoint, Planned, write_checkpoint
from samdan.lm.tokenizer import load_tokenizer
from samdan.records import DataError


@dataclass(frozen=True)
class Merged:
    """What a merge did. ``rows_kept``: rows of the vocabulary that stay as in the first model."""

    parameters: int
    tensors: int
    rows_merged: int
    rows_kept: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Rows:
    """Which rows of embeddings and head are merged; None: all of them."""

    names: frozenset[str]
    merged: Tensor | None


def merge(
    models: Sequence[Path],
    target: Path,
    spec: Merge,
    poll: Callable[[], None] = lambda: None,
    shard_bytes: int = SHARD_BYTES,
) -> Merged:
    """Writes the merged model to ``target``, which appears whole.

    ``models``: of a linear merge two or more, of SLERP two, of task arithmetic the model that is
    changed, the base, and what was tuned from that base. Config, tokenizer and precision are the
    first model's; a chat template is the tuned model's. Arithmetic is in fp32. Raises DataError
    where the models do not fit, with what differs.
    """
    _counted(spec, len(models))
    configs = [skips.read_config(str(folder)) for folder in models]
    labels = _labels(models)
    dumped = {label: config.to_dict() for label, config in zip(labels, configs, strict=True)}
    notes = compare_configs(dumped)
    checkpoints = [Checkpoint(folder) for folder in models]
    names = _names(checkpoints, labels, bool(configs[0].tie_word_embeddings))
    rows = _rows(spec, models, labels, checkpoints, configs[0], notes)
    for name in names:
        _same_shape(name, checkpoints, labels, rows)
    planned = [_planned(name, checkpoints, spec, rows) for name in names]
    with appearing(target) as folder:
        write_checkpoint(folder, planned, shard_bytes, poll)
        config = json.loads((models[0] / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        copy_beside(models[0], folder)
        if isinstance(spec, TaskArithmetic):
            notes += _answers_like(models[2], folder)
        (folder / "README.md").write_text(_card(spec, labels), "utf-8")
    first = checkpoints[0].tensors
    vocabulary = max(first[name].rows for name in rows.names)
    merged = vocabulary if rows.merged is None else int(rows.merged.sum())
    return Merged(
        sum(first[name].count for name in names), len(names), merged, vocabulary - merged,
        tuple(notes),
    )  # fmt: skip


def _counted(spec: Merge, count: int) -> None:
    if isinstance(spec, Linear):
        if count < 2:
            raise DataError(f"a linear merge needs two models or more; found {count}")
        shares(spec.weights, count)
    elif count != (wanted := 2 if isinstance(spec, Slerp) else 3):
        raise DataError(f"{spec.kind} takes {wanted} models; found {count}")


def _labels(models: Sequence[Path]) -> list[str]:
    """Short names for messages: the last parts of the paths that tell them apart."""
    for parts in range(1, 6):
        names = ["/".join(folder.resolve().parts[-parts:]) for folder in models]
        if len(set(names)) == len(names):
            return names
    return [f"model {number}" for number in range(1, len(models) + 1)]


def _names(checkpoints: Sequence[Checkpoint], labels: Sequence[str], tied: bool) -> list[str]:
    """The tensors of all models. A tied head that was saved as well is left out."""
    own = [{n for n in c.tensors if not (tied and n == "lm_head.weight")} for c in checkpoints]
    for names, label in zip(own[1:], labels[1:], strict=True):
        for name in sorted(own[0] ^ names):
            has, lacks = (labels[0], label) if name in own[0] else (label, labels[0])
            raise DataError(f"tensor '{name}' is in {has} and not in {lacks}")
    return sorted(own[0])


def _same_shape(
    name: str, checkpoints: Sequence[Checkpoint], labels: Sequence[str], rows: _Rows
) -> None:
    first = checkpoints[0].tensors[name]
    for checkpoint, label in zip(checkpoints[1:], labels[1:], strict=True):
        other = checkpoint.tensors[name]
        apart = name in rows.names and rows.merged is not None
        same = first.shape[1:] == other.shape[1:] if apart else first.shape == other.shape
        if not same:
            raise DataError(
                f"tensor '{name}' is {list(first.shape)} in {labels[0]} and {list(other.shape)} "
                f"in {label}; models that are merged have the same shapes"
            )


def _rows(
    spec: Merge,
    models: Sequence[Path],
    labels: Sequence[str],
    checkpoints: Sequence[Checkpoint],
    config: Any,
    notes: list[str],
) -> _Rows:
    """Decides by the tokenizers which rows of the vocabulary are merged."""
    names = _vocabulary_tensors(config)
    names &= checkpoints[0].tensors.keys()
    sizes = {label: max(c.tensors[name].rows for name in names & c.tensors.keys())
             for label, c in zip(labels, checkpoints, strict=True)}  # fmt: skip
    size = sizes[labels[0]]
    vocabularies = _vocabularies(models, labels)
    if isinstance(spec, TaskArithmetic) and spec.embeddings == "skip":
        return _Rows(frozenset(names), torch.zeros(size, dtype=torch.bool))
    if missing := [label for label, found in vocabularies.items() if found is None]:
        if len(set(sizes.values())) > 1:
            raise DataError(
                f"{missing[0]} has no tokenizer, and the models have vocabularies of different "
                f"sizes ({_listed(sizes)}): nobody can say which rows belong together"
            )
        notes.append(f"{missing[0]} has no tokenizer; its rows were taken to be the same tokens")
        return _Rows(frozenset(names), None)
    known = {label: found for label, found in vocabularies.items() if found is not None}
    difference = first_difference(known)
    if difference is not None and not isinstance(spec, TaskArithmetic):
        raise DataError(
            f"these models have different tokenizers: {difference}. Only task arithmetic merges "
            f"them; it moves the rows that are the same token everywhere"
        )
    if difference is None and len(set(sizes.values())) == 1:
        return _Rows(frozenset(names), None)
    merged = torch.zeros(size, dtype=torch.bool)
    least = min(sizes.values())
    merged[[row for row in shared_rows(list(known.values())) if row < least]] = True
    if difference is not None:
        notes.append(
            f"the tokenizers differ ({difference}): {int(merged.sum())} of {size} rows are the "
            f"same token in all models and are merged, the others stay as in {labels[0]}"
        )
    return _Rows(frozenset(names), merged)


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{label}: {size}" for label, size in sizes.items())


def _vocabulary_tensors(config: Any) -> set[str]:
    """Names of input embeddings and output head."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = {id(p) for end in ends if end is not None for p in end.parameters()}
    return {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) in weights
    }


def _vocabularies(
    models: Sequence[Path], labels: Sequence[str]
) -> dict[str, Mapping[str, int] | None]:
    found: dict[str, Mapping[str, int] | None] = {}
    for folder, label in zip(models, labels, strict=True):
        has = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
        found[label] = load_tokenizer(str(folder.resolve())).get_vocab() if has else None
    return found


def _planned(
    name: str, checkpoints: Sequence[Checkpoint], spec: Merge, rows: _Rows
) -> Planned:
    first = checkpoints[0].tensors[name]
    mask = rows.merged if name in rows.names else None
    make = partial(_pieces, name, checkpoints, spec, mask)
    return Planned(name, first.dtype, first.shape, make)


def _pieces(
    name: str, checkpoints: Sequence[Checkpoint], spec: Merge, mask: Tensor | None
) -> Iterator[Tensor]:
    own = checkpoints[0].tensors[name]
    if own.dtype not in FLOATS or any(c.tensors[name].dtype not in FLOATS for c in checkpoints):
        yield from _identical(name, checkpoints)
        return
    combine = _combination(name, checkpoints, spec, mask)
    for first, last in checkpoints[0].pieces(name):
        kept = checkpoints[0].read(name, first, last)
        if mask is not None and not mask[first:last].any():
            yield kept
            continue
        parts = [_part(c, name, first, last) for c in checkpoints]
        merged = combine(parts).to(DTYPES[own.dtype])
        if mask is not None:
            moved = mask[first:last].reshape(-1, *[1] * (kept.dim() - 1))
            merged = torch.where(moved, merged, kept)
        yield merged


def _part(checkpoint: Checkpoint, name: str, first: int, last: int) -> Tensor:
    """Rows in fp32; where a smaller vocabulary has none, zeros, which the mask leaves out."""
    end = min(last, checkpoint.tensors[name].rows)
    rows = checkpoint.read(name, min(first, end), end).float()
    if end == last:
        return rows
    return torch.cat([rows, rows.new_zeros(last - max(first, end), *rows.shape[1:])])


def _combination(
    name: str, checkpoints: Sequence[Checkpoint], spec: Merge, mask: Tensor | None
) -> Callable[[Sequence[Tensor]], Tensor]:
    """Pieces of all models, in fp32, to the merged piece."""
    if isinstance(spec, TaskArithmetic):
        scale = spec.scale
        return lambda parts: parts[0] + scale * (parts[2] - parts[1])
    if isinstance(spec, Linear):
        taken = shares(spec.weights, len(checkpoints))
    else:
        taken = slerp_shares(spec.t, *_angle(name, checkpoints, mask))

    def weighted(parts: Sequence[Tensor]) -> Tensor:
        found = taken[0] * parts[0]
        for share, part in zip(taken[1:], parts[1:], strict=True):
            found = found + share * part
        return found

    return weighted


def _angle(
    name: str, checkpoints: Sequence[Checkpoint], mask: Tensor | None
) -> tuple[float, float, float]:
    """Scalar product and norms of two tensors, over the rows that are merged."""
    dot = first_square = second_square = 0.0
    for first, last in checkpoints[0].pieces(name):
        a, b = (_part(c, name, first, last).double() for c in checkpoints)
        if mask is not None:
            a, b = a[mask[first:last]], b[mask[first:last]]
        dot += float((a * b).sum())
        first_square += float((a * a).sum())
        second_square += float((b * b).sum())
    return dot, first_square**0.5, second_square**0.5


def _identical(name: str, checkpoints: Sequence[Checkpoint]) -> Iterator[Tensor]:
    """Tensors of whole numbers are no weights: they must be the same."""
    for first, last in checkpoints[0].pieces(name):
        kept = checkpoints[0].read(name, first, last)
        for checkpoint in checkpoints[1:]:
            if not torch.equal(kept, checkpoint.read(name, first, last)):
                raise DataError(
                    f"tensor '{name}' is of type {checkpoints[0].tensors[name].dtype} and differs "
                    f"between the models; only floating-point tensors can be merged"
                )
        yield kept


def _answers_like(tuned: Path, folder: Path) -> list[str]:
    """Gives the merged model the tuned one's chat template and its way of ending an answer."""
    if not (folder / "tokenizer.json").is_file() or not (tuned / "tokenizer.json").is_file():
        return []
    template = load_tokenizer(str(tuned.resolve())).chat_template
    if not template:
        return []
    tokenizer = load_tokenizer(str(folder.resolve()))
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    generation = tuned / "generation_config.json"
    if generation.is_file():
        (folder / generation.name).write_bytes(generation.read_bytes())
    return ["the chat template and generation_config.json are those of the tuned model"]


def _card(spec: Merge, labels: Sequence[str]) -> str:
    """README.md of the merged model. Names folders, never where they lie."""
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "tags: [samdan, merge]",
            "---",
            "# Merged model",
            "",
            f"Made with samdan by {spec.kind} from {', '.join(labels)}, in this order.",
            "",
            "```json",
            json.dumps(spec.model_dump(mode="json"), indent=1),
            "```",
            "",
        ]
    )
