"""Mixing and preparing: weights hold, an epoch is a pass, every token and row is accounted for."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
from samdan.data.clean import clean_source
from samdan.data.copies import find_copies
from samdan.data.mixing import Mixed, check_accounts, mix, shares
from samdan.data.prepare import Preparation, prepare_source
from samdan.data.protect import Cleaned
from samdan.lm.batch import collate
from samdan.lm.shards import Shard
from samdan.recipe import Anneal, HeldOut, Stage
from samdan.records import DataError

ROLES = ("target", "replay", "synthetic")


def shards(folder: Path, stage: Stage, sizes: Sequence[Sequence[int]]) -> dict[str, Shard]:
    """One shard per source of the stage, with a record of each length."""
    made = {}
    for number, (source, lengths) in enumerate(zip(stage.data, sizes, strict=True)):
        records = [_record(stage, length, 1000 * number + i) for i, length in enumerate(lengths)]
        made[source.label] = Shard(tiny.write_shard(folder / source.label, records))
    return made


def _record(stage: Stage, length: int, seed: int) -> Any:
    if stage.name == "cpt":
        return tiny.document(length, seed)
    if stage.name == "sft":
        return tiny.conversation(length // 2, length - length // 2, seed)
    return tiny.pair(1 + length // 3, 1 + length // 3, 1 + length // 3, seed)


def sources_of_units(mixed: Mixed) -> list[int]:
    index = mixed.index
    return [int(index.pieces[index.unit_pieces[start], 0]) for start in index.unit_offsets[:-1]]


def tokens_by_source(mixed: Mixed, units: int | None = None) -> Counter[int]:
    counts: Counter[int] = Counter()
    for number, source in enumerate(sources_of_units(mixed)[:units]):
        counts[source] += int(mixed.index.unit_tokens[number])
    return counts


# --- shares ---------------------------------------------------------------------------------------


def test_weights_make_targets_one_pass_and_the_others_relative_to_them() -> None:
    data = (tiny.source("docs", weight=0.75), tiny.source("general", "replay", weight=0.25))
    got = shares(tiny.cpt(data=data), {"docs": 900, "general": 10_000})
    assert got == pytest.approx({"docs": 900, "general": 300})


@pytest.mark.parametrize(
    ("adapts_to", "replay"), [("language", 0.25), ("domain", 0.05), ("synthetic", 0.1)]
)
def test_without_weights_replay_gets_the_default_share_of_all_tokens(
    adapts_to: Any, replay: float
) -> None:
    data = (
        tiny.source("docs"),
        tiny.source("made", "synthetic"),
        tiny.source("en", "replay"),
        tiny.source("code", "replay"),
    )
    held = {"docs": 800, "made": 200, "en": 3000, "code": 1000}
    got = shares(tiny.cpt(data=data, adapts_to=adapts_to), held)
    assert (got["docs"], got["made"]) == (800, 200)
    assert got["en"] + got["code"] == pytest.approx(replay * sum(got.values()))
    assert got["en"] == pytest.approx(3 * got["code"])


def test_replay_share_is_a_field_of_every_stage() -> None:
    data = (tiny.source("docs"), tiny.source("en", "replay"))
    for make in (tiny.cpt, tiny.sft, tiny.dpo):
        got = shares(make(data=data, replay_share=0.4), {"docs": 600, "en": 5000})
        assert got == pytest.approx({"docs": 600, "en": 400})


def test_epochs_of_a_source_are_its_passes_over_the_whole_stage(tmp_path: Path) -> None:
    data = (
        tiny.source("docs"),
        tiny.source("wiki", "synthetic").model_copy(update={"epochs": 0.5}),
        tiny.source("en", "replay").model_copy(update={"epochs": 3}),
    )
    stage = tiny.sft(data=data, num_train_epochs=2)
    mixed = mix(stage, shards(tmp_path, stage, [[10] * 8, [10] * 8, [10] * 4]), seed=0)
    assert tokens_by_source(mixed) == {0: 160, 1: 40, 2: 120}
    assert mixed.accounts["en"]["repeated"] == 80
    assert mixed.accounts["wiki"]["dropped"] == {"not_reached": 40}


# --- mixing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_steps", [None, 50])
def test_the_end_of_a_stage_may_have_a_mix_of_its_own(
    tmp_path: Path, max_steps: int | None
) -> None:
    data = (
        tiny.source("docs", weight=0.5),
        tiny.source("best", "synthetic", weight=0.1),
        tiny.source("en", "replay", weight=0.4),
    )
    anneal = Anneal(share=0.2, weights={"best": 3.0, "en": 1.0})
    stage = tiny.sft(
        data=data,
        num_train_epochs=2,
        max_steps=max_steps,
        anneal=anneal,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=1,
    )
    mixed = mix(stage, shards(tmp_path, stage, [[10] * 50] * 3), seed=0)
    total = mixed.index.num_units
    assert total == (200 if max_steps is None else 100)
    last = Counter(sources_of_units(mixed)[round(0.8 * total) :])
    assert last == {1: round(0.15 * total), 2: round(0.05 * total)}
    first = Counter(sources_of_units(mixed)[: round(0.8 * total)])
    for number, weight in enumerate((0.5, 0.1, 0.4)):
        assert abs(first[number] - weight * 0.8 * total) <= 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=4), st.integers(0, 5))
def test_weights_hold_in_every_batch_to_a_block(weights: list[float], seed: int) -> None:
    """Whatever the batch, each source's blocks in it are off by less than one at either end."""
    roles = ["target"] + ["replay"] * (len(weights) - 1)
    data = tuple(
        tiny.source(f"s{i}", role, weight)
        for i, (role, weight) in enumerate(zip(roles, weights, strict=True))
    )
    stage = tiny.sft(data=data, num_train_epochs=1)
    with tempfile.TemporaryDirectory() as folder:
        mixed = mix(stage, shards(Path(folder), stage, [[10] * 90 for _ in weights]), seed)
    order, counts = sources_of_units(mixed), Counter(sources_of_units(mixed))
    for start in range(0, len(order) - 15, 16):
        batch = Counter(order[start : start + 16])
        for number in range(len(weights)):
            assert abs(batch[number] - 16 * counts[number] / len(order)) < 2


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[Stage, list[list[int]], int]:
    make = draw(st.sampled_from([tiny.cpt, tiny.sft, tiny.dpo]))
    roles = ["target", *draw(st.lists(st.sampled_from(ROLES), max_size=3))]
    weighted = draw(st.booleans())
    data = tuple(
        tiny.source(f"s{i}", role, draw(st.floats(0.05, 1.0)) if weighted else None)
        for i, role in enumerate(roles)
    )
    sizes = [draw(st.lists(st.integers(2, 40), min_size=1, max_size=12)) for _ in roles]
    stage = make(
        data=data,
        num_train_epochs=draw(st.sampled_from([0.4, 1, 2, 2.5, 3])),
        max_steps=draw(st.none() | st.integers(1, 6)),
        per_device_train_batch_size=draw(st.integers(1, 4)),
        gradient_accumulation_steps=1,
        max_length=draw(st.integers(8, 24)),
    )
    return stage, sizes, draw(st.integers(0, 5))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(mixtures())
