"""What the other tools call things, what they take where nothing is said, what they do unasked.

Names, defaults and what is said under ``silent`` were read in these sources, and another version
may differ: hiyouga/LLaMA-Factory ff6d4d12 (``hparams``, ``data/processor``),
axolotl-ai-cloud/axolotl 067b021c (``utils/schemas``, ``core/builders``), huggingface/trl f2cd5771
(``SFTConfig``, ``DPOConfig``, ``ModelConfig``), modelscope/ms-swift 3602360a (``arguments``,
``trainers``). To add a tool, write its table here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Fields of transformers.TrainingArguments that are called so here too.
SAME = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
    "num_train_epochs", "lr_scheduler_type", "weight_decay", "adam_beta1", "adam_beta2",
    "adam_epsilon", "max_grad_norm", "logging_steps", "save_steps", "eval_steps",
    "save_total_limit", "gradient_checkpointing",
)  # fmt: skip



@dataclass(frozen=True)
class Tool:
    """``renamed``: their name to our field. ``defaults``: ours, where their file says nothing.

    ``silent``: by kind of stage ("" for all), what it does without saying so.
    """

    title: str
    base: tuple[str, ...]
    renamed: Mapping[str, str]
    defaults: Mapping[str, Any]
    lora_defaults: Mapping[str, Any]
    silent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_kind: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # further defaults
    lora_unless_said: bool = False


_HUGGING_FACE = {
    "learning_rate": 5e-5, "num_train_epochs": 3, "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1, "lr_scheduler_type": "linear", "warmup_steps": 0,
    "adam_beta2": 0.999,
}  # fmt: skip

TOOLS = {
    "llamafactory": Tool(
        "LLaMA-Factory",
        ("model_name_or_path",),
        {"cutoff_len": "max_length", "pref_beta": "beta", "pref_loss": "loss_type",
         "pref_ftx": "nll_weight", "dpo_label_smoothing": "label_smoothing"},
        _HUGGING_FACE | {"max_length": 2048, "gradient_checkpointing": True},
        {"r": 8, "dropout": 0.0},
        {
            "cpt": (
                "packed blocks have no border between documents: a document sees the one before",
                "the rest of every 1,000 documents that fills no block is dropped",
                "for tokenizers that begin texts with a token, the first token of every block is "
                "overwritten with it",
            ),
            "sft": ("a conversation longer than cutoff_len is cut, its end with the token that "
                    "stops included",),
            "dpo": (
                "the reference model runs again in every step; it is never computed before",
                "a pair longer than cutoff_len is cut",
            ),
            "": ("perplexity is per token, which changes its meaning with the tokenizer",),
        },
        lora_unless_said=True,
    ),
    "axolotl": Tool(
        "Axolotl",
        ("base_model",),
        {"micro_batch_size": "per_device_train_batch_size", "num_epochs": "num_train_epochs",
         "sequence_len": "max_length", "lr_scheduler": "lr_scheduler_type",
         "rl_beta": "beta", "dpo_loss_type": "loss_type",
         "rpo_alpha": "nll_weight", "dpo_label_smoothing": "label_smoothing",
         "embedding_lr": "embedding_lr", "cosine_min_lr_ratio": "min_lr_ratio"},
        # Warm-up: 3%, and at most 100 steps where it can count them.
        _HUGGING_FACE | {"num_train_epochs": 1, "per_device_train_batch_size": 1,
                         "lr_scheduler_type": "cosine", "max_length": 512, "warmup_steps": 0.03},
        {"dropout": 0.0},
        {
            "": ("a key that it does not know, a typing error for example, is ignored",
                 "usage data are sent out unless AXOLOTL_DO_NOT_TRACK is set"),
            "cpt": ("streaming cuts every document at sequence_len without packing, and repeats "
                    "256 tokens a window with it",),
            "sft": ("rows longer than sequence_len are dropped unless excess_length_strategy says "
                    "otherwise",
                    "with some templates the token that ends a turn is never trained"),
            "dpo": ("sample_packing does nothing here", ),
        },
    ),
    "trl": Tool(
        "TRL",
        ("model_name_or_path", "model"),
        {"rpo_alpha": "nll_weight", "label_smoothing": "label_smoothing", "beta": "beta",
         "loss_type": "loss_type", "max_length": "max_length", "max_seq_length": "max_length"},
        _HUGGING_FACE | {"max_length": 1024, "gradient_checkpointing": True},
        {"r": 16, "alpha": 32, "dropout": 0.05},
        {
            "": ("usage data are sent out unless HF_HUB_DISABLE_TELEMETRY or HF_HUB_OFFLINE is "
                 "set",),
            "cpt": ("the packing strategy 'bfd' discards what is longer than max_length",),
            "sft": ("what is longer than max_length is cut, its last token included; a row may be "
                    "left without anything to train, and the loss then reads 0",),
            "dpo": ("padding_free does nothing", "prompts are computed twice, for each answer"),
        },
        {"sft": {"learning_rate": 2e-5}, "dpo": {"learning_rate": 1e-6}},
    ),
    "ms-swift": Tool(
        "ms-swift",
        ("model", "model_id_or_path"),
        {"rpo_alpha": "nll_weight", "max_length": "max_length", "beta": "beta",
         "loss_type": "loss_type", "label_smoothing": "label_smoothing"},
        _HUGGING_FACE | {"learning_rate": 1e-5, "per_device_train_batch_size": 1,
                         "gradient_accumulation_steps": 16, "lr_scheduler_type": "cosine",
                         "weight_decay": 0.1, "adam_beta2": 0.95,
                         "gradient_checkpointing": True},
        {"r": 8, "alpha": 32, "dropout": 0.05},
        {
            "": ("rows longer than max_length are deleted (truncation_strategy: delete)",
                 "rows that it cannot read are left out without an error (strict: false)",
                 "models and data come from ModelScope unless use_hf is set; samdan reads the "
                 "Hugging Face Hub",
                 "gradient_accumulation_steps, where not given, makes 16 records over all devices, "
                 "so one setting means other batches on other machines"),
        },
        lora_unless_said=True,
    ),
}  # fmt: skip
