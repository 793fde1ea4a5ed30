"""Checks of answers, in Korean and English: what passes, and what does not."""

from __future__ import annotations

import json
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

import samdan.evals
from samdan.answers import prompts as generated
from samdan.answers.checks import Check, parse_checks, passed, passed_loosely
from samdan.answers.levels import level, levels, one_level
from samdan.answers.text import hangul_share, sentences
from samdan.records import DataError

SETS = Path(samdan.evals.__file__).parent / "sets"
TABLE = "| 가 | 나 |\n|---|---|\n| 1 | 2 |"
MANY = "가 나다 라마바"

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"kind": "characters", "at_most": 5}, ["안녕하세요", " abc \n"],
     ["안녕하세요.", "abcdef", ""]),
    ({"kind": "characters", "at_least": 3, "at_most": 4}, ["가나다"], ["가나", "가나다라마"]),
    ({"kind": "words", "at_least": 3, "at_most": 3}, [MANY, "one two - three"],
     ["가 나", "a b c d"]),
    ({"kind": "sentences", "at_least": 2, "at_most": 2},
     ["값은 3.5입니다. 그렇습니다.", "Dr. Kim said it is 3.5. Fine!", "1. 첫째\n2. 둘째"],
     ["하나입니다.", "One. Two. Three."]),
    ({"kind": "paragraphs", "at_least": 2, "at_most": 2}, ["가\n\n나", "a\nb\n \nc"],
     ["가\n나", "a"]),
    ({"kind": "lines", "at_most": 2}, ["가\n\n나"], ["가\n나\n다"]),
    ({"kind": "include", "words": ["회의", "time"]}, ["회의에서는 Time이", "time 회의"],
     ["회의만", "회의 sometimes"]),
    ({"kind": "exclude", "words": ["영화", "cat"]}, ["책이 좋습니다", "category"],
     ["영화를 봅니다", "A cat."]),
    ({"kind": "occurs", "word": "물", "at_least": 2}, ["물과 물"], ["물", "불과 불"]),
    ({"kind": "occurs", "word": "it", "at_least": 2}, ["It is it."], ["It is its."]),
    ({"kind": "starts", "text": "먼저"}, ["먼저 씻습니다.", "\n먼저"], ["그다음 먼저", "First"]),
    ({"kind": "ends", "text": "감사합니다."}, ["네. 감사합니다. "],
     ["감사합니다", "감사합니다. 네"]),
    ({"kind": "first_sentence", "word": "조명"}, ["조명을 끕니다. 잡니다."],
     ["잡니다. 조명을 끕니다."]),
    ({"kind": "no_english"}, ["한글과 123!"], ["한글 and", "Ａ"]),
    ({"kind": "no_hangul"}, ["Only English."], ["English 영어", "123"]),
    ({"kind": "no_digits"}, ["세 가지"], ["3가지", "３가지"]),
    ({"kind": "no_commas"}, ["가 나", "a b"], ["가, 나", "가、나"]),
    ({"kind": "no_hanja"}, ["대한민국"], ["大韓民國", "대한(大韓)"]),
    ({"kind": "with_number"}, ["3개", "in 2019"], ["세 개", "none"]),
    ({"kind": "asks"}, ["좋습니까?", "네. Is it? "], ["좋습니다.", "? 네"]),
    ({"kind": "level", "level": "hapsyo"}, ["했습니다. 그렇습니까?", "확인하십시오.", "갑시다."],
     ["했어요.", "했습니다. 좋아요.", "했다.", "이는 사실이 아니다.", "하니까", "Yes."]),
    ({"kind": "level", "level": "haeyo"}, ["했어요. 맞죠?", "좋네요 :)", "하세요(꼭)."],
     ["했습니다.", "꼭 필요", "가장 중요.", "했어요. 했다."]),
    ({"kind": "level", "level": "plain"}, ["했다. 간다.", "사실이 아니다."],
     ["했습니다.", "푸른 바다"]),
    ({"kind": "lower"}, ["all small 한글"], ["All", "한글"]),
    ({"kind": "upper"}, ["ALL BIG!"], ["All", "123"]),
    ({"kind": "bullets", "at_least": 2, "at_most": 2}, ["- 가\n- 나", "목록:\n* a\n• b"],
     ["- 가", "-가\n-나", "1. 가\n2. 나"]),
    ({"kind": "numbered", "at_least": 2}, ["1. 가\n2. 나", "1) a\n2) b\n3) c"],
     ["1. 가\n3. 나", "- 가\n- 나", "2. a\n3. b"]),
    ({"kind": "json", "keys": ["a", "나"]}, ['{"a": 1, "나": []}',
      '```json\n{"a": 1, "나": 2}\n```'],
     ['{"a": 1}', '답: {"a": 1, "나": 2}', "{'a': 1}", "[1]",
      '{"a": 1, "나": 2, "c": 3}', "[" * 20000]),
    ({"kind": "table", "columns": 2}, [TABLE, "표입니다.\n" + TABLE],
     ["| 가 | 나 |", TABLE + "\n| 3 |", "| 가 | 나 |\n| 1 | 2 |\n| 3 | 4 |"]),
    ({"kind": "heading"}, ["# 제목\n글", "## Title"], ["제목", "#제목", "글\n# 제목"]),
    ({"kind": "code"}, ["보십시오.\n```python\nx = 1\n```"], ["```\n```", "`x`", "```\nx = 1"]),
    ({"kind": "bold", "at_least": 2}, ["**가** 나 **다**"], ["**가** 나", "****", "** ** ** **"]),
    ({"kind": "quoted"}, ['"전부"', "“전부”"], ['그는 "전부"', '"가" "나"', '""']),
    ({"kind": "titled"}, ["<<제목>>\n글", "《제목》"], ["<제목>", "<< >>"]),
    ({"kind": "choice", "options": ["네", "아니요"]}, ["네", "아니요."],
     ["네, 그렇습니다", "글쎄"]),
    ({"kind": "postscript"}, ["글\n\n추신: 또 봅시다."], ["추신: 봅시다.\n\n글", "글\n\n추신:"]),
    ({"kind": "postscript", "mark": "P.S."}, ["Text\nP.S. More"], ["Text P.S. More"]),
    ({"kind": "parts", "exactly": 2}, ["가\n***\n나"], ["가 *** 나", "가\n***\n", "가"]),
    ({"kind": "separated", "exactly": 3}, ["가, 나, 다"], ["가, 나", "가, 나,", "가, 나, 다\n끝"]),
]  # fmt: skip
IDS = [f"{number}-{case[0]['kind']}" for number, case in enumerate(CASES)]


