"""The training benchmarks' arithmetic, and that all sides do the same work on the same records."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("psutil", reason="the extra 'bench' is not installed")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import train, train_scale, train_search, train_turns, train_work  # noqa: E402
from benchmarks.shapes import SHAPES, backbone_parameters, build, model_flops, parameters  # noqa: E402
from benchmarks.train_figures import Load, Step, compared, side_figures, spread  # noqa: E402
from benchmarks.train_peak import matmul_peak  # noqa: E402
from benchmarks.train_plain import Side as Plain  # noqa: E402
from benchmarks.train_plain import grouped  # noqa: E402
from benchmarks.train_samdan import Side as Samdan  # noqa: E402
from benchmarks.train_side import Spec  # noqa: E402

import tiny  # noqa: E402
from samdan.lm.batch import Encoded  # noqa: E402

JOBS = ("cpt", "sft", "dpo")
SHAPE = SHAPES["tiny"]


# --- arithmetic -----------------------------------------------------------------------------------


def test_a_ratio_is_their_time_over_ours_step_by_step_and_above_one_ours_is_faster() -> None:
    ours = [Step(2, 4, 0.7), Step(1, 2, 0.7), Step(4, 8, 0.7)]
    theirs = [Step(6, 16, 0.7), Step(4, 4, 0.7), Step(8, 24, 0.7)]
    found = compared(ours, theirs, with_reference=False)
    assert found == {
        "step": {"median": 3, "min": 2, "max": 4},  # 6/2, 4/1, 8/4
        "step_cpu": {"median": 3, "min": 2, "max": 4},  # 16/4, 4/2, 24/8
    }


def test_an_epoch_counts_each_steps_part_of_the_reference_pass() -> None:
    ours = [Step(2, 3, 0.7, reference_seconds=1, reference_cpu_seconds=2)]
    cached = [Step(4, 6, 0.7, reference_seconds=5, reference_cpu_seconds=4)]
    online = [Step(12, 20, 0.7)]  # computes it inside the step
    assert compared(ours, cached, True)["epoch"]["median"] == 3  # (4 + 5) / (2 + 1)
    assert compared(ours, cached, True)["epoch_cpu"]["median"] == 2
    assert compared(ours, cached, True)["step"]["median"] == 2
    assert compared(ours, online, True)["epoch"]["median"] == 4
    assert compared(ours, online, True)["epoch_cpu"]["median"] == 4


def test_the_reference_pass_is_dealt_to_steps_by_their_tokens() -> None:
    facts = {"seconds": 1.0, "cpu_seconds": 2.0, "loss": 0.7, "peak_mb": 5.0}
    begun = {"reference": {"seconds": 10.0, "cpu_seconds": 20.0}, "peak_mb": 9.0}
    trace = train_turns.Trace({"peak_mb": 1.0}, begun, [facts] * 3)
    steps = trace.steps([100, 300, 600])  # the first is the warm-up
    assert [step.reference_seconds for step in steps] == [3, 6]
    assert [step.reference_cpu_seconds for step in steps] == [6, 12]
    assert trace.peak_mb == 9
    early = train_turns.Trace({"peak_mb": 1.0}, begun, [facts] * 2)  # the budget ended it
    assert [step.reference_seconds for step in early.steps([100, 300, 600])] == [3]


def test_rates_and_the_share_of_the_peak() -> None:
    steps = [Step(2, 4, 0.7), Step(4, 8, 0.6)]
    found = side_figures(steps, [Load(100, 40, 6e9), Load(100, 40, 6e9)], 123.4, 10e9)
    assert found["tokens_per_s"] == {"median": 37.5, "min": 25, "max": 50}
    assert found["supervised_tokens_per_s"]["max"] == 20
    assert found["gflops"]["max"] == 3
    assert found["peak_share"] == {"median": 0.225, "min": 0.15, "max": 0.3}
    assert (found["peak_mb"], found["loss"]) == (123.4, [0.7, 0.6])
    assert spread([3, 1, 2]) == {"median": 2, "min": 1, "max": 3}


def test_headlines_are_of_the_epoch_for_dpo_and_of_the_step_otherwise() -> None:
    steps = {
        "samdan": [Step(1, 1, 0.7, 1, 1)],
        "trl_default": [Step(8, 8, 0.7)],
        "trl_best": [Step(4, 4, 0.7, 2, 2)],
        "plain": [Step(2, 2, 0.7, 2, 2)],
    }
    peaks = {"samdan": 2.0, "trl_default": 8.0, "trl_best": 4.0, "plain": 2.0}
    loads = [Load(10, 10, 1e9)]
    dpo = train.outcome("dpo", steps, loads, peaks, 4e9)
    assert [dpo[f"ratio_vs_{peer}"] for peer in ("default", "best", "plain")] == [4, 3, 2]
    sft = train.outcome("sft", steps, loads, peaks, 4e9)
    assert [sft[f"ratio_vs_{peer}"] for peer in ("default", "best", "plain")] == [8, 4, 2]
    assert (dpo["memory_ratio"], dpo["memory_ratios"]["trl_default"]) == (0.5, 0.25)
    assert dpo["peak_share"] == 0.25
    del steps["trl_best"], peaks["trl_best"]  # it did not fit
    fewer = train.outcome("dpo", steps, loads, peaks, 4e9)
    assert (fewer["ratio_vs_best"], fewer["memory_ratio"]) == (None, None)


def test_model_flops_are_those_that_a_counter_sees() -> None:
    """Against torch's own counter, whose attention counts keys that causal attention masks."""
    from torch.utils.flop_counter import FlopCounterMode

    length = 48
    model = build(SHAPE, torch.device("cpu"), torch.float32, "eager")
    record = tiny.document(length)
    tokens = torch.from_numpy(record.tokens.astype(np.int64))[None]
    with FlopCounterMode(display=False) as counter:
        logits = model(tokens, logits_to_keep=length - 1).logits  # the last predicts nothing here
        logits.sum().backward()
    backbone = backbone_parameters(model)
    causal = 3 * 4 * SHAPE.layers * SHAPE.hidden * length**2 / 2
    mine = model_flops(SHAPE, backbone, [record]) + causal
    assert counter.get_total_flops() == pytest.approx(mine, rel=0.02)  # norms are not products
    matrices = parameters(SHAPE) - SHAPE.vocab * SHAPE.hidden
    assert matrices == pytest.approx(backbone, rel=0.02)


