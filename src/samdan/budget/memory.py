"""Memory of a training step, by part, and at its peak.

What the step really does: fp32 masters, gradients and states; under bf16, copies of the layers'
weights and a residual stream of half the width; records packed without padding; a head that
works by chunks of rows and keeps no logits where only their sum is wanted. The bytes of a layer
follow from what its backward needs, counted in decoder layers; a test counts them
again (`tests/unit/test_budget.py`). What a run then took: docs/plan.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samdan.adapters import Lora
from samdan.averaging import Ema
from samdan.budget.shapes import GIB, Shape
from samdan.stages import CptStage, DpoStage, Stage
from samdan.unfreezing import learns

# Of the head, as `samdan.lm.head` has them: a chunk's logits (on a CPU in their own precision, else
# in fp32), logits kept for the backward.
CHUNK_BYTES = {"cpu": 1 << 30, "cuda": 1 << 32}
KEPT_BYTES = {"cpu": 1 << 30, "cuda": 1 << 31}
# Python with torch and transformers (measured), and a CUDA context with cuBLAS (an estimate).
PROCESS_BYTES = {"cpu": 0.46e9, "cuda": 0.8e9}
# Holes that the allocator keeps, as a share of what comes and goes in a step: the C library's was
# fitted to two of the runs in docs/plan.md; torch's on CUDA is an estimate.
HOLES = {"cpu": 0.18, "cuda": 0.05}
FROZEN_BYTES = {"none": 4.0, "8bit": 1.0, "4bit": 0.55}
STATE_BYTES = {"adamw": 8.0, "adamw_8bit": 2.0, "adamw_offload": 0.0}
# Ways of training that phases go with.
PHASED = frozenset({"full fine-tuning", "full, optimizer states in host memory"})
FULL = 0.92  # a plan that takes more of a device's memory is not called one that fits


@dataclass(frozen=True)
class Setting:
    """How a stage runs on one device.

    ``tokens``: of a micro-batch. ``micro_batches``: of an optimizer step. ``predicted``: the share
    of the tokens that are predicted. ``process``: bytes before there is a model.
    """

    tokens: int
    micro_batches: int = 2
    predicted: float = 1.0
    precision: str = "bf16"
    device: str = "cuda"
    processes: int = 1
    process: float | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes by part; they are not all there at one time, so ``peak`` is below their sum.

    ``host``: what lies in the host's memory while the device trains.
    """

    parts: Mapping[str, float] = field(default_factory=dict)
    peak: float = 0.0
    host: float = 0.0


def memory(shape: Shape, stage: Stage, setting: Setting) -> Memory:
    """What a training step takes on one device.

    Several processes split weights, gradients and states where the stage allows it; then what is
    gathered at one time counts: two layers in the computing precision, embeddings and head in fp32.
    """
    bf16 = setting.precision == "bf16"
    trained = trained_parameters(shape, stage)
    cast = bf16 and (stage.lora is None or stage.lora.quantize == "none")
    copies = 2.0 * shape.num_hidden_layers * shape.layer_parameters if cast else 0.0
    if _head_is_copied(stage, setting):
        copies += 2.0 * shape.vocab_size * shape.hidden_size
    parts = {
        "process": PROCESS_BYTES[setting.device] if setting.process is None else setting.process,
        "weights": _weights(shape, stage),
        "gradients": 4.0 * trained,
        "optimizer": STATE_BYTES[stage.optim] * trained,
        "activations": float(setting.tokens) * _activations(shape, stage, setting),
        "logits": _head(shape, stage, setting),
    }
    if isinstance(stage.average, Ema):
        parts["average"] = 4.0 * trained
    gathered = 0.0
    if setting.processes > 1 and stage.can_shard and stage.shard != "none":
        for name in parts.keys() & {"weights", "gradients", "optimizer", "average"}:
            parts[name] /= setting.processes
        learns = 8.0 if stage.lora is None else 4.0
        width = 2.0 if bf16 else 4.0
        gathered = 2 * width * shape.layer_parameters + learns * shape.root_parameters
        parts["gathered"] = gathered
    elif copies:
        kept = 2.0 * shape.layer_parameters if stage.gradient_checkpointing else copies
        parts["bf16 copies"] = kept
    moving = sum(parts[name] for name in ("gradients", "activations", "logits"))
    parts["allocator"] = HOLES[setting.device] * moving
    host = 12.0 * trained if stage.optim == "adamw_offload" else 0.0
    if setting.device == "cpu" and host:  # weights and states of the host are of the same memory
        parts["optimizer"], host = host, 0.0
    return Memory(parts, _peak(shape, stage, setting, parts), host)