@pytest.mark.parametrize(("spec", "good", "bad"), CASES, ids=IDS)
def test_a_check_tells_good_from_bad(spec: dict[str, Any], good: list[str], bad: list[str]) -> None:
    checks = parse_checks([spec], "here")
    assert [text for text in good if not passed(checks, text)[0]] == []
    assert [text for text in bad if passed(checks, text)[0]] == []


@pytest.mark.parametrize(("spec", "_good", "_bad"), CASES, ids=IDS)
def test_nothing_passes_an_empty_answer_and_everything_is_asked_for(
    spec: dict[str, Any], _good: list[str], _bad: list[str]
) -> None:
    (check,) = parse_checks([spec], "here")
    assert passed((check,), " \n") == (False,)
    assert check.asked("ko") != check.asked("en")
    assert not {"{", "}"} & set(check.asked("ko") + check.asked("en"))


def test_every_kind_has_a_case() -> None:
    kinds = {typing.get_args(one.model_fields["kind"].annotation)[0] for one in _classes()}
    assert kinds == {case[0]["kind"] for case in CASES}
    assert len(kinds) >= 30


def _classes() -> tuple[Any, ...]:
    return typing.get_args(typing.get_args(Check)[0])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "expected 'checks'"),
        ([{"kind": "wrods"}], "wrods"),
        ([{"kind": "words"}], "at_least"),
        ([{"kind": "words", "at_least": 3, "at_most": 2}], "exceeds"),
        ([{"kind": "no_commas", "word": "a"}], "unknown key"),
    ],
)
def test_a_wrong_check_is_named(rows: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=r"file\.jsonl:3") as caught:
        parse_checks(rows, "file.jsonl:3")
    assert said in str(caught.value)


