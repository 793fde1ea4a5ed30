"""From another tool's keys to a stage's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samdan.importing.datasets import distinct, entries_of, sources
from samdan.importing.flags import COMMAND
from samdan.importing.lists import (
    KINDS,
    ONLY_DPO,
    Imported,
    reason,
    require_one_of_theirs,
    short,
    told,
)
from samdan.importing.tools import SAME, TOOLS, Tool
from samdan.records import RecipeError

_STAGES = {"pt": "cpt", "sft": "sft", "dpo": "dpo"}
_OPTIMIZERS = {
    "adamw_8bit": "adamw_8bit", "adamw_bnb_8bit": "adamw_8bit", "paged_adamw_8bit": "adamw_8bit",
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw",
    "adamw_torch_8bit": "adamw_8bit", "paged_adamw_32bit": "adamw", "adamw_apex_fused": "adamw",
}  # fmt: skip
_SCHEDULES = {
    "cosine": "cosine", "linear": "linear", "constant": "constant",
    "constant_with_warmup": "constant", "warmup_stable_decay": "wsd",
    "cosine_with_min_lr": "cosine",
}

# Keys that say whether adapters are trained.
_HOW = ("finetuning_type", "tuner_type", "train_type", "adapter", "use_peft", "sft_type")


def convert(
    tool: str,
    tree: Mapping[str, Any],
    registry: Mapping[str, Any] | None = None,
    kind: str | None = None,
) -> Imported:
    """``kind``: of the stage, where it cannot be told from the file.

    Raises RecipeError for a tool or a kind of training that samdan does not know.
    """
    if tool not in TOOLS:
        raise RecipeError(f"--from: found '{tool}', expected one of: {', '.join(TOOLS)}")
    known = TOOLS[tool]
    tree = {key: value for key, value in tree.items() if value is not None}
    require_one_of_theirs(known, tree)
    found = Imported(kind or _kind(tool, tree))
    if found.kind not in KINDS:
        raise RecipeError(f"--kind: found '{found.kind}', expected one of: {', '.join(KINDS)}")
    used = {COMMAND, "stage", "rl", "rlhf_type"}
    used |= _base(found, known, tree)
    listed, keys, lost = sources(tool, tree, found.kind, registry or {})
    used |= set(keys)
    distinct(listed)
    found.stage |= {"name": found.kind, "data": listed or [{"path": "data.jsonl"}]}
    if listed:
        given = ", ".join(f"{key}: {short(tree[key])}" for key in keys if key in tree)
        found.mapped[given] = "data"
    else:
        lost["data"] = "no data set was found in the file; set the path"
    used |= _fields(found, known, tree)
    used |= _lora(found, known, tree)
    _defaults(found, known, tree)
    for key, value in tree.items():
        if key not in used:
            found.without[f"{key}: {short(value)}"] = reason(found, known, key, value)
    found.without |= lost
    told(found, tree)
    found.silent = [*known.silent.get(found.kind, ()), *known.silent.get("", ())]
    return found


def _kind(tool: str, tree: Mapping[str, Any]) -> str:
    """Raises RecipeError for what is none of the three (reward models, PPO, KTO)."""
    said = tree.get(COMMAND)
    if tool == "llamafactory":
        said = tree.get("stage", "sft")
    elif tool == "axolotl":
        entries = entries_of(tree.get("datasets"))
        types = [entry.get("type") for entry in entries if isinstance(entry, Mapping)]
        text = bool(tree.get("pretraining_dataset")) or set(types) == {"completion"}
        said = "dpo" if tree.get("rl") == "ipo" else tree.get("rl") or ("pt" if text else "sft")
    elif tool == "ms-swift":
        said = tree.get("rlhf_type", "dpo" if said == "rlhf" else said or "sft")
    elif said is None:
        said = "dpo" if "beta" in tree or "precompute_ref_log_probs" in tree else "sft"
    if not isinstance(said, str) or said not in _STAGES:
        raise RecipeError(
            f"the file trains '{said}', which has no counterpart; samdan has {', '.join(KINDS)}"
        )
    return _STAGES[str(said)]


def _base(found: Imported, known: Tool, tree: Mapping[str, Any]) -> set[str]:
    used = set()
    for key in known.base:
        if key in tree:
            found.base["path"] = str(tree[key])
            found.mapped[f"{key}: {tree[key]}"] = f"base.path: {tree[key]}"
            used.add(key)
    for key in ("model_revision", "revision_of_model"):
        if key in tree:
            found.base["revision"] = str(tree[key])
            found.mapped[f"{key}: {tree[key]}"] = "base.revision"
            used.add(key)
    if isinstance(tree.get("seed"), int):
        found.seed = int(tree["seed"])
        found.mapped[f"seed: {found.seed}"] = f"seed: {found.seed}"
        used.add("seed")
    return used


def _fields(found: Imported, known: Tool, tree: Mapping[str, Any]) -> set[str]:
    used = set()
    names = {**{name: name for name in SAME}, **known.renamed}
    for theirs, ours in names.items():
        if theirs not in tree or (ours in ONLY_DPO and found.kind != "dpo"):
            continue
        value = _value(ours, tree[theirs])
        if value is None:
            continue
        _take(found, f"{theirs}: {short(tree[theirs])}", ours, value)
        used.add(theirs)
    used |= _weighted(found, tree)
    used |= _warmup(found, tree)
    if isinstance(tree.get("max_steps"), int):
        used.add("max_steps")
        if tree["max_steps"] > 0:
            _take(found, f"max_steps: {tree['max_steps']}", "max_steps", tree["max_steps"])
    for key in ("optim", "optimizer"):
        if str(tree.get(key)) in _OPTIMIZERS:
            used.add(key)
            _take(found, f"{key}: {tree[key]}", "optim", _OPTIMIZERS[str(tree[key])])
    for key in ("val_size", "val_set_size", "split_dataset_ratio"):
        share = tree.get(key)
        if isinstance(share, float) and 0 < share < 1:
            used.add(key)
            _take(found, f"{key}: {share}", "heldout", {"share": share})
        elif share == 0:
            used.add(key)
    if tree.get("disable_gradient_checkpointing") is not None:
        used.add("disable_gradient_checkpointing")
        off = bool(tree["disable_gradient_checkpointing"])
        _take(found, f"disable_gradient_checkpointing: {off}", "gradient_checkpointing", not off)
    return used


def _value(ours: str, value: Any) -> Any:
    """Their value as ours; None where it is none of ours."""
    if ours == "lr_scheduler_type":
        return _SCHEDULES.get(str(value))
    if ours == "loss_type":
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        return value if value in ("sigmoid", "ipo", "hinge", "sigmoid_norm", "robust") else None
    if ours == "gradient_checkpointing":
        return bool(value)
    if ours in ("logging_steps", "save_steps", "eval_steps", "save_total_limit"):
        return int(value) if isinstance(value, int | float) and value >= 1 else None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) else None


def _weighted(found: Imported, tree: Mapping[str, Any]) -> set[str]:
    """TRL's two losses with weights: pairs, and the likelihood of the chosen answer."""
    kinds = tree.get("loss_type") or tree.get("dpo_loss_type")
    weights = tree.get("loss_weights") or tree.get("dpo_loss_weights") or [1.0, 1.0]
    if found.kind != "dpo" or not isinstance(kinds, list) or len(kinds) != 2 or kinds[1] != "sft":
        return set()
    if _value("loss_type", kinds[0]) is None or not isinstance(weights, list):
        return set()
    first, second = (float(weight) for weight in weights[:2])
    if first <= 0:
        return set()
    said = f"loss_type: {kinds}, loss_weights: {weights}"
    found.stage["loss_type"] = kinds[0]
    _take(found, said, "nll_weight", round(second / first, 6))
    return {"loss_type", "loss_weights", "dpo_loss_type", "dpo_loss_weights"}