def test_model_flops_of_a_pair_count_the_prompt_once_and_the_answers_only_in_the_head() -> None:
    n, d, vocab, layers = 1000, SHAPE.hidden, SHAPE.vocab, SHAPE.layers
    prompt, chosen, rejected = 10, 4, 6
    # Keys seen: the prompt and the first answer a triangle, the second the prompt and itself.
    seen = 14**2 / 2 + 6 * 10 + 6**2 / 2
    forward = 2 * n * 20 + 4 * layers * d * seen + 2 * d * vocab * 10
    found = model_flops(SHAPE, n, [tiny.pair(prompt, chosen, rejected)])
    assert found == pytest.approx(3 * forward)


def test_the_machine_has_a_peak() -> None:
    assert matmul_peak(torch.float32, seconds=0.02) > 1e8


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", JOBS)
def test_records_without_real_data_are_fixed_and_as_many_as_asked(job: str) -> None:
    work = train_scale.make_workload(job, train_scale.TINY, None, None)
    again = train_scale.make_workload(job, train_scale.TINY, None, None)
    assert "drawn" in work.texts
    assert (work.steps, len(work.records)) == (3, 12)
    for a, b in zip(work.records, again.records, strict=True):
        assert a.tokens.tolist() == b.tokens.tolist()
    assert work.tokens() == [sum(len(r) for r in work.step(n)) for n in range(3)]
    alone = work.round(2)
    assert alone.steps == 2
    assert alone.step(1)[0] is work.step(2)[0]


def test_a_full_step_holds_the_tokens_asked_for() -> None:
    scale = train_scale.Scale("tiny", 0, 16_384, 2048, 2, None, True)
    for job in JOBS:
        work = train_scale.make_workload(job, scale, None, 0.7 if job == "dpo" else None)
        assert work.per_step % 8 == 0
        assert all(tokens >= 12_000 for tokens in work.tokens()[1:])
        assert np.mean(work.tokens()[1:]) >= 16_384
        assert work.tokens()[0] <= 3 * train_work.WARM_TOKENS * work.per_step
    assert train_work.prompt_share(work.records) == pytest.approx(0.7, abs=0.05)


