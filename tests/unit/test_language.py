"""Korean is told by its script; the detector is asked only where the script does not tell."""

from __future__ import annotations

import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from samdan.data import language
from samdan.data.views import require_libraries, view_of
from samdan.filters import Language, View, language_of
from samdan.records import Document, EnvironmentFailure, Origin

CODE = "import os\nfor x in range(10):\n    print(x)  # 값을 출력\n"
MANUAL = "이 함수는 값을 출력한다. 범위는 인수로 정한다.\n"


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed; what this process has loaded is kept for the other tests."""
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    monkeypatch.setattr(language, "detector", language.detector.__wrapped__)


# What detectors were measured to get wrong (docs/filters.md), and what must not become Korean.
HARD = {
    "대한민국의 수도는 서울이며 인구가 많다.": "ko",
    "안녕하세요": "ko",
    "React의 useState 훅은 state variable과 setter function을 반환한다": "ko",
    "def add(a, b):  # 두 수를 더한다\n    return a + b": "ko",
    "ㅋㅋㅋㅋ ㅠㅠ": "ko",
    "ᄒᆞᆫ글은 옛글이다": "ko",
    "ﾡﾢ ﾤ": "ko",
    "大韓民國은 民主共和國이다": "ko",
    "大韓民國의 主權은 國民에게 있고 모든 權力은 國民으로부터 나온다": "ko",
    "第十條 契約者가 前項의 期間內에 履行하지 아니한 境遇 契約을 解除한다": "ko",
    "中华人民共和国是工人阶级领导的社会主义国家。": "zh",
    "韩语单词 안녕 的意思是你好，韩国人常常使用这个词语打招呼，也会用来告别。": "zh",
    "日本語の文章です。カタカナもあります。": "ja",
    "韓国語の「안녕하세요」はこんにちはという意味です。": "ja",
    "The quick brown fox jumps over the lazy dog.": "en",
    "The Korean word 안녕 means hello and is used in everyday conversation.": "en",
    "1234 5678 --- 90%": "und",
    "": "und",
}


@pytest.mark.parametrize("text", HARD)
def test_hard_strings(text: str) -> None:
    assert language_of(view_of(text, morphemes=False)) == HARD[text]


@pytest.mark.parametrize("text", [text for text, code in HARD.items() if code == "ko"])
def test_decomposed_text_is_the_same_language(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text)
    assert language_of(view_of(decomposed, morphemes=False)) == "ko"


def judged(text: str, **fields: Any) -> str | None:
    drop = Language(**fields)(Document(text, Origin("a")), view_of(text, morphemes=False))
    return drop.detail if drop else None


def test_both_sides_of_the_share() -> None:
    """At the limit nobody is asked; below it the detector is, and may still say Korean."""
    asked: list[str] = []

    def detect(text: str) -> str:
        asked.append(text)
        return "en"

    def judged_by(text: str) -> bool:
        return Language()(Document(text, Origin("a")), View(text, detect=detect)) is None

    assert judged_by("가나 abcdefgh")  # 2 of 10 letters
    assert asked == []
    assert not judged_by("가나 abcdefghi")  # 2 of 11
    assert asked == ["가나 abcdefghi"]
    assert not judged_by("English only")  # no Hangul: not Korean, whatever it is
    assert len(asked) == 1
    assert judged("가나 abcdefghi 1", korean_share=0.1) is None


def test_the_kept_languages() -> None:
    english = "The quick brown fox jumps over the lazy dog."
    assert judged(english) == "language other, Hangul 0.000 of the letters"
    assert judged(english, keep=["ko", "en"]) is None
    assert judged(english, keep=["ja"]) == "language en, Hangul 0.000; kept: ja"
    assert judged("12 34", keep=["ko", "und"]) is None
    assert judged("12 34", keep=["ko", "en"]) == "language und, Hangul 0.000; kept: ko, en"


def test_a_page_full_of_code_is_in_the_language_of_its_prose() -> None:
    page = MANUAL + f"```python\n{CODE * 20}```\n" + MANUAL
    assert 0 < View(page).scripts.hangul_share < 0.2
    assert language_of(view_of(page, morphemes=False)) == "ko"
    # All of it is code: then the code is asked about.
    assert language.detect("```\nprint('the result of the call')\n```") != "und"


def test_the_whole_of_a_long_text_is_looked_at() -> None:
    english = "This page lists the talks of the conference and links to the recordings. " * 60
    korean = "이 문서는 학회에서 발표한 내용을 정리한 것이며 녹화 영상은 아래에 있다. " * 200
    assert language.detect(english + korean) == "ko"
    assert language.detect(english * 8 + korean[:100]) == "en"


def test_threads_get_the_same_answers() -> None:
    texts = [text for text in HARD if text] * 8
    here = [language.detect(text) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(language.detect, texts)) == here


def test_shares_are_of_bytes() -> None:
    texts = ["가나다 라마", "가나", "The quick brown fox jumps over the lazy dog.", "12"]
    shares = language.language_shares(view_of(text, morphemes=False) for text in texts)
    total = sum(len(text.encode()) for text in texts)
    assert shares == {"en": 44 / total, "ko": 22 / total, "und": 2 / total}
    assert list(shares) == ["en", "ko", "und"]
    assert language.language_shares([]) == {}


def test_without_the_extra_only_unclear_texts_fail(no_detector: None) -> None:
    assert judged("한국어 문서") is None
    assert judged("English only") is not None
    with pytest.raises(EnvironmentFailure, match=r"py3langid.*pip install 'samdan\[corpus\]'"):
        judged("가 abcdefghijklmnop")
    with pytest.raises(EnvironmentFailure, match="py3langid"):
        require_libraries([Language()])
