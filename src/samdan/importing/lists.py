"""What became of a configuration: every key is in one of the lists, with what was made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samdan.importing.reasons import NO_COUNTERPART
from samdan.importing.tools import SAME, Tool
from samdan.records import RecipeError

KINDS = ("cpt", "sft", "dpo")
ONLY_DPO = frozenset({"beta", "loss_type", "nll_weight", "label_smoothing"})
_KNOWN = frozenset({"dataset", "datasets", "pretraining_dataset", "dataset_name", "dataset_mixture",
                    "optim", "optimizer", "seed", "model_revision", "lora_rank", "lora_r",
                    "disable_gradient_checkpointing"})  # fmt: skip
# Keys of another purpose: a file that trains a classifier or a reward would be misread.
_OTHER = ("reward_model", "num_labels", "process_reward_model", "diffusion", "problem_type")
# Keys that are read together with others, to what was made of them.
_TOGETHER = {
    "stage": "kind: {kind}", "rl": "kind: {kind}", "rlhf_type": "kind: {kind}",
    "command": "kind: {kind}", "do_train": "a stage",
    **dict.fromkeys(("finetuning_type", "tuner_type", "train_type", "adapter", "use_peft",
                     "sft_type"), "{how}"),
    **dict.fromkeys(("lora_target", "lora_target_modules", "lora_target_linear",
                     "target_modules"), "{targets}"),
    **dict.fromkeys(("load_in_4bit", "load_in_8bit", "quantization_bit", "quantization_method",
                     "quant_bits", "quant_method", "double_quantization", "bnb_4bit_quant_type",
                     "bnb_4bit_compute_dtype", "bnb_4bit_use_double_quant",
                     "use_bnb_nested_quant"), "{bits}"),
    **dict.fromkeys(("val_size", "val_set_size", "split_dataset_ratio"),
                    "heldout: samdan's own (it measures every stage on held-out records)"),
    **dict.fromkeys(("max_steps", "warmup_steps", "warmup_ratio"), "nothing: it is not set"),
}  # fmt: skip  # fmt: skip


@dataclass
class Imported:
    """``mapped``: their line to ours. ``without``: their key to why it is not taken over.

    ``defaults``: our lines that stand for what their tool does where the file says nothing.
    """

    kind: str
    base: dict[str, Any] = field(default_factory=dict)
    stage: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    mapped: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    defaults: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


def require_one_of_theirs(known: Tool, tree: Mapping[str, Any]) -> None:
    """Raises RecipeError for a file of another program, and for what trains no language model."""
    task = tree.get("task_type", "causal_lm")
    other = next((f"{key}: {tree[key]}" for key in _OTHER if tree.get(key)), None)
    if str(task).lower() != "causal_lm" or other:
        raise RecipeError(
            f"the file trains '{other or task}', which has no counterpart; samdan has "
            f"{', '.join(KINDS)} of language models"
        )
    if "model_class" in tree or "train_dataset" in tree:
        raise RecipeError(
            "the file has the form of LLaMA-Factory's v1 (model, train_dataset, peft_config), "
            "which is not read; give one with model_name_or_path, dataset and finetuning_type"
        )
    names = {*SAME, *known.renamed, *known.base, *NO_COUNTERPART, *_TOGETHER, *_KNOWN}
    if tree and not set(tree) & names:
        raise RecipeError(
            f"none of its keys ({', '.join(list(tree)[:5])}) is one of {known.title}'s training; "
            f"expected the file that it trains with"
        )


def reason(found: Imported, known: Tool, key: str, value: Any) -> str:
    """Why a key is not taken over."""
    ours = known.renamed.get(key, key if key in SAME else None)
    if ours in ONLY_DPO and found.kind != "dpo":
        return f"it is about pairs, and this is a stage of kind {found.kind}"
    if ours is not None or key in ("optim", "optimizer"):
        field = ours or "optim"
        return f"samdan has no such value; its own {field} stays, look whether you need it"
    return NO_COUNTERPART.get(key, "not known here; look whether you need it")


def told(found: Imported, tree: Mapping[str, Any]) -> None:
    """Keys that were read together with others, or change nothing, are in the list too."""
    lora = found.stage.get("lora")
    said = " ".join([*found.mapped, *found.without])
    words = {
        "kind": found.kind,
        "how": "lora" if lora else "all weights are trained (no lora)",
        "targets": f"lora.target_modules: {(lora or {}).get('target_modules', 'all-linear')}",
        "bits": f"lora.quantize: {(lora or {}).get('quantize', 'none')}",
    }
    for key, value in tree.items():
        if not re.search(rf"(?<!\w){re.escape(key)}(?!\w)", said):
            text = _TOGETHER.get(key, "nothing: it changes nothing here").format(**words)
            found.mapped[f"{key}: {short(value)}"] = text


def short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