def test_loosely_a_preface_or_bold_marks_are_forgiven() -> None:
    checks = parse_checks([{"kind": "starts", "text": "먼저"}, {"kind": "asks"}], "here")
    answer = "물론입니다!\n**먼저** 씻습니다."
    assert passed(checks, answer) == (False, False)
    assert passed_loosely(checks, answer) == (True, False)


# --- Korean ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("그렇습니다.", "hapsyo"),
        ("누구입니까?", "hapsyo"),
        ("학교에 다니다", "plain"),
        ("바쁘니까", "none"),
        ("가지 마시오", "none"),
        ("괜찮아요~ (웃음)", "haeyo"),
        ("그렇지요?", "haeyo"),
        ("회의의 개요", "none"),
        ("먹는다", "plain"),
        ("준비 완료", "none"),
        ("같이 가요.", "haeyo"),
        ("그랬던 것 같은데.", "casual"),
        ("나는 거기 있어", "casual"),
        ("새로운 언어", "none"),
        ("", "none"),
    ],
)
def test_the_level_is_that_of_the_last_ending(sentence: str, found: str) -> None:
    assert level(sentence) == found


def test_code_and_foreign_sentences_have_no_level() -> None:
    text = "이렇게 씁니다.\n```python\n# 더한다\nx = 1\n```\nThat is all."
    assert dict(levels(text)) == {"hapsyo": 1}
    assert one_level(text)
    assert not one_level("좋습니다. 그런데 어려워요.")


def test_sentences_end_where_they_end() -> None:
    text = "1. 값은 3.5%입니다. 끝!\n- 다음 줄\n***"
    assert sentences(text) == ["값은 3.5%입니다.", "끝!", "다음 줄"]
    assert sentences('He said "Go." Then J. Smith left.') == [
        'He said "Go."',
        "Then J. Smith left.",
    ]


def test_the_share_of_hangul_leaves_out_code_and_what_is_no_letter() -> None:
    assert hangul_share("가나 ab 12!") == pytest.approx(0.5)
    assert hangul_share("가\n```\nabc\n```") == 1.0
    assert hangul_share("12 + 3") is None


# --- the generated prompts ------------------------------------------------------------------------


def topics(language: str) -> list[dict[str, Any]]:
    text = (SETS / f"topics-{language}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_sets_are_part_of_what_is_installed() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    found = [path.relative_to(SETS.parent) for path in SETS.iterdir()]
    assert len(found) >= 6
    assert [str(f) for f in found if not any(f.match(one) for one in patterns if "/" in one)] == []


def test_words_of_korean_topics_are_no_parts_of_common_words() -> None:
    # 술 would be found in 기술: what is looked for in Korean, where particles follow, has two
    # syllables.
    for topic in topics("ko"):
        assert all(len(word) >= 2 for word in topic["words"] + topic["avoid"])
        assert not any(word in topic["ask"] for word in topic["avoid"])


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_generated_set_is_fixed_varied_and_free_of_clashes(language: Any) -> None:
    items = generated.prompts(topics(language), language, 7, 200)
    assert items == generated.prompts(topics(language), language, 7, 200)
    assert items != generated.prompts(topics(language), language, 8, 200)
    assert len({item["prompt"] for item in items}) > 190
    assert len(generated.kinds_of(items)) >= 20
    for item in items:
        kinds = [check["kind"] for check in item["checks"]]
        assert 1 <= len(kinds) == len(set(kinds)) <= 3
        assert not generated.clash(kinds)
        for check in parse_checks(item["checks"], "an item"):
            assert check.asked(language) in item["prompt"]