def test_every_token_is_accounted_for(case: tuple[Stage, list[list[int]], int]) -> None:
    """in + repeated = trained + masked + dropped for every source; trained is what is trained."""
    stage, sizes, seed = case
    with tempfile.TemporaryDirectory() as folder:
        by_label = shards(Path(folder), stage, sizes)
        mixed = mix(stage, by_label, seed)
        check_accounts(mixed.accounts)
        predicted: Counter[str] = Counter()
        presented: Counter[str] = Counter()
        labels = [source.label for source in stage.data]
        for piece in mixed.index.unit_pieces.tolist():
            number, record, start, length = mixed.index.pieces[piece].tolist()
            encoded = by_label[labels[number]].record(record, start, length)
            predicted[labels[number]] += collate([encoded]).num_targets
            presented[labels[number]] += len(encoded)
        for label, row in mixed.accounts.items():
            assert row["in"] == by_label[label].num_tokens
            assert row["trained"] == predicted[label]
            assert row["trained"] + row["masked"] == presented[label]
        assert sum(presented.values()) == int(mixed.index.unit_tokens.sum())
        if stage.name == "cpt":
            assert mixed.index.unit_tokens.max(initial=0) <= stage.max_length
        if stage.max_steps is not None:
            assert mixed.index.num_units <= stage.max_steps * stage.units_per_step


