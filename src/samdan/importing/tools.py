"""What the other tools call things, what they take where nothing is said, what they do unasked.

Names and defaults: LLaMA-Factory's ``hparams``, Axolotl's configuration schema, TRL 1.x's
``SFTConfig`` and ``DPOConfig``, ms-swift's command-line parameters, as of autumn 2026. What they do
silently was read in their sources. To add a tool, write its table here.
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

_REASONS = (
    ("`samdan run --out` names the folder, and the same command goes on where it stopped",
     "output_dir overwrite_output_dir run_name resume_from_checkpoint "
     "auto_resume_from_checkpoints save_only_model save_safetensors save_strategy "
     "saves_per_epoch"),
    ("`keep_best` exports the best epoch", "load_best_model_at_end metric_for_best_model"),
    ("records are always packed, and never see each other",
     "packing neat_packing sample_packing pad_to_sequence_len padding_free group_by_length "
     "eval_packing eval_sample_packing packing_strategy pretrain_multipack_attn "
     "sample_packing_eff_est"),
    ("the program does it by itself",
     "flash_attn flash_attention attn_impl attn_implementation sdp_attention xformers_attention "
     "enable_liger_kernel use_liger_kernel plugins use_unsloth remove_unused_columns strict "
     "streaming data_seed gradient_checkpointing_kwargs use_hf local_files_only"),
    ("`precision: auto` computes in bf16 where that is fast; weights stay fp32",
     "bf16 fp16 tf32 torch_dtype dtype pure_bf16"),
    ("`shard` splits weights over processes; start them with torchrun",
     "deepspeed fsdp fsdp_config fsdp_version ddp_timeout ddp_find_unused_parameters "
     "accelerator_config"),
    ("data are prepared once, by content; `--workers` says by how many processes",
     "preprocessing_num_workers dataset_num_proc dataset_processes dataloader_num_workers "
     "overwrite_cache dataset_prepared_path dataloader_pin_memory load_from_cache_file "
     "lazy_tokenize dataloader_prefetch_factor cache_dir model_kwargs"),
    ("the tokenizer's own chat template is used, ChatML where it has none",
     "template chat_template special_tokens tokenizer_type model_type default_system system "
     "tokenizer_config"),
    ("metrics.jsonl and report.html hold every step",
     "report_to plot_loss wandb_project wandb_entity wandb_name wandb_watch wandb_log_model "
     "wandb_run_id include_num_input_tokens_seen"),
    ("every stage is evaluated, and `rules` end one that goes wrong",
     "do_train do_eval eval_strategy evaluation_strategy evals_per_epoch "
     "per_device_eval_batch_size eval_batch_size eval_on_start early_stopping_patience "
     "early_stopping_steps"),
    ("code that comes with a model is never run", "trust_remote_code"),
    ("a model is not pushed while it trains",
     "push_to_hub hub_model_id hub_strategy hub_token"),
    ("the parent's log-probabilities are always computed once, before the stage",
     "precompute_ref_log_probs ref_model create_new_adapter"),
    ("in sft all assistant turns and the tokens that end them are trained, nothing else; in cpt "
     "everything",
     "train_on_inputs train_on_prompt mask_history roles_to_train train_on_eos "
     "completion_only_loss assistant_only_loss loss_scale"),
    ("there is nothing like it here",
     "neftune_noise_alpha use_dora use_rslora lora_fan_in_fan_out lora_modules_to_save "
     "modules_to_save additional_target loraplus_lr_ratio use_galore use_badam torch_compile "
     "unfrozen_parameters lora_bias init_weights"),
)  # fmt: skip
NO_COUNTERPART = {name: reason for reason, names in _REASONS for name in names.split()}


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
        _HUGGING_FACE | {"max_length": 2048},
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
         "rl_beta": "beta", "dpo_beta": "beta", "dpo_loss_type": "loss_type",
         "rpo_alpha": "nll_weight", "dpo_label_smoothing": "label_smoothing",
         "embedding_lr": "embedding_lr"},
        _HUGGING_FACE | {"num_train_epochs": 1, "per_device_train_batch_size": 1,
                         "lr_scheduler_type": "cosine", "max_length": 512},
        {"dropout": 0.0},
        {
            "": ("a key that it does not know, a typing error for example, is ignored",
                 "usage data are sent out unless AXOLOTL_DO_NOT_TRACK is set"),
            "cpt": ("streaming cuts every document at sequence_len without packing, and repeats "
                    "256 tokens a window with it",),
            "sft": ("rows longer than sequence_len are dropped",
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
                         "warmup_steps": 0.05, "weight_decay": 0.1, "adam_beta2": 0.95,
                         "gradient_checkpointing": True},
        {"r": 8, "alpha": 32, "dropout": 0.05},
        {
            "": ("rows longer than max_length are deleted (truncation_strategy: delete)",
                 "rows that it cannot read are left out without an error (strict: false)",
                 "models and data come from ModelScope unless use_hf is set; samdan reads the "
                 "Hugging Face Hub"),
            "dpo": ("precompute_ref_log_probs is ignored",),
        },
        lora_unless_said=True,
    ),
}  # fmt: skip