def test_supervised_share_of_sft_is_two_fifths() -> None:
    records, _ = train_work.talks(50, 500, 512)
    share = sum(r.trained.sum() for r in records) / sum(len(r) for r in records)
    assert share == pytest.approx(0.4, abs=0.01)


def test_cut_short_keeps_what_a_record_is() -> None:
    pair = train_work.cut_short(tiny.pair(100, 5, 90), 8)
    assert (len(pair), pair.prefix, pair.span) == (21, 8, 13)
    assert pair.trained.tolist() == [False] * 8 + [True] * 13
    talk = train_work.cut_short(tiny.conversation(50, 3), 8)
    assert (len(talk), talk.trained.sum()) == (8, 3)


def test_real_records_where_they_are_at_hand() -> None:
    data = ROOT.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("the real data are not beside the checkout")
    records, texts = train_work.preferences(40, 400, 512, data, None)
    assert texts == "real pairs"
    assert max(len(r) for r in records) <= 400
    assert max(int(r.tokens.max()) for r in records) < 512
    share = train_work.prompt_share(records)
    assert share is not None
    assert 0.05 < share < 0.4


def test_a_plain_loops_micro_batches_hold_every_record_once_and_no_more_than_fits() -> None:
    records = [tiny.document(n) for n in (10, 30, 5, 5, 40, 8)]
    groups = grouped(records, 60)
    assert groups == [[0, 1], [2, 3], [4], [5]]
    pairs = [tiny.pair(10, 5, 5), tiny.pair(10, 5, 2), tiny.pair(5, 5, 5)]
    assert grouped(pairs, 60) == [[0, 1], [2]]  # four rows of 15


def test_trls_flags_that_are_tried() -> None:
    dpo = train_search.candidates("dpo", 8)
    assert all(flags["precompute"] for flags in dpo)
    assert [f["batch"] for f in dpo if not f["gradient_checkpointing"]] == [8, 4, 2, 1]
    sft = [f for f in train_search.candidates("sft", 4) if not f["gradient_checkpointing"]]
    assert [f["batch"] for f in sft if f["padding_free"]] == [4, 2]
    assert train_search.default_flags(4) == {"batch": 4, "gradient_checkpointing": True}


# --- all sides do the same ------------------------------------------------------------------------


