"""Other trainers' configurations become a stage that the recipe accepts, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdan.importing import TOOLS, convert, read_configuration, recipe_text
from samdan.importing.reasons import NO_COUNTERPART
from samdan.importing.tools import SAME
from samdan.recipe import Recipe, parse
from samdan.records import RecipeError

LLAMA_FACTORY = """\
model_name_or_path: Qwen/Qwen2.5-7B
stage: sft
finetuning_type: lora
lora_rank: 16
lora_target: q_proj,v_proj
quantization_bit: 4
dataset: handbook,general
dataset_dir: sets
mix_strategy: interleave_under
interleave_probs: 0.7,0.3
template: qwen
cutoff_len: 2048
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
val_size: 0.05
mystery: 3
"""
REGISTRY = {
    "handbook": {
        "file_name": "handbook.json", "formatting": "sharegpt",
        "columns": {"messages": "dialogue"},
    },
    "general": {"hf_hub_url": "owner/general"},
}  # fmt: skip
AXOLOTL = """\
base_model: mistralai/Mistral-7B-v0.1
load_in_8bit: false
datasets:
  - path: data/pairs.jsonl
    ds_type: json
    type: chat_template.default
    field_chosen: good
  - path: owner/pairs
    split: train[:10%]
    name: ko
rl: dpo
rl_beta: 0.2
sequence_len: 1024
sample_packing: true
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 2
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 0.000005
warmup_steps: 10
adapter:
saves_per_epoch: 1
"""
TRL = """\
model_name_or_path: Qwen/Qwen2.5-0.5B
model_revision: main
dataset_name: trl-lib/ultrafeedback_binarized
dataset_train_split: train
beta: 0.05
loss_type: [ipo]
learning_rate: 5.0e-7
use_peft: true
lora_r: 32
max_length: 2048
precompute_ref_log_probs: true
"""
SWIFT = """\
# a comment
export CUDA_VISIBLE_DEVICES=0
swift pt \\
    --model Qwen/Qwen2.5-7B \\
    --tuner_type full \\
    --dataset corpus/docs.jsonl 'owner/text#2000' \\
    --learning_rate 1e-5 \\
    --max_length 4096 --packing true \\
    --warmup_ratio=0.03 \\
    --deepspeed zero3
