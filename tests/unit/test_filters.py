"""Every filter drops on one side of its limit and keeps on the other, and says why.

``SAMDAN_GOLDEN=write`` writes what the presets stand for anew; read the diff.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import hypothesis
import pytest
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from samdan import recipe as recipes
from samdan.filters import KINDS, PRESETS, DocumentFilter, Filters, Preset, View, expanded
from samdan.filters.basic import days
from samdan.filters.kinds import AnyKind
from samdan.filters.repetition import repeated_n_grams, top_n_gram
from samdan.records import Document, Drop, Origin, RecipeError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "filters"
FILTERS: TypeAdapter[Any] = TypeAdapter(Filters)
ORIGIN = Origin("docs.jsonl", 7)
GOOD = (
    "올해 매출은 지난해보다 늘었다. 새 공장이 봄에 문을 열었기 때문이다.\n"
    "담당자는 설비를 하나씩 점검했다. 문제가 있는 부품은 바로 바꾸었다.\n"
    "내년에는 다른 지역에도 같은 방식을 쓸 계획이다."
)


def of(kind: str, **fields: Any) -> DocumentFilter:
    return FILTERS.validate_python([{"kind": kind, **fields}])[0]


def asked(one: DocumentFilter, text: str, **meta: str) -> Drop | None:
    """The filter's answer; morphemes are what white space separates."""
    return one(Document(text, ORIGIN, meta), View(text, analyse=str.split, detect=lambda _: "en"))


# --- both sides of every limit --------------------------------------------------------------------

