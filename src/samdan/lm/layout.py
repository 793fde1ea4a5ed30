"""A model folder that others read: plain configuration, tokenizer files and weights.

What transformers writes today is not all that yesterday's readers (transformers 4, vLLM, llama.cpp)
look for: the base of the rotary embedding under its old name, special tokens as a list. Both names
are written; the logits and token ids are compared afterwards.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from samdan.lm.files import write_json
from samdan.lm.tensors import DTYPES, FLOATS, Checkpoint, Planned, write_checkpoint
from samdan.lm.tokenizer import GENERIC
from samdan.lm.trust import ASKS_FOR_CODE, read_config
from samdan.records import DataError

NAMES: Final[Mapping[str, str]] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
MAX_NEW_TOKENS: Final = 2048  # of an answer, where the model has room; vLLM takes it as a limit
HEAD: Final = "lm_head.weight"
_OF_THIS_MACHINE: Final = frozenset(
    (
        *("_name_or_path", "name_or_path", "is_local", "local_files_only", "backend"),
        *("_commit_hash", "_from_model_config", "attn_implementation", "_attn_implementation"),
        *("tokenizer_file", "vocab_file", "cache_dir", "token"),
    )
)
# A Llama is a Qwen2 whose attention has one bias more: on the output, here zero.
_OF_LLAMA: Final = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "initializer_range",
    "rms_norm_eps", "use_cache", "tie_word_embeddings", "rope_parameters", "rope_theta",
    "rope_scaling", "attention_dropout", "pad_token_id", "bos_token_id", "eos_token_id", "dtype",
    "torch_dtype", "transformers_version",
)  # fmt: skip


def stored_dtype(checkpoint: Checkpoint) -> str:
    """The precision of most of a checkpoint's bytes, as in its headers: ``BF16``."""
    sizes: Counter[str] = Counter()
    for found in checkpoint.tensors.values():
        if found.dtype in FLOATS:
            sizes[found.dtype] += found.count * DTYPES[found.dtype].itemsize
    return sizes.most_common(1)[0][0] if sizes else "F32"


def plain_config(folder: Path, dtype: str) -> dict[str, Any]:
    """config.json for every reader: no code, no trace of a machine, old names beside new ones."""
    config = _plain(read_config(folder / "config.json"))
    config["dtype"] = config["torch_dtype"] = NAMES[dtype]
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and isinstance(rope.get("rope_theta"), int | float):
        config["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            config["rope_scaling"] = {k: v for k, v in rope.items() if k != "rope_theta"}
    return config


def as_llama(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The configuration of the Llama that computes the same as a Qwen2; None for any other model.

    transformers reads every tokenizer beside a Qwen2 as Qwen2's own, whatever its files say.
    """
    layers = config.get("layer_types") or ()
    if config.get("model_type") != "qwen2" or config.get("use_sliding_window"):
        return None
    if any(kind != "full_attention" for kind in layers):
        return None
    kept = {key: config[key] for key in _OF_LLAMA if key in config}
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "attention_bias": True, "mlp_bias": False, **kept,
    }  # fmt: skip


def zero_biases(config: Mapping[str, Any], dtype: str) -> list[Planned]:
    """The tensors that a Llama has beyond a Qwen2, all zero."""
    width = int(config["hidden_size"])
    zeros = partial(_zeros, width, dtype)
    return [
        Planned(f"model.layers.{layer}.self_attn.o_proj.bias", dtype, (width,), zeros)
        for layer in range(int(config["num_hidden_layers"]))
    ]


def _zeros(width: int, dtype: str) -> Iterator[Tensor]:
    yield torch.zeros(width, dtype=DTYPES[dtype])


def generation_config(
    folder: Path, config: Mapping[str, Any], ends: Sequence[int], pad: int | None
) -> dict[str, Any]:
    """How to generate: the folder's own values, and what is missing there.

    ``ends``: tokens that end an answer, of which there is one at least in the file that is written.
    Without sampling values of its own a model answers with the likeliest token, as it was measured.
    """
    file = folder / "generation_config.json"
    found = _plain(read_config(file)) if file.is_file() else {}
    found = {key: value for key, value in found.items() if not key.startswith("output_")}
    if found.get("eos_token_id") is None and ends:
        found["eos_token_id"] = list(ends) if len(ends) > 1 else ends[0]
    if found.get("pad_token_id") is None:
        found["pad_token_id"] = pad
    if config.get("bos_token_id") is not None:
        found.setdefault("bos_token_id", config["bos_token_id"])
    room = int(config.get("max_position_embeddings") or MAX_NEW_TOKENS)
    found.setdefault("max_new_tokens", max(1, min(MAX_NEW_TOKENS, room // 2)))
    if not {"temperature", "top_p", "top_k"} & found.keys():
        found.setdefault("do_sample", False)
    return dict(sorted(found.items()))


def write_tokenizer(tokenizer: Any, folder: Path, longest: int | None) -> None:
    """The tokenizer's files. ``longest``: tokens that the model has positions for."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    config = _plain(json.loads(file.read_text("utf-8")))
    if isinstance(config.get("extra_special_tokens"), list):  # a dict to transformers 4
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    if config.get("tokenizer_class") in GENERIC:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"  # which both generations know
    if longest and not 0 < config.get("model_max_length", 0) <= longest:
        config["model_max_length"] = longest
    write_json(file, config)


def write_weights(
    source: Checkpoint,
    folder: Path,
    dtype: str,
    shard_bytes: int,
    added: Sequence[Planned] = (),
    tied: bool = False,
    poll: Callable[[], None] = lambda: None,
) -> int:
    """Writes all tensors in one precision; returns their bytes. A tied head is written once.

    Raises DataError where a weight does not fit the precision.
    """
    planned = [_planned(source, name, dtype) for name in names_of(source, tied)]
    return write_checkpoint(folder, [*planned, *added], shard_bytes, poll)


def names_of(source: Checkpoint, tied: bool) -> list[str]:
    """The tensors that are written, in the order of layers as far as names tell."""
    names = [name for name in source.tensors if not (tied and name == HEAD)]
    return sorted(names, key=_by_number)


def in_dtype(piece: Tensor, stored: str, dtype: str, name: str) -> Tensor:
    """A piece of a tensor as it is written. Raises DataError where a value gets infinite."""
    if stored not in FLOATS:
        return piece
    made = piece.to(DTYPES[dtype])
    if dtype == "F16" and not torch.isfinite(made).all() and torch.isfinite(piece).all():
        raise DataError(
            f"--dtype float16: '{name}' holds {float(piece.abs().max()):.4g}, and float16 ends at "
            f"65504; use bfloat16 or float32"
        )
    return made


def _planned(source: Checkpoint, name: str, dtype: str) -> Planned:
    found = source.tensors[name]
    if found.dtype not in FLOATS and found.dtype.startswith("F8"):
        raise DataError(f"{found.file}: '{name}' is of type {found.dtype}; expected full weights")
    kept = dtype if found.dtype in FLOATS else found.dtype
    return Planned(name, kept, found.shape, partial(_pieces, source, name, dtype))


def _pieces(source: Checkpoint, name: str, dtype: str) -> Iterator[Tensor]:
    stored = source.tensors[name].dtype
    for piece in source.copy(name):
        yield in_dtype(piece, stored, dtype, name)


def _by_number(name: str) -> list[tuple[int, int, str]]:
    parts = name.split(".")
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in config.items()
        if key not in _OF_THIS_MACHINE and key not in ASKS_FOR_CODE
    }
