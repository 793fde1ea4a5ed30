"""Units and their hashes: the same everywhere, whatever the spacing, case and neighbours."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdan.data.ngrams import in_groups, ngrams, ngrams_of, units_of, whole

TEXT = st.text(
    st.one_of(
        st.sampled_from("가나다라 \n.,AbzÉß12３漢字かナㅋ\u200b\u00ad\u3164e\u0301😀"),
        st.characters(),
    ),
    max_size=40,
)


def said(text: str) -> list[str]:
    units = units_of([text])
    return [units.excerpt(i, i) for i in range(len(units.hashes))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("안녕 하세요.", ["안", "녕", "하", "세", "요"]),
        ("Hello, World!", ["hello", "world"]),
        ("AI가 2023년에", ["ai", "가", "2023", "년", "에"]),
        ("漢字와 かな", ["漢", "字", "와", "か", "な"]),
        ("ㅋㅋ", ["ㅋ", "ㅋ"]),
        ("Ünïcode naïve", ["ünïcode", "naïve"]),
        ("... --- !!!", []),
        ("", []),
    ],
)
def test_a_unit_is_a_syllable_or_a_word(text: str, expected: list[str]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("심사를 거쳐야 한다", "심사 를거쳐야한다."),
        ("Hello\nWORLD", "hello world"),
        ("co\u00adoperate", "cooperate"),
        ("zero\u200bwidth", "zerowidth"),
        ("한\u3164글", "한글"),
        (unicodedata.normalize("NFD", "한글 é"), "한글 é"),
    ],
)
def test_what_does_not_count(left: str, right: str) -> None:
    assert np.array_equal(units_of([left]).hashes, units_of([right]).hashes)


@pytest.mark.parametrize(
    ("left", "right"),
    [("one two", "onetwo"), ("ab c", "a bc"), ("12", "21"), ("가나", "나가"), ("a", "aa")],
)
def test_what_counts(left: str, right: str) -> None:
    assert whole(units_of([left]))[0] != whole(units_of([right]))[0]


def test_hashes_are_pinned() -> None:
    """Changing one makes every stored signature and index wrong: raise their FORMAT."""
    units = units_of(["한국어 모델 GPT-4, 2024"])
    assert [f"{value:016x}" for value in units.hashes.tolist()] == [
        "94c1c097bb1bca98", "eb25c93ff634c651", "cfddcff69c6c2bc1", "b178378ea691010e",
        "97749a0319158c19", "b0060e1fe41c4f88", "ea50fd97cb1d9666", "49928840c47f680d",
    ]  # fmt: skip
    assert f"{int(ngrams(units.hashes, 3)[0]):016x}" == "3481f25ce3c5dcb8"
    assert f"{int(whole(units)[0]):016x}" == "ed04303be8e92ef0"


@given(st.lists(TEXT, max_size=6))
def test_neighbours_change_nothing(texts: list[str]) -> None:
    together = units_of(texts)
    apart = [units_of([text]) for text in texts]
    empty = np.empty(0, np.uint64)
    assert np.array_equal(together.hashes, np.concatenate([empty, *(u.hashes for u in apart)]))
    assert together.counts.tolist() == [len(u.hashes) for u in apart]
    assert together.letters.tolist() == [int(u.letters[0]) for u in apart]
    assert whole(together).tolist() == [int(whole(u)[0]) for u in apart]


@given(TEXT, st.integers(1, 6))
def test_an_ngram_is_its_units(text: str, n: int) -> None:
    """Equal n-grams exactly where the units are equal, against plain slices."""
    hashes = units_of([text]).hashes
    slices = [tuple(hashes[i : i + n].tolist()) for i in range(len(hashes) - n + 1)]
    found = ngrams(hashes, n).tolist()
    assert len(found) == len(slices)
    assert len(set(zip(found, slices, strict=True))) == len(set(found)) == len(set(slices))


@given(TEXT)
def test_several_lengths_at_once_are_each_alone(text: str) -> None:
    hashes = units_of([text]).hashes
    for length, grams in ngrams_of(hashes, [7, 2, 3]):
        assert np.array_equal(grams, ngrams(hashes, length))


def test_lengths_do_not_mix() -> None:
    hashes = np.zeros(9, np.uint64)
    assert len({int(grams[0]) for _, grams in ngrams_of(hashes, range(1, 9))}) == 8


@given(st.lists(st.integers(0, 300_000), max_size=8))
def test_groups_keep_all_texts_in_order_and_stay_small(sizes: list[int]) -> None:
    texts = ["x" * size for size in sizes]
    groups = list(in_groups(texts))
    assert [text for group in groups for text in group] == texts
    assert all(len(g) == 1 or sum(map(len, g)) <= 200_000 for g in groups)


def test_half_a_surrogate_pair_separates_and_does_no_harm() -> None:
    assert said("한\ud800글 a\ud800b") == ["한", "글", "a", "b"]


def test_letters_are_counted_without_what_separates_them() -> None:
    assert units_of(["한글, ab 12!", "...", ""]).letters.tolist() == [6, 0, 0]


def test_an_excerpt_is_read_in_its_text() -> None:
    units = units_of(["가나 다라.", "The  quick\n(brown) fox!"])
    assert units.excerpt(1, 2) == "나 다"
    assert units.excerpt(4, 7) == "the quick (brown) fox"