def test_an_account_that_does_not_add_up_is_an_error() -> None:
    row = {"in": 10, "repeated": 0, "trained": 7, "masked": 2, "dropped": {}}
    with pytest.raises(AssertionError, match="docs: 10 tokens came in and 9"):
        check_accounts({"docs": row})


@pytest.mark.parametrize("make", [tiny.cpt, tiny.sft, tiny.dpo])
def test_an_epoch_reads_every_target_piece_exactly_once(tmp_path: Path, make: Any) -> None:
    data = (tiny.source("docs"), tiny.source("made", "synthetic"), tiny.source("en", "replay"))
    stage = make(data=data, num_train_epochs=3)
    sizes = [[5, 30, 17, 9], [40, 3], [12] * 20]
    index = mix(stage, shards(tmp_path, stage, sizes), seed=1).index
    given_ = index.pieces[:, 0] < 2
    times = np.bincount(index.unit_pieces, minlength=len(index.pieces))
    assert (times[given_] == 3).all()
    # Not only in all: each third of the targets' pieces is a whole pass.
    passes = [p for p in index.unit_pieces.tolist() if given_[p]]
    size = int(given_.sum())
    for epoch in range(3):
        assert len(set(passes[epoch * size : (epoch + 1) * size])) == size


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(mixtures())
def test_each_source_gives_its_tokens_to_within_a_piece(
    case: tuple[Stage, list[list[int]], int],
) -> None:
    stage, sizes, seed = case
    stage = stage.model_copy(update={"max_steps": None})
    with tempfile.TemporaryDirectory() as folder:
        by_label = shards(Path(folder), stage, sizes)
        mixed = mix(stage, by_label, seed)
        wanted = shares(stage, {label: shard.num_tokens for label, shard in by_label.items()})
        got = tokens_by_source(mixed)
        for number, source in enumerate(stage.data):
            longest = mixed.index.pieces[mixed.index.pieces[:, 0] == number, 3].max()
            asked = wanted[source.label] * stage.num_train_epochs
            assert abs(got[number] - asked) <= longest


def test_every_beginning_of_an_epoch_keeps_the_proportions(tmp_path: Path) -> None:
    data = (
        tiny.source("docs", weight=0.6),
        tiny.source("en", "replay", weight=0.3),
        tiny.source("code", "replay", weight=0.1),
    )
    stage = tiny.sft(data=data, num_train_epochs=1)
    mixed = mix(stage, shards(tmp_path, stage, [[10] * 60, [10] * 7, [10] * 99]), seed=3)
    order = sources_of_units(mixed)
    assert Counter(order) == {0: 60, 1: 30, 2: 10}
    for end in range(1, 101):
        got = Counter(order[:end])
        for number, weight in enumerate((0.6, 0.3, 0.1)):
            assert abs(got[number] - weight * end) < 1


def test_a_small_replay_source_repeats_and_a_large_one_is_read_on(tmp_path: Path) -> None:
    data = (tiny.source("docs", weight=0.5), tiny.source("en", "replay", weight=0.5))
    stage = tiny.sft(data=data, num_train_epochs=2)
    small = mix(stage, shards(tmp_path / "a", stage, [[10] * 8, [10] * 3]), seed=0)
    assert small.accounts["en"]["repeated"] == 160 - 30
    assert small.accounts["en"]["dropped"] == {}
    large = mix(stage, shards(tmp_path / "b", stage, [[10] * 8, [10] * 20]), seed=0)
    assert large.accounts["en"]["repeated"] == 0
    assert large.accounts["en"]["dropped"] == {"not_reached": 40}