LINES = "가\n나\n다\n라\n마\n바\n사\n아"
WORD = {"unit": "word"}
# kind, fields, a text that is kept, a text that is dropped, the drop's detail
CASES: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("length", {"min_chars": 3}, "가나다", "가나", "characters 2 < 3"),
    ("length", {"max_chars": 3}, "가나다", "가나다라", "characters 4 > 3"),
    ("hangul_share", {"at_least": 0.5}, "가나ab 12", "가나abc", "hangul_share 0.4 < 0.5"),
    ("repeated_lines", {"at_most": 0.5}, "가\n 가 ", "가\n가\n가", "repeated_lines 0.6667 > 0.5"),
    # 3 of 9 lines, and 3 of 8
    ("dup_line_frac", {}, LINES + "\n가", "가\n가\n가\n나\n다\n라\n마\n마",
     "dup_line_frac 0.375 > 0.374"),
    # "가나" again: 2 of 10 characters that are no line ends, and 2 of 9
    ("char_duplicates_ratio", {"at_most": 0.2}, "가나\n가나\n다라마바사아",
     "가나\n가나\n다라마바사", "char_duplicates_ratio 0.2222 > 0.2"),
    # "가 나" twice is 6 of 12 characters, and 6 of 11
    ("top_n_grams", {**WORD, "at_most": {2: 0.5}}, "가 나 가 나 다라마바", "가 나 가 나 다라마",
     "top_n_grams 2 0.5455 > 0.5"),
    ("top_n_grams", {"at_most": {2: 0.5}}, "가 나 가 나 다라마바", "가 나 가 나 다라마",
     "top_n_grams 2 0.5455 > 0.5"),
    # "가나다" again is 3 of 12 characters, and 3 of 11
    ("dup_n_grams", {**WORD, "at_most": {3: 0.25}}, "가 나 다 가 나 다 ", "가 나 다 가 나 다",
     "dup_n_grams 3 0.2727 > 0.25"),
    ("line_punct_ratio", {"at_least": 0.5}, "끝났다.\n목차", "끝났다. \n목차\n목차",
     "line_punct_ratio 0.3333 < 0.5"),
    ("new_line_ratio", {**WORD, "at_most": 0.25}, "가 나 다\n라", "가 나\n다",
     "new_line_ratio 0.3333 > 0.25"),
    ("word_count", {**WORD, "at_least": 3}, "가 나 - 다", "가 나 - !", "word_count 2 < 3"),
    ("word_count", {**WORD, "at_least": 0, "at_most": 2}, "가 나 -", "가 나 다",
     "word_count 3 > 2"),
    ("avg_word_length", {**WORD, "at_least": 2}, "가나 다라 !", "가나 다 !",
     "avg_word_length 1.5 < 2.0"),
    ("avg_word_length", {**WORD, "at_most": 2}, "가나 다라 !!!!!", "가나 다라마",
     "avg_word_length 2.5 > 2.0"),
    ("alpha_words_ratio", {**WORD, "at_least": 0.5}, "가1 12", "가1 12 --",
     "alpha_words_ratio 0.3333 < 0.5"),
    ("symbol_word_ratio", {**WORD, "at_most": 0.5}, "# 가 나 다", "# # 가",
     "symbol_word_ratio # 0.6667 > 0.5"),
    ("symbol_word_ratio", {**WORD, "at_most": 0.5}, "가... 나 다… 라", "가... 나…",
     "symbol_word_ratio ... 1 > 0.5"),
    ("bullet_lines", {"at_most": 0.5}, "- 가\n나", "- 가\n • 나\n다",
     "bullet_lines 0.6667 > 0.5"),
    ("ellipsis_lines", {"at_most": 0.5}, "가...\n나", "가...\n나… \n다",
     "ellipsis_lines 0.6667 > 0.5"),
    ("stop_words", {**WORD, "stop_words": ["의", "는", "을"]}, "의 는", "의 의 나",
     "stop_words 1 < 2"),
    ("mean_line_length", {"at_least": 2}, "가나다\n\n가", "가나\n가", "mean_line_length 1.5 < 2.0"),
    ("mean_line_length", {"at_most": 2}, "가나다\n가", "가나다\n가나",
     "mean_line_length 2.5 > 2.0"),
    # 10 of 20 characters that are not white space are a link, and 10 of 19
    ("link_share", {"at_most": 0.5}, "[가나](/a/b) 가나다라마바사아자차",
     "[가나](/a/b) 가나다라마바사아자", "link_share 0.5263 > 0.5"),
    # 6 of 12 characters, and 6 of 13
    ("good_lines", {"min_chars": 6, "min_words": 2, "max_repetition": 0.5},
     "가나 다라.\n가나다라마.", "가나 다라.\n가나다라마바.", "good_lines 0.4615 < 0.5"),
    ("keywords", {}, "카지노와 바카라", "카지노 바카라 먹튀",
     "keywords 3 > 2: 카지노, 바카라, 먹튀"),
    ("matches", {"pattern": r"제\d+조"}, "민법 제12조", "민법 12조",
     r"'제\d+조' not found in text"),
    ("not_matches", {"pattern": r"\d{6}-\d"}, "12345-6", "번호 123456-7",
     "'123456-7' found in text"),
    ("language", {}, "한국어", "English", "language other, Hangul 0.000 of the letters"),
    ("language", {}, "안녕 abc", "안 abcdefgh", "language en, Hangul 0.111; kept: ko"),
]  # fmt: skip
OF_META = {"dated"}


@pytest.mark.parametrize(("kind", "fields", "kept", "dropped", "detail"), CASES)
def test_both_sides_of_the_limit(
    kind: str, fields: dict[str, Any], kept: str, dropped: str, detail: str
) -> None:
    one = of(kind, **fields)
    assert asked(one, kept) is None
    assert asked(one, dropped) == Drop(kind, ORIGIN, detail)


def test_every_kind_is_tested_above() -> None:
    assert {kind for kind, *_ in CASES} | OF_META | {"preset"} == KINDS


@pytest.mark.parametrize("kind", sorted(KINDS - {"preset", "matches", "not_matches", "dated"}))
def test_defaults_keep_a_good_text(kind: str) -> None:
    """Negative control: no filter drops whatever it is given."""
    fields: dict[str, Any] = {"unit": "word"} if hasattr(of(kind), "unit") else {}
    own = {"word_count": {"at_least": 20}, "stop_words": {"stop_words": ["새", "바로", "같은"]}}
    assert asked(of(kind, **fields | own.get(kind, {})), GOOD) is None


