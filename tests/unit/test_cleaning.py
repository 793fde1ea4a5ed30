"""Cleaning: what is changed, what must stay, all of it counted, nothing left for a second time."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from samdan.cleaning import BOILERPLATE_RULES, Cleaning, FrequentLines
from samdan.data.boilerplate import RULES, WORDS
from samdan.data.cleaning import Cleaner
from samdan.data.lines import LineCounts, code_lines, frequent_lines, line_counts, merged

CLEAN = Cleaner(Cleaning())
FENCE = "```"


def cleaned(text: str) -> str:
    return CLEAN(text).text


def as_latin1(text: str, encoding: str) -> str:
    """The text as a program shows it that takes its bytes for Latin-1."""
    return text.encode(encoding).decode("latin-1")


def as_windows(text: str, encoding: str) -> str:
    """The same for Windows-1252; the five bytes that it leaves open become controls."""
    return "".join(
        bytes([byte]).decode("cp1252") if byte not in b"\x81\x8d\x8f\x90\x9d" else chr(byte)
        for byte in text.encode(encoding)
    )


# --- characters ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "counted"),
    [
        (unicodedata.normalize("NFD", "한글 자모"), "한글 자모", "nfc"),
        ("金과 \u212bngström", "金과 Ångström", "nfc"),  # compatibility hanja, Angstrom sign
        ("ＡＢＣ１２３！（가）", "ABC123!(가)", "width"),
        ("가　나", "가 나", "width"),
        ("ﾡￂ ﾻﾻﾻ", "ㄱㅏ ㅋㅋㅋ", "width"),
        ("가격 ￦1,000", "가격 ₩1,000", "width"),
        ("가\u200b나\ufeff다\u2060라\u00ad마", "가나다라마", "zero_width"),
        ("태그\U000e0041\U000e0042 글", "태그 글", "zero_width"),
        ("닉네임ㅤ은", "닉네임 은", "filler"),
        ("가\u115f\u1160나", "가 나", "filler"),
        ("가\u1160나", "가 나", "filler"),
        ("가\u2800나", "가 나", "filler"),
        ("葛\U000e0100城과 가\ufe0f", "葛城과 가", "variation_selector"),
        ("가\x00나\x08다\x7f라\ufffe마", "가나다라마", "control"),
        ("\x1b[31m오류\x1b[0m", "오류", "control"),
        ("가\ud800나", "가나", "control"),
        ("가\u202e나\u2066다\u200f라", "가나다라", "bidi"),
        ("가\u00a0나\u2009다", "가 나 다", "space"),
        ("가\r\n나\r다\u2028라\x0b마", "가\n나\n다\n라\n마", "line_end"),
        ("가  \n나\t\n다 ", "가\n나\n다", "trailing_space"),
        ("\n\n가\n\n\n\n\n나\n\n\n", "가\n\n\n나\n", "blank_line"),
    ],
)
def test_a_change_is_made_and_counted(text: str, expected: str, counted: str) -> None:
    result = CLEAN(text)
    assert result.text == expected
    assert result.counts[counted] > 0
    assert CLEAN(expected).counts == {}


@pytest.mark.parametrize(
    "text",
    [
        "m² 에 ½, ㈜한빛 … ① Ⅳ ℃ ㎏",  # NFKC would change every one of these
        "ㅋㅋㅋ ㅠㅠ ㄱㅏ ㆍ",  # NFKC would make conjoining jamo of these
        "나랏말ᄊᆞ미 中國에 달아",  # old Hangul
        "\u1112\u1160\u11ab",  # a syllable without a vowel, written with the filler
        "大韓民國은 民主共和國이다",
        "‘따옴표’와 “큰따옴표” — 줄표",
        "👩‍👩‍👧 ❤️ 1️⃣ 🏳️‍🌈 👍🏽 ©️",
        "می‌خواهم क्‍ष",  # joiners that belong to the spelling
        "⠁⠀⠃",
        "中文，全角！",  # without Hangul, full-width punctuation is the usual one
        "日本語（にほんご）。",
        "｀억음｀ \uffbf ｶﾅ",
        "naïve café, Þórður, ÀÁÂÃÄÅ, ¡Hola!, «citação», Größe",
        "10°C ± 3 × 2 · 5÷3 §12 ¶",
        "| 이름 | 값 |\n|------|----|\n| 가 | 나 |\n",
        "제목\n====\n\n---\n\n***\n\n________________________________________\n",
        "# 제목 ==================================\n",
        "제목\n~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~\n본문\n",
        "1000000000000000000000000000원, AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "error[E0382]\n  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ value\n",
        "",
        "가",
        "\n",
    ],
)
def test_what_is_meant_stays(text: str) -> None:
    result = CLEAN(text)
    assert result.text == (text if text != "\n" else "")
    assert result.counts.keys() <= {"blank_line"}


def test_code_loses_only_what_is_not_seen() -> None:
    code = 's = "ＡＢＣ！\u3000ㅋㅋㅋㅋㅋㅋ"  \nnbsp = "\u00a0"\n\n\n\n\n로그인\n목록\nⓒ 한빛일보'
    text = f"설명！\n\n{FENCE}python\n{code}\n{FENCE}\n\n　끝"
    assert cleaned(text) == f"설명!\n\n{FENCE}python\n{code}\n{FENCE}\n\n 끝"
    assert cleaned(f"{FENCE}\nab\u200b\x00c\n{FENCE}") == f"{FENCE}\nabc\n{FENCE}"
    indented = "설명：\n\n    s = '！！'\n\ts = 'ㅋㅋㅋㅋㅋ'\n"
    assert cleaned(indented) == indented.replace("：", ":")
    # Only after a blank line: court decisions indent the lines of a paragraph.
    assert cleaned("[1]\n        형법 제１조") == "[1]\n        형법 제1조"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("가\n```py\na\n```\n나", [0, 1, 1, 1, 0]),
        ("가\n~~~\na\n```\n~~~\n나", [0, 1, 1, 1, 1, 0]),
        ("- ```sh\n  a\n  ```\n나", [1, 1, 1, 0]),
        ("> ```\n> a\n> ```\n나", [1, 1, 1, 0]),
        ("````\n```\n````\n나", [1, 1, 1, 0]),
        ("```\n끝이 없다", [1, 1]),
        ("```글``` 안의 코드\n나", [0, 0]),
        ("제목\n~~~~~~\n글", [0, 0, 0]),
        ("가\n\n    a\n\n    b\n나", [0, 0, 1, 0, 1, 0]),
        ("가\n    이어진 줄", [0, 0]),
        ("    처음", [1]),
    ],
)
def test_code_is_recognised(text: str, code: list[int]) -> None:
    assert code_lines(text.split("\n")) == list(map(bool, code))


def test_full_width_tildes_open_no_code() -> None:
    assert cleaned("～～～\n가！") == "～～～\n가!"


def test_widths_can_be_left_alone() -> None:
    assert Cleaner(Cleaning(normalize_width=False))("ＡＢＣ！　가").text == "ＡＢＣ！　가"


# --- repetitions -----------------------------------------------------------------


def test_repeated_letters_are_capped_and_never_deleted() -> None:
    result = CLEAN("ㅋㅋㅋㅋㅋㅋㅋㅋ 웃기다 ㅠㅠㅠㅠ ㅎㅎ")
    assert result.text == "ㅋㅋㅋ 웃기다 ㅠㅠㅠ ㅎㅎ"
    assert result.counts == {"jamo_capped": 2}
    assert Cleaner(Cleaning(max_jamo_run=1))("ㅋㅋㅋ").text == "ㅋ"


def test_other_characters_have_a_generous_limit() -> None:
    result = CLEAN("와" * 50 + "!" * 21 + "." * 20)
    assert result.text == "와" * 20 + "!" * 20 + "." * 20
    assert result.counts == {"run_capped": 2}


@given(st.integers(5, 40), st.integers(0, 100), st.integers(0, 100))
def test_every_run_over_the_limit_is_seen(limit: int, length: int, offset: int) -> None:
    text = "가나" * offset + "하" * length + "다"
    result = Cleaner(Cleaning(max_char_run=limit))(text).text
    assert result == "가나" * offset + "하" * min(length, limit) + "다"


# --- encodings -------------------------------------------------------------------

KOREAN = "안녕하세요. 전자정부 표준프레임워크의 설정을 바꾼다."


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
@pytest.mark.parametrize("show", [as_latin1, as_windows])
def test_korean_in_a_wrong_encoding_is_repaired(
    show: Callable[[str, str], str], encoding: str
) -> None:
    result = CLEAN(f"좋은 줄\n{show(KOREAN, encoding)}\n")
    assert result.text == f"좋은 줄\n{KOREAN}\n"
    assert result.counts["mojibake"] == 1


def test_syllables_beyond_ks_x_1001_are_repaired_too() -> None:
    assert cleaned(as_latin1("똠방각하가 펲시콜라를 마시는 것을 보다", "cp949")) == (
        "똠방각하가 펲시콜라를 마시는 것을 보다"
    )


def test_text_broken_twice_is_repaired() -> None:
    assert cleaned(as_latin1(as_latin1(KOREAN, "utf-8"), "utf-8")) == KOREAN


def test_a_broken_part_of_a_line_is_repaired() -> None:
    assert cleaned(f"한글과 {as_latin1('“섞인”', 'utf-8')} 줄") == "한글과 “섞인” 줄"


def test_short_lines_of_a_broken_document_are_repaired() -> None:
    short = as_latin1("안녕", "cp949")
    assert cleaned(short) == short  # two syllables alone prove nothing
    assert cleaned(f"{as_latin1(KOREAN, 'cp949')}\n{short}") == f"{KOREAN}\n안녕"


@pytest.mark.parametrize(
    "text",
    ["ÿÿÿÿÿÿ", "¼½¾¾½¼", "¡¡¡¡¡¡", "±×÷°°°°", "Ðúñåðà", "ÄÖÜäöüß", "éèêëàâ", "°°°°°° ´´´´´´"],
)
def test_letters_with_accents_are_not_taken_for_korean(text: str) -> None:
    assert cleaned(text) == text


def test_quotes_and_entities_are_not_touched_by_a_repair() -> None:
    text = f"‘인용’ &amp; ﬁ {as_latin1('é', 'utf-8')}"
    assert cleaned(text) == "‘인용’ &amp; ﬁ é"
    assert Cleaner(Cleaning(repair_encoding=False))(text).text == text


# --- boilerplate -----------------------------------------------------------------

BOILERPLATE = {
    "copyright": [
        "Copyright © 2024 한빛일보. All rights reserved.",
        "Copyright ⓒ 한빛신문사 All Rights Reserved. 무단전재 및 재배포 금지",
        "ⓒ 한빛신문사",
        "<저작권자 ⓒ 한빛뉴스, 무단전재 및 재배포 금지>",
        "저작권자(c) 한빛통신, 무단 전재-재배포, AI 학습 및 활용 금지",
        "COPYRIGHT(C) 2010 MINISTRY OF EXAMPLES. ALL RIGHTS RESERVED.",
        "© 2023 주식회사 한빛",
        "All rights reserved.",
        "ⓒ한빛일보 & Hanbit.com",
    ],
    "reprint": [
        "무단전재 및 재배포 금지",
        "무단 전재 및 재배포를 금합니다.",
        "※ 본 기사의 무단 전재 및 재배포를 금지합니다.",
    ],
    "reporter": [
        "홍길동 기자 hong@press.co.kr",
        "[홍길동 기자]",
        "/홍길동 기자 gildong@press.kr",
        "(서울=한빛뉴스) 홍길동 기자 = hong@press.kr",
        "김철수·이영희 기자 kim@press.com",
        "홍길동 기자",
        "홍길동 선임기자 hong@press.kr",
    ],
    "photo_credit": [
        "[사진=한빛뉴스]",
        "[사진 제공=한빛전자]",
        "(사진=게티이미지)",
        "▲ 사진=한빛뉴스",
        "사진 출처: 한빛",
        "[사진 한빛전자 제공]",
    ],
    "share": ["공유하기", "페이스북으로 공유하기", "카카오톡 공유", "URL 복사", "Share on X"],
    "menu": [
        "본문 바로가기",
        "주메뉴 바로가기",
        "맨 위로",
        "이전글",
        "이전글 | 다음글 | 목록",
        "홈 | 로그인 | 회원가입 | 사이트맵",
        "홈 > 공지사항 > 목록",
        "Skip to main content",
    ],
    "cookies": [
        "이 사이트는 쿠키를 사용합니다. 계속 이용하면 동의하는 것입니다.",
        "This website uses cookies. By continuing, you agree.",
        "We use cookies to personalise content. Accept all",
    ],
    "promotion": [
        "▶ 관련기사",
        "[관련기사]",
        "☞ 네이버에서 한빛일보 구독하기",
        "▶ 한빛뉴스 앱 다운로드",
    ],
}
TEXT = [
    "저작권자는 무단전재 및 재배포 금지를 요구하였다.",
    "ⓒ 피고인은 2019년에 위 저작물을 복제하였다.",
    "ⓒ 세 번째 조건",
    "ⓐ 원고 ⓑ 피고 ⓒ 참가인",
    "(c) 2019년 개정된 규정에 따른 신고의무",
    "(c) the defendant paid in 2019",
    "저작권법은 무단복제를 금지한다.",
    "이 규정은 무단전재를 금지하고 있다.",
    "홍길동 기자는 그 자리에 있었다.",
    "그는 신문 기자",
    "사진을 업로드하는 방법",
    "사진: 가족과 함께 찍은 것으로, 원고가 보관하였다.",
    "[사진 업로드] 버튼을 누른다",
    "(사진 생략)",
    "[별지 목록 생략]",
    "공유하기 버튼을 클릭하면 링크가 복사된다.",
    "목록: 게시판 목록 화면으로 이동한다.",
    "이전 글에서 설명했듯이",
    "이 사이트는 쿠키를 사용하여 세션을 구분한다.",
    "We use cookies to store the session id.",
    "관련 기사는 다음과 같다.",
    "copyright notice를 추가한다",
    "# 로그인",
    "- 로그인",
    "| 목록 | 수정 | 삭제 |",
    "로그인",
    "목록",
    "Photo editing",
]


@pytest.mark.parametrize(
    ("rule", "line"), [(rule, line) for rule, lines in BOILERPLATE.items() for line in lines]
)
def test_boilerplate_lines_go(rule: str, line: str) -> None:
    result = CLEAN(f"앞 문장이다.\n{line}\n뒤 문장이다.\n")
    assert result.text == "앞 문장이다.\n뒤 문장이다.\n"
    assert result.counts == {f"boilerplate_{rule}": 1}
    kept = Cleaner(Cleaning(boilerplate=()))(f"{line}\n")
    assert kept.text == f"{line}\n"


@pytest.mark.parametrize("line", TEXT)
def test_sentences_that_mention_the_words_stay(line: str) -> None:
    text = f"앞 문장이다.\n{line}\n뒤 문장이다.\n"
    assert cleaned(text) == text


def test_menu_words_go_only_beside_each_other() -> None:
    assert cleaned("제목\n로그인\n\n검색\n본문이다.\n") == "제목\n\n본문이다.\n"
    assert cleaned("제목\n로그인\n본문이다.\n검색\n") == "제목\n로그인\n본문이다.\n검색\n"
    assert cleaned("본문이다.\n목록\n이전글\n") == "본문이다.\n"


def test_every_rule_is_written_and_can_be_reached() -> None:
    assert set(RULES) == set(BOILERPLATE_RULES) == set(BOILERPLATE)
    # The quick test must not hide a line from its rule.
    for rule, lines in BOILERPLATE.items():
        for line in lines:
            assert rule == "menu" or any(word in line for word in WORDS), line


# --- lines that documents share --------------------------------------------------

FOOTER = "본 사이트의 내용은 한빛 주식회사의 자산이다"
SPEC = FrequentLines(at_least_documents=3, at_least_share=0.5)


def corpus() -> list[str]:
    code = f"{FENCE}\n여러 문서에 있는 코드 한 줄\n{FENCE}\n"
    shared = f"## 파라미터의 목록과 설명\n\n| --- | --- |\n\n- 공통으로 쓰는 목록 항목\n\n{code}"
    return [f"문서 {n}의 본문은 서로 다르다.\n\n{shared}\n{FOOTER}\n{FOOTER}\n" for n in range(6)]


def test_shared_lines_go_and_structure_stays() -> None:
    frequent = frequent_lines(line_counts(corpus(), SPEC), SPEC)
    assert len(frequent) == 1
    clean = Cleaner(Cleaning(frequent_lines=SPEC), frequent)
    for before in corpus():
        result = clean(before)
        assert result.text == before.replace(f"{FOOTER}\n", "").rstrip() + "\n"
        assert result.counts == {"frequent_line": 2, "blank_line": 1}
        assert clean(result.text).counts == {}


def test_a_line_counts_once_per_document() -> None:
    counts = line_counts([f"{FOOTER}\n" * 5, FOOTER], SPEC)
    assert counts.documents == 2
    assert counts.counts.tolist() == [2]


def test_too_few_documents_share_nothing() -> None:
    strict = FrequentLines(at_least_documents=7, at_least_share=0.0)
    assert len(frequent_lines(line_counts(corpus(), strict), strict)) == 0


@pytest.mark.parametrize(
    "line",
    [
        "상고를 기각한다.",  # short
        "import torch.nn as nn",
        "optimizer = optim.SGD(net.parameters())",
        "가. 원고의 주장에 대한 판단",
        "1. 설치 프로그램을 내려받는다",
        "조회 조건: 검색어를 입력한다",
        "다음과 같이 설정할 수 있다:",
        "【원고, 피상고인】 원고 외 3인",
        "가" * 301,
    ],
)
def test_lines_with_a_place_of_their_own_are_not_counted(line: str) -> None:
    assert len(line_counts([line], FrequentLines()).hashes) == 0


def equal(first: LineCounts, second: LineCounts) -> bool:
    return (
        first.documents == second.documents
        and np.array_equal(first.hashes, second.hashes)
        and np.array_equal(first.counts, second.counts)
    )


LINES = st.sampled_from([f"같은 문장이 여기 또 나온다 {n}" for n in range(8)])


@given(st.lists(st.lists(LINES, max_size=6).map("\n".join), max_size=12), st.integers(0, 12))
def test_counts_are_the_same_however_they_are_split(texts: list[str], cut: int) -> None:
    spec = FrequentLines(at_least_documents=1, at_least_share=0.0)
    whole = line_counts(texts, spec)
    parts = [line_counts(texts[:cut], spec), line_counts(texts[cut:], spec)]
    assert equal(whole, merged(*parts))
    assert equal(whole, merged(*reversed(parts)))
    ranges = [line_counts(texts, spec, part, 3) for part in range(3)]
    found = np.concatenate([frequent_lines(counts, spec) for counts in ranges])
    assert sorted(found.tolist()) == frequent_lines(whole, spec).tolist()
    expected = Counter(line for text in texts for line in set(text.split("\n")) if line)
    assert sorted(whole.counts.tolist()) == sorted(expected.values())


def test_limits_of_a_line_are_in_order() -> None:
    with pytest.raises(ValidationError, match="min_chars"):
        FrequentLines(min_chars=20, max_chars=10)


# --- again -----------------------------------------------------------------------

SEEN = (
    "가 나다 안녕하세요 ㅋ ㅋㅋㅋㅋ ㅠ ㅏ ᄀ ᅡ ᆨ ﾡ ￂ ！ ， ～ ｀ ～～～ ＞ － ＊ é Ã Â â€™ ì•ˆë…• 金"
    " 😀 👩 ❤ \U0001f3f4 \U000e0067 א ن क \u212b a\u0301 \u1fef ⠁ ``` ~~~ ```py `` ` > - --- ===="
    " |---| . !!!!!!! ....... 하하하하하하하 로그인 목록 1 20 년 = a"
)
UNSEEN = (
    "\u115f\u1160\u3164\uffa0\u200b\u200c\u200d\ufeff\u00ad\ufe0f\u202e\u2066\u200f\u2800\x00\x1b"
    "\x93\ud800\ufffe\u3000\u00a0\x85\r\n\x0b\u2028\t "
)
PIECES = [
    *SEEN.split(),
    *UNSEEN,
    *("\r\n", "\n\n\n\n", "    ", "\x1b[31m", "Ã\xa0", "# 제목", "| a | b |"),
    *("홈 | 로그인 | 검색", "본문 바로가기", "ⓒ 한빛일보", "무단전재 및 재배포 금지"),
    *("[사진=한빛]", "홍길동 기자", FOOTER),
    as_latin1("안녕하세요", "utf-8"),
    as_latin1("안녕하십니까 여러분", "cp949"),
]


def mangled(text: str, ways: list[str]) -> str:
    """The text as it comes out of careless programs."""
    for way in ways:
        if way == "nfd":
            text = unicodedata.normalize("NFD", text)
        else:
            text = text.encode(way, "ignore").decode("latin-1")
    return text


MESSY = st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.text(max_size=30))
WAYS = st.lists(st.sampled_from(["nfd", "utf-8", "cp949"]), max_size=3)
MANGLED = st.builds(mangled, MESSY, WAYS)
DOCUMENTS = st.lists(MANGLED, max_size=5).map("\n".join)


@settings(max_examples=200)
@given(DOCUMENTS)
@example("로그인\nⓒ 한빛일보\n검색")
@example("가\n\u200b```\nㅋㅋㅋㅋ")
@example("\u3000\u3000\u3000\u3000가\n\u3000\u3000\u3000\u3000나！")
@example("ì•ˆë…•" * 3)
def test_cleaning_again_changes_nothing(text: str) -> None:
    frequent = frequent_lines(
        line_counts([FOOTER] * 3, SPEC), FrequentLines(at_least_documents=1, at_least_share=0.0)
    )
    clean = Cleaner(Cleaning(max_char_run=5, frequent_lines=SPEC), frequent)
    once = clean(text)
    again = clean(once.text)
    assert again.text == once.text
    assert again.counts == {}
    once.text.encode()  # no half of a surrogate pair is left
    assert (once.text == text) == (once.counts == {})


@pytest.mark.parametrize(
    "piece",
    [*"ㅋ하 \n\r`~Ã\u200d\u1160ⓒ", "Ã©", "로그인\n", "로그인\n\n", "ⓒ 2020", "무단 ", "```\n"],
)
@pytest.mark.parametrize("size", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_hostile_text_takes_linear_time(piece: str, size: int) -> None:
    CLEAN((piece * size)[:size])


def test_real_text_is_hardly_changed(shared_data: Path) -> None:
    with gzip.open(shared_data / "corpus" / "ko-tech-vue.jsonl.gz", "rt") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    results = [CLEAN(text) for text in texts]
    lost = sum(map(len, texts)) - sum(len(result.text) for result in results)
    assert lost < 0.001 * sum(map(len, texts))
    assert all(CLEAN(result.text).counts == {} for result in results)
