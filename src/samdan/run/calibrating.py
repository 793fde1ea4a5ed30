"""How fast this machine trains a stage: a few steps of samdan's own loop at two depths.

The model has the base's width, vocabulary and heads, random weights, and few layers; the records
have the stage's lengths. Time is a straight line in the number of layers, so two depths give what a
layer and what the rest takes, whatever the depth of the base. The two take turns, step by step, so
that other work on the machine concerns both. What was measured is kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samdan.budget import Amounts, Rates, Setting, Shape
from samdan.budget import memory as memory_of
from samdan.lm.attention import NAME as ATTENTION
from samdan.lm.batch import Encoded
from samdan.lm.files import cache_folder, write_json
from samdan.lm.machine import host_memory, host_size
from samdan.lm.model import add_lora, to_best_device
from samdan.lm.scoring import Scorer
from samdan.lm.shards import Index, ShardWriter, TrainingData
from samdan.lm.skips import checkpoint_layers
from samdan.recipe import AnyStage, CptStage, DpoStage, Lora
from samdan.run import machine
from samdan.run.choices import choose_compile
from samdan.train.batches import Steps
from samdan.train.loop import Hooks, train_steps
from samdan.train.objectives import objective_for
from samdan.train.optim import make_optimizer

VERSION = 1
MOST_TOKENS = {"cpu": 1024, "cuda": 16_384}  # of a step: more only takes longer
WARM_UP, FEWEST, MOST = 1, 3, 8
SECONDS = 8.0  # after the fewest steps, measuring ends when so many have passed
# Of the memory of the device, at most. What is free now changes by the second, and so counts only
# where it is less. With 0.3, Qwen2.5-0.5B's shape was measured at one and two layers on 24 GB, and
# its 24 were foretold 46% too slow in one run and 45% too fast in the next.
SHARE = 0.5
Clocks = tuple[float, float]  # wall, processor


@dataclass(frozen=True)
class Calibration:
    """Rates by the clock on the wall and by the processor's (all threads), and what they are of."""

    wall: Rates
    processor: Rates
    about: dict[str, Any]


@dataclass
class _Side:
    """A model of so many layers, and what its steps took."""

    layers: int
    scorer: Scorer
    steps: Steps
    loop: Iterator[Any]
    marks: dict[str, Clocks]
    taken: dict[str, list[Clocks]] = field(default_factory=dict)


def calibrate(shape: Shape, stage: AnyStage, amounts: Amounts, setting: Setting) -> Calibration:
    """Measures, or takes what was measured before of the same thing on this machine."""
    about = described(shape, stage, amounts, setting)
    found = stored(about)
    if found is not None:
        return found
    found = _measured(shape, stage, amounts, setting, about)
    _store(found)
    return found


def described(
    shape: Shape, stage: AnyStage, amounts: Amounts, setting: Setting
) -> dict[str, Any]:
    """What the rates depend on. Lengths and shares are rounded: close ones take as long."""
    gpus = machine.gpu_names()
    return {
        "version": VERSION,
        "shape": asdict(replace(shape, num_hidden_layers=0)),
        "depths": list(depths(shape, stage, setting)),
        "kind": stage.kind,
        "lora": stage.lora.model_dump(mode="json", exclude={"dropout", "alpha"})
        if stage.lora
        else None,
        "optim": stage.optim,
        "gradient_checkpointing": stage.gradient_checkpointing,
        "precision": setting.precision,
        "tokens": step_tokens(setting),
        "length": _rounded(min(amounts.length, step_tokens(setting))),
        "predicted": round(amounts.predicted, 1),
        "device": gpus[0] if gpus else machine.processor().name,
        "cores": machine.processor().cores,
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "torch": machine.installed("torch"),
    }


def step_tokens(setting: Setting) -> int:
    return min(setting.tokens, MOST_TOKENS[setting.device])


