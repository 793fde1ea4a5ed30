"""Processes: waiting for one another, Slurm's variables, tensors by rows, who chooses."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed import HashStore

import tiny
from samdan.budget import KNOWN_SHAPES, Setting, memory
from samdan.packing import micro_batches
from samdan.recipe import Lora
from samdan.records import EnvironmentFailure, Preempted
from samdan.run import choices
from samdan.train import meeting, parallel, pieces, slurm
from samdan.train.meeting import Meeting
from samdan.train.sharding import row_limits

# --- waiting --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "BEAT", 0.05)
    monkeypatch.setattr(meeting, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(meeting, "GRACE", 0.3)


def beside(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_everyone_hears_what_everyone_says() -> None:
    store = HashStore()
    first, second = Meeting(store, 0, 2), Meeting(store, 1, 2)
    heard: list[list[str]] = []
    other = beside(lambda: heard.append(second.share("b") + second.share("d")))
    assert first.share("a") + first.share("c") == ["a", "b", "c", "d"]
    other.join()
    assert heard == [["a", "b", "c", "d"]]


def test_a_process_that_works_longer_than_the_patience_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", 2.0)
    store = HashStore()
    first, second = Meeting(store, 0, 2), Meeting(store, 1, 2)
    other = beside(lambda: (time.sleep(4), first.meet()))
    began = time.monotonic()
    second.meet()
    assert time.monotonic() - began > 3
    other.join()


def test_a_process_without_signs_of_life_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", 0.5)
    store = HashStore()
    waiting = Meeting(store, 1, 2)  # process 0 never comes
    with pytest.raises(EnvironmentFailure, match="process 0 has given no sign of life"):
        waiting.meet()


def test_a_failure_is_told_to_those_who_wait() -> None:
    store = HashStore()
    first, second = Meeting(store, 0, 2), Meeting(store, 1, 2)
    first.tell_failure("DataError: bad row 7")
    with pytest.raises(EnvironmentFailure, match="process 0: DataError: bad row 7"):
        second.meet()


def test_a_waiting_process_that_is_asked_to_stop_goes_after_a_while() -> None:
    store = HashStore()
    first, second = Meeting(store, 0, 2), Meeting(store, 1, 2)
    second.signal = lambda: signal.SIGINT
    with pytest.raises(Preempted, match="asked to stop") as stop:
        second.meet()
    assert stop.value.exit_code == 130
    assert first.failure() is None


def test_who_waits_stops_with_the_signal_of_another() -> None:
    store = HashStore()
    first, second = Meeting(store, 0, 2), Meeting(store, 1, 2)
    assert first.told_to_stop() == 0
    second.tell_stop(signal.SIGINT)
    with pytest.raises(Preempted) as stop:
        first.meet()
    assert stop.value.exit_code == 130


def test_tickets_are_drawn_once_and_anew_after_a_meeting() -> None:
    store = HashStore()
    meetings = [Meeting(store, number, 2) for number in range(2)]
    assert [meetings[n].ticket() for n in (0, 1, 1)] == [0, 1, 2]
    with ThreadPoolExecutor() as pool:
        list(pool.map(Meeting.meet, meetings))
    assert [meetings[n].ticket() for n in (1, 0)] == [0, 1]


def test_the_store_gone_is_a_lost_connection() -> None:
    class Gone:
        def add(self, key: str, amount: int) -> int:
            raise RuntimeError("Broken pipe")

    with pytest.raises(EnvironmentFailure, match="lost the connection"):
        Meeting(Gone(), 1, 2).meet()


# --- Slurm ----------------------------------------------------------------------------------------

STEP = {
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "70123",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def test_slurms_variables_in_torchruns_words() -> None:
    assert slurm.variables(STEP) == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu07",
        "MASTER_PORT": "20123",
    }
    named = {"MASTER_ADDR": "head", "MASTER_PORT": "1234"}
    assert slurm.variables(STEP | named).items() >= named.items()
    without_step = {k: v for k, v in STEP.items() if k != "SLURM_STEP_ID"}
    assert slurm.variables(without_step | named)["RANK"] == "3"


def test_slurm_is_not_read_where_it_does_not_apply() -> None:
    assert slurm.variables(STEP | {"RANK": "0"}) == {}  # torchrun inside srun
    assert slurm.variables(STEP | {"SLURM_NTASKS": "1"}) == {}
    assert slurm.variables({k: v for k, v in STEP.items() if k != "SLURM_STEP_ID"}) == {}
    assert slurm.variables({}) == {}


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu[07-09,12],login", "gpu07"),
        ("gpu3,gpu4", "gpu3"),
        ("n[1,5]-ib", "n1-ib"),
        ("solo", "solo"),
        ("", ""),
    ],
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    assert slurm.first_host(hosts) == first


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_rows_are_cut_as_torch_cuts(rows: int, parts: int) -> None:
    limits = row_limits(rows, parts)
    cut = [len(chunk) for chunk in torch.arange(rows).chunk(parts)]
    cut += [0] * (parts - len(cut))
    assert [b - a for a, b in pairwise(limits)] == cut


def test_any_rows_can_be_read_from_any_number_of_files(tmp_path: Path) -> None:
    whole = torch.arange(14.0).view(7, 2)
    for parts in (2, 3, 4):
        folder = tmp_path / str(parts)
        folder.mkdir()
        limits = row_limits(7, parts)
        for part in range(parts):
            mine = {"w": whole[limits[part] : limits[part + 1]].clone()}
            if part == 0:
                mine["step.w"] = torch.tensor(5.0)
            save_file(mine, folder / pieces.file_name("model", part, parts))
        index = {"w": {"shape": [7, 2], "rows": limits}, "step.w": {"shape": []}}
        (folder / pieces.INDEX).write_text(json.dumps({"parts": parts, "model": index}))
        saved = pieces.Saved(folder, "model")
        assert saved.names == {"w", "step.w"}
        assert saved.like("step.w", torch.zeros(7, 2)) == 5
        for first in range(8):
            for last in range(first, 8):
                assert torch.equal(saved._rows("w", first, last), whole[first:last])


# --- who chooses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "fields", "expected"),
    [
        (10**12, {}, "none"),
        (10_000, {}, "full"),
        (10_000, {"shard": "none"}, "none"),
        (10**12, {"shard": "full"}, "full"),
        (10_000, {"optim": "adamw_offload"}, "none"),
    ],
)
def test_auto_splits_what_does_not_fit(
    free: int, fields: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "free_memory", lambda: free)
    stage = tiny.cpt(**fields)
    assert choices.choose_shard(stage, tiny.model()) == "none"  # one process
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert choices.choose_shard(stage, tiny.model()) == expected


@pytest.mark.parametrize(
    ("card", "host", "rounded", "fields", "expected"),
    [
        (None, 10**12, False, {}, "none"),
        (None, 150_000, False, {}, "full"),  # one, and not two with copies
        (None, 150_000, True, {}, "none"),
        (None, 10_000, False, {"optim": "adamw_offload"}, "alone"),  # cannot be split
        (None, 10**12, False, {"optim": "adamw_offload"}, "none"),
        (None, 10**12, False, {"shard": "full"}, "full"),
        (200_000, 10**12, False, {}, "none"),  # no room for gradients and states is needed
        (100_000, 10**12, False, {}, "full"),
        (100_000, 10**12, True, {}, "none"),  # in bf16 alone
        (10**12, 80_000, True, {}, "full"),  # two on their way through the host, in fp32
    ],
)
def test_a_parent_is_whole_where_every_process_has_room_for_it(
    card: int | None,
    host: int,
    rounded: bool,
    fields: dict[str, Any],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choices, "_on_gpu", lambda: card is not None)
    monkeypatch.setattr(choices, "free_memory", lambda: card)
    monkeypatch.setattr(choices, "host_memory", lambda: host)
    model, stage = tiny.model(), tiny.dpo(**fields)
    assert 80_000 < choices._size(model) < 90_000  # bytes; copies are half of it
    assert choices.choose_parent_shard(stage, model, rounded) == "none"  # one process
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert choices.choose_parent_shard(stage, model, rounded) == expected


@pytest.mark.parametrize(
    "fields", [{"optim": "adamw_8bit"}, {"optim": "adamw_offload"}, {"lora": Lora(quantize="4bit")}]
)
def test_what_cannot_be_split_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="shard: 'full'"):
        tiny.cpt(shard="full", **fields)


def test_every_sample_once_when_the_number_of_processes_changes() -> None:
    """Steps keep their records, whoever takes them."""
    lengths = [5, 3, 8, 1, 9, 2, 4]
    for hands in (1, 2, 3, 8):
        dealt = micro_batches(lengths, 10, hands)
        assert sorted(i for hand in dealt for bin_ in hand for i in bin_) == list(range(7))
        assert len({len(hand) for hand in dealt}) == 1


def test_what_rules_read_is_the_mean_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {"loss": 2.0, "tokens_per_second": 300.0}  # the sum over three other processes
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(
        parallel, "add_over_ranks", lambda values: {n: values[n] + others[n] for n in values}
    )
    assert parallel.mean_over_ranks({"loss": 2.0, "tokens_per_second": 100.0}) == {
        "loss": 1.0, "tokens_per_second": 100.0,
    }  # fmt: skip


def test_memory_is_divided_where_it_is_split() -> None:
    shape = KNOWN_SHAPES["Qwen/Qwen2.5-7B"]
    one, eight = (memory(shape, tiny.cpt(), Setting(4096, processes=n)) for n in (1, 8))
    for name in ("gradients", "optimizer"):
        assert eight.parts[name] == one.parts[name] / 8
    assert eight.parts["weights"] == 4 * shape.parameters / 8
    assert eight.parts["activations"] == one.parts["activations"]
    assert eight.peak < 0.4 * one.peak
    whole = memory(shape, tiny.cpt(shard="none"), Setting(4096, processes=8))
    assert whole.parts["weights"] == one.parts["weights"]
    assert whole.peak == one.peak
