"""Planted evaluation items are found, in either direction; what only looks like one is not."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from samdan.data.contamination import FORMAT, Item, ItemIndex, build_index, covered_units
from samdan.data.ngrams import TOGETHER
from samdan.data.overlaps import OVERLAP, PIECE, Hit, contaminated, drop_of, find, report
from samdan.records import DataError, Origin
from samdan.removing import Decontaminate

SPEC = Decontaminate()
QUESTION = "임진왜란 때 이순신 장군이 명량 해협에서 열두 척의 배로 물리친 왜선은 모두 몇 척인가?"
CHANGED = QUESTION.replace("장군이", "장군은")
LONG = (
    "갑은 을에게 토지를 매도하고 계약금과 중도금을 받았으나 잔금을 받기 전에 그 토지를 다시 병에게 "
    "매도하고 소유권 이전 등기를 마쳐 주었다. 을이 병에 대하여 등기의 말소를 청구하려면 어떤 "
    "사실을 주장하고 증명하여야 하는지 판례의 태도에 따라 설명하시오."
)
ENGLISH = (
    "Which treaty ended the war between the two kingdoms after the long siege of the northern "
    "harbour in the winter of that year?"
)
BEFORE = "오늘은 날씨가 맑고 바람이 잔잔하여 산책을 하기에 아주 좋은 하루였다고 한다. "
AFTER = " 그 뒤로도 여러 사람이 비슷한 이야기를 남겼지만 확인된 것은 거의 없다고 전해진다."
UNRELATED = "국토교통부는 내년부터 도심 저층 주거지의 주차장 설치 기준을 완화하기로 결정하였다."
FORMULA = (
    "상고이유를 본다. 원심판결 이유를 기록에 비추어 살펴보면 원심의 위와 같은 판단은 정당하다. "
)
SYLLABLES = "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로모보소오조초"


def index_of(*keys: str, spec: Decontaminate = SPEC) -> ItemIndex:
    return build_index([Item(f"task:{n}", key) for n, key in enumerate(keys)], spec)


def searched(
    keys: Sequence[str], *records: Sequence[str], spec: Decontaminate = SPEC
) -> dict[int, str]:
    """By number of the contaminated record: the item."""
    index = index_of(*keys, spec=spec)
    worst = contaminated(find(index, records, spec), spec)
    return {number: index.ids[hit.part] for number, hit in worst.items()}


@lru_cache(maxsize=64)
def prose(seed: int, length: int) -> str:
    """Korean-looking text that no other seed shares an n-gram with."""
    rng = random.Random(seed)
    units = (rng.choice(SYLLABLES) for _ in range(length))
    return "".join(unit + (" " if rng.random() < 0.3 else "") for unit in units)


# --- planted items --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "planted",
    [
        QUESTION,
        QUESTION.replace(" ", ""),
        QUESTION.replace(" ", "\n  "),
        QUESTION.replace("?", "…!?").replace(" 때", ", '때'"),
        CHANGED,
        QUESTION.replace("열두", "12"),
        QUESTION[: len(QUESTION) * 2 // 3],
        QUESTION[len(QUESTION) // 3 :],
    ],
    ids=["verbatim", "unspaced", "lines", "marks", "particles", "number", "beginning", "end"],
)
def test_a_planted_korean_item_is_found(planted: str) -> None:
    assert searched([UNRELATED, QUESTION], [BEFORE + planted + AFTER]) == {0: "task:1"}


@pytest.mark.parametrize(
    "planted",
    [
        ENGLISH,
        ENGLISH.upper(),
        ENGLISH.replace(" ", "\n"),
        ENGLISH.replace("the two", "two"),
        " ".join(ENGLISH.split()[:16]),
    ],
    ids=["verbatim", "case", "lines", "a word", "beginning"],
)
def test_a_planted_english_item_is_found(planted: str) -> None:
    record = f"Some words come first, {planted} and then some others that end it."
    assert searched([UNRELATED, ENGLISH], [record]) == {0: "task:1"}


def test_several_particles_may_change_in_an_item_of_some_length() -> None:
    changes = (("갑은", "갑이"), ("중도금을", "중도금은"), ("잔금을", "잔금"), ("을이", "을은"))
    changed = LONG
    for old, new in changes:
        assert old in changed
        changed = changed.replace(old, new)
    assert searched([LONG], [BEFORE + changed + AFTER]) == {0: "task:0"}


def test_another_question_of_the_same_subject_is_not_the_item() -> None:
    other = (
        "을은 갑에게서 건물을 매수하고 계약금을 주었으나 갑이 그 건물을 다시 병에게 매도하였다. "
        "을이 갑에게 손해의 배상을 청구하려면 어떤 사실을 주장하여야 하는지 설명하시오."
    )
    assert searched([LONG], [other]) == {}


def test_half_an_item_is_enough_and_less_is_not() -> None:
    key = prose(1, 200)
    units = key.replace(" ", "")
    for quoted, found in ((110, True), (100, True), (90, False), (60, False)):
        assert bool(searched([key], [BEFORE + units[:quoted] + AFTER * 5])) == found, quoted


def test_the_share_is_what_the_record_covers_of_the_item() -> None:
    key = prose(2, 100).replace(" ", "")
    record = BEFORE + key[:40] + UNRELATED + key[60:90] + AFTER
    (hit,) = find(index_of(key), [[record]], SPEC)
    assert hit.share == pytest.approx(0.7)
    strict = Decontaminate(threshold=0.75, text_threshold=0.9)
    assert contaminated([hit], SPEC)
    assert not contaminated([hit], strict)


def test_quoting_the_same_half_twice_counts_once() -> None:
    key = prose(3, 100).replace(" ", "")
    (hit,) = find(index_of(key), [[key[:40] + BEFORE + key[:40], AFTER + key[:40]]], SPEC)
    assert hit.share == pytest.approx(0.4)


def test_the_parts_of_a_record_count_together() -> None:
    """The turns of a dialogue: one has the first half of the item, one the second."""
    key = prose(4, 100).replace(" ", "")
    record = [BEFORE + key[:40] + AFTER, BEFORE + key[60:] + AFTER]
    assert searched([key], record) == {0: "task:0"}
    assert searched([key], record[:1], record[1:]) == {}


def test_an_excerpt_of_an_item_is_found_in_the_other_direction() -> None:
    """The training text is a small part of a long item, and nothing but that."""
    key = prose(5, 2_000)
    excerpt = key[500:640]
    assert searched([key], [excerpt]) == {0: "task:0"}
    (hit,) = find(index_of(key), [[excerpt]], SPEC)
    assert hit.share < 0.1
    assert hit.text_share > 0.9
    assert searched([key], [BEFORE * 2 + excerpt[:40] + AFTER * 2]) == {}


def test_the_other_direction_looks_at_every_text_of_the_record() -> None:
    key = prose(5, 2_000)
    assert searched([key], [UNRELATED * 20, key[500:640]]) == {0: "task:0"}


def test_one_short_quotation_is_no_excerpt() -> None:
    """A text of hardly more than one n-gram says nothing about where it is from."""
    key = prose(6, 2_000).replace(" ", "")
    assert searched([key], [key[100:120]]) == {}
    assert searched([key], [key[100:126]]) == {0: "task:0"}


# --- what only looks like an item -----------------------------------------------------------------


def test_unrelated_text_is_not_touched() -> None:
    assert find(index_of(QUESTION, ENGLISH), [[BEFORE + UNRELATED + AFTER], [""], []], SPEC) == []


def test_formulas_of_many_items_identify_none_of_them() -> None:
    """Legal texts share whole sentences: a new text of the same formulas is no copy."""
    keys = [FORMULA + prose(100 + number, 60) for number in range(30)]
    training = [FORMULA + prose(200 + number, 60) for number in range(10)]
    assert searched(keys, *([text] for text in training)) == {}
    assert searched(keys, *([text] for text in [*training, BEFORE + keys[7]])) == {10: "task:7"}


def test_without_the_limit_they_would() -> None:
    """The negative control of the one before."""
    keys = [FORMULA + prose(100 + number, 20) for number in range(30)]
    training = [FORMULA + prose(200, 60)]
    assert searched(keys, training) == {}
    assert searched(keys, training, spec=Decontaminate(max_items=100)) != {}


@pytest.mark.parametrize(("items", "found"), [(3, True), (4, False)])
def test_an_ngram_of_more_than_max_items_is_a_set_phrase(items: int, found: bool) -> None:
    spec = Decontaminate(max_items=3)
    keys = [FORMULA + prose(100 + number, 20) for number in range(items)]
    assert bool(searched(keys, [BEFORE + FORMULA + AFTER], spec=spec)) == found


def test_an_item_of_nothing_but_set_phrases_is_reported_as_such() -> None:
    keys = [FORMULA, *(FORMULA + prose(100 + number, 20) for number in range(12))]
    index = index_of(*keys)
    assert report(index, [], SPEC)["too_short_or_common"] == ["task:0"]
    assert searched(keys, [BEFORE + FORMULA]) == {}


def test_items_that_say_the_same_are_one_when_set_phrases_are_counted() -> None:
    """One question in many files of a benchmark is not common, it is one question."""
    assert set(searched([QUESTION] * 30, [BEFORE + QUESTION])) == {0}


def test_the_same_template_with_another_name_is_another_item() -> None:
    asked = "다음 글을 읽고 {} 관한 물음에 가장 알맞은 답을 하나만 고르시오."
    names = [
        "고려의 토지 제도에", "양자 얽힘에", "발해의 교역에", "광합성의 암반응에", "과거 제도에",
        "헌법 재판의 종류에", "판소리의 유파에", "지진파의 전달에", "한글의 창제 원리에", "효소에",
        "국제 수지의 구성에", "전자기 유도에", "삼국의 불교 수용에",
    ]  # fmt: skip
    keys = [asked.format(name) for name in names]
    assert searched(keys, [asked.format("열역학 법칙에")], [BEFORE]) == {}


def test_short_items_are_not_looked_for() -> None:
    index = index_of("오늘 뭐 먹지?", "Who are you?", "", "!!!", QUESTION)
    assert [length > 0 for length in index.lengths] == [False, False, False, False, True]
    assert searched(["오늘 뭐 먹지?", "Who are you?"], ["오늘 뭐 먹지?", "Who are you?"]) == {}


@pytest.mark.parametrize(("units", "looked_for"), [(9, False), (10, True), (12, True), (13, True)])
def test_items_shorter_than_an_ngram_must_occur_whole(units: int, looked_for: bool) -> None:
    key = "바다에서해가떠오르는순간"[:units] + "을"[: max(units - 12, 0)]
    assert len(key) == units
    assert bool(searched([key], [BEFORE + key + AFTER])) == looked_for
    assert searched([key], [BEFORE + key[:-1] + "쇼" + AFTER]) == {}


def test_short_items_of_words_have_their_own_limit() -> None:
    five, six = "where does the river end", "where does the long river end"
    index = index_of(five, six)
    assert index.lengths.tolist() == [0, 6]
    assert searched([five, six], [f"Tell me {six}, please"]) == {0: "task:1"}
    assert searched([five, six], [f"Tell me {five}, please"]) == {}


def test_what_follows_a_short_key_makes_it_an_item() -> None:
    """A short question is looked for together with its choices."""
    key = "수도는 어디인가?"
    index = build_index([Item("a", key, "서울, 부산, 대전, 광주"), Item("b", key)], SPEC)
    assert [length > 0 for length in index.lengths] == [True, False]
    records = [[f"물음: {key} 서울 부산 대전 광주"], [f"물음: {key} 그건 모른다"]]
    assert list(contaminated(find(index, records, SPEC), SPEC)) == [0]


def test_an_answer_alone_is_no_giveaway() -> None:
    """N-grams begin in what is asked: the text of an answer may be trained on."""
    answer = prose(7, 80)
    index = build_index([Item("a", QUESTION, answer)], SPEC)
    assert contaminated(find(index, [[BEFORE + answer + AFTER]], SPEC), SPEC) == {}
    assert contaminated(find(index, [[QUESTION + answer]], SPEC), SPEC)


def test_ngrams_do_not_run_from_one_text_into_the_next() -> None:
    key = prose(8, 13).replace(" ", "")
    assert searched([key], [key]) == {0: "task:0"}
    assert searched([key], [key[:7], key[7:]]) == {}
    assert searched([key], [key[:7]], [key[7:]]) == {}


# --- records, batches, pieces ---------------------------------------------------------------------


def test_records_are_numbered_through_batches_from_the_first() -> None:
    filler = prose(9, TOGETHER // 3)
    records = [[filler], [QUESTION], [filler], [filler], [filler], [UNRELATED, ENGLISH], [filler]]
    hits = find(index_of(QUESTION, ENGLISH), records, SPEC, first=40)
    assert [(hit.record, hit.part) for hit in hits] == [(41, 0), (45, 1)]


@pytest.mark.parametrize("shift", [-60, -38, -22, -8, 0, 30])
def test_an_item_across_the_border_of_two_pieces_is_found(shift: int) -> None:
    for border in (PIECE, PIECE - OVERLAP):
        before = prose(10, PIECE)[: border + shift]
        (hit,) = find(index_of(QUESTION), [[before + " " + QUESTION + prose(11, 20_000)]], SPEC)
        assert hit.share == 1


def test_an_item_as_long_as_several_pieces_is_found_whole() -> None:
    key = prose(12, 2 * PIECE)
    (hit,) = find(index_of(key), [[UNRELATED + key + AFTER]], SPEC)
    assert hit.share == 1


def test_of_several_items_the_one_that_covers_most_is_named() -> None:
    hits = find(index_of(QUESTION, ENGLISH), [[QUESTION + " ".join(ENGLISH.split()[:16])]], SPEC)
    assert {hit.part for hit in hits} == {0, 1}
    assert contaminated(hits, SPEC)[0].part == 0


TEXTS = st.lists(
    st.lists(st.sampled_from([QUESTION, CHANGED, ENGLISH, BEFORE, UNRELATED, ""]), max_size=3),
    max_size=6,
)


@given(TEXTS, st.integers(0, 6))
@settings(max_examples=40)
def test_searching_in_parts_finds_the_same(records: list[list[str]], cut: int) -> None:
    index = index_of(QUESTION, UNRELATED, ENGLISH)
    cut = min(cut, len(records))
    apart = find(index, records[:cut], SPEC) + find(index, records[cut:], SPEC, first=cut)
    assert find(index, records, SPEC) == apart


@given(st.permutations([QUESTION, ENGLISH, UNRELATED, BEFORE, FORMULA]))
@settings(max_examples=20)
def test_the_order_of_items_changes_their_numbers_only(keys: list[str]) -> None:
    found = find(index_of(*keys), [[BEFORE + QUESTION], [ENGLISH]], SPEC)
    said = sorted((hit.record, keys[hit.part], hit.share, hit.example) for hit in found)
    assert [(record, key) for record, key, *_ in said] == [(0, BEFORE), (0, QUESTION), (1, ENGLISH)]
    assert all(share == 1 for _, _, share, _ in said)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=12), st.integers(1, 9))
def test_covered_units_against_counting_them(spans: list[tuple[int, int]], length: int) -> None:
    spans = sorted(spans)
    groups, begins = np.array(spans, np.int64).reshape(-1, 2).T
    found, covered = covered_units(groups, begins, begins + length)
    expected = {
        group: len({u for g, b in spans if g == group for u in range(b, b + length)})
        for group in {group for group, _ in spans}
    }
    assert dict(zip(found.tolist(), covered.tolist(), strict=True)) == expected


# --- the index ------------------------------------------------------------------------------------


def test_an_index_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    index = index_of(QUESTION, "짧다", ENGLISH)
    index.save(tmp_path)
    again = ItemIndex.load(tmp_path)
    assert again.ids == index.ids == ("task:0", "task:1", "task:2")
    for name in ("hashes", "parts", "places", "lengths", "sizes", "weights"):
        assert np.array_equal(getattr(again, name), getattr(index, name))
    records = [[BEFORE + QUESTION], [ENGLISH], [UNRELATED]]
    assert find(again, records, SPEC) == find(index, records, SPEC) != []


def test_the_index_is_the_same_every_time_and_is_pinned() -> None:
    """Whoever changes what is hashed raises FORMAT."""
    index = index_of(QUESTION, ENGLISH)
    assert np.array_equal(index.hashes, index_of(QUESTION, ENGLISH).hashes)
    assert (np.diff(index.hashes.astype(object)) >= 0).all()
    assert index.lengths.tolist() == [13, 8]
    assert FORMAT == 1
    assert [f"{int(index.hashes[place]):016x}" for place in (0, -1)] == [
        "019024eb66fcd358",
        "f58f9553b6345c2c",
    ]


def test_items_are_hashed_in_groups_without_a_difference() -> None:
    filler = prose(13, TOGETHER // 2)
    keys = [QUESTION, filler, filler[::-1], ENGLISH, filler[1:], UNRELATED]
    index = index_of(*keys)
    assert searched(keys, [ENGLISH], [UNRELATED]) == {0: "task:3", 1: "task:5"}
    assert (index.lengths > 0).all()


def test_an_index_that_is_absent_or_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no complete index"):
        ItemIndex.load(tmp_path)
    index_of(QUESTION).save(tmp_path)
    about = tmp_path / "items.json"
    about.write_text(json.dumps({"format": FORMAT + 1, "ids": ["task:0"]}), "utf-8")
    with pytest.raises(DataError, match=f"index of format {FORMAT + 1}, expected {FORMAT}"):
        ItemIndex.load(tmp_path)


def test_no_items_find_nothing(tmp_path: Path) -> None:
    index = build_index([], SPEC)
    index.save(tmp_path)
    assert find(ItemIndex.load(tmp_path), [[QUESTION]], SPEC) == []


# --- the report -----------------------------------------------------------------------------------


def test_the_report_names_dirty_items_and_those_that_cannot_be_looked_for() -> None:
    index = index_of(QUESTION, "짧다", ENGLISH, UNRELATED)
    part = UNRELATED[: len(UNRELATED) * 2 // 5]
    records = [[BEFORE + QUESTION], [QUESTION, AFTER], [CHANGED], [BEFORE + part + AFTER]]
    told = report(index, find(index, records, SPEC), SPEC)
    assert told["items"] == 4
    assert told["too_short_or_common"] == ["task:1"]
    assert told["dirty"] == ["task:0"]
    first, second = told["overlaps"]
    assert first == {"item": "task:0", "records": 3, "share": 1.0, "example": first["example"]}
    assert first["example"].replace(" ", "") == QUESTION.replace(" ", "")[:13]
    assert (second["item"], second["records"]) == ("task:3", 0)
    assert 0.25 <= second["share"] < 0.5
    assert json.loads(json.dumps(told)) == told


def test_the_turns_of_one_item_are_one_item() -> None:
    items = [Item("dialogue:1", "안녕"), Item("dialogue:1", QUESTION), Item("dialogue:2", "잘 가")]
    index = build_index(items, SPEC)
    told = report(index, find(index, [[QUESTION]], SPEC), SPEC)
    assert (told["items"], told["dirty"]) == (2, ["dialogue:1"])
    assert told["too_short_or_common"] == ["dialogue:2"]


def test_an_excerpt_is_counted_and_does_not_make_its_item_dirty() -> None:
    """The record goes; whether the score means something is a matter of the item's share."""
    key = prose(5, 400)
    index = index_of(key)
    told = report(index, find(index, [[key[100:240]]], SPEC), SPEC)
    assert told["dirty"] == []
    assert told["overlaps"][0]["records"] == 1