@pytest.mark.parametrize("kind", sorted(KINDS - {"preset", "matches", "not_matches", "dated"}))
@pytest.mark.parametrize("text", ["", "\n\n", " ", "…", "𝒳🙂", "\u200b", "#" * 50])
def test_odd_texts_break_nothing(kind: str, text: str) -> None:
    drop = asked(of(kind), text)
    assert drop is None or drop.reason == kind


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "짧은 줄."),  # too short
        ({}, "문장 부호 없이 끝나는 긴 줄이라서 다른 것은 모두 갖추었지만 좋은 줄이 되지 못한다"),
        ({}, "같은 말 같은 말 같은 말 같은 말 같은 말 같은 말 같은 말 같은 말 같은 말이다."),
        ({}, "붙여쓴줄은띄어쓰기가없어서낱말이모자라므로길이가충분해도좋은줄이되지못한다는뜻이다."),
        ({"ends": ["!"]}, "모든 것을 갖춘 긴 문장이지만 느낌표로 끝나야 하는데 그렇지 못하다."),
    ],
)  # fmt: skip
def test_a_good_line_has_everything(fields: dict[str, Any], line: str) -> None:
    good = "모든 것을 갖춘 긴 문장이며 마침표로 끝나고 낱말도 되풀이하지 않으므로 좋은 줄이다."
    assert asked(of("good_lines", at_least=1.0), good) is None
    assert asked(of("good_lines", at_least=0.1, **fields), line) is not None


# --- n-grams: computed by hand, and against the definition ----------------------------------------


def words(text: str) -> list[str]:
    return text.split()


def test_the_most_frequent_n_gram_by_hand() -> None:
    assert top_n_gram(words("a b a b c"), 2) == 6  # "a b" twice
    assert top_n_gram(words("ab c ab c ab c"), 2) == 12  # "ab c" three times
    assert top_n_gram(words("a b cc d a b cc d"), 2) == 6  # all twice: the first counts, "a b"
    assert top_n_gram(words("a b c"), 2) == 0  # nothing repeats
    assert top_n_gram(["a"], 2) == 0


def test_repeated_n_grams_by_hand() -> None:
    assert repeated_n_grams(words("a b c a b c d"), 3) == 3  # "abc" again
    assert repeated_n_grams(words("a a a a a a"), 2) == 4  # new, again, (inside), again
    assert repeated_n_grams(words("ab c ab c ab c"), 2) == 6  # new, "cab" new, again, again
    assert repeated_n_grams(words("a b c d"), 2) == 0
    assert repeated_n_grams([], 5) == 0


WORDS = st.lists(st.sampled_from(["a", "b", "bb", "다", "했"]), max_size=40)


@hypothesis.given(given=WORDS, n=st.integers(1, 6))
def test_n_grams_agree_with_their_definition(given: list[str], n: int) -> None:
    grams = [given[i : i + n] for i in range(len(given) - n + 1)]
    counts = Counter(map(" ".join, grams))
    most = max(counts.values(), default=0)
    first = next((gram for gram in map(" ".join, grams) if counts[gram] == most), "")
    assert top_n_gram(given, n) == (len(first) * most if most > 1 else 0)

    seen, repeated, index = set(), 0, 0
    while index < len(grams):
        gram = "".join(grams[index])
        repeated += len(gram) if gram in seen else 0
        index += n if gram in seen else 1
        seen.add(gram)
    assert repeated_n_grams(given, n) == repeated <= len("".join(given))


