"""Morphemes and sentences: what filters count, bounded, the same everywhere, and optional."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from samdan.data import korean
from samdan.data.views import needs_morphemes, require_libraries, view_of
from samdan.filters import Length, Preset
from samdan.filters.quality import STOP_WORDS_KO
from samdan.records import Document, EnvironmentFailure, Origin

TEXT = "고객이 물었다. 담당자가 답했다."


@pytest.fixture
def no_kiwi(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed; what this process has loaded is kept for the other tests."""
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    monkeypatch.setattr(korean, "analyser", korean.analyser.__wrapped__)


def test_forms_tags_and_surfaces() -> None:
    assert korean.words(TEXT) == [
        "고객", "이", "묻", "었", "다", ".", "담당자", "가", "답", "하", "었", "다", ".",
    ]  # fmt: skip
    assert korean.tagged("했다") == [("하", "VV"), ("었", "EP"), ("다", "EF")]
    # A contracted syllable stands for each of its morphemes: `했` is one of FineWeb2's stop words.
    assert korean.surfaces("했다") == ["했", "했", "다"]
    assert len(korean.surfaces(TEXT)) == len(korean.words(TEXT))


def test_stop_words_of_fineweb2_are_surfaces() -> None:
    text = "그는 2019년에 서울에서 일을 했고 지금은 집으로 돌아가 있다."
    assert len(set(STOP_WORDS_KO) & set(korean.surfaces(text))) >= 8
    assert len(set(STOP_WORDS_KO) & set(text.split())) == 0


def test_sentences_end_where_punctuation_is_missing() -> None:
    assert korean.sentences("안녕하세요 저는 김철수입니다\n오늘 날씨가 좋네요. 그렇죠?") == [
        "안녕하세요", "저는 김철수입니다", "오늘 날씨가 좋네요.", "그렇죠?",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("가나", ["가나"]),
        ("가\n나다\n라", ["가\n", "나다\n라"]),  # at line ends
        ("가나 다라마", ["가나 ", "다라마"]),  # else at spaces
        ("가나다라마바사아", ["가나다라", "마바사아"]),  # else anywhere
        ("\n\n\n\n\n", ["\n\n\n\n", "\n"]),
    ],
)
def test_long_texts_are_cut_at_line_ends(text: str, pieces: list[str]) -> None:
    assert list(korean.pieces(text, 4)) == pieces


@given(st.text("가 \n", max_size=40), st.integers(1, 9))
@example("가" * 8, 4)
def test_pieces_lose_nothing_and_are_bounded(text: str, size: int) -> None:
    pieces = list(korean.pieces(text, size))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)


def test_a_text_in_pieces_is_analysed_as_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{number}번 고객이 물었다. 담당자가 답했다.\n" for number in range(20)]
    whole = korean.surfaces("".join(lines))
    monkeypatch.setattr(korean.pieces, "__defaults__", (60,))
    assert len(list(korean.pieces("".join(lines)))) > 5
    assert korean.surfaces("".join(lines)) == whole
    assert korean.sentences("".join(lines)) == [
        sentence for line in lines for sentence in korean.sentences(line)
    ]


@pytest.mark.parametrize(
    "text",
    ["", " \n", "\ud800가", "\x00", "가\u200b나", "🙂 좋다", "ᄒᆞᆫ글", "1" * 3000, "가" * 99, "…"],
)
def test_odd_texts_are_analysed(text: str) -> None:
    readable = text.replace("\ud800", "\ufffd")
    surfaces = korean.surfaces(text)
    assert all(surface.strip() == surface and surface in readable for surface in surfaces)
    assert bool(surfaces) == bool(text.strip())
    assert all(sentence in readable for sentence in korean.sentences(text))


def test_surfaces_point_into_the_text_also_beyond_the_basic_plane() -> None:
    assert korean.surfaces("🙂🙂 고객이") == ["🙂", "🙂", "고객", "이"]


TEXTS = tuple(f"{TEXT} 제{number}조에 따라 처리하였다." for number in range(40))


def test_threads_give_the_same() -> None:
    here = [korean.tagged(text) for text in TEXTS]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(korean.tagged, TEXTS)) == here


@pytest.mark.slow  # loads the analyser once more
def test_a_fresh_process_gives_the_same() -> None:
    program = (
        "import json, sys\nfrom samdan.data import korean\n"
        "print(json.dumps([korean.tagged(text) for text in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    there = [[tuple(pair) for pair in text] for text in json.loads(done.stdout)]
    assert there == [korean.tagged(text) for text in TEXTS]


def test_without_the_extra_the_message_names_it(no_kiwi: None) -> None:
    for ask in (korean.words, korean.tagged, korean.surfaces, korean.sentences):
        with pytest.raises(EnvironmentFailure, match=r"pip install 'samdan\[corpus\]'"):
            ask(TEXT)
    with pytest.raises(EnvironmentFailure, match="kiwipiepy"):
        require_libraries([Preset(name="fineweb2-ko")])


def test_what_needs_no_morphemes_runs_without_the_extra(no_kiwi: None) -> None:
    filters = Preset(name="technical-ko").filters
    assert not needs_morphemes(filters)
    view = view_of(TEXT * 20, morphemes=False)
    for one in filters:
        one(Document(TEXT * 20, Origin("a")), view)
    assert view.sentences[0] == "고객이 물었다."
    require_libraries([Length()])


def test_a_view_with_morphemes() -> None:
    view = view_of(TEXT, morphemes=True)
    assert view.morphemes == korean.surfaces(TEXT)
    assert view.sentences == korean.sentences(TEXT)
    assert needs_morphemes([Length(), Preset(name="fineweb2-ko")])


def test_fineweb2_judges_running_text_and_a_list() -> None:
    running = (
        "올해 회사의 매출은 지난해보다 크게 늘었다. 봄에 새로운 공장이 문을 열었기 때문이다.\n"
        "담당자는 설비를 하나씩 점검하였고 문제가 있는 부품은 바로 바꾸었다.\n"
        "내년에는 다른 지역에서도 같은 방식을 쓸 계획이며 이를 위해 사람을 더 뽑는다.\n"
    )
    menu = "\n".join(["홈", "로그인", "회원가입", "고객센터", "공지사항", "오시는 길"] * 8)
    preset = Preset(name="fineweb2-ko")
    document = Document(running, Origin("a"))
    assert preset(document, view_of(running, morphemes=True)) is None
    drop = preset(Document(menu, Origin("b")), view_of(menu, morphemes=True))
    assert drop is not None
    assert drop.reason == "dup_line_frac"
