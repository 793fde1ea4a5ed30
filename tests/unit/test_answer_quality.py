"""Answers whatever was asked: loops, form, refusals; overlap with an expected answer; probes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import samdan.evals
from samdan.answers import overlap
from samdan.answers.probes import counts, probes
from samdan.answers.quality import looped, quality, repeated_grams, repetition, well_formed
from samdan.answers.refusal import refuses

# --- quality --------------------------------------------------------------------------------------


def test_a_loop_is_found_in_any_language_and_from_any_period() -> None:
    assert looped("가나다라마바사 " + "아자 " * 20) > 0.8
    assert looped("The end. " + "and then it goes on, " * 5) > 0.8
    assert looped("ㅋ" * 30) == 1.0
    assert looped("하하하") == 0.0
    assert looped("회의는 세 시에 시작하고, 끝나면 함께 저녁을 먹습니다.") == 0.0
    assert repetition("") == 0.0


def test_repeated_phrases_in_the_middle_count_too() -> None:
    text = "그는 집에 갔다 왔다. 그는 집에 갔다 왔다. 그리고 잤다."
    assert repetition(text) == pytest.approx(repeated_grams(text.split()))
    assert repeated_grams(["a", "b", "c", "a", "b", "c", "d"]) == pytest.approx(1 / 5)
    assert repeated_grams(["a", "b"]) == 0.0


@pytest.mark.parametrize(
    "text",
    ["안녕하세요.", "42", "```python\nx\n```", "별표(*)와 <b>태그</b>", "주문 [INSTALL]",
     "User는 사람"],
)
def test_well_formed(text: str) -> None:
    assert well_formed(text)


@pytest.mark.parametrize(
    "text",
    ["", " \n", "네<|im_end|>", "네\n### Response: 아니요", "User: 네", "사용자: 네", "깨\ufffd짐",
     "```\nx", "[INST] hi", "</s>"],
)  # fmt: skip
def test_malformed(text: str) -> None:
    assert not well_formed(text)


def test_the_share_of_hangul_and_the_level_are_asked_of_korean_only() -> None:
    korean = quality("오늘 날씨는 어떤가요?", "맑습니다. It is fine. 좋아요.")
    assert korean.hangul == pytest.approx(7 / 15)
    assert korean.one_level is False
    assert quality("다음을 영어로 번역해 주세요: 맑다", "It is fine.").hangul is None
    english = quality("How is the weather?", "It is fine.")
    assert english.hangul is None
    assert english.one_level is None
    assert english.length == 11


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["죄송하지만 그 요청은 도와드릴 수 없습니다.", "그런 내용은 알려 드릴 수 없어요.",
     "불법이므로 방법을 안내해 드리기 어렵습니다.", "저는 이 질문에 답변할 수 없습니다.",
     "죄송하지만, 비난하는 발언은 허용되지 않습니다.", "죄송합니다. 그 부탁에는 응할 수 없습니다.",
     "이런 글은 작성하지 않겠습니다.", "I'm sorry, but I can't help with that.",
     "I cannot provide instructions for this.", "I won’t assist you.", "I must decline.",
     "Sorry. I am unable to answer that question.",
     "죄송합니다만 그 부탁은 들어 드릴 수 없습니다."],
)  # fmt: skip
def test_a_refusal_is_found(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    ["환불은 14일이 지나면 할 수 없습니다.", "먼저 프로세스 번호를 찾아 kill 명령을 씁니다.",
     "도와드리겠습니다. 먼저 앱을 여십시오.", "You can't use a comma here.",
     "I can help with that.",
     "Sure! It cannot be answered in a word, but here is a start.", "", "방법은 다음과 같습니다.",
     "죄송하다는 말부터 하세요.", "미안해하지 않아도 돼요.", "사랑이 모두 정답이 될 수는 없어요.",
     "적응했어? 가끔 적응 못 하는 사람도 있잖아.", "They are sorry that it rained."],
)  # fmt: skip
def test_what_is_no_refusal_is_none(text: str) -> None:
    assert not refuses(text)


def test_a_refusal_comes_first() -> None:
    assert not refuses("방법을 설명합니다. " * 30 + "그 밖의 것은 도와드릴 수 없습니다.")


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_refusal_sets_are_balanced_and_ask_without_refusing(language: str) -> None:
    path = Path(samdan.evals.__file__).parent / "sets" / f"refusal-{language}.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert sum(row["unsafe"] for row in rows) * 2 == len(rows) >= 60
    assert not any(refuses(row["prompt"]) for row in rows)


# --- overlap --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected", "hit"),
    [
        ("서울입니다.", "서울", 1),
        ("서울 특별시", "서울특별시", 1),
        ("《토지》", "토지", 1),
        ("팬아메리칸 게임입니다.", "팬아메리칸 게임", 1),
        ("유흠(劉歆)입니다.", "유흠(劉歆)", 1),
        ("1,200명이에요", "1200명", 1),
        ("The Beatles!", "beatles", 1),
        ("3.5%", "3.5%", 1),
        ("부산", "서울", 0),
        ("서울이 아니라 부산", "서울", 0),
        ("3.5", "35", 0),
        ("", "서울", 0),
    ],
)
def test_exact_match_looks_past_writing_and_politeness(said: str, expected: str, hit: int) -> None:
    assert overlap.exact_match(said, [expected]) == hit
    assert overlap.exact_match(said, ["다른 답", expected]) == hit


def test_f1_shares_characters_in_korean_and_words_in_english() -> None:
    assert overlap.f1("서울특별시", ["서울시"]) == pytest.approx(2 * 3 / 8)
    assert overlap.f1("the old red house", ["red house"]) == pytest.approx(2 * 2 / 5)
    assert overlap.f1("부산", ["서울", "부산"]) == 1.0
    assert overlap.f1("abc", ["cba"]) == 0.0
    assert overlap.f1("", ["서울"]) == 0.0
    assert overlap.f1("2019", ["2018"]) == 0.0


def test_rouge_counts_order_where_it_should() -> None:
    assert overlap.rouge_l("a b c d", ["a c d e"]) == pytest.approx(0.75)
    assert overlap.rouge_l("d c b a", ["a b c d"]) == pytest.approx(0.25)
    assert overlap.rouge_n("d c b a", ["a b c d"], 1) == 1.0
    assert overlap.rouge_n("a b c d", ["a b x c d"], 2) == pytest.approx(2 * 2 / 7)
    assert overlap.rouge_l("가나다", ["가다"]) == pytest.approx(0.8)
    assert overlap.rouge_n("", ["가"], 1) == 0.0


def test_rouge_agrees_with_the_reference_implementation_on_english() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is not installed")
    kinds = ["rouge1", "rouge2", "rougeL"]
    reference = scorer.RougeScorer(kinds)
    pairs = [("the cat sat on the mat", "a cat is on the mat"), ("no overlap here", "x y z"),
             ("it rained for 3 days and nights", "for 3 nights it rained")]  # fmt: skip
    for said, expected in pairs:
        found = reference.score(expected, said)
        mine = [overlap.rouge_n(said, [expected], n) for n in (1, 2)]
        mine.append(overlap.rouge_l(said, [expected]))
        assert mine == pytest.approx([found[kind].fmeasure for kind in kinds])


# --- probes ---------------------------------------------------------------------------------------

DOCUMENTS = [
    "한빛전자는 반도체를 만드는 회사로서 2019년 3월 5일에 수원에서 문을 열었다. "
    "직원은 모두 합하여 1,250명이다.",
    "누리은행의 본점은 오랫동안 부산에 있다가 2021년 7월 1일에 서울로 옮겼다. "
    "지점은 전국에 85곳이 있다.",
    "두 회사의 공동 연구를 맡은 기관은 2022년부터 미래기술연구원이라고 불린다. 짧다 2020년.",
    "이 사건의 항소심 판결을 선고한 법원은 서울고등법원이다. "
    "근거가 된 법률의 이름은 「전자문서법」이다.",
    "The team that maintains the parser chose PostgreSQL after it was founded in 2014.",
]


def test_a_probe_asks_for_what_the_sentence_goes_on_with() -> None:
    items = probes(DOCUMENTS, 1, 2, 50)
    assert items == probes(DOCUMENTS, 1, 2, 50)
    assert items
    assert {"dates", "numbers"} <= counts(items).keys()
    for item in items:
        answer = item["choices"][item["answer"]]
        assert item["prompt"] + answer in DOCUMENTS[item["document"]]
        assert answer not in item["prompt"]
        assert len(set(item["choices"])) == 4
        assert len(item["prompt"].strip().encode()) >= 20


def test_what_is_no_prose_or_no_amount_is_not_asked_for() -> None:
    texts = (
        "| DAO | 회원의 목록을 담은 곳은 | MemberDao |",
        "이 사건의 원고인 피고 1 회사에게 말한다.",
        "근거는 모두 갑 제1, 3, 4호에 적혀 있다.",
        "경로는 모두 egovframework.com.Utl 아래다.",
    )
    for text in texts:
        assert probes([text], 1, 1, 9) == []


def test_there_are_no_more_probes_than_asked_for() -> None:
    assert len(probes(DOCUMENTS, 1, 1, 50)) <= len(DOCUMENTS)
    assert len(probes(DOCUMENTS, 1, 2, 2)) == 2
    assert probes(["이 글에는 물을 것이 없다. 아무것도 없다."], 1, 2, 9) == []


def test_varied_dates_stay_possible_and_names_are_not_made_up() -> None:
    (item,) = probes(["이 목록의 한 쪽에는 회원의 이름이 모두 10건 나온다."], 3, 5, 5)
    assert not any(choice.startswith("0") for choice in item["choices"])
    lone = (
        "이 회사가 수원에서 처음으로 문을 연 날은 2019년 12월 28일이다. "
        "본사 건물의 소유자는 한빛재단이다."
    )
    (item,) = probes([lone], 3, 5, 5)
    assert item["kind"] == "dates"
    for choice in item["choices"]:
        year, month, day = (int(part[:-1]) for part in choice.split())
        assert 2000 <= year <= 2040
        assert 1 <= month <= 12
        assert 1 <= day <= 28
