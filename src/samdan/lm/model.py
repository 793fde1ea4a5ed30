"""Models: loading, starting from random weights, adapters, precision, export."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from samdan.lm.attention import NAME as ATTENTION
from samdan.lm.chat import ChatFormat, set_stop_tokens
from samdan.lm.failures import why
from samdan.lm.files import disk_errors
from samdan.lm.machine import keep_freed_memory
from samdan.lm.skips import CARD, add_skips, export_config, has_skips, read_config
from samdan.lm.tokenizer import load_tokenizer
from samdan.lm.trust import require_data_only
from samdan.recipe import Architecture, Lora
from samdan.records import DataError, EnvironmentFailure, RecipeError, SamdanError


def load_model(
    path: str,
    revision: str | None = None,
    quantize: str = "none",
    change: Callable[[Any], None] | None = None,
    key: str = "base.path",
) -> Any:
    """A causal language model with samdan's attention, in fp32 (or quantized and frozen).

    Never runs code that comes with the model. ``change``: what is changed in its config before it
    is built. ``key``: of the recipe, for messages; "" where the path comes from a command.

    Raises DataError where the folder is none, asks for code, or lacks weights that its
    configuration names: they would start from random numbers.
    """
    from transformers import AutoModelForCausalLM

    require_data_only(path, revision, key)
    where = f"{key}: " if key else ""
    extra: dict[str, Any] = {}
    if quantize != "none":
        extra["quantization_config"] = _quantization(quantize)
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            config=_config(path, revision, change),
            dtype=torch.float32,
            attn_implementation=ATTENTION,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **extra,
        )
    except (MemoryError, torch.OutOfMemoryError, SamdanError):
        raise
    except Exception as error:  # of a damaged folder, transformers raises whatever it comes upon
        raise DataError(f"{where}cannot load a model from '{path}': {why(error)}") from None
    if lost := sorted(loading["missing_keys"]):
        raise DataError(
            f"{where}the weights in '{path}' lack {len(lost)} of the tensors that its config "
            f"names, {lost[0]} first; is a file missing?"
        )
    if not model._supports_attention_backend:
        # Its layers never call the function they are given: documents would see each other.
        raise DataError(f"{where}'{path}' is a {type(model).__name__}, which cannot be packed")
    add_skips(model)
    every_row_learns(model)
    return model


def _config(path: str, revision: str | None, change: Callable[[Any], None] | None) -> Any:
    require_data_only(path, revision)
    config = read_config(path, revision)
    if change is not None:
        change(config)
    return config


def empty_model(
    path: str, revision: str | None = None, change: Callable[[Any], None] | None = None
) -> Any:
    """The model of ``load_model`` without its weights, on the device of the context (meta)."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(
        _config(path, revision, change),
        dtype=torch.float32,
        attn_implementation=ATTENTION,
        trust_remote_code=False,
    )
    add_skips(model)
    every_row_learns(model)
    return model


def _quantization(bits: str) -> Any:
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        raise EnvironmentFailure(
            f"lora.quantize: '{bits}' needs bitsandbytes: pip install 'samdan[quant]'"
        ) from None
    if not torch.cuda.is_available():
        raise EnvironmentFailure(f"lora.quantize: '{bits}' needs a CUDA GPU, and there is none")
    from transformers import BitsAndBytesConfig

    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def scratch_model(shape: Architecture, tokenizer: Any, seed: int) -> Any:
    """A Qwen2-architecture model with random weights that depend on the seed alone."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads or shape.num_attention_heads,
        intermediate_size=shape.intermediate_size or shape.hidden_size * 8 // 3 // 16 * 16,
        tie_word_embeddings=shape.tie_word_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        max_position_embeddings=shape.max_position_embeddings,
        initializer_range=shape.initializer_range,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation=ATTENTION,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    every_row_learns(model)
    return model


def every_row_learns(model: Any) -> None:
    """Lets the padding token's embedding learn like the others.

    torch gives it no gradient, for rows padded with it. Here nothing is padded with it, and it is
    often the token that ends a turn: one that answers are read by.
    """
    model.get_input_embeddings().padding_idx = None


def fit_embeddings(model: Any, tokenizer: Any, seed: int) -> bool:
    """Adds rows for tokens beyond the model's vocabulary; padded vocabularies already have them."""
    weight = model.get_input_embeddings().weight
    if len(tokenizer) <= weight.shape[0]:
        return False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=not weight.is_meta)
    return True