# --- dates and columns ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2024-03-01", ("2024-03-01", "2024-03-01")),
        ("2024.3.1.", ("2024-03-01", "2024-03-01")),
        ("2024. 3. 1", ("2024-03-01", "2024-03-01")),
        ("20240301", ("2024-03-01", "2024-03-01")),
        ("2024년 3월 1일", ("2024-03-01", "2024-03-01")),
        ("2024-03-01T12:00:00Z", ("2024-03-01", "2024-03-01")),
        ("2024-03", ("2024-03-01", "2024-03-31")),
        (" 2024", ("2024-01-01", "2024-12-31")),
        ("2024-13-01", None),
        ("2024-03-32", None),
        ("1709251200", None),
        ("어제", None),
        ("", None),
    ],
)
def test_dates_that_are_read(given: str, expected: tuple[str, str] | None) -> None:
    assert days(given) == expected


@pytest.mark.parametrize(
    ("fields", "date", "detail"),
    [
        ({"since": "2020-01-01"}, "2020-01-01", None),
        ({"since": "2020-01-01"}, "2019-12-31", "date 2019-12-31 < 2020-01-01"),
        ({"before": "2020-01-01"}, "2019-12-31", None),
        ({"before": "2020-01-01"}, "2020-01-01", "date 2020-01-01 >= 2020-01-01"),
        ({"before": "2020-07-01"}, "2020", "date 2020-12-31 >= 2020-07-01"),
        ({"before": "2020-07-01"}, "", "no date"),
        ({"before": "2020-07-01"}, "곧", "no date in '곧'"),
        ({"before": "2020-07-01", "undated": "keep"}, "곧", None),
    ],
)
def test_dated(fields: dict[str, str], date: str, detail: str | None) -> None:
    expected = Drop("dated", ORIGIN, detail) if detail else None
    assert asked(of("dated", **fields), "본문", date=date) == expected


def test_patterns_read_columns_that_travel_with_the_document() -> None:
    keeps = of("matches", pattern=r"\.md$", field="path")
    assert asked(keeps, "본문", path="a/b.md") is None
    assert asked(keeps, "본문", path="a/b.txt") is not None
    assert asked(keeps, "b.md") is not None  # no such column: an empty text
    assert asked(of("not_matches", pattern="^old/", field="path"), "old/", path="new/") is None


# --- the view -------------------------------------------------------------------------------------


def test_parts_of_a_text() -> None:
    view = View("첫 문단이다. 둘째 문장! \n이어진 줄\n \n그가 “말했다.” 끝\x0c안\n\n\n")
    assert view.lines == ["첫 문단이다. 둘째 문장!", "이어진 줄", "그가 “말했다.” 끝\x0c안"]
    assert view.paragraphs == ["첫 문단이다. 둘째 문장! \n이어진 줄", "그가 “말했다.” 끝\x0c안"]
    assert view.words[:3] == ["첫", "문단이다.", "둘째"]
    assert view.sentences == [
        "첫 문단이다.", "둘째 문장!", "이어진 줄", "그가 “말했다.”", "끝\x0c안",
    ]  # fmt: skip


@hypothesis.given(st.text("가. \n\"!a", max_size=60))
def test_sentences_lose_nothing_but_white_space(text: str) -> None:
    assert "".join("".join(View(text).sentences).split()) == "".join(text.split())


def test_a_part_is_computed_once_and_only_when_asked_for() -> None:
    asked_for: list[str] = []

    def analyse(text: str) -> list[str]:
        asked_for.append(text)
        return text.split()

    document = Document(GOOD, ORIGIN)
    view = View(GOOD, analyse=analyse)
    for one in (of("length"), of("dup_line_frac"), of("word_count", unit="word")):
        one(document, view)
    assert asked_for == []
    for one in (of("word_count"), of("dup_n_grams"), of("stop_words")):
        one(document, view)
    assert asked_for == [GOOD]


def test_what_was_not_asked_for_is_not_there() -> None:
    with pytest.raises(LookupError, match="needs_morphemes"):
        of("stop_words")(Document(GOOD, ORIGIN), View(GOOD))
    with pytest.raises(LookupError, match="needs_detector"):
        of("language", keep=["en"])(Document("text", ORIGIN), View("text"))


