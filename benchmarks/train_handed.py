"""What a side under another interpreter is handed: weights, tokenizer and settings, as files.

Its versions of the libraries need not draw the same random numbers, and it cannot read a stage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_trl import stand_in_tokenizer
from benchmarks.shapes import build
from benchmarks.train_samdan import stage_of
from benchmarks.train_side import Spec
from benchmarks.train_turns import Trace
from samdan.lm.batch import Encoded

LLAMAFACTORY, PACKED = "llamafactory", "llamafactory_packed"
# Its examples' row a micro-batch; checkpointing is its default.
FLAGS = {"batch": 1, "gradient_checkpointing": True}
SETTINGS = (
    "learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
)  # fmt: skip


@dataclass(frozen=True)
class Factory:
    """What the command line says of LLaMA-Factory."""

    python: Path  # the interpreter that it is installed for
    packed: bool  # it takes part once more, with its neat_packing


def llamafactory(
    plain: Spec, factory: Factory | None, records: Sequence[Encoded], folder: Path
) -> dict[str, Spec]:
    """Its sides by name; none where it is not asked for. Writes what they are handed."""
    if factory is None:
        return {}
    hand_over(plain, records, folder)
    # Not resolved: an environment's interpreter is a link, and where it lies says which it is.
    python = str(factory.python.absolute())
    spec = replace(plain, program=LLAMAFACTORY, options=FLAGS, python=python, handed=str(folder))
    if not factory.packed:
        return {LLAMAFACTORY: spec}
    return {LLAMAFACTORY: spec, PACKED: replace(spec, options=FLAGS | {"neat_packing": True})}


def hand_over(spec: Spec, records: Sequence[Encoded], folder: Path) -> None:
    """Writes the shape's weights in fp32, a tokenizer, and ``settings.json``."""
    model = build(spec.sizes, torch.device("cpu"), torch.float32, "sdpa")
    model.save_pretrained(folder)
    stand_in_tokenizer(unused(records, spec.sizes.vocab)).save_pretrained(folder)
    stage = stage_of(spec.job)
    settings = {name: getattr(stage, name) for name in SETTINGS}
    settings["beta"] = getattr(stage, "beta", None)
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")


def unused(records: Sequence[Encoded], vocab: int) -> int:
    """A token id that stands in no record, for padding: a collator takes every such token's label.

    0 is the end of a text.
    """
    seen = np.zeros(vocab, np.bool_)
    seen[0] = True
    for record in records:
        seen[record.tokens] = True
    if seen.all():
        raise SystemExit(
            f"--llamafactory: all {vocab} token ids stand in the records and one is needed for "
            f"padding; ask for fewer --steps or a larger --shape"
        )
    return int(np.argmin(seen))


def figures(result: dict[str, Any], traces: Mapping[str, Trace]) -> dict[str, Any]:
    """The headline ratio and the versions, None where the side was left out."""
    ratios = result["ratios"].get(LLAMAFACTORY)
    about = traces[LLAMAFACTORY].about if LLAMAFACTORY in traces else None
    return {
        "ratio_vs_llamafactory": ratios and ratios[result["ratio_is_of"]]["median"],
        "versions_llamafactory": about and about["versions"],
    }
