"""What a forked program would import and measure first: done once, before the forking."""

# ruff: noqa: F401

import transformers.models.auto.modeling_auto
import transformers.models.qwen2.modeling_qwen2

import samdan.cli
import samdan.demo.world
import samdan.run.chatting
import samdan.run.check
import samdan.run.executor
from samdan.lm.machine import bf16_is_fast

bf16_is_fast("cpu")