def _warmup(found: Imported, tree: Mapping[str, Any]) -> set[str]:
    steps, share = tree.get("warmup_steps"), tree.get("warmup_ratio")
    if isinstance(steps, int | float) and steps > 0:
        _take(found, f"warmup_steps: {steps}", "warmup_steps", steps)
    elif isinstance(share, int | float):
        _take(found, f"warmup_ratio: {share}", "warmup_steps", share)
    return {"warmup_steps", "warmup_ratio"}


def _lora(found: Imported, known: Tool, tree: Mapping[str, Any]) -> set[str]:
    """Adapters, where the file asks for them or the tool takes them unasked."""
    how = tree.get("finetuning_type") or tree.get("tuner_type") or tree.get("train_type")
    how = how or tree.get("adapter") or tree.get("sft_type")
    bits = _bits(tree)
    asked = how in ("lora", "qlora") or tree.get("use_peft") is True
    if not asked and not (how is None and known.lora_unless_said):
        if how in ("freeze", "longlora", "llamapro", "adalora"):
            found.without[f"finetuning: {how}"] = "trained in full; there is nothing like it here"
        return {"load_in_4bit", "load_in_8bit", *_HOW}
    lora: dict[str, Any] = dict(known.lora_defaults)
    for theirs, ours in (
        ("lora_rank", "r"), ("lora_r", "r"), ("lora_alpha", "alpha"), ("lora_dropout", "dropout"),
        ("lora_dropout_p", "dropout"),
    ):  # fmt: skip
        if theirs in tree:
            lora[ours] = tree[theirs]
            found.mapped[f"{theirs}: {tree[theirs]}"] = f"lora.{ours}: {tree[theirs]}"
    for theirs, ours in (
        ("use_rslora", "use_rslora"), ("peft_use_rslora", "use_rslora"), ("use_dora", "use_dora"),
        ("peft_use_dora", "use_dora"), ("loraplus_lr_ratio", "lora_plus_ratio"),
        ("lorap_lr_ratio", "lora_plus_ratio"),
    ):  # fmt: skip
        if tree.get(theirs):
            lora[ours] = tree[theirs]
            found.mapped[f"{theirs}: {tree[theirs]}"] = f"lora.{ours}: {tree[theirs]}"
    lora.setdefault("alpha", 2 * lora.get("r", 8))
    targets = _targets(tree)
    if targets:
        lora["target_modules"] = targets
    if bits:
        lora["quantize"] = bits
        found.mapped[f"quantization: {bits}"] = f"lora.quantize: {bits}"
    found.stage["lora"] = lora
    if not asked:
        found.defaults.append(f"lora: {lora} (it trains adapters unless told otherwise)")
    return {
        "finetuning_type", "tuner_type", "train_type", "adapter", "use_peft", "sft_type",
        "lora_rank", "lora_r", "lora_alpha", "lora_dropout", "lora_dropout_p", "lora_target",
        "lora_target_modules", "lora_target_linear", "target_modules", "load_in_4bit",
        "load_in_8bit", "quantization_bit", "quantization_method", "quant_bits", "quant_method",
        "double_quantization", "bnb_4bit_quant_type", "bnb_4bit_compute_dtype",
        "use_bnb_nested_quant", "bnb_4bit_use_double_quant", "use_rslora", "peft_use_rslora",
        "use_dora", "peft_use_dora", "loraplus_lr_ratio", "lorap_lr_ratio",
    }  # fmt: skip


