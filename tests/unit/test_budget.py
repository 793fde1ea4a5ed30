"""What a plan says is what the step keeps: counted in real backwards, mixes and FLOP counts."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import tiny
from samdan.budget import (
    DEVICES,
    GIB,
    KNOWN_SHAPES,
    Amounts,
    Context,
    Rates,
    Setting,
    Shape,
    SourceAmounts,
    device_named,
    disk_of,
    estimated,
    memory,
    micro_batch_tokens,
    range_on,
    remarks,
    seconds_of,
    shape_from_config,
    train_flops,
    ways_that_fit,
)
from samdan.budget.memory import adapters, layer_bytes
from samdan.data.mixing import mix
from samdan.lm import attention, causal, head
from samdan.lm.batch import collate
from samdan.lm.elementwise import restore
from samdan.lm.model import add_lora
from samdan.lm.scoring import Scorer
from samdan.lm.shards import Shard
from samdan.recipe import Lora, Stage
from samdan.records import RecipeError

SHAPE = Shape(128, 2, 352, 512, 4, 2, True)
SMALL = KNOWN_SHAPES["Qwen/Qwen2.5-1.5B"]


def built(layers: int, stage: Stage) -> Any:
    model = tiny.model(
        hidden_size=128, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=352, vocab_size=512, tie_word_embeddings=True,
    )  # fmt: skip
    if stage.lora is not None:
        model = add_lora(model, stage.lora, (), 0)
    if stage.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def kept_bytes(layers: int, stage: Stage, bf16: bool, device: str = "cpu") -> tuple[int, int]:
    """Bytes that the backbone keeps for its backward: of everything, and of copies of weights.

    ``device`` "cuda": as layers are there, on this CPU.
    """
    model = built(layers, stage)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = collate([tiny.document(64, seed, 512) for seed in range(4)])
    scorer = Scorer(model, bf16=bf16).train()
    if device == "cuda":
        restore(model)
    scorer.dropout.set(0, 1, batch.keys_T, batch.positions_T)
    plain = head.plain_head(model)
    assert plain is not None
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = scorer._hidden(plain[0], batch)
    sizes = {key: tensor.untyped_storage().nbytes() for key, tensor in kept.items()}
    weights = sum(
        size for key, size in sizes.items()
        if kept[key].dtype == torch.bfloat16 and kept[key].ndim == 2
        and 256 not in kept[key].shape
    )  # fmt: skip
    del hidden
    return sum(sizes.values()), weights


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("lora", [None, Lora(r=8)], ids=["full", "lora"])
def test_a_layer_keeps_what_the_plan_says(bf16: bool, lora: Lora | None, device: str) -> None:
    stage = tiny.cpt(lora=lora)
    shared = mock.patch.object(attention, "knows_shared_heads", return_value=bf16)
    with (
        mock.patch.object(causal, "bf16_is_fast", return_value=False),  # products keep a bit less
        shared if device == "cuda" else contextlib.nullcontext(),
    ):
        few, many = (kept_bytes(layers, stage, bf16, device) for layers in (1, 3))
    weights = (many[1] - few[1]) / 2
    layer = (many[0] - few[0]) / 2 - weights
    assert layer / 256 == pytest.approx(layer_bytes(SHAPE, stage, bf16, device), rel=0.02)
    if bf16:  # copies of matrices, and of the adapters beside them
        copies = memory(SHAPE, stage, Setting(256)).parts["bf16 copies"] / 2
        adapted = adapters(SHAPE, lora) if lora else 0
        assert weights == pytest.approx(copies + 2 * adapted / SHAPE.num_hidden_layers, rel=0.02)


def test_with_checkpointing_a_layer_keeps_its_input() -> None:
    stage = tiny.cpt(gradient_checkpointing=True)
    few, many = kept_bytes(1, stage, False)[0], kept_bytes(3, stage, False)[0]
    assert (many - few) / 2 / 256 == 4 * 128
    plain, saving = (
        memory(SMALL, one, Setting(4096)).parts["activations"] for one in (tiny.cpt(), stage)
    )
    assert saving < plain / 15


def test_parameters_are_those_of_the_model() -> None:
    for stage in (tiny.cpt(), tiny.cpt(lora=Lora(r=4))):
        model = built(2, stage)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        planned = SHAPE.parameters if stage.lora is None else adapters(SHAPE, stage.lora)
        assert trained == pytest.approx(planned, rel=0.02)
    only = Lora(r=4, target_modules=("q_proj", "down_proj"))
    model = add_lora(built(2, tiny.cpt()), only, (), 0)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert adapters(SHAPE, only) == trained


# --- memory ---------------------------------------------------------------------------------------


def test_memory_by_part_for_a_model_that_everybody_knows() -> None:
    found = memory(SMALL, tiny.cpt(), Setting(4096))
    count = SMALL.parameters
    assert found.parts["weights"] == found.parts["gradients"] == 4 * count
    assert found.parts["optimizer"] == 8 * count
    assert found.parts["weights"] + found.parts["optimizer"] < found.peak
    assert found.peak <= sum(found.parts.values())
    eight_bit = memory(SMALL, tiny.cpt(optim="adamw_8bit"), Setting(4096))
    assert found.peak - eight_bit.peak == pytest.approx(6 * count)
    offloaded = memory(SMALL, tiny.cpt(optim="adamw_offload"), Setting(4096))
    assert (offloaded.parts["optimizer"], offloaded.host) == (0, 12 * count)


def test_one_micro_batch_has_no_gradients_yet_where_the_activations_are() -> None:
    one, many = (memory(SMALL, tiny.cpt(), Setting(4096, n)) for n in (1, 8))
    assert one.parts == many.parts
    assert one.peak < many.peak <= one.peak + one.parts["gradients"]


def test_logits_are_those_of_a_chunk_and_of_pairs_that_are_kept() -> None:
    def logits(stage: Stage, tokens: int, predicted: float = 1.0) -> float:
        setting = Setting(tokens, predicted=predicted, precision="fp32", device="cpu")
        return memory(SMALL, stage, setting).parts["logits"]

    every = 4.0 * SMALL.vocab_size
    assert logits(tiny.cpt(), 65_536) < every * 65_536 / 2
    assert logits(tiny.cpt(), 4096, 0.1) < logits(tiny.cpt(), 4096)
    # One chunk of 1,700 rows: it is kept, and its gradient lies where it was.
    assert logits(tiny.dpo(), 1700) == logits(tiny.cpt(), 1700)
    assert logits(tiny.dpo(), 65_536) == logits(tiny.cpt(), 65_536)  # computed again
    matrix = 4.0 * SMALL.vocab_size * SMALL.hidden_size
    frozen = logits(tiny.cpt(), 4096) - logits(tiny.cpt(lora=Lora()), 4096)
    assert frozen == pytest.approx(matrix)


def test_quantized_weights_leave_the_embeddings_as_they_are() -> None:
    shape = KNOWN_SHAPES["Qwen/Qwen2.5-7B"]
    found = memory(shape, tiny.cpt(lora=Lora(quantize="4bit")), Setting(2048))
    assert found.parts["weights"] > 4 * shape.root_parameters
    assert found.parts["weights"] < 4.0 * shape.parameters / 3


def test_what_fits_grows_with_the_card() -> None:
    ways = [len(ways_that_fit(SMALL, tiny.cpt(), size * GIB)) for size in (8, 24, 48, 80)]
    assert ways == sorted(ways)
    assert "full fine-tuning" in ways_that_fit(SMALL, tiny.cpt(), 48 * GIB)
    assert ways_that_fit(KNOWN_SHAPES["Qwen/Qwen2.5-14B"], tiny.cpt(), 8 * GIB) == []


def test_the_micro_batch_is_the_batch_or_what_memory_allows() -> None:
    stage = tiny.cpt(max_length=16, per_device_train_batch_size=4)
    assert micro_batch_tokens(stage, 1000, 1000, 1e12) == 64
    assert micro_batch_tokens(stage, 1000, 1000, 0) == 16
    assert micro_batch_tokens(tiny.cpt(micro_batch_tokens=7), 1000, 1000, 0) == 7


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"num_experts": 8}, None),
        ({"hidden_size": 64, "head_dim": 32}, Shape(64, 2, 96, 100, 4, 4, True, 32)),
        ({"text_config": {}}, None),
    ],
)
def test_a_shape_is_read_from_a_config(config: dict[str, Any], found: Shape | None) -> None:
    whole = {
        "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96, "vocab_size": 100,
        "num_attention_heads": 4,
    }  # fmt: skip
    assert shape_from_config(whole | config) == found


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("kind", ["cpt", "sft"])
def test_an_estimate_is_what_the_mix_then_does(kind: str, epochs: int, tmp_path: Path) -> None:
    data = (tiny.source("docs"), tiny.source("general", "replay"))
    make = tiny.cpt if kind == "cpt" else tiny.sft
    stage = make(
        data=data, num_train_epochs=epochs, max_length=64, replay_share=0.25,
        per_device_train_batch_size=2, gradient_accumulation_steps=1,
    )  # fmt: skip
    made = {"docs": [5 + i % 12 for i in range(200)], "general": [9] * 12}
    shards = {
        name: Shard(tiny.write_shard(tmp_path / name, [tiny.document(n) for n in lengths]))
        for name, lengths in made.items()
    }
    mixed = mix(stage, shards, 0)
    held = {name: (sum(lengths), len(lengths)) for name, lengths in made.items()}
    stage = stage.model_copy(update={"heldout": stage.heldout.model_copy(update={"share": 0.0})})
    planned = estimated(stage, held, 40, 1.0)
    assert planned.units == pytest.approx(mixed.index.num_units, rel=0.06)
    for name, row in mixed.accounts.items():
        mine = planned.sources[name]
        seen = row["trained"] + row["masked"]
        assert mine.trained + mine.masked == pytest.approx(seen, rel=0.1), name
        assert mine.repeated == pytest.approx(row["repeated"], rel=0.15, abs=40)


def test_max_steps_ends_the_estimate() -> None:
    stage = tiny.sft(
        max_steps=3, per_device_train_batch_size=2, gradient_accumulation_steps=1,
        num_train_epochs=1,
    )  # fmt: skip
    planned = estimated(stage, {"talks": (10_000, 100)}, 100, 0.5)
    assert planned.units == 6
    assert planned.sources["talks"].dropped["not_reached"] > 9000
    assert planned.sources["talks"].dropped["heldout"] == 200


# --- seconds --------------------------------------------------------------------------------------


def amounts(tokens: int = 1000, **sources: SourceAmounts) -> Amounts:
    return Amounts(tokens, 10, 100.0, 1.0, sources)


def test_flops_are_those_of_the_benchmarks() -> None:
    from benchmarks.shapes import SHAPES, model_flops

    record = tiny.document(100)
    theirs = SHAPES["135m"]
    shape = Shape(576, 30, 1536, 49_152, 9, 3, True)
    layers = shape.num_hidden_layers * shape.layer_parameters
    exact = model_flops(theirs, layers, [record])
    assert 100 * train_flops(shape, tiny.cpt(), amounts()) == pytest.approx(exact, rel=0.02)
    lora = tiny.cpt(lora=Lora())
    exact = model_flops(theirs, layers, [record], adapters=0)
    assert 100 * train_flops(shape, lora, amounts()) == pytest.approx(exact, rel=0.02)


def test_seconds_from_rates() -> None:
    rates = Rates(0.001, 0.0005, 0.0003, 0.0001, 0.2, 0.01)
    took = seconds_of(rates, SHAPE, tiny.sft(rules=()), amounts(), 5)
    assert took.train == pytest.approx(1000 * 0.002 + 5 * 0.22)
    assert (took.measuring, took.reference) == (0, 0)
    shared = seconds_of(rates, SHAPE, tiny.sft(rules=()), amounts(), 5, processes=2)
    assert shared.train == pytest.approx(500 * 0.002 + 5 * 0.22)
    pairs = amounts(pairs=SourceAmounts("target", 600, 10, repeated=400, trained=1000))
    referred = seconds_of(rates, SHAPE, tiny.dpo(), pairs, 5)
    assert referred.reference == pytest.approx(600 * 0.0005)
    shared = seconds_of(rates, SHAPE, tiny.dpo(), pairs, 5, processes=2)
    assert shared.reference == pytest.approx(300 * 0.0005)


def test_held_out_text_counts_as_often_as_it_is_measured() -> None:
    rates = Rates(0, 0, 1.0, 0, 0, 0)
    held = amounts(docs=SourceAmounts("target", 10_000, 100))
    stage = tiny.sft(eval_steps=10, rules=())
    assert seconds_of(rates, SHAPE, stage, held, 10).measuring == 0
    assert seconds_of(rates, SHAPE, stage, held, 21).measuring == pytest.approx(2 * 200)
    assert seconds_of(rates, SHAPE, stage, held, 21, processes=4).measuring == pytest.approx(100)


def test_a_card_of_the_table_gives_a_range() -> None:
    fewest, most = range_on(DEVICES["h100"], SMALL, tiny.cpt(), amounts(10**9), 1000)
    assert 1.5 < most.total / fewest.total < 3
    # 1.5B parameters, 1e9 tokens: 6e18 FLOPs at least without attention, at 445 TFLOP/s at most
    assert fewest.train > 6 * SMALL.parameters * 1e9 / (0.46 * 989e12) * 0.9
    assert device_named("H100") is device_named("nvidia-h100")
    with pytest.raises(RecipeError, match="found 'tpu', expected 'here' or one of: rtx3090"):
        device_named("tpu")


# --- disk -----------------------------------------------------------------------------------------


def test_a_checkpoint_on_disk_is_as_large_as_planned(tmp_path: Path) -> None:
    from samdan.train.optim import make_optimizer
    from samdan.train.state import Progress, save_checkpoint

    stage = tiny.cpt()
    model = built(2, stage)
    optimizer = make_optimizer(model, stage, from_scratch=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    saved = save_checkpoint(tmp_path, model, optimizer, Progress(1, 1, "", "x", {}), 2)
    size = sum(file.stat().st_size for file in saved.iterdir())
    planned = disk_of(SHAPE, stage, None, None)
    assert size == pytest.approx(planned.checkpoint, rel=0.05)
    assert planned.checkpoints == 4 * planned.checkpoint
    assert disk_of(SHAPE, stage, 10, 100).checkpoints == 0  # none is written in ten steps
    assert disk_of(SHAPE, stage, 10, 100).data == 500


# --- what looks wrong -----------------------------------------------------------------------------

BASE = Context(base="some/model")


def rows(**given: tuple[str, int, int, int]) -> Amounts:
    """Sources by name: role, tokens, records, trained."""
    sources = {
        name: SourceAmounts(role, held, records, trained=trained)
        for name, (role, held, records, trained) in given.items()
    }
    return Amounts(sum(r.trained for r in sources.values()), 10, 100.0, 1.0, sources)


@pytest.mark.parametrize(
    ("stage", "steps", "found", "context", "expected"),
    [
        (tiny.cpt(), 500, None, BASE, "warm-up cut from 1000 to 50 steps"),
        (tiny.sft(), 40, None, BASE, "only 40 optimizer steps"),
        (tiny.cpt(), None, None, BASE, "no source has role 'replay'"),
        (tiny.cpt(learning_rate=3e-4), None, None, BASE, "is above 0.0001, the highest"),
        (tiny.dpo(learning_rate=1e-5), None, None, BASE, "is above 5e-06"),
        (tiny.sft(lora=Lora(), learning_rate=2e-6), None, None, BASE, "ten times the full rate"),
        (tiny.cpt(learning_rate=6e-5), 900, rows(docs=("target", 10**7, 10, 10**7)), BASE,
         "below 5 billion tokens 1e-5 to 3e-05"),
        (tiny.cpt(), 900, rows(docs=("target", 10**5, 10, 10**5)), BASE, "`samdan synthesize`"),
        (tiny.cpt(), 900, rows(docs=("target", 10**7, 10, 8 * 10**7)), BASE, "passed 8.0 times"),
        (tiny.cpt(), 900, rows(docs=("target", 10**7, 20, 10**7)), BASE,
         "about 0.4 of 20 records, and a gate on it needs two for an interval; set heldout: "
         "{share: 0.25}"),
        (tiny.dpo(), 900, rows(pairs=("target", 10**5, 60, 10**5)), BASE, "60 pairs are few"),
        (tiny.sft(), 900, rows(talks=("target", 10**5, 60, 10**5)), BASE,
         "60 conversations are few"),
        (tiny.cpt(), None, None, Context(("sft",), "m"), "a cpt stage after sft undoes"),
        (tiny.dpo(), None, None, Context((), "m"), "dpo without an sft stage before it"),
        (tiny.cpt(), None, None, Context((), "Org/Model-Instruct"), "contains 'Instruct'"),
        (tiny.sft(learning_rate=1e-6), 30, None, BASE, "of a typical one"),
        (tiny.sft(eval_steps=500), 300, None, BASE, "eval_steps 500 is not reached"),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_said(
    stage: Stage, steps: int | None, found: Amounts | None, context: Context, expected: str
) -> None:
    said = remarks(stage, steps, found, context)
    assert any(expected in line for line in said), said


def test_nothing_is_said_of_the_golden_values_on_enough_data() -> None:
    data = (tiny.source("docs"), tiny.source("general", "replay"))
    plenty = rows(docs=("target", 10**9, 10**6, 10**9), general=("replay", 10**9, 10**6, 10**8))
    cpt = tiny.cpt(data=data, max_length=4096)
    assert remarks(cpt, 20_000, plenty, Context((), "Qwen/Qwen2.5-7B")) == []
    talks = rows(talks=("target", 10**8, 10**6, 10**8))
    assert remarks(tiny.sft(), 6000, talks, Context(("cpt",), "Qwen/Qwen2.5-7B")) == []
    pairs = rows(pairs=("target", 10**8, 10**5, 10**8))
    assert remarks(tiny.dpo(), 6000, pairs, Context(("cpt", "sft"), "Qwen/Qwen2.5-7B")) == []


def test_a_base_from_random_weights_is_not_told_that_it_forgets() -> None:
    stage = tiny.cpt(name="base", learning_rate=1e-3, warmup_steps=0.05)
    assert remarks(stage, 2000, None, Context()) == []


# --- calibration ----------------------------------------------------------------------------------


def test_a_calibration_is_measured_once_and_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samdan.run import calibrating

    monkeypatch.setenv("SAMDAN_CACHE", str(tmp_path))
    monkeypatch.setattr(calibrating, "MOST", 4)
    setting = Setting(256, 1, precision="fp32", device="cpu")
    shape = Shape(64, 6, 160, 512, 4, 2, True)
    for stage, predicted in ((tiny.cpt(), 1.0), (tiny.sft(), 0.4), (tiny.dpo(), 0.5)):
        for attempt in range(3):  # neighbours of the machine slow single measurements
            monkeypatch.setenv("SAMDAN_CACHE", str(tmp_path / str(attempt)))
            found = calibrating.calibrate(shape, stage, Amounts(1000, 9, 50, predicted), setting)
            if found.wall.token(6) > found.wall.forward(6) * 0.5 > 0:
                break
        else:
            pytest.fail(f"{stage.kind}: {found.wall}")
        assert found.wall.process > 1e8
    files = list((tmp_path / "0" / "calibration").glob("*.json"))
    assert len(files) == 3
    monkeypatch.setattr(calibrating, "_measured", None)  # would fail if it were called
    again = calibrating.calibrate(shape, tiny.dpo(), Amounts(2000, 20, 49, 0.52), setting)
    assert again == found
    assert json.loads(files[0].read_text("utf-8"))["about"]["cores"] >= 1


@pytest.mark.parametrize("predicted", [0.2, 0.5, 0.8])
def test_calibrating_records_are_like_the_stage(predicted: float) -> None:
    from samdan.run.calibrating import records

    for stage in (tiny.sft(), tiny.dpo()):
        made = records(stage, 60, predicted, 1000, 500)
        every = sum(len(record) for record in made)
        assert 800 < every <= 1000
        assert sum(r.trained.sum() for r in made) / every == pytest.approx(predicted, abs=0.03)
        assert all(max(r.span, 0) <= 60 for r in made)


def test_calibration_is_as_deep_as_half_of_the_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between one layer and two, Qwen2.5-0.5B's noise was multiplied by 22: 46% off."""
    from samdan.run import calibrating

    shape = KNOWN_SHAPES["Qwen/Qwen2.5-0.5B"]
    setting = Setting(512, precision="fp32", device="cpu")
    for size, free, expected in ((24, 22, 8), (24, 7, 2), (8, 8, 2), (256, 256, 8)):
        monkeypatch.setattr(calibrating, "host_size", lambda size=size: size * GIB)
        monkeypatch.setattr(calibrating, "host_memory", lambda free=free: free * GIB)
        assert calibrating.depths(shape, tiny.cpt(), setting) == (1, expected), (size, free)


def test_a_machine_that_slows_down_does_not_change_what_a_layer_takes() -> None:
    """Both depths of a turn suffer alike; medians of each would mix turns."""
    from samdan.run import calibrating

    def side(layers: int, seconds: list[float]) -> Any:
        parts = ("gradients", "update", "forward")
        taken = {part: [(second, second) for second in seconds] for part in parts}
        return calibrating._Side(layers, None, None, iter(()), {}, taken)  # type: ignore[arg-type]

    few, deep = side(1, [1.0, 5.0, 5.2]), side(3, [3.0, 7.0, 2.0])
    rates = calibrating._rates([few, deep], 0, 1, 0.0)
    assert rates.layer == pytest.approx(1.0)
    assert rates.root == pytest.approx(4.0)