def depths(shape: Shape, stage: AnyStage, setting: Setting) -> tuple[int, int]:
    """One layer, and a third of the base's as far as memory allows."""
    device = setting.device
    tokens = step_tokens(setting)
    if device == "cpu":
        free, size = host_memory(), host_size()
    else:
        free, size = torch.cuda.mem_get_info()
    deep = max(2, round(shape.num_hidden_layers / 3))
    plain = stage.model_copy(update={"optim": "adamw"})

    def needed(layers: int) -> float:
        one = replace(shape, num_hidden_layers=layers)
        given = replace(setting, tokens=tokens, micro_batches=1, processes=1)
        return memory_of(one, plain, given).peak

    room = min(SHARE * size, 0.9 * free)
    while deep > 2 and needed(1) + needed(deep) > room:
        deep -= 1
    return 1, deep


def stored(about: dict[str, Any]) -> Calibration | None:
    file = _file(about)
    if file is None or not file.is_file():
        return None
    try:
        saved = json.loads(file.read_text("utf-8"))
        return Calibration(Rates(**saved["wall"]), Rates(**saved["processor"]), saved["about"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged, or of another version: it is measured again


def _store(found: Calibration) -> None:
    """A cache that cannot be written is no reason to fail."""
    file = _file(found.about)
    if file is None:
        return
    try:
        write_json(file, asdict(found))
    except OSError:
        return


def _file(about: dict[str, Any]) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    return folder / "calibration" / f"{key}.json"


def _rounded(length: float) -> int:
    """To two bits: 5 and 6 of every 4 to 8."""
    step = max(1, 1 << (max(1, int(length)).bit_length() - 3))
    return max(2, round(length / step) * step)


# --- measuring ------------------------------------------------------------------------------------


def _measured(
    shape: Shape, stage: AnyStage, amounts: Amounts, setting: Setting, about: dict[str, Any]
) -> Calibration:
    process = machine.resident()[0] if setting.device == "cpu" else _context_bytes()
    made = records(stage, about["length"], amounts.predicted, about["tokens"], shape.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        data = _data(Path(folder), made)
        sides = [_side(shape, stage, setting, layers, data) for layers in about["depths"]]
        started = time.perf_counter()
        for number in range(WARM_UP + MOST):
            for side in sides:
                _turn(side, keep=number >= WARM_UP)
            enough = number + 1 >= WARM_UP + FEWEST
            if enough and time.perf_counter() - started > SECONDS:
                break
    tokens = sum(len(record) for record in made)
    return Calibration(
        _rates(sides, 0, tokens, process), _rates(sides, 1, tokens, process), about
    )


def records(
    stage: AnyStage, length: int, predicted: float, tokens: int, vocab: int
) -> list[Encoded]:
    """Records of the stage's kind of ``length`` tokens each, ``tokens`` in all at most (one at
    least); ``length`` is what the longest answer of a pair sees."""
    drawn = np.random.default_rng(7)
    made: list[Encoded] = []
    while True:
        answer = max(1, round(length * predicted))
        if isinstance(stage, DpoStage):
            # prompt + answer = length, and predicted = 2 answers of prompt + 2 answers
            answer = min(length - 1, max(1, round(length * predicted / (2 - predicted))))
            size = length + answer
            prompt, span = length - answer, length
        else:
            size, prompt, span = length, 0, -1
        if made and sum(len(record) for record in made) + size > tokens:
            return made
        trained = np.arange(size) >= (prompt or size - answer)
        ids = drawn.integers(2, vocab, size).astype(np.uint32)
        made.append(Encoded(ids, trained, prompt, span))


def _data(folder: Path, made: list[Encoded]) -> TrainingData:
    writer = ShardWriter(folder)
    for record in made:
        writer.add(record, len(record))
    writer.close()
    lengths = np.asarray([len(record) for record in made], np.int64)
    numbers = np.arange(len(made))
    zeros = np.zeros(len(made), np.int64)
    pieces = np.column_stack([zeros, numbers, zeros, lengths])
    times = WARM_UP + MOST
    units = np.tile(numbers, times)
    index = Index(pieces, np.arange(len(units) + 1), units, lengths[units])
    return TrainingData([folder], index)


def _side(
    shape: Shape, stage: AnyStage, setting: Setting, layers: int, data: TrainingData
) -> _Side:
    model = random_model(replace(shape, num_hidden_layers=layers))
    if stage.lora is not None:
        lora: Lora = stage.lora.model_copy(update={"quantize": "none"})
        model = add_lora(model, lora, (), 0)
    bf16 = setting.precision == "bf16"
    scorer = Scorer(model, bf16, choose_compile(stage), stage.keeps_copies)
    if stage.gradient_checkpointing:
        checkpoint_layers(model)
    to_best_device(scorer)
    per_step = data.index.num_units // (WARM_UP + MOST)
    steps = Steps(data, per_step, int(data.index.unit_tokens.sum()))
    everything: dict[str, Any] = {"lr_groups": {}, "freeze": (), "train_only": (), "average": None}
    if isinstance(stage, CptStage):
        everything["unfreeze"] = None
    plain = stage.model_copy(update={"optim": "adamw", **everything})
    optimizer = make_optimizer(model, plain, from_scratch=True)
    reference = torch.zeros(len(data.index.pieces), 2)
    marks: dict[str, Clocks] = {}

    def mark(where: str, step: int) -> None:
        marks[where] = _clocks()

    objective = objective_for(stage, reference)
    loop = train_steps(
        scorer, optimizer, objective, steps, plain, seed=0, hooks=Hooks(injected=mark)
    )
    return _Side(layers, scorer, steps, loop, marks)


def random_model(shape: Shape) -> Any:
    """A Qwen2 decoder of the shape; other families of the same shape take about as long."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        head_dim=shape.query_width // shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,  # its row would start at zero, and the gradient through it overflow
        attn_implementation=ATTENTION,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(config)


def _turn(side: _Side, keep: bool) -> None:
    """One step, and one forward without a backward."""
    batch = side.steps.micro_batches(1)[0]
    begun = _clocks()
    next(side.loop)
    gradients, updated = side.marks["gradients"], _clocks()
    with torch.inference_mode():
        side.scorer(batch)
    parts = {
        "gradients": _between(begun, gradients),
        "update": _between(gradients, updated),
        "forward": _between(updated, _clocks()),
    }
    if keep:
        for name, took in parts.items():
            side.taken.setdefault(name, []).append(took)


def _rates(sides: list[_Side], clock: int, tokens: int, process: float) -> Rates:
    few, deep = sides

    def line(part: str, per: float) -> tuple[float, float]:
        """What is outside the layers, and a layer, of a part's time: medians over the turns.

        Both sides of a turn are measured right after each other, so their difference suffers less
        from a machine that is slower for a while than the medians' difference does.
        """
        low, high = ([took[clock] for took in side.taken[part]] for side in (few, deep))
        more = statistics.median(b - a for a, b in zip(low, high, strict=True))
        layer = max(0.0, more / (deep.layers - few.layers))
        return max(0.0, statistics.median(low) - few.layers * layer) / per, layer / per

    root, layer = line("gradients", tokens)
    forward_root, forward_layer = line("forward", tokens)
    update_root, update_layer = line("update", 1.0)
    return Rates(
        root, layer, forward_root, forward_layer, update_root, update_layer, float(process)
    )


def _clocks() -> Clocks:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _between(begun: Clocks, ended: Clocks) -> Clocks:
    return ended[0] - begun[0], ended[1] - begun[1]


def _context_bytes() -> float:
    """What of the card is taken before there is a tensor: context and libraries."""
    torch.cuda.init()
    free, total = torch.cuda.mem_get_info()
    return float(total - free - torch.cuda.memory_reserved())
