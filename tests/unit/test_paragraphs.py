"""Paragraphs of earlier documents: cut out of later ones, which go when little is left."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdan.data.paragraphs import MAX_LINE, Repeated, drop_of, paragraphs, repeated, without
from samdan.records import Origin
from samdan.removing import Dedup

SPEC = Dedup(paragraphs=True, min_paragraph=20)
LAW = "법원은 피고인이 위와 같은 사실을 알았다고 볼 만한 증거가 없다고 판단하였다."
ENGLISH = "The committee reviewed every submitted proposal before the end of the year."
NOTICE = "이 누리집의 모든 글은 저작권법의 보호를 받으며 무단으로 옮겨 쓸 수 없습니다."
HEADING = "제1장 총칙"


def line(number: int) -> str:
    """A paragraph of more than 20 letters that no other number has."""
    return f"{number}번째 문단에는 다른 어떤 문단에도 없는 내용이 들어 있습니다."


def rest(texts: list[str], spec: Dedup = SPEC, kept: list[bool] | None = None) -> list[str | None]:
    """What remains of every document; None for one that is dropped or did not count."""
    found = repeated([paragraphs(texts, spec)], spec, None if kept is None else np.asarray(kept))
    return [
        None
        if found.dropped[number] or not (kept is None or kept[number])
        else without(text, found.of(number), spec)
        for number, text in enumerate(texts)
    ]


def own(*numbers: int) -> str:
    return "\n".join(line(number) for number in numbers)


def test_a_repeated_paragraph_is_cut_out_of_the_later_document() -> None:
    first, second = f"{line(1)}\n{NOTICE}", f"{own(2, 3)}\n{NOTICE}\n{line(4)}"
    assert rest([first, second]) == [first, own(2, 3, 4)]


@pytest.mark.parametrize(
    ("paragraph", "again"),
    [
        (LAW, LAW.replace(" ", "")),
        (LAW, "  " + LAW.replace(",", "").rstrip(".") + " "),
        (ENGLISH, ENGLISH.upper()),
        (ENGLISH, ENGLISH.replace("The ", "- the  ")),
    ],
)
def test_spacing_case_and_punctuation_do_not_count(paragraph: str, again: str) -> None:
    assert rest([paragraph, f"{own(1, 2, 3)}\n{again}"])[1] == own(1, 2, 3)


@pytest.mark.parametrize(
    ("paragraph", "other"),
    [
        (LAW, LAW.replace("없다고", "있다고")),
        (LAW, LAW.replace("피고인이", "피고인의")),
        (ENGLISH, ENGLISH.replace("year", "month")),
        (
            "2023년의 매출은 5,120억 원으로 한 해 전보다 늘어났다.",
            "2024년의 매출은 5,120억 원으로 한 해 전보다 늘어났다.",
        ),
    ],
)
def test_another_word_or_number_makes_another_paragraph(paragraph: str, other: str) -> None:
    texts = [paragraph, f"{own(1, 2, 3)}\n{other}"]
    assert rest(texts) == texts


def test_the_blank_lines_around_it_become_one_gap() -> None:
    text = f"{own(1, 2)}\n\n{NOTICE}\n\n{line(3)}"
    assert rest([NOTICE, text])[1] == f"{own(1, 2)}\n\n{line(3)}"
    assert rest([NOTICE, f"{NOTICE}\n\n{own(1, 2)}"])[1] == own(1, 2)
    spaced = f"{line(1)}\n\n\n{line(2)}"
    assert rest([NOTICE, f"{spaced}\n{NOTICE}\n{line(3)}"])[1] == f"{spaced}\n{line(3)}"


def test_what_is_repeated_within_one_document_stays() -> None:
    text = f"{NOTICE}\n{line(1)}\n{NOTICE}"
    assert rest([text]) == [text]
    assert rest([text, f"{NOTICE}\n{own(2, 3, 4, 5)}\n{NOTICE}"])[1] == own(2, 3, 4, 5)


def test_short_lines_stay() -> None:
    texts = [f"{HEADING}\n{line(1)}", f"{HEADING}\n{line(2)}"]
    assert rest(texts) == texts
    assert rest(texts, Dedup(paragraphs=True, min_paragraph=3))[1] == line(2)


def test_a_line_as_long_as_min_paragraph_counts() -> None:
    """In letters and digits: spaces and points do not make a line long."""
    text = "가나 다라. 마바!"
    assert len(paragraphs([text], Dedup(paragraphs=True, min_paragraph=6)).hashes) == 1
    assert len(paragraphs([text], Dedup(paragraphs=True, min_paragraph=7)).hashes) == 0


@pytest.mark.parametrize("fence", ["```", "~~~", "  ```"])
def test_code_between_fences_stays(fence: str) -> None:
    code = "result = compute_the_thing(first_argument, second_argument, third_argument)"
    block = f"{fence}python\n{code}\n{fence}"
    texts = [f"{code}\n{block}", f"{own(1, 2)}\n{block}\n{code}\n{line(3)}"]
    assert rest(texts)[1] == f"{own(1, 2)}\n{block}\n{line(3)}"


@pytest.mark.parametrize(
    ("max_removed", "dropped"), [(0.8, False), (0.7, True), (0.0, True), (1.0, False)]
)
def test_a_document_that_loses_too_much_is_dropped(max_removed: float, dropped: bool) -> None:
    spec = Dedup(paragraphs=True, min_paragraph=20, max_removed=max_removed)
    texts = [own(1, 2, 3), own(1, 2, 3, 4)]
    assert rest(texts, spec)[1] == (None if dropped else line(4))
    found = repeated([paragraphs(texts, spec)], spec)
    assert found.share.tolist() == pytest.approx([0, 0.75])


def test_a_document_of_nothing_else_is_dropped_whatever_the_limit() -> None:
    spec = Dedup(paragraphs=True, min_paragraph=20, max_removed=1.0)
    assert rest([own(1, 2), own(2, 1)], spec) == [own(1, 2), None]


def test_a_dropped_document_gives_its_paragraphs_to_the_next() -> None:
    """The second is mostly the first and goes; what only it had before the third has to stay."""
    first, second, third = own(1, 2, 3), own(1, 2, 3, 4), own(4, 5, 6)
    assert rest([first, second, third]) == [first, None, third]
    fourth = own(4, 7, 8)
    assert rest([first, second, third, fourth])[3] == own(7, 8)


def test_documents_that_do_not_count_keep_nothing_from_others() -> None:
    texts = [own(1, 2), own(1, 3, 4), own(1, 5, 6)]
    assert rest(texts, kept=[False, True, True]) == [None, own(1, 3, 4), own(5, 6)]
    assert rest(texts, kept=[False] * 3) == [None] * 3


def test_no_paragraph_is_lost_from_everywhere_and_none_is_there_twice() -> None:
    texts = [own(1, 2, 3), own(2, 3, 4), own(4, 1, 5, 6, 7), own(7, 4), own(6, 8, 9, 5, 10)]
    remaining = [part for text in rest(texts) if text is not None for part in text.split("\n")]
    assert sorted(remaining) == sorted(line(number) for number in range(1, 11))


LINES = st.sampled_from([line(n) for n in range(8)] + [HEADING, "", "```", LAW, ENGLISH])
DOCUMENTS = st.lists(st.lists(LINES, max_size=7).map("\n".join), max_size=8)


@given(DOCUMENTS, st.lists(st.integers(0, 8), max_size=3))
@settings(max_examples=60)
def test_parts_do_not_matter(texts: list[str], bounds: list[int]) -> None:
    one = repeated([paragraphs(texts, SPEC)], SPEC)
    edges = [0, *sorted(min(bound, len(texts)) for bound in bounds), len(texts)]
    several = repeated([paragraphs(texts[a:b], SPEC) for a, b in pairwise(edges)], SPEC)
    for name in ("first", "offsets", "share", "dropped"):
        assert np.array_equal(getattr(one, name), getattr(several, name)), name


@given(DOCUMENTS)
@settings(max_examples=60)
def test_again_changes_nothing(texts: list[str]) -> None:
    once = [text for text in rest(texts) if text is not None]
    assert rest(once) == list(once)


@given(DOCUMENTS)
@settings(max_examples=60)
def test_what_remains_are_lines_of_the_document_in_order(texts: list[str]) -> None:
    for text, remaining in zip(texts, rest(texts), strict=True):
        lines = iter(text.split("\n"))
        if remaining is not None:
            assert remaining == "" or all(each in lines for each in remaining.split("\n"))


def test_a_drop_says_how_much_and_where() -> None:
    origins = {number: Origin(f"{number}.txt") for number in range(3)}
    found: Repeated = repeated([paragraphs([line(9), own(1, 2), own(1, 2, 3)], SPEC)], SPEC)
    drop = drop_of(found, 2, origins)
    assert drop_of(found, 1, origins) is None
    assert drop is not None
    assert (drop.reason, drop.origin) == ("repeated_paragraphs", origins[2])
    assert drop.detail == "67% of its letters are in earlier documents, such as 1.txt"


def test_empty_documents_and_none() -> None:
    assert rest([]) == []
    assert rest(["", "\n\n", ""]) == ["", "\n\n", ""]
    assert len(repeated([], SPEC).dropped) == 0


def test_a_huge_line_is_known_by_its_beginning() -> None:
    huge = "가" * MAX_LINE
    assert rest([huge + "나", f"{huge}다\n{line(1)}"])[1] is None