@pytest.mark.parametrize("kind", sorted(KINDS - {"preset", "matches", "not_matches"}))
def test_a_filter_says_what_it_needs(kind: str) -> None:
    """What claims to need nothing must work on a view that has nothing."""
    one = of(kind)
    if not one.needs_morphemes and not one.needs_detector:
        one(Document(GOOD, ORIGIN), View(GOOD))
    elif one.needs_morphemes:
        assert not of(kind, unit="word").needs_morphemes
        of(kind, unit="word")(Document(GOOD, ORIGIN), View(GOOD))


# --- presets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_a_preset_stands_for_is_golden(name: str) -> None:
    read = FILTERS.validate_python([{"kind": "preset", "name": name}])
    found = FILTERS.dump_python(read, mode="json")
    path = GOLDEN / f"{name}.json"
    if os.environ.get("SAMDAN_GOLDEN") == "write":
        path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    assert found == json.loads(path.read_text("utf-8"))


RECIPE = """
samdan: 1
name: small
base: {path: some/model}
stages:
  - name: cpt
    kind: cpt
    data:
      - path: docs.jsonl
        filters:
          - {kind: length, min_chars: 200}
          - kind: preset
            name: fineweb2-ko
            changes:
              - {kind: dup_line_frac, at_most: 0.5}
              - {kind: top_n_grams, at_most: {2: 0.3}}
            without: [stop_words]
"""


def filters_in(text: str) -> tuple[Any, ...]:
    return recipes.parse(text, "recipe.yaml").stages[0].data[0].filters


def test_a_recipe_holds_the_filters_that_a_preset_stands_for() -> None:
    found = {one.kind: one for one in filters_in(RECIPE)}
    whole = {one.kind: one for one in Preset(name="fineweb2-ko").filters}
    assert list(found) == ["length", *(kind for kind in whole if kind != "stop_words")]
    assert found["dup_line_frac"].at_most == 0.5
    assert found["top_n_grams"].at_most == {2: 0.3, 3: 0.228, 4: 0.185}
    changed = {"length", "dup_line_frac", "top_n_grams", "stop_words"}
    assert all(found[kind] == one for kind, one in whole.items() if kind not in changed)


def test_a_preset_that_is_not_expanded_acts_as_its_filters() -> None:
    preset = Preset(name="technical-ko")
    assert preset.needs_detector
    assert not preset.needs_morphemes
    assert Preset(name="fineweb2-ko").needs_morphemes
    for text in (GOOD, "English only", "가 " * 100, GOOD * 30):
        singly = next((d for one in preset.filters if (d := asked(one, text))), None)
        assert asked(preset, text) == singly
    assert expanded([preset]) == preset.filters


def test_expanding_what_is_expanded_changes_nothing() -> None:
    """A recipe is written into the run and read again, also without its defaults."""
    once = FILTERS.validate_python([{"kind": "preset", "name": name} for name in sorted(PRESETS)])
    for dumped in (
        FILTERS.dump_python(once, exclude_unset=True),
        json.loads(FILTERS.dump_json(once)),
    ):
        assert FILTERS.validate_python(dumped) == once


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("fineweb2-ko", "fineweb", "found 'fineweb', expected 'fineweb2-ko'"),
        ("[stop_words]", "[keywords]", "preset 'fineweb2-ko' has no filter 'keywords'; it has"),
        ("kind: dup_line_frac,", "kind: dup_line_fra,", "did you mean 'dup_line_frac'?"),
        ("at_most: 0.5", "at_most: 1.5", "found 1.5, expected less than or equal to 1"),
        ("at_most: 0.5", "at_mos: 0.5", "unknown key; did you mean 'at_most'?"),
        ("{2: 0.3}", "{two: 0.3}", "found 'two', expected a valid integer"),
        ("kind: length, min_chars: 200", "kind: matches, pattern: '('", "is not a regular exp"),
        ("kind: length, min_chars: 200", "kind: dated, before: '2024-02-30'", "is not a day"),
        ("kind: length, min_chars: 200", "kind: language, keep: []", "filters"),
    ],
)  # fmt: skip
def test_a_wrong_filter_is_explained(old: str, new: str, expected: str) -> None:
    assert old in RECIPE
    with pytest.raises(RecipeError, match=re.escape(expected)) as caught:
        filters_in(RECIPE.replace(old, new, 1))
    assert re.search(r"recipe\.yaml:\d+:\d+: stages\[0\]\.data\[0\]\.filters", str(caught.value))