def _bits(tree: Mapping[str, Any]) -> str | None:
    bits = tree.get("quantization_bit") or tree.get("quant_bits")
    if tree.get("load_in_4bit") or bits == 4 or tree.get("adapter") == "qlora":
        return "4bit"
    return "8bit" if tree.get("load_in_8bit") or bits == 8 else None


def _targets(tree: Mapping[str, Any]) -> list[str] | None:
    given = tree.get("lora_target_modules") or tree.get("lora_target") or tree.get("target_modules")
    if isinstance(given, str):
        given = [name.strip() for name in given.split(",")]
    if not isinstance(given, list) or set(given) & {"all", "all-linear"}:
        return None
    return [str(name) for name in given]


def _defaults(found: Imported, known: Tool, tree: Mapping[str, Any]) -> None:
    """Their tool's defaults for what the file leaves open, written out."""
    theirs = {"min_lr_ratio": 0.0} if found.kind == "cpt" else {}
    theirs |= dict(known.defaults) | dict(known.by_kind.get(found.kind, {}))
    if "lora" in found.stage and known.title == "ms-swift":
        theirs["learning_rate"] = 1e-4
    for name, value in theirs.items():
        if name not in found.stage:
            found.stage[name] = value
            found.defaults.append(f"{name}: {value}")


def _take(found: Imported, theirs: str, ours: str, value: Any) -> None:
    found.stage[ours] = value
    found.mapped[theirs] = f"{ours}: {short(value)}"
