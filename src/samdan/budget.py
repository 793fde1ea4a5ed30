"""What a stage will take: parameters from a shape, memory by part, and which way of training fits.

Arithmetic only; the shapes of well-known models stand here so that a plan needs no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samdan.averaging import Ema, Last
from samdan.recipe import CptStage, DpoStage, Stage
from samdan.schedule import warmup_length
from samdan.unfreezing import learns

GIB = 1 << 30
# Ways of training that phases go with.
PHASED = frozenset({"full fine-tuning", "full, optimizer states in host memory"})


@dataclass(frozen=True)
class Shape:
    """A decoder's shape, as in its config.json."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    vocab_size: int
    num_attention_heads: int
    num_key_value_heads: int
    tied: bool

    @property
    def layer_parameters(self) -> int:
        head = self.hidden_size // self.num_attention_heads
        attention = (
            2 * self.hidden_size * head * (self.num_attention_heads + self.num_key_value_heads)
        )
        return attention + 3 * self.hidden_size * self.intermediate_size

    def named_weights(self) -> Iterator[tuple[str, int]]:
        """The matrices as Llama's kind of models names them, and their sizes; vectors are few."""
        inner = self.hidden_size // self.num_attention_heads
        by_head = {"q": self.num_attention_heads, "k": self.num_key_value_heads}
        by_head |= {"v": self.num_key_value_heads, "o": self.num_attention_heads}
        yield "model.embed_tokens.weight", self.vocab_size * self.hidden_size
        for layer in range(self.num_hidden_layers):
            for part, heads in by_head.items():
                name = f"model.layers.{layer}.self_attn.{part}_proj.weight"
                yield name, self.hidden_size * inner * heads
            for part in ("gate", "up", "down"):
                name = f"model.layers.{layer}.mlp.{part}_proj.weight"
                yield name, self.hidden_size * self.intermediate_size
        if not self.tied:
            yield "lm_head.weight", self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        return self.num_hidden_layers * self.layer_parameters + embeddings


# From the models' published configs.
KNOWN_SHAPES = {
    "Qwen/Qwen2.5-0.5B": Shape(896, 24, 4864, 151_936, 14, 2, True),
    "Qwen/Qwen2.5-1.5B": Shape(1536, 28, 8960, 151_936, 12, 2, True),
    "Qwen/Qwen2.5-3B": Shape(2048, 36, 11_008, 151_936, 16, 2, True),
    "Qwen/Qwen2.5-7B": Shape(3584, 28, 18_944, 152_064, 28, 4, False),
    "upstage/SOLAR-10.7B-v1.0": Shape(4096, 48, 14_336, 32_000, 32, 8, False),
    "Qwen/Qwen2.5-14B": Shape(5120, 48, 13_824, 152_064, 40, 8, False),
}


def shape_from_config(config: Mapping[str, Any]) -> Shape | None:
    """The shape in a config.json, or None when it is of another kind."""
    try:
        heads = int(config["num_attention_heads"])
        return Shape(
            int(config["hidden_size"]),
            int(config["num_hidden_layers"]),
            int(config["intermediate_size"]),
            int(config["vocab_size"]),
            heads,
            int(config.get("num_key_value_heads") or heads),
            bool(config.get("tie_word_embeddings", True)),
        )
    except (KeyError, TypeError, ValueError):
        return None


def memory_parts(
    shape: Shape, stage: Stage, micro_batch_tokens: int, processes: int = 1
) -> dict[str, float]:
    """Bytes by part on one device: what trains, gradients and states in fp32, the rest in bf16.

    Several ``processes`` split weights, gradients and states, unless the stage does not allow it;
    then what is gathered at one time counts: two layers in bf16, embeddings and head in fp32.
    """
    split = processes > 1 and stage.can_shard and stage.shard != "none"
    parts = _parts_of_one(shape, stage, micro_batch_tokens)
    if not split:
        return parts
    if stage.lora is None:
        parts["weights"] = 4.0 * shape.parameters  # the compute copies are what is gathered
    for name in parts.keys() & {"weights", "gradients", "optimizer", "average"}:
        parts[name] /= processes
    root = shape.parameters - shape.num_hidden_layers * shape.layer_parameters
    learns = 8.0 if stage.lora is None else 4.0
    return parts | {"gathered": 4.0 * shape.layer_parameters + learns * root}