def add_lora(model: Any, spec: Lora, new_tokens: tuple[int, ...], seed: int) -> Any:
    """Adapters on the linear layers; rows of special tokens that are new to the model train too."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if spec.quantize != "none":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    target = spec.target_modules
    require_targets(target, [name for name, _ in model.named_modules()])
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        use_rslora=spec.use_rslora,
        use_dora=spec.use_dora,
        target_modules=target if isinstance(target, str) else list(target),
        trainable_token_indices=_new_rows(model, new_tokens) if new_tokens else None,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def require_targets(targets: str | tuple[str, ...], modules: Sequence[str]) -> None:
    """Every name must stand for a module: peft passes over a misspelt one beside a right one.

    Raises RecipeError.
    """
    if isinstance(targets, str):
        return
    ends = {name.rpartition(".")[2] for name in modules}
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in modules):
            close = get_close_matches(target, sorted(ends), n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; there are {sorted(ends)[:12]}"
            raise RecipeError(f"lora.target_modules: '{target}' is no module of the model{hint}")


def _new_rows(model: Any, tokens: tuple[int, ...]) -> dict[str, list[int]]:
    """By module: a head that is not tied has rows of its own for the new tokens."""
    inputs, output = model.get_input_embeddings(), model.get_output_embeddings()
    names = {module: name for name, module in model.named_modules()}
    tied = output is None or output.weight is inputs.weight
    return {names[module]: list(tokens) for module in ((inputs,) if tied else (inputs, output))}


def merged(model: Any) -> Any:
    """The model with its adapters merged into the weights."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def save_model(model: Any, chat: ChatFormat, folder: Path, card: str, stop_at_turn: bool) -> str:
    """Writes Hugging Face layout (safetensors) and returns the hash of the weights."""
    if stop_at_turn:
        set_stop_tokens(chat, model)
    with disk_errors():
        model.save_pretrained(folder, safe_serialization=True)
        export_config(folder, model.config)
    chat.tokenizer.save_pretrained(folder)
    if has_skips(model.config):
        card = f"{card}\n{CARD}\n"
    (folder / "README.md").write_text(card, "utf-8")
    return weights_hash(folder)


def weights_hash(folder: Path) -> str:
    """sha256 over config and weights of a local model folder, independent of how it is sharded."""
    digest = hashlib.sha256()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config.pop("transformers_version", None)
    digest.update(json.dumps(config, sort_keys=True).encode())
    where = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(file), "pt") as opened:
                where.update(dict.fromkeys(opened.keys(), file))
        except SafetensorError as error:
            raise DataError(f"{file}: damaged ({error}); download it again") from None
    if not where:
        raise DataError(
            f"{folder}: holds no weights; expected model.safetensors beside config.json"
        )
    for name in sorted(where):
        with safe_open(str(where[name]), "pt") as opened:
            tensor = opened.get_tensor(name)
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def load_chat(path: str, revision: str | None = None) -> ChatFormat:
    """A model's tokenizer with its template. Raises DataError where one of them is not whole."""
    tokenizer = load_tokenizer(path, revision)
    try:
        return ChatFormat(tokenizer)
    except (MemoryError, SamdanError):
        raise
    except Exception as error:  # tokenizers raises nothing more precise
        raise DataError(f"{path}: its tokenizer cannot be used: {why(error)}") from None


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_best_device(model: Any) -> Any:
    """Moves the model there; on a CPU its process then keeps the memory that steps free."""
    device = best_device()
    if device.type == "cpu":
        keep_freed_memory()
    return model.to(device)


def head_and_embeddings(model: nn.Module) -> tuple[set[int], set[int]]:
    """ids of the parameters of the input embeddings and of the output head."""
    inner: Any = model
    embeddings = {id(p) for p in inner.get_input_embeddings().parameters()}
    output = inner.get_output_embeddings()
    head = {id(p) for p in output.parameters()} if output is not None else set()
    return embeddings, head
