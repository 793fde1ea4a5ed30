"""Why a key of another tool is not taken over: what samdan does in its place, if anything."""

from __future__ import annotations

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
     "neftune_noise_alpha lora_fan_in_fan_out lora_modules_to_save "
     "modules_to_save additional_target use_galore use_badam torch_compile "
     "unfrozen_parameters lora_bias init_weights"),
    ("models that see or hear are not trained here",
     "image_max_pixels image_min_pixels video_max_pixels video_fps video_maxlen max_pixels "
     "processor_type freeze_vision_tower freeze_multi_modal_projector freeze_language_model "
     "freeze_vit freeze_aligner freeze_llm vit_gradient_checkpointing vit_lr aligner_lr media_dir "
     "freeze_mm_modules skip_prepare_dataset"),
    ("the program does it by itself",
     "liger_rms_norm liger_glu_activation liger_layer_norm liger_rope liger_rms_norm_gated "
     "liger_fused_linear_cross_entropy cut_cross_entropy lora_mlp_kernel lora_qkv_kernel "
     "lora_o_kernel flash_attn_cross_entropy flash_attn_fuse_mlp flash_attn_rms_norm "
     "fused_attn_kernel "
     "use_kernels use_v1_kernels use_unsloth_gc use_reentrant_gc low_cpu_mem_usage use_cache "
     "use_logits_to_keep experts_impl experts_implementation device_map pad_to_multiple_of "
     "activation_offloading tiled_mlp resize_token_embeddings_to_32x use_fast_tokenizer "
     "tokenizer_use_fast tokenizer_legacy hf_use_auth_token batching_strategy "
     "torch_empty_cache_steps "
     "tuner_backend ddp_backend mixture_of_depths flex_attn_compile_kwargs buffer_size "
     "shuffle_buffer_size shuffle_merged_datasets dataset_shuffle train_dataloader_shuffle "
     "shuffle_dataset"),
    ("a step has whole micro-batches, and an epoch's last step takes what is left",
     "dataloader_drop_last drop_last"),
    ("`shard` splits weights over processes; there is no other parallelism",
     "tensor_parallel_size context_parallel_size expert_parallel_size dp_shard_size "
     "dp_replicate_size sequence_parallel_size tensor_model_parallel_size sequence_parallel "
     "pipeline_model_parallel_size expert_model_parallel_size cp_size use_distributed_optimizer "
     "overlap_param_gather overlap_grad_reduce bias_activation_fusion apply_rope_fusion "
     "deepspeed_autotp_size zero_hpz_partition_size device_groups use_ray "
     "fsdp_transformer_layer_cls_to_wrap"),
    ("weights stay fp32 and computing is bf16 or fp32",
     "fp8 fp8_backend qat float16 bfloat16 "
     "quantize_moe_experts upcast_layernorm upcast_lmhead_output "
     "fp8_enable_fsdp_float8_all_gather"),
    ("`rules` watch the loss and end or repeat a stage that goes wrong",
     "loss_watchdog_threshold loss_watchdog_patience early_stop_interval"),
    ("records longer than max_length are left out and counted; documents of cpt are cut into "
     "pieces, and nothing of them is lost",
     "truncation_strategy excess_length_strategy truncation_mode min_sample_len"),
    ("the vocabulary grows by `base.grow.vocab`, or not at all",
     "tokens new_special_tokens add_tokens add_special_tokens resize_vocab embedding_init "
     "added_tokens_overrides init_special_tokens new_special_tokens_config"),
    ("a stage starts from a whole model: merge the adapter into its base first",
     "adapter_name_or_path adapter_folder lora_model_dir adapters resume_from_adapter"),
    ("`train_only` and `freeze` name parameters by patterns",
     "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules freeze_parameters "
     "freeze_parameters_regex freeze_parameters_ratio trainable_parameters "
     "trainable_parameters_regex use_llama_pro"),
    ("positions of a cpt stage are stretched by its `rope`",
     "rope_scaling rope_theta overrides_of_model_config max_model_len"),
    ("`evaluate` lists tasks, and every source holds records out for itself",
     "eval_dataset val_dataset test_datasets dataset_test_split eval_on_each_dataset "
     "compute_accuracy predict_with_generate eval_use_evalscope eval_dataset_args eval_limit "
     "eval_num_beams eval_sequence_len eval_table_size eval_max_new_tokens eval_causal_lm_metrics "
     "do_causal_lm_eval greater_is_better eval_metric"),
    ("these are about answering, not about training; `samdan chat` and `serve` have their own",
     "max_new_tokens temperature top_p top_k repetition_penalty num_beams stream infer_backend "
     "infer_dtype response_prefix enable_thinking preserve_thinking add_non_thinking_prefix "
     "reasoning_effort sample_backend"),
    ("about exporting: a stage's model is always whole and in safetensors (`samdan export`)",
     "export_dir export_size export_device export_legacy_format export_hub_model_id merge_lora "
     "max_shard_size create_checkpoint_symlink add_version"),
    ("prepared data lie in the run's folder, by content",
     "tokenized_path cached_dataset cached_val_dataset data_shared_file_system packing_length "
     "packing_num_proc dataset_exact_deduplication"),
    ("metrics.jsonl and report.html hold every step; `report_to` takes further trackers",
     "use_swanlab swanlab_project swanlab_experiment_name swanlab_description swanlab_mode "
     "swanlab_log_completions wandb_run_name mlflow_experiment_name mlflow_tracking_uri "
     "use_tensorboard comet_project_name logging_first_step logging_dir logging_strategy"),
    ("names for a data set about the model itself: write them into the data",
     "model_name model_author"),
    ("the tokenizer's own chat template is used, ChatML where it has none",
     "eot_tokens chat_template_jinja chat_template_path agent_template tool_format "
     "use_chat_template tokenizer_use_mistral_common eos_token pad_token"),
    ("it is all devices together there: divide it by micro_batch_size and the number of devices "
     "and write gradient_accumulation_steps", "batch_size auto_find_batch_size"),
    ("there is nothing like it here",
     "router_aux_loss_coef use_asft_loss asft_alpha use_dft_loss use_eaft_loss use_kt "
     "kt_cpu_activation kt_config oft_block_size oft_target use_adam_mini use_apollo "
     "apollo_layerwise apollo_target apollo_rank apollo_scale apollo_scale_type apollo_proj "
     "badam_mode badam_switch_mode badam_switch_interval badam_verbose badam_update_ratio "
     "galore_layerwise galore_target galore_rank galore_scale lora_target_parameters "
     "lora_bias peft_init_lora_weights pissa_init pissa_iter pissa_convert lisa_activated_layers "
     "relora relora_prune_ratio jagged_restart_steps optim_args lr_scheduler_kwargs "
     "lr_quadratic_warmup loraplus_lr_embedding lora_ga_batch_size lora_ga_iters ld_alpha "
     "pref_bco_weight simpo_gamma use_weighting sync_ref_model f_divergence_type "
     "enable_channel_loss cosine_constant_lr_ratio noisy_embedding_alpha"),
)  # fmt: skip
NO_COUNTERPART = {name: reason for reason, names in _REASONS for name in names.split()}
