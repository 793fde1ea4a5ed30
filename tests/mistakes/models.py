"""Mistakes about the base: found when it is looked at, before data are prepared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

from .data import POINTER
from .world import CPT, Mistake, World, source

PLAIN = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "owner/base"}


def _weights(*names: str) -> Callable[[World], list[str]]:
    """A base folder in which the weights are these files."""

    def words(world: World) -> list[str]:
        (world.folder / "base/model.safetensors").unlink()
        for name in names:
            world.write(f"base/{name}", b"\0" * 64)
        return ["run", world.recipe()]

    return words


def _config(**values: Any) -> Callable[[World], list[str]]:
    def words(world: World) -> list[str]:
        world.change("base/config.json", **values)
        return ["run", world.recipe()]

    return words


def _wrote(name: str, content: str | bytes) -> Callable[[World], list[str]]:
    def words(world: World) -> list[str]:
        world.write(name, content)
        return ["run", world.recipe()]

    return words


def _adapter(world: World) -> list[str]:
    shutil.rmtree(world.folder / "base")
    world.write("base/adapter_config.json", json.dumps(ADAPTER))
    world.write("base/adapter_model.safetensors", b"\0" * 64)
    return ["run", world.recipe()]


def _instruct(world: World) -> list[str]:
    shutil.copytree(world.folder / "base", world.folder / "Tiny-7B-Instruct")
    return ["check", world.recipe(CPT, base="{path: Tiny-7B-Instruct}")]


def _template(world: World) -> list[str]:
    world.write("base/chat_template.jinja", PLAIN)
    return ["check", world.recipe()]


def _no_tokenizer(world: World) -> list[str]:
    for file in (world.folder / "base").glob("tokenizer*"):
        file.unlink()
    return ["run", world.recipe()]


def _gated(world: World) -> list[str]:
    def refuse(*given: Any, **more: Any) -> None:
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it.")

    world.patch.setattr("transformers.utils.cached_file", refuse)
    return ["run", world.recipe(base="{path: owner/Gated-7B}")]


def _smaller(world: World) -> list[str]:
    tree = json.loads((world.folder / "base/config.json").read_text("utf-8"))
    world.change("base/config.json", vocab_size=tree["vocab_size"] - 100)
    return ["run", world.recipe()]


MISTAKES = (
    Mistake(
        "The base's folder is not there",
        lambda w: ["run", w.recipe(base="{path: bse}")],
        ("base: there is no folder", "bse", "expected one with a tokenizer, or a Hub id"),
        "Correct `base.path`.",
    ),
    Mistake(
        "The base is a file",
        lambda w: ["run", w.recipe(base="{path: base/model.safetensors}")],
        ("base.path", "is a file", "expected the model's folder"),
        "Name the folder in which the file lies.",
    ),
    Mistake(
        "The base is a GGUF file",
        lambda w: (w.write("model.gguf", b"GGUF"), ["run", w.recipe(base="{path: model.gguf}")])[1],
        ("base.path", "is a file", "GGUF is for running a model, not for training it"),
        "Name the folder of the model that the GGUF was made from.",
    ),
    Mistake(
        "The base's folder holds GGUF files only",
        _weights("model-q4.gguf"),
        ("holds model-q4.gguf", "GGUF is for running a model", "name the folder of the model"),
        "Name the folder of the model that the GGUF was made from.",
    ),
    Mistake(
        "The base's weights are .bin files",
        _weights("pytorch_model.bin"),
        ("its weights are in pytorch_model.bin", "can hold code", "expected model.safetensors"),
        "Take the safetensors of the model; most have them.",
    ),
    Mistake(
        "The base's folder has no weights",
        _weights(),
        ("holds no weights", "expected model.safetensors"),
        "Download the whole model.",
    ),
    Mistake(
        "The base is an adapter",
        _adapter,
        ("adapter_config.json", "this is an adapter, not a model", "merge it into its base"),
        "Merge it (peft's `merge_and_unload`), and name the result.",
    ),
    Mistake(
        "The base's weights are a Git LFS pointer",
        _wrote("base/model.safetensors", POINTER),
        ("model.safetensors", "Git LFS pointer", "git lfs pull"),
        "`git lfs pull` in the model's folder brings the real file.",
    ),
    Mistake(
        "A download of the weights was cut off",
        _wrote("base/model.safetensors", b"\x10\0\0\0\0\0\0\0{}"),
        ("model.safetensors: damaged", "download it again"),
        "Download the file again.",
    ),
    Mistake(
        "The base's config.json is damaged",
        _wrote("base/config.json", "{"),
        ("config.json: not JSON",),
        "Download the file again.",
    ),
    Mistake(
        "Config and weights are not of one model",
        _smaller,
        ("base.path: cannot load", "other shapes than its config.json says", "vocab_size"),
        "Take both from one model; after adding tokens, save both.",
    ),
    Mistake(
        "The base has no tokenizer",
        _no_tokenizer,
        ("holds no tokenizer", "tokenizer.json", "base.tokenizer.path"),
        "Copy the tokenizer's files there.",
    ),
    Mistake(
        "A model of the Hub without a network, or a name that is misspelt",
        lambda w: ["run", w.recipe(base="{path: owner/model-7b}")],
        ("owner/model-7b", "there is no such folder here", "Hub", "name its folder"),
        "Correct the name, or download the model and name its folder.",
    ),
    Mistake(
        "A gated model of the Hub",
        _gated,
        ("owner/Gated-7B", "accepted its terms", "HF_TOKEN"),
        "Accept the terms on the model's page, and set `HF_TOKEN`.",
    ),
    Mistake(
        "An instruction-tuned base for continued pre-training",
        _instruct,
        ("looks instruction-tuned", "'Instruct'", "Take the base model", "base.allow_instruct"),
        "Take the base model, or set `base.allow_instruct: true`.",
    ),
    Mistake(
        "A chat template whose answers never end",
        _template,
        ("no token that ends a turn", "would never stop", "eos_token"),
        "Take a template that ends turns with a token; without one, samdan adds ChatML.",
    ),
    Mistake(
        "A model that transformers does not know",
        _config(model_type="qwen9"),
        ("base.path: cannot load", "not known to the transformers", "pip install -U transformers"),
        "Update transformers, or take another base.",
    ),
    Mistake(
        "A model that is no decoder",
        _config(model_type="bert", architectures=["BertForMaskedLM"]),
        ("base.path", "lack", "of the tensors that its config names"),
        "Take a causal language model.",
    ),
    Mistake(
        "A quantized base",
        _config(quantization_config={"quant_method": "gptq"}),
        ("config.json", "quantized ('gptq')", "name the full model and set lora.quantize"),
        "Name the full model; `lora.quantize: 4bit` quantizes it.",
    ),
    Mistake(
        "A base that brings code",
        _config(auto_map={"AutoModel": "code.Model"}),
        ("config.json: 'auto_map' asks for code", "remove the key if transformers knows"),
        "Take a base that transformers knows itself; samdan never runs a model's code.",
    ),
    Mistake(
        "A LoRA target is misspelt",
        lambda w: ["check", w.recipe(source("qa.jsonl", lora="{target_modules: [q_proj, v_prj]}"))],
        ("lora.target_modules: 'v_prj' is no module", "did you mean 'v_proj'"),
        "Write the name that the message gives, or leave `target_modules` out.",
    ),
    Mistake(
        "A pattern of `lr_groups` matches nothing",
        lambda w: ["check", w.recipe(source("qa.jsonl", lr_groups="{no_such: 1e-5}"))],
        ("stages.sft.lr_groups: 'no_such' matches no parameter", "names look like"),
        "Write a pattern that is part of such a name.",
    ),
)