def _peak(shape: Shape, stage: Stage, setting: Setting, parts: Mapping[str, float]) -> float:
    """The largest of four moments of a step, from the second one on (states exist by then).

    In the head's forward nothing of the layers is freed; with one micro-batch there are no
    gradients yet. At the end of a backward the layers' inputs are gone and all gradients are there,
    and the embeddings' is made as a whole before it is added (in bf16 on a CPU it is added row by
    row).
    """
    always = ("process", "weights", "optimizer", "average", "gathered", "allocator")
    there = sum(parts.get(name, 0.0) for name in always)
    copies, held = parts.get("bf16 copies", 0.0), parts["activations"]
    before = parts["gradients"] if setting.micro_batches > 1 else 0.0
    matrix = 0.0 if stage.lora else float(shape.vocab_size * shape.hidden_size)
    of_head = matrix * (2.0 if _head_is_copied(stage, setting) else 4.0)
    of_embeddings = 0.0 if setting.device == "cpu" and setting.precision == "bf16" else 4.0 * matrix
    layer = float(setting.tokens) * _backward_of_layer(shape, stage, setting)
    kept = _kept(shape, stage, setting)
    forward = there + copies + held + before + parts["logits"]
    begins = there + copies + held + before + kept + of_head + layer
    ends = there + copies + parts["gradients"] + layer + (2 if before else 1) * of_embeddings
    updates = there + parts["gradients"] + (copies if stage.keeps_copies else 0.0)
    return max(forward, begins, ends, updates)


def trained_parameters(shape: Shape, stage: Stage) -> int:
    """Of adapters, or of what is not frozen."""
    if stage.lora is not None:
        return adapters(shape, stage.lora)
    if not stage.freeze and not stage.train_only:
        return shape.parameters
    return sum(
        size
        for name, size in shape.named_weights()
        if learns(name, stage.freeze, stage.train_only)
    )


def _weights(shape: Shape, stage: Stage) -> float:
    if stage.lora is None:
        return 4.0 * shape.parameters
    layers = shape.num_hidden_layers * shape.layer_parameters
    frozen = FROZEN_BYTES[stage.lora.quantize] * layers + 4.0 * shape.root_parameters
    return frozen + 4.0 * adapters(shape, stage.lora)


def adapters(shape: Shape, lora: Lora) -> int:
    """Parameters of the adapters: ``r`` times inputs and outputs of every matrix they sit on."""
    d, ff, q, k = shape.hidden_size, shape.intermediate_size, shape.query_width, shape.key_width
    sizes = {
        "q_proj": d + q, "k_proj": d + k, "v_proj": d + k, "o_proj": q + d,
        "gate_proj": d + ff, "up_proj": d + ff, "down_proj": ff + d,
    }  # fmt: skip
    asked = lora.target_modules
    chosen = sizes if asked == "all-linear" else [name for name in sizes if name in asked]
    return lora.r * shape.num_hidden_layers * sum(sizes[name] for name in chosen)


def layer_bytes(shape: Shape, stage: Stage, bf16: bool, device: str) -> float:
    """What one layer keeps of a token for its backward.

    On a CPU (`samdan.lm.elementwise`): of each norm its input and its result; queries, keys,
    values; attention's result twice (once where it is had by products, which is not counted); three
    times the MLP's width. On CUDA, as transformers has it: the MLP's activation and a norm's
    normalised values as well, the latter unless it is frozen, and in bf16 a norm's input is widened
    to fp32; in fp32 keys and values are repeated where heads share them (`samdan.lm.attention`).
    """
    d, ff, q, k = shape.hidden_size, shape.intermediate_size, shape.query_width, shape.key_width
    width = 2.0 if bf16 else 4.0
    rank = 7 * stage.lora.r if stage.lora else 0
    found = width * (4 * d + 3 * q + 2 * k + 3 * ff + rank)
    if device == "cpu":
        return found
    normalised = 0.0 if stage.lora else 2 * width * d
    widened = 4.0 * d if bf16 else 0.0
    repeated = 0.0 if bf16 else 2 * width * (q - k)
    return found + normalised + widened + repeated + width * ff


def _activations(shape: Shape, stage: Stage, setting: Setting) -> float:
    """Bytes of a token in all layers, and of what lies around them (embeddings, last norm)."""
    bf16 = setting.precision == "bf16"
    around = 12.0 * shape.hidden_size
    if stage.gradient_checkpointing:
        width = 2.0 if bf16 else 4.0
        return width * shape.hidden_size * shape.num_hidden_layers + around
    layer = layer_bytes(shape, stage, bf16, setting.device)
    return layer * shape.num_hidden_layers + around


