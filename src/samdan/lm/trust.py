"""Model folders are data: what asks for code is refused before any library looks at it.

A model's configuration can ask for code by many names. ``trust_remote_code`` was the first; others
came with kernels that are downloaded, custom decoding and attention, and adapters that name a
further model. samdan runs none of it and has no option to. Weights are read from safetensors only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from samdan.lm.files import parse_json, read_regular
from samdan.records import DataError, first_line

CONFIGS: Final = ("config.json", "generation_config.json", "tokenizer_config.json")
FURTHER: Final = (
    *("special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json"),
    *("preprocessor_config.json", "processor_config.json", "adapter_config.json"),
)
TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
MAX_CONFIG: Final = 20_000_000  # bytes; the index of a model of 10,000 tensors has one million
MAX_TOKENIZER: Final = 500_000_000
MAX_LAYERS: Final = 10_000
MAX_DEPTH: Final = 50
PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.msgpack", "*.h5")
# Ways to compute that come with transformers and run no downloaded code.
BUILT_IN: Final = frozenset(
    (
        *("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"),
        *("grouped_mm", "batched_mm", "samdan"),
    )
)
# Keys that make transformers, peft or kernels load code, whatever their value.
ASKS_FOR_CODE: Final = frozenset(
    (
        *("auto_map", "custom_pipelines", "custom_generate", "auto_mapping", "_target_"),
        *("kernel_config", "kernels", "kernel_mapping", "use_kernels", "use_kernel_func_from_hub"),
    )
)
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,100}")
_SHARD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")


def require_data_only(path: str, revision: str | None = None) -> None:
    """Looks at every configuration of a model, in a folder or on the Hub, before it is loaded.

    Raises DataError that names the file, the key and what to do about it.
    """
    folder = Path(path)
    if folder.is_dir():
        _require_files(folder)
        _require_weights(folder)
        for name in (*CONFIGS, *FURTHER):
            if (folder / name).exists():
                _look_at(folder / name)
        for tokenizer in (folder / name for name in TOKENIZERS):
            if tokenizer.is_file() and tokenizer.stat().st_size > MAX_TOKENIZER:
                raise DataError(f"{tokenizer}: more than {MAX_TOKENIZER} bytes")
        return
    from transformers.utils import cached_file

    for name in (*CONFIGS, "adapter_config.json"):
        try:
            file = cached_file(
                path,
                name,
                revision=revision,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"base.path: cannot load a model from '{path}': {first_line(error)}"
            ) from None
        if file is not None:
            _look_at(Path(file))


def refusal(config: Mapping[str, Any], name: str = "config.json") -> str | None:
    """What a configuration asks for and does not get, or None."""
    if name == "adapter_config.json":
        return "this is an adapter, not a model; merge it into its base first"
    for key, value in _entries(config):
        if not value:
            continue
        if key in ASKS_FOR_CODE:
            return (
                f"'{key}' asks for code that comes with the model, which samdan never runs; remove "
                "the key if transformers knows this model itself"
            )
        if "trust_remote_code" in key:
            return f"'{key}' asks to run code that comes with the model, which samdan never does"
        if key.endswith(("implementation", "implementation_internal")):
            asked = value.values() if isinstance(value, dict) else [value]
            for one in asked:
                if one is not None and not (isinstance(one, str) and one in BUILT_IN):
                    return f"'{key}' asks for '{str(one)[:80]}', which transformers does not hold"
        if key == "tokenizer_class" and not (isinstance(value, str) and _NAME.fullmatch(value)):
            return f"'{key}' is {str(value)[:80]!r}, expected the name of a class of transformers"
        if key == "quantization_config":
            method = value.get("quant_method") if isinstance(value, dict) else value
            if method == "bitsandbytes":  # what lora.quantize itself leaves behind
                continue
            return (
                f"its weights are quantized ('{str(method)[:40]}') and full ones are needed; to "
                "train adapters on quantized ones, name the full model and set lora.quantize"
            )
        if key == "weight_map" and isinstance(value, dict):
            for file in value.values():
                if not (isinstance(file, str) and _SHARD.fullmatch(file)):
                    return f"'{key}' names {str(file)[:80]!r}, expected a .safetensors file beside"
        if key.startswith(("num_", "n_layer")) and "layer" in key and _is_more(value, MAX_LAYERS):
            return f"'{key}' is {value}, more than {MAX_LAYERS}"
    return None


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object of a model folder. Raises DataError that names the file."""
    try:
        value = parse_json(read_regular(file, MAX_CONFIG).decode("utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: not JSON: {first_line(error)}") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{file}: found a {type(value).__name__}, expected a JSON object")
    return value


def _look_at(file: Path) -> None:
    config = read_config(file)
    try:
        why = refusal(config, file.name)
    except RecursionError:
        why = f"nested deeper than {MAX_DEPTH} levels"
    if why is not None:
        raise DataError(f"{file}: {why}")


def _require_files(folder: Path) -> None:
    """Nothing in it that may hold a reader for ever, as a pipe or a device does."""
    for file in sorted(folder.iterdir()):
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise DataError(f"{file}: is no regular file; a model folder holds nothing else")


def _require_weights(folder: Path) -> None:
    """A folder that has weights has them as safetensors."""
    if any(folder.glob("*.safetensors")):
        return
    names = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if names:
        raise DataError(
            f"{folder}: its weights are in {names[0]}, a format that can hold code; expected "
            "model.safetensors. Convert it with a tool and on a machine that you trust"
        )


def _entries(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every key at any depth; the entries of weight_map and of vocabularies are not keys."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key), inner
            if key not in ("weight_map", "added_tokens_decoder", "vocab", "label2id", "id2label"):
                yield from _entries(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner, depth + 1)


def _is_more(value: Any, limit: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > limit