def _parts_of_one(shape: Shape, stage: Stage, micro_batch_tokens: int) -> dict[str, float]:
    total = shape.parameters
    weights = 4.0 * total
    trained = total
    if stage.freeze or stage.train_only:
        trained = sum(
            size
            for name, size in shape.named_weights()
            if learns(name, stage.freeze, stage.train_only)
        )
    if stage.lora is not None:
        trained = (
            2
            * stage.lora.r
            * shape.num_hidden_layers
            * (8 * shape.hidden_size + 3 * shape.intermediate_size)
            // 2
        )
        frozen = {"none": 2.0, "8bit": 1.0, "4bit": 0.55}[stage.lora.quantize]
        weights = frozen * total + 4.0 * trained
    states = {"adamw": 8.0, "adamw_8bit": 2.0, "adamw_offload": 0.0}[stage.optim]
    per_layer = 2 * (5 * shape.hidden_size + 4 * shape.intermediate_size)
    kept = 2 * shape.hidden_size if stage.gradient_checkpointing else per_layer
    compute_copies = 2.0 * total if stage.lora is None else 0.0
    average = {"average": 4.0 * trained} if isinstance(stage.average, Ema) else {}
    return {
        "weights": weights + compute_copies,
        "gradients": 4.0 * trained,
        "optimizer": states * trained,
        "activations": float(micro_batch_tokens * (kept * shape.num_hidden_layers + per_layer)),
        "logits": 12.0 * micro_batch_tokens * shape.vocab_size,
        **average,
    }


def ways_that_fit(shape: Shape, stage: Stage, memory: float, processes: int = 1) -> list[str]:
    """Ways of training this stage that fit into ``memory`` bytes with one sequence at a time.

    ``memory``: of each of the ``processes``' devices.
    """
    from samdan.recipe import Lora

    tokens = stage.max_length * (2 if isinstance(stage, DpoStage) else 1)
    ways: dict[str, dict[str, Any]] = {
        "full fine-tuning": {},
        "full, 8-bit optimizer states": {"optim": "adamw_8bit"},
        "full, optimizer states in host memory": {"optim": "adamw_offload"},
        "LoRA": {"lora": Lora()},
        "QLoRA, 4 bits": {"lora": Lora(quantize="4bit")},
    }
    fitting = []
    if isinstance(stage, CptStage) and stage.unfreeze is not None:  # of the weights themselves
        ways = {name: change for name, change in ways.items() if name in PHASED}
    for name, change in ways.items():
        changed = stage.model_copy(update={"gradient_checkpointing": True, **change})
        if sum(memory_parts(shape, changed, tokens, processes).values()) < 0.92 * memory:
            fitting.append(name)
    return fitting


def steps_of(stage: Stage, units_per_epoch: float, world_size: int = 1) -> int:
    """Optimizer steps of a stage; ``units_per_epoch``: blocks, conversations or pairs."""
    units = units_per_epoch * stage.num_train_epochs
    count = max(1, -(-int(units) // (stage.units_per_step * world_size)))
    return min(count, stage.max_steps) if stage.max_steps is not None else count


def remarks(stage: Stage, total_steps: int) -> list[str]:
    """What looks wrong with a stage of so many steps."""
    found = []
    asked = stage.warmup_steps if stage.warmup_steps >= 1 else stage.warmup_steps * total_steps
    real = warmup_length(stage, total_steps)
    if asked > real + 1:
        found.append(f"warm-up cut from {asked:.0f} to {real} steps, a tenth of the run")
    phases = len(stage.unfreeze or ()) if isinstance(stage, CptStage) else 0
    if total_steps < phases:
        found.append(f"{total_steps} optimizer steps for {phases} phases: the last never come")
    if isinstance(stage.average, Last):
        points = stage.average.steps(total_steps, stage.save_steps)
        if len(points) < stage.average.k:
            found.append(
                f"the average is of {len(points)} points, not {stage.average.k}: a checkpoint is "
                f"written every {stage.save_steps} of {total_steps} steps (save_steps)"
            )
        elif len(points) - 1 > stage.save_total_limit:
            found.append(
                f"the disk keeps {len(points) - 1} checkpoints for the average, not "
                f"{stage.save_total_limit} (save_total_limit)"
            )
    if total_steps < 100:
        found.append(
            f"only {total_steps} optimizer steps: {stage.units_per_step} records a step "
            f"(per_device_train_batch_size {stage.per_device_train_batch_size} x "
            f"gradient_accumulation_steps {stage.gradient_accumulation_steps}) "
            f"is much for this data"
        )
    return found


def position_remarks(stages: Sequence[Stage], known: int | None) -> dict[str, list[str]]:
    """By stage: what becomes of the model's positions, and packs that they do not reach.

    ``known``: how many positions the base was made for, None where it is not known here.
    """
    found: dict[str, list[str]] = {}
    for stage in stages:
        rope = stage.rope if isinstance(stage, CptStage) else None
        if rope is not None:
            kind = "YaRN" if rope.type == "yarn" else "RoPE"
            how = [f"factor {rope.factor:g}"] if rope.factor else []
            how += [f"theta {rope.theta:g}"] if rope.theta else []
            before = f" (before: {known:,})" if known else ""
            known = rope.positions(known or 0, stage.max_length)
            found[stage.name] = [
                f"positions: {kind}, {', '.join(how)}, for texts of up to {known:,} tokens{before}"
            ]
        elif known is not None and stage.max_length > known:
            found[stage.name] = [
                f"max_length {stage.max_length:,} is longer than the {known:,} positions that the "
                f"model was made for; a CPT stage with 'rope' would prepare it"
            ]
    return found