def _backward_of_layer(shape: Shape, stage: Stage, setting: Setting) -> float:
    """Bytes of a token that a layer's backward makes: gradients of the MLP's inner values.

    And with checkpointing what the layer keeps, as it is computed again there.
    """
    bf16 = setting.precision == "bf16"
    again = layer_bytes(shape, stage, bf16, setting.device) if stage.gradient_checkpointing else 0.0
    return again + (2.0 if bf16 else 4.0) * (3 * shape.intermediate_size + 2 * shape.hidden_size)


def _predictions(setting: Setting) -> float:
    return max(1.0, setting.predicted * setting.tokens)


def _kept(shape: Shape, stage: Stage, setting: Setting) -> float:
    """Logits that lie there until the backward: of pairs only, while they are small."""
    if not isinstance(stage, DpoStage) or stage.lora is not None:
        return 0.0
    width = 2.0 if setting.precision == "bf16" else 4.0
    every = width * _predictions(setting) * shape.vocab_size
    return every if every <= KEPT_BYTES[setting.device] else 0.0


def _head(shape: Shape, stage: Stage, setting: Setting) -> float:
    """The head at work: a chunk's logits, the hidden states' gradient, and the gradient of the
    matrix where it learns. Logits become their gradient where they lie on a CPU, kept ones too;
    elsewhere there are two of them in fp32 (bf16: and one in bf16)."""
    rows, bf16 = _predictions(setting), setting.precision == "bf16"
    own = 2.0 if bf16 else 4.0
    on_cpu = setting.device == "cpu"
    most = max(64, CHUNK_BYTES[setting.device] // int((own if on_cpu else 4.0) * shape.vocab_size))
    chunks = -(-rows // most)
    kept = _kept(shape, stage, setting)
    a_logit = own if on_cpu else 8.0 + (own if bf16 else 0.0)
    a_logit -= own if kept else 0.0
    matrix = float(shape.vocab_size * shape.hidden_size)
    copied = _head_is_copied(stage, setting)
    learns = 0.0 if stage.lora else matrix * (2.0 if copied and chunks == 1 else 4.0)
    cast = 2.0 * matrix if bf16 and not copied else 0.0
    chunk = a_logit * rows / chunks * shape.vocab_size
    return chunk + kept + learns + cast + 8.0 * rows * shape.hidden_size


def _head_is_copied(stage: Stage, setting: Setting) -> bool:
    """Whether its matrix has a bf16 copy that is kept (`samdan.lm.copies`)."""
    return setting.device == "cpu" and setting.precision == "bf16" and stage.keeps_copies


def micro_batch_tokens(stage: Stage, vocab_size: int, width: int, free: float) -> int:
    """Tokens in one forward pass: what the recipe's batch would hold, as far as memory allows.

    ``width``: hidden size times layers; ``free``: bytes when the weights are there. Counted per
    token: logits and their gradient in fp32 (12 bytes a vocabulary entry), and about 80 bytes a
    hidden unit and layer of activations. An eighth of what is free is used.
    """
    if stage.micro_batch_tokens is not None:
        return stage.micro_batch_tokens
    wanted = stage.per_device_train_batch_size * stage.max_length
    per_token = 12 * vocab_size + 80 * width
    return max(stage.max_length, min(wanted, int(free / 8 / per_token)))


def ways_that_fit(shape: Shape, stage: Stage, size: float, processes: int = 1) -> list[str]:
    """Ways of training this stage that fit into ``size`` bytes with one sequence at a time.

    ``size``: of each of the ``processes``' devices.
    """
    tokens = stage.max_length * (2 if isinstance(stage, DpoStage) else 1)
    setting = Setting(tokens, processes=processes)
    ways: dict[str, dict[str, Any]] = {
        "full fine-tuning": {},
        "full, 8-bit optimizer states": {"optim": "adamw_8bit"},
        "full, optimizer states in host memory": {"optim": "adamw_offload"},
        "LoRA": {"lora": Lora()},
        "QLoRA, 4 bits": {"lora": Lora(quantize="4bit")},
    }
    if isinstance(stage, CptStage) and stage.unfreeze is not None:  # of the weights themselves
        ways = {name: change for name, change in ways.items() if name in PHASED}
    fitting = []
    for name, change in ways.items():
        changed = stage.model_copy(update={"gradient_checkpointing": True, **change})
        if memory(shape, changed, setting).peak < FULL * size:
            fitting.append(name)
    return fitting


def fits(found: Memory, gigabytes: float) -> bool:
    """Whether the peak leaves a device of so many GiB the room that it needs for itself."""
    return found.peak < FULL * gigabytes * GIB