def test_order_is_a_pure_function_of_the_seed(tmp_path: Path) -> None:
    data = (tiny.source("docs"), tiny.source("en", "replay"))
    stage = tiny.cpt(data=data, num_train_epochs=2)
    by_label = shards(tmp_path, stage, [list(range(2, 40)), [11] * 30])
    np.random.seed(1)
    first = mix(stage, by_label, seed=7)
    np.random.seed(2)
    again = mix(stage, by_label, seed=7)
    other = mix(stage, by_label, seed=8)
    for name in ("pieces", "unit_offsets", "unit_pieces", "unit_tokens"):
        assert np.array_equal(getattr(first.index, name), getattr(again.index, name))
    assert first.index.save(tmp_path / "x") == again.index.save(tmp_path / "y")
    assert first.index.unit_pieces.tolist() != other.index.unit_pieces.tolist()


def test_epochs_have_different_orders_and_more_epochs_only_append(tmp_path: Path) -> None:
    stage = tiny.sft(num_train_epochs=2)
    by_label = shards(tmp_path, stage, [list(range(2, 30))])
    two = mix(stage, by_label, seed=0).index.unit_pieces.tolist()
    one = mix(stage.model_copy(update={"num_train_epochs": 1}), by_label, seed=0)
    assert two[:28] == one.index.unit_pieces.tolist()
    assert sorted(two[:28]) == sorted(two[28:])
    assert two[:28] != two[28:]


def test_a_step_is_the_same_whichever_steps_were_asked_for_before(tmp_path: Path) -> None:
    """Resume: the cursor is a number, nothing is advanced by reading."""
    records = [tiny.document(5 + i, i) for i in range(11)]
    one, two = (tiny.steps(tmp_path / n, records, per_step=3, capacity=20) for n in "ab")
    straight = [one.micro_batches(step) for step in range(1, len(one) + 1)]
    assert len(straight) == 4
    for step in (4, 2):
        for ours, theirs in zip(two.micro_batches(step), straight[step - 1], strict=True):
            assert ours.record_ids == theirs.record_ids
            assert ours.tokens_T.tolist() == theirs.tokens_T.tolist()


# --- preparing ------------------------------------------------------------------------------------


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def prepare(folder: Path, stage: Stage, rows: Sequence[Any], seed: int = 0) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    path = write_rows(folder / "rows.jsonl", rows)
    source = stage.data[0].model_copy(update={"path": str(path)})
    out = folder / "out"
    clean_source(stage, source, out / "clean")  # type: ignore[arg-type]
    find_copies({source.label: out / "clean"}, out / "copies", stage.dedup)
    cleaned = Cleaned(stage, source, out / "clean", out / "copies")
    return prepare_source(cleaned, out, Preparation(tiny.chat(), folder, seed))


def texts(folder: Path) -> set[str]:
    shard, chat = Shard(folder), tiny.chat()
    return {
        chat.tokenizer.decode(shard.record(i).tokens.tolist(), skip_special_tokens=True)
        for i in range(len(shard))
    }


HALF = HeldOut(share=0.3, max_records=100)


def test_what_is_held_out_is_never_trained_on(tmp_path: Path) -> None:
    rows = [{"text": f"문서 {i % 40}의 본문"} for i in range(60)]
    manifest = prepare(tmp_path, tiny.cpt(heldout=HALF), rows)
    train, held = texts(tmp_path / "out"), texts(tmp_path / "out" / "heldout")
    assert not train & held
    assert train | held == {row["text"] for row in rows}
    assert manifest["records_dropped"] == {"duplicate": 20}
    assert 4 <= manifest["records_heldout"] <= 20
    assert manifest["records_in"] == 60
    assert manifest["records_in"] == (
        manifest["records_trained"]
        + manifest["records_heldout"]
        + sum(manifest["records_dropped"].values())
    )


def test_all_answers_to_one_question_fall_on_the_same_side(tmp_path: Path) -> None:
    rows = [{"prompt": f"질문 {i % 15}", "completion": f"답 {i}"} for i in range(45)]
    prepare(tmp_path, tiny.sft(heldout=HALF), rows)

    def asked(folder: Path) -> set[str]:
        return {text.split("\n")[1] for text in texts(folder)}

    assert asked(tmp_path / "out")
    assert asked(tmp_path / "out" / "heldout")
    assert not asked(tmp_path / "out") & asked(tmp_path / "out" / "heldout")


