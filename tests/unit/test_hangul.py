"""Particles follow the sound at the end of a word, whatever it is written in."""

from __future__ import annotations

import re
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdan.hangul import (
    PARTICLES,
    fill,
    final_consonant,
    is_syllable,
    particle,
    with_final,
    with_particle,
)

syllables = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
words = st.text(syllables, min_size=1, max_size=8)


@pytest.mark.parametrize(
    "written",
    [
        *("책은", "사과는", "물로", "부산으로", "학교로", "서울이라고", "회사라고", "김민수와"),
        *("10은", "100은", "1,000은", "10000은", "100,000,000은", "1000000000000는"),
        *("2는", "4는", "5는", "9는", "1은", "3은", "6은", "7은", "8은", "0은"),
        *("7로", "8로", "1로", "3으로", "6으로", "10으로", "2로"),
        *("3.10은", "2.5는", "010-1234-5670은"),
        *("LG는", "KBS는", "SQL은", "HTML로", "PDF로", "Ltd.는", "js는", "iOS는", "OpenAI는"),
        *("NAVER는", "POSCO는", "Python은", "Google은", "Google로", "Slack은", "Slack으로"),
        *("Docker는", "GitHub는", "Chrome은", "Facebook은", "Excel로", "React는", "Internet은"),
        *("week는", "Rust는", "Café는", "New York은", "C++는", "C#은", "Spring은", "LaTeX는"),
        *("300kg은", "12 km는", "1.5L는", "40㎡는", "5%는", "36.5℃로", "5 ms는"),
        *("한빛(주)는", "한빛(사)은", "(주)한빛은", "홍길동(洪吉童)은", "삼성전자(005930)는"),
        *("「책」은", "“사과”는", "'물'로", "〈봄〉은", "[가]는", "한빛[2]은", "안녕!은"),
        *("ㄱ은", "ㄹ로", "ㅏ는", "ラーメン은", "東京タワー는"),
    ],
)
def test_the_particle_fits(written: str) -> None:
    """Each example is right as it is written: taken apart and put together again it is the same."""
    forms = {form: name for name, pair in PARTICLES.items() for form in pair}
    form = next(f for f in sorted(forms, key=len, reverse=True) if written.endswith(f))
    assert with_particle(written.removesuffix(form), forms[form]) == written


def test_an_unknown_reading_is_written_in_both_forms() -> None:
    assert final_consonant("洪吉童") is None
    assert [with_particle("洪", name) for name in ("은", "이", "을", "과", "으로")] == [
        *("洪은(는)", "洪이(가)", "洪을(를)", "洪와(과)", "洪(으)로")
    ]
    assert final_consonant("") is None


@given(words)
def test_the_final_consonant_is_the_last_jamo(word: str) -> None:
    last = normalize("NFD", word)[-1]
    closed = last >= "\u11a8"
    assert bool(final_consonant(word)) == closed
    assert final_consonant(normalize("NFD", word)) == final_consonant(word)
    assert particle(word, "은") == ("은" if closed else "는")
    rieul = last == "\u11af"
    assert particle(word, "으로") == ("으로" if closed and not rieul else "로")


@given(st.integers(min_value=0, max_value=10**16))
def test_grouping_does_not_change_the_reading(number: int) -> None:
    assert final_consonant(str(number)) == final_consonant(f"{number:,}")


@given(st.text(max_size=12))
def test_any_text_has_an_answer(text: str) -> None:
    for name in PARTICLES:
        assert with_particle(text, name).startswith(text)


@given(syllables, st.integers(min_value=0, max_value=27))
def test_a_syllable_takes_another_final(syllable: str, final: int) -> None:
    changed = with_final(syllable, final)
    assert is_syllable(changed)
    assert final_consonant(changed) == final
    assert normalize("NFD", changed)[:2] == normalize("NFD", syllable)[:2]


def test_the_copula_is_contracted_after_a_hangul_vowel_only() -> None:
    words = ("사과", "봄", "바다", "API", "(주)", "2")
    assert [with_particle(word, "이다") for word in words] == [
        *("사과다", "봄이다", "바다이다", "API이다", "(주)이다", "2이다")
    ]


def test_fill_puts_values_in_once() -> None:
    assert fill("{n|은} {v|이다}.", n="가온", v="봄") == "가온은 봄이다."
    assert fill("{n}", n="{v}", v="x") == "{v}"
    assert not re.search("[{}]", fill("{a|과} {b|을}", a="물", b="불"))