def test_a_drop_says_of_which_item_how_much_and_what() -> None:
    index = index_of(UNRELATED, QUESTION)
    (hit,) = find(index, [[BEFORE + QUESTION]], SPEC)
    drop = drop_of(hit, index, Origin("a.jsonl", 3))
    assert (drop.reason, drop.origin) == ("contaminated", Origin("a.jsonl", 3))
    assert drop.detail == f"task:1: 100% of it: {hit.example}"
    other = drop_of(Hit(0, 0, 0.1, 0.75, "말"), index, Origin("b"))
    assert other.detail == "task:0: 75% of a text: 말"


@pytest.mark.parametrize(
    "settings_", [{"min_units": 14}, {"min_words": 9}, {"threshold": 0.0}, {"ngram": 1}]
)
def test_settings_that_cannot_be_are_refused(settings_: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Decontaminate.model_validate(settings_)


def test_a_phrase_that_a_text_repeats_covers_it_no_more_than_the_item_does() -> None:
    """A list of links shares one address prefix with a page; it is no excerpt of the page."""
    prefix = "https developer example org en US docs Web API"
    page = f"{ENGLISH} See {prefix} for all of it."
    links = "\n".join(f"{prefix} entry number{n}" for n in range(60))
    assert searched([page], [links]) == {}
    more = " ".join(f"It then goes on about matter {n} at some length." for n in range(9))
    assert searched([f"{page} {more}"], [page[: page.index(" See")]]) == {0: "task:0"}
