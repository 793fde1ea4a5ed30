"""Other trainers' configurations become a stage that the recipe accepts, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from samdan.importing import TOOLS, convert, read_configuration, recipe_text
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


@pytest.mark.parametrize("text", [LLAMA_FACTORY, AXOLOTL, TRL, SWIFT])
def test_every_key_is_in_one_of_the_lists(text: str) -> None:
    tool = dict(zip((LLAMA_FACTORY, AXOLOTL, TRL, SWIFT), TOOLS, strict=True))[text]
    tree = read_configuration(text, "theirs")
    found = convert(tool, tree)
    said = " ".join([*found.mapped, *found.without, *found.stage, *found.stage.get("lora", {})])
    quiet = {"command", "stage", "rl", "finetuning_type", "tuner_type", "use_peft", "dataset_dir",
             "load_in_8bit", "lora_target", "quantization_bit", "interleave_probs",
             "dataset_train_split"}  # fmt: skip
    missing = [key for key, value in tree.items()
               if value is not None and key not in quiet and key not in said]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize(
    ("tool", "text", "expected"),
    [
        ("llamafactory", "stage: ppo", "trains 'ppo', which has no counterpart"),
        ("axolotl", "rl: kto", "trains 'kto'"),
        ("nobody", "a: 1", "--from: found 'nobody', expected one of: llamafactory"),
        ("trl", "- a", "found a list, expected keys"),
        ("ms-swift", "swift sft --model 'x", "the command cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(tool: str, text: str, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        convert(tool, read_configuration(text, "theirs.yaml"))