class Heard:
    """Turns without a pipe."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def wait(self) -> None:
        pass

    def done(self, loss: float) -> None:
        self.losses.append(loss)


def spec_of(job: str, folder: Path, **fields: Any) -> Spec:
    work = train_scale.make_workload(job, train_scale.TINY, None, None)
    train_work.save(folder, work.records, work.per_step)
    given = {"program": "samdan", "options": {}} | fields
    return Spec(job, "tiny", False, str(folder), work.per_step, work.steps, 250, **given)


def weights(side: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in side.model.named_parameters()}


def trained(side: Any) -> tuple[dict[str, Any], list[float]]:
    begun, heard = side.begin(), Heard()
    side.train(heard)
    return begun, heard.losses


@pytest.mark.parametrize("job", JOBS)
def test_the_plain_loop_computes_the_same_losses_and_updates(job: str, tmp_path: Path) -> None:
    spec = spec_of(job, tmp_path)
    ours, plain = Samdan(spec), Plain(spec)
    start = weights(ours)
    mine, theirs = trained(ours), trained(plain)
    assert mine[0]["checked_loss"] == pytest.approx(theirs[0]["checked_loss"], rel=1e-5)
    assert mine[1] == pytest.approx(theirs[1], rel=1e-5)
    assert ("reference" in mine[0]) == ("reference" in theirs[0]) == (job == "dpo")
    moved = {name: value - start[name] for name, value in weights(ours).items()}
    other = {name: value - start[name] for name, value in weights(plain).items()}
    norm = float(torch.stack([m.norm() for m in moved.values()]).norm())
    apart = float(torch.stack([(moved[n] - other[n]).norm() for n in moved]).norm())
    assert norm > 0
    # A key bias has no gradient but rounding, and AdamW makes whole steps of it.
    assert apart < 0.05 * norm


FLAGS = {
    "cpt": [{"batch": 4, "gradient_checkpointing": True}],
    "sft": [{"batch": 2, "gradient_checkpointing": False, "padding_free": True}],
    "dpo": [
        {"batch": 2, "gradient_checkpointing": True},
        {"batch": 4, "gradient_checkpointing": False, "precompute": True},
    ],
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("job", JOBS)
def test_trl_computes_the_same_losses_at_default_and_other_flags(job: str, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    pytest.importorskip("datasets", reason="TRL's trainers need datasets")
    from benchmarks.train_trl import Side as Trl

    mine = trained(Samdan(spec_of(job, tmp_path)))
    for flags in FLAGS[job]:
        begun, losses = trained(Trl(spec_of(job, tmp_path, program="trl", options=flags)))
        assert begun["checked_loss"] == pytest.approx(mine[0]["checked_loss"], rel=1e-5)
        assert losses == pytest.approx(mine[1], rel=1e-5)
        assert ("reference" in begun) == bool(flags.get("precompute"))


def test_the_checks_loss_tells_models_apart(tmp_path: Path) -> None:
    """Negative control. At the first step of dpo every model has log 2; in the check not."""
    side = Samdan(spec_of("dpo", tmp_path))
    before = side.begin()["checked_loss"]
    assert abs(before - np.log(2)) > 1e-3
    with torch.no_grad():
        for parameter in side.model.parameters():
            parameter.add_(0.02)
    after = side.begin()["checked_loss"]
    agreement = train_turns.Agreement(bf16=False)
    agreement.hear("check", "samdan", before)
    with pytest.raises(SystemExit, match="check: trl_best computes a loss of"):
        agreement.hear("check", "trl_best", after)
    agreement.hear("first step", "samdan", 2.0)
    agreement.hear("first step", "plain", 2.00002)
    assert agreement.largest()["first step"] == pytest.approx(1e-5)
    with pytest.raises(SystemExit, match="nan"):
        agreement.hear("first step", "trl_best", float("nan"))


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.slow  # four processes, each with torch, two with TRL
@pytest.mark.parametrize("job", JOBS)
def test_a_tiny_benchmark_from_end_to_end(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    compiled = job == "sft"
    more = ["--compile"] if compiled else []
    train.main(job, ["--tiny", "--fp32", "--trl-batch", "2", *more])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["flags"]["samdan"] == {"compile": compiled}
    assert found["flags"]["trl_best"]["batch"] == 2
    for name in ("ratio_vs_default", "ratio_vs_best", "ratio_vs_plain", "memory_ratio"):
        assert found[name] > 0
    assert 0 < found["peak_share"] < 1
    assert found["sides"].keys() == {"samdan", "trl_default", "trl_best", "plain"}
    assert found["steps"] == len(found["sides"]["plain"]["loss"]) == 2
    assert all(apart < 1e-4 for apart in found["loss_differences"].values())
    assert found["precision"] == "fp32"
    assert ("epoch" in found["ratios"]["trl_best"]) == (job == "dpo")


@pytest.mark.slow  # a process after another, each with torch
def test_one_process_at_a_time_and_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    given = ["--tiny", "--fp32", "--alone", "--search", "--steps", "1", "--per-step", "2"]
    train.main("sft", given)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["in_turn"] == "processes"
    tried = [(one["batch"], one["padding_free"]) for one in found["tried"]]
    assert tried == [(2, False), (1, False), (2, True)]
    fastest = min(found["tried"], key=lambda one: one["seconds"])
    assert found["flags"]["trl_best"].items() <= fastest.items()
    assert found["ratio_vs_best"] > 0


@pytest.mark.slow  # a process with torch
def test_a_side_that_ends_early_is_said_with_its_reason(tmp_path: Path) -> None:
    bad = spec_of("sft", tmp_path, program="nobody")
    with pytest.raises(train_turns.SideError, match=r"benchmarks\.train_nobody"):
        train_turns.run_round({"nobody": bad})
    failed: dict[str, str] = {}
    agreement = train_turns.Agreement(bf16=False)
    assert train_turns.run_alone({"nobody": bad}, agreement, failed) == {}
    assert "train_nobody" in failed["nobody"]
    assert isinstance(bad.checked()[0], Encoded)
