"""Names that other trainers have for a stage's fields: read as ours, and said.

Only names that mean the same thing everywhere are read. ``batch_size`` is not: some count it over
all devices and accumulation. A stage that gives a field under two names is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from samdan.records import RecipeError

ALIASES = {
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "micro_batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "grad_accum": "gradient_accumulation_steps",
    "accumulation": "gradient_accumulation_steps",
    "cutoff_len": "max_length",
    "sequence_len": "max_length",
    "sequence_length": "max_length",
    "seq_len": "max_length",
    "seq_length": "max_length",
    "max_seq_len": "max_length",
    "max_seq_length": "max_length",
    "model_max_length": "max_length",
    "lr_scheduler": "lr_scheduler_type",
    "warmup_ratio": "warmup_steps",
    "embedding_learning_rate": "embedding_lr",
    "pref_beta": "beta",
    "rl_beta": "beta",
    "pref_loss": "loss_type",
    "pref_ftx": "nll_weight",
    "rpo_alpha": "nll_weight",
}
AMBIGUOUS = {
    "batch_size": "some tools count it over all devices and accumulation, others not; write "
    "'per_device_train_batch_size' and 'gradient_accumulation_steps'"
}
# By tool, keys of which a configuration has at least two at its top and a recipe none.
_SIGNS = {
    "llamafactory": "model_name_or_path stage do_train finetuning_type cutoff_len template "
    "lora_target dataset_dir val_size",
    "axolotl": "base_model micro_batch_size sequence_len sample_packing num_epochs datasets "
    "adapter val_set_size dataset_prepared_path",
    "ms-swift": "model tuner_type train_type sft_type rlhf_type target_modules torch_dtype dataset "
    "split_dataset_ratio",
    "trl": "model_name_or_path dataset_name learning_rate per_device_train_batch_size use_peft "
    "output_dir",
}
Hint = Callable[[str], None]


def require_a_recipe(tree: Mapping[str, Any], name: str) -> None:
    """Raises RecipeError for a configuration of another tool: there is a command for those."""
    if "samdan" in tree or "stages" in tree:
        return
    known = {tool: len(set(signs.split()) & set(tree)) for tool, signs in _SIGNS.items()}
    tool = max(known, key=lambda one: known[one])
    if known[tool] >= 2:
        raise RecipeError(
            f"{name}: looks like a configuration of {tool}, not a recipe; `samdan import-recipe "
            f"{name} --from {tool} --out recipe.yaml` makes a recipe of it"
        )


def rename(tree: CommentedMap, name: str, hint: Hint) -> None:
    """Renames in place, in every stage; ``hint`` is told each. ``name`` stands in messages.

    Raises RecipeError for a field that stands there under two names, or under an ambiguous one.
    """
    for stage, path in _stages(tree):
        given: dict[str, str] = {}
        for key in list(stage):
            if key in AMBIGUOUS:
                raise RecipeError(f"{_where(stage, key, name)}: {path}.{key}: {AMBIGUOUS[key]}")
            ours = ALIASES.get(key, key)
            if ours in given:
                raise RecipeError(
                    f"{_where(stage, key, name)}: {path}: '{given[ours]}' and '{key}' are the same "
                    f"field; leave one of them, as '{ours}'"
                )
            given[ours] = key
        for ours, key in given.items():
            if ours == key:
                continue
            if key == "warmup_ratio" and not _is_share(stage[key]):
                raise RecipeError(
                    f"{_where(stage, key, name)}: {path}.{key}: found {stage[key]!r}, expected a "
                    f"share of the run from 0 to below 1; 'warmup_steps' takes steps too"
                )
            hint(f"{_where(stage, key, name)}: '{key}' is read as '{ours}'; write it so")
            _rename(stage, key, ours)


def assignment(text: str, hint: Hint) -> str:
    """``stages.sft.lr=1e-4`` of ``--set`` with our name."""
    path, separator, value = text.partition("=")
    head, _, key = path.rpartition(".")
    in_stage = head.startswith("stages.") or head == "base.train"
    if not separator or key not in ALIASES or not in_stage:
        return text
    hint(f"--set {text}: '{key}' is read as '{ALIASES[key]}'; write it so")
    return f"{head}.{ALIASES[key]}={value}"


def _stages(tree: CommentedMap) -> Iterator[tuple[CommentedMap, str]]:
    stages, base = tree.get("stages"), tree.get("base")
    if isinstance(stages, CommentedSeq):
        for number, stage in enumerate(stages):
            if isinstance(stage, CommentedMap):
                yield stage, f"stages[{number}]"
    if isinstance(base, CommentedMap) and isinstance(base.get("train"), CommentedMap):
        yield base["train"], "base.train"


def _where(node: CommentedMap, key: str, name: str) -> str:
    line, column = node.lc.key(key) if key in (node.lc.data or {}) else (node.lc.line, node.lc.col)
    return f"{name}:{line + 1}:{column + 1}"


def _rename(node: CommentedMap, old: str, new: str) -> None:
    """At the same place, with the same line and column for errors about its value."""
    place = list(node).index(old)
    position = (node.lc.data or {}).get(old)
    value = node.pop(old)
    node.insert(place, new, value)
    if position is not None:
        node.lc.data[new] = position


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