"""


def imported(tool: str, text: str, **given: Any) -> tuple[Any, Recipe]:
    found = convert(tool, read_configuration(text, "theirs"), **given)
    return found, parse(recipe_text(found, tool, "from-there"), "ours.yaml")


def test_llama_factory() -> None:
    found, recipe = imported("llamafactory", LLAMA_FACTORY, registry=REGISTRY)
    stage = recipe.stages[0]
    assert (stage.kind, stage.max_length, stage.units_per_step) == ("sft", 2048, 16)
    assert (stage.learning_rate, stage.warmup_steps) == (1e-4, 0.1)
    assert stage.heldout.share == 0.05
    assert stage.lora is not None
    assert (stage.lora.r, stage.lora.alpha, stage.lora.quantize) == (16, 32, "4bit")
    assert stage.lora.target_modules == ("q_proj", "v_proj")
    first, second = stage.data
    assert (first.path, first.columns, first.weight) == (
        "sets/handbook.json", {"conversations": "dialogue"}, 0.7,
    )  # fmt: skip
    assert (second.hub, second.weight) == ("owner/general", 0.3)
    assert found.without["mystery: 3"] == "not known here; look whether you need it"
    assert "here they count tokens" in found.without["mix_strategy"]
    assert any("is cut" in line for line in found.silent)
    assert stage.adam_beta2 == 0.999  # its default, written out
    assert "adam_beta2: 0.999" in found.defaults


def test_a_data_set_that_its_registry_does_not_show_is_said() -> None:
    found, recipe = imported("llamafactory", LLAMA_FACTORY)
    assert "dataset_info.json, which was not found" in found.without["dataset handbook"]
    assert recipe.stages[0].data[0].path == "sets/handbook.jsonl"


def test_axolotl() -> None:
    found, recipe = imported("axolotl", AXOLOTL)
    stage = recipe.stages[0]
    assert (stage.kind, stage.max_length, stage.units_per_step) == ("dpo", 1024, 8)
    assert (stage.beta, stage.optim, stage.lora) == (0.2, "adamw_8bit", None)
    assert stage.warmup_steps == 10
    assert [(s.path, s.hub, s.subset) for s in stage.data] == [
        ("data/pairs.jsonl", None, None), (None, "owner/pairs", "ko"),
    ]  # fmt: skip
    assert stage.data[0].columns == {"chosen": "good"}
    assert found.without["sample_packing: True"].startswith("records are always packed")
    assert any("typing error" in line for line in found.silent)


def test_trl() -> None:
    found, recipe = imported("trl", TRL)
    stage = recipe.stages[0]
    assert (stage.kind, stage.beta, stage.loss_type) == ("dpo", 0.05, "ipo")
    assert recipe.base.revision == "main"
    assert stage.lora is not None
    assert (stage.lora.r, stage.lora.dropout) == (32, 0.05)
    assert stage.gradient_checkpointing  # its default
    assert stage.data[0].hub == "trl-lib/ultrafeedback_binarized"
    assert "computed once" in found.without["precompute_ref_log_probs: True"]


def test_ms_swift_from_a_shell_script() -> None:
    found, recipe = imported("ms-swift", SWIFT)
    stage = recipe.stages[0]
    assert (stage.kind, stage.max_length, stage.lora) == ("cpt", 4096, None)
    assert (stage.learning_rate, stage.warmup_steps, stage.weight_decay) == (1e-5, 0.03, 0.1)
    assert [(s.path, s.hub, s.max_records) for s in stage.data] == [
        ("corpus/docs.jsonl", None, None), (None, "owner/text", 2000),
    ]  # fmt: skip
    assert "deepspeed: zero3" in found.without
    assert any("deleted" in line for line in found.silent)


def test_a_tool_that_trains_adapters_unasked_is_taken_at_its_word() -> None:
    found, recipe = imported("ms-swift", "model: a/b\ndataset: [x.jsonl]\n")
    assert recipe.stages[0].lora is not None
    assert recipe.stages[0].learning_rate == 1e-4
    assert any("adapters unless told otherwise" in line for line in found.defaults)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("kind", ["cpt", "sft", "dpo"])
def test_an_empty_file_gives_a_recipe_that_says_what_is_missing(tool: str, kind: str) -> None:
    found, recipe = imported(tool, "{output_dir: x}", kind=kind)
    assert recipe.stages[0].kind == kind
    assert "no data set was found" in found.without["data"]
    assert found.silent


def untold(tree: Mapping[str, Any], found: Any) -> list[str]:
    """Keys that stand in none of the lists."""
    said = " ".join([*found.mapped, *found.without])
    return [
        key for key, value in tree.items()
        if value is not None and not re.search(rf"(?<!\\w){re.escape(key)}(?!\\w)", said)
    ]  # fmt: skip


@pytest.mark.parametrize("text", [LLAMA_FACTORY, AXOLOTL, TRL, SWIFT])
def test_every_key_is_in_one_of_the_lists(text: str) -> None:
    tool = dict(zip((LLAMA_FACTORY, AXOLOTL, TRL, SWIFT), TOOLS, strict=True))[text]
    tree = read_configuration(text, "theirs")
    assert untold(tree, convert(tool, tree)) == []


KEYS = sorted({*NO_COUNTERPART, *SAME, "stage", "rl", "adapter", "finetuning_type", "tuner_type",
               "use_peft", "lora_target", "lora_target_linear", "load_in_4bit", "quant_bits",
               "val_size", "val_set_size", "optimizer", "optim", "seed", "loss_weights",
               "loss_type", "warmup_ratio", "max_steps", "model", "base_model", "dataset",
               "datasets", "dataset_name", "mix_strategy", "nobody_knows_this",
               *(name for tool in TOOLS.values() for name in tool.renamed)})  # fmt: skip
VALUES = st.one_of(
    st.booleans(), st.integers(-2, 10_000), st.floats(0, 1), st.sampled_from(
        ["sft", "dpo", "pt", "lora", "full", "all", "cosine", "owner/name", "1e-5", "x.jsonl", ""]
    ),
    st.lists(st.sampled_from(["sigmoid", "sft", "q_proj", "a.jsonl"]), max_size=3),
)  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=60)
@given(tree=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=25))
def test_whatever_the_file_says_is_mapped_or_listed_or_refused(
    tool: str, tree: dict[str, Any]
) -> None:
    """No key is lost in silence, nothing crashes, and what comes out is YAML of a recipe."""
    try:
        found = convert(tool, tree, kind="dpo" if "beta" in tree else None)
    except RecipeError:
        return
    assert untold(tree, found) == []
    assert read_configuration(recipe_text(found, tool, "x"), "ours")["stages"]


@pytest.mark.parametrize(
    ("tool", "text", "field", "value"),
    [  # what their sources take where the file says nothing, or say otherwise than we do
        ("llamafactory", "stage: sft", "gradient_checkpointing", True),
        ("llamafactory", "disable_gradient_checkpointing: true", "gradient_checkpointing", False),
        ("axolotl", "micro_batch_size: 2", "warmup_steps", 0.03),
        ("axolotl", "{micro_batch_size: 2, rl: ipo}", "kind", "dpo"),
        ("ms-swift", "model: a/b", "warmup_steps", 0),
        ("trl", "{beta: 0.1, loss_type: [sigmoid, sft], loss_weights: [0.5, 0.1]}",
         "nll_weight", 0.2),
        ("trl", "{use_peft: true, use_rslora: true}", "lora.use_rslora", True),
        ("axolotl", "{adapter: lora, lora_r: 8, loraplus_lr_ratio: 16}",
         "lora.lora_plus_ratio", 16),
        ("trl", "{learning_rate: 1e-5, save_total_limit: -1}", "save_total_limit", 2),
    ],
)  # fmt: skip
def test_single_fields(tool: str, text: str, field: str, value: Any) -> None:
    _, recipe = imported(tool, text)
    found: Any = recipe.stages[0]
    for part in field.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("tool", "text", "expected"),
    [
        ("llamafactory", "stage: ppo", "trains 'ppo', which has no counterpart"),
        ("axolotl", "rl: kto", "trains 'kto'"),
        ("nobody", "a: 1", "--from: found 'nobody', expected one of: llamafactory"),
        ("llamafactory", "{model: a, train_dataset: b}", "LLaMA-Factory's v1"),
        ("ms-swift", "task_type: reranker", "trains 'reranker'"),
        ("axolotl", "{base_model: a, reward_model: true}", "trains 'reward_model: True'"),
        ("axolotl", "compute_environment: LOCAL", "none of its keys"),
        ("trl", "- a", "found a list, expected keys"),
        ("ms-swift", "swift sft --model 'x", "the command cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(tool: str, text: str, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        convert(tool, read_configuration(text, "theirs.yaml"))