def test_a_document_is_held_out_in_every_stage_that_reads_it_and_moves_with_the_seed(
    tmp_path: Path,
) -> None:
    rows = [{"text": f"문서 {i}의 본문"} for i in range(40)]
    prepare(tmp_path / "a", tiny.cpt(name="one", heldout=HALF), rows)
    prepare(tmp_path / "b", tiny.cpt(name="two", heldout=HALF, max_length=8), rows[::-1])
    prepare(tmp_path / "c", tiny.cpt(heldout=HALF), rows, seed=1)
    first, second, third = (texts(tmp_path / name / "out" / "heldout") for name in "abc")
    assert first == second
    assert first != third


def test_the_share_alone_decides_what_is_held_out(tmp_path: Path) -> None:
    """Not the size of the source: else two sources would disagree about a document they share."""
    rows = [{"text": f"문서 {i}의 본문"} for i in range(400)]
    half = tiny.cpt(heldout=HeldOut(share=0.5, max_records=20))
    prepare(tmp_path / "all", half, rows)
    prepare(tmp_path / "few", half, rows[:50])
    held = texts(tmp_path / "all" / "out" / "heldout")
    assert 150 < len(held) < 250
    assert texts(tmp_path / "few" / "out" / "heldout") <= held


def test_answers_are_dropped_whole_when_too_long_and_documents_never(tmp_path: Path) -> None:
    long = "아주 긴 답변입니다. " * 40
    asked = [{"prompt": f"질문 {i}", "completion": "예"} for i in range(20)]
    stage = tiny.sft(heldout=HeldOut(share=0.0))
    manifest = prepare(tmp_path / "sft", stage, [*asked, {"prompt": "길게", "completion": long}])
    assert manifest["records_dropped"] == {"over_max_length": 1}
    assert manifest["tokens_dropped"]["over_max_length"] > 64
    pair = {"prompt": "길게", "chosen": "예", "rejected": long}
    short = {"prompt": "짧게", "chosen": "예", "rejected": "아니요"}
    manifest = prepare(tmp_path / "dpo", tiny.dpo(heldout=HeldOut(share=0.0)), [pair, short])
    assert manifest["records_dropped"] == {"over_max_length": 1}
    manifest = prepare(tmp_path / "cpt", tiny.cpt(heldout=HeldOut(share=0.0)), [{"text": long}])
    assert (manifest["records_trained"], manifest["records_dropped"]) == (1, {})


def test_too_many_bad_rows_stop_the_step_and_say_where_to_look(tmp_path: Path) -> None:
    rows: list[Any] = [{"text": f"문서 {i}"} for i in range(20)]
    rows += ["{broken", {"other": 1}]
    with pytest.raises(DataError, match=r"2 of 22 rows are bad.*quarantine\.jsonl") as raised:
        prepare(tmp_path, tiny.cpt(heldout=HeldOut(share=0.0)), rows)
    assert str(tmp_path / "out" / "clean" / "quarantine.jsonl") in str(raised.value)
    lines = (tmp_path / "out" / "clean" / "quarantine.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["where"] for line in lines] == [
        f"{tmp_path / 'rows.jsonl'}:21",
        f"{tmp_path / 'rows.jsonl'}:22",
    ]
    allowed = tiny.cpt(heldout=HeldOut(share=0.0), max_bad_rows=0.1)
    manifest = prepare(tmp_path / "again", allowed, rows)
    assert (manifest["records_in"], manifest["records_trained"]) == (22, 20)


def test_nothing_left_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is left to train on"):
        prepare(tmp_path, tiny.cpt(heldout=HeldOut(share=1.0)), [{"text": "하나"}])


def test_preparing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"text": f"문서 {i}의 본문"} for i in range(40)]
    one, two = (prepare(tmp_path / n, tiny.cpt(heldout=HALF), rows) for n in "ab")
    assert one["sha256"] == two["sha256"]
    assert one["sha256"] != prepare(tmp_path / "c", tiny.cpt(heldout=HALF), rows, seed=5)["sha256"]