def test_specs_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        of("length").min_chars = 3  # type: ignore[attr-defined]
    with pytest.raises(ValidationError):
        of("dup_line_frac", at_most="0.5")


# --- documentation with code and tables, and what is none -----------------------------------------

MANUAL = """# 배치 설정

배치 작업은 설정 파일에서 주기와 대상을 정한다. 주기는 초 단위이며 0이면 실행하지 않는다.

| 항목 | 기본값 | 설명 |
| --- | --- | --- |
| `batch.interval` | 60 | 작업 사이의 시간 |
| `batch.target` | all | 대상 서버 |

```java
for (int i = 0; i < 10; i++) {
    System.out.println(i);
}
```

- 서버를 다시 시작하면 설정을 다시 읽는다.
- 자세한 내용은 [운영 안내](./guide.md)를 본다.
"""


def test_technical_ko_keeps_a_manual_and_drops_what_is_none() -> None:
    preset = Preset(name="technical-ko")
    assert asked(preset, MANUAL) is None
    chapters = [f"- [제{i}장 안내 문서](./chapter-{i}/index.md)" for i in range(30)]
    links = "\n".join(["# 목차", *chapters])
    moved = "이 페이지는 다른 위치로 이동하였습니다. 잠시 후 이동합니다."
    spam = "온라인 카지노 추천 바카라 사이트 먹튀 검증 완료 가입하면 쿠폰을 드립니다. " * 4
    numbers = "월별 표\n" + "\n".join(f"{i} {i * 7} {i * 11} | {i * 3}" for i in range(40))
    copies = "같은 문장을 몇 번이고 다시 써 놓은 문서이다.\n" * 40
    dropped = [asked(preset, text) for text in (links, moved, spam, numbers, copies)]
    assert [drop and drop.reason for drop in dropped] == [
        "link_share", "word_count", "keywords", "alpha_words_ratio", "char_duplicates_ratio",
    ]  # fmt: skip


def test_limits_grow_in_the_order_of_n() -> None:
    """A typing error in a preset's table would show here: longer n-grams have lower limits."""
    for name in PRESETS:
        for one in Preset(name=name).filters:
            limits = getattr(one, "at_most", None)
            if isinstance(limits, dict):
                assert all(a > b for a, b in pairwise(limits[n] for n in sorted(limits)))


# --- the page -------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "filters.md").read_text("utf-8")


def test_the_pages_own_filter_works(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "shouting.py").write_text(code, "utf-8")
    spec = importlib.util.spec_from_file_location("shouting", tmp_path / "shouting.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    union: Any = Annotated[AnyKind | module.Shouting, Field(discriminator="kind")]
    read: TypeAdapter[Any] = TypeAdapter(union)
    one = read.validate_python({"kind": "shouting", "at_most": 0.5})
    assert asked(one, "ABcd") is None
    assert asked(one, "ABCd") == Drop("shouting", ORIGIN, "shouting 0.75 > 0.5")
    with pytest.raises(ValidationError):
        read.validate_python({"kind": "shouting", "at_least": 0.5})


def test_the_pages_recipe_parses() -> None:
    (data,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    text = RECIPE.split("    data:")[0] + "".join(f"    {line}\n" for line in data.splitlines())
    kinds = [one.kind for one in filters_in(text)]
    assert kinds[:3] == ["not_matches", "dated", "language"]
    assert "stop_words" not in kinds


def test_the_page_lists_every_kind_and_preset() -> None:
    table = PAGE.split("## Kinds")[1].split("## Presets")[0]
    assert set(re.findall(r"`([a-z_]+)`(?=[^|]*\|)", table)) >= KINDS - {"preset"}
    assert all(f"**`{name}`**" in PAGE for name in PRESETS)
