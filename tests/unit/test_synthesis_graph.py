"""Documents from a graph: read strictly, worded rightly, every fact told and none made up."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdan.data.synthesis import graph as graphs
from samdan.data.synthesis.checks import graph_fault
from samdan.data.synthesis.generate import Wish, generate
from samdan.data.synthesis.grammar import GRAMMARS
from samdan.data.synthesis.graph import Graph, read_graph
from samdan.data.synthesis.ntriples import ntriples_statements
from samdan.data.synthesis.pen import Index
from samdan.data.synthesis.places import fill, places
from samdan.data.synthesis.statements import Problem
from samdan.data.synthesis.styles import STYLES
from samdan.data.synthesis.templates import Templates, load_templates, norm
from samdan.data.synthesis.values import kind_of, renderings
from samdan.data.synthesis.write import Output, beside
from samdan.hangul import PARTICLES
from samdan.records import DataError
from samdan.spec import parse_yaml, plain

LANGUAGES = ("ko", "en")
ENGLISH_MODIFIERS = {"a", "on", "cap"}


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_graph(path)
    return str(caught.value).splitlines()


# -- reading ---------------------------------------------------------------------------------------


def test_csv_gives_facts_labels_types_and_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path / "g.csv",
        "\ufeffsubject,relation,object,subject_type,object_type,object_en,unit,note\n"
        '가온,대표이사,김하늘,회사,인물,"Kim, Haneul",,x\n'
        '가온,설명,"두 줄로\n쓴 설명이다.",,text,,,\n'
        "\n"
        "가온,면적,1200,,,,㎡,\n"
        "가온,대표이사,김하늘,,,,,\n"
        "가온,종류,기업,,,,,\n",
    )
    graph = read_graph(path)
    assert [(t.relation, t.object, t.kind, t.unit, t.id) for t in graph.triples] == [
        ("대표이사", "김하늘", "name", "", "g.csv:2"),
        ("설명", "두 줄로 쓴 설명이다.", "text", "", "g.csv:3"),
        ("면적", "1200", "number", "㎡", "g.csv:6"),
    ]
    assert graph.label("김하늘", "en") == "Kim, Haneul"
    assert graph.types == {"가온": "회사", "김하늘": "인물"}
    assert graph.counts == {"fact": 3, "duplicate": 1, "type": 1, "type_ignored": 1}
    assert graph.ignored == ["note"]


def test_jsonl_keeps_numbers_and_booleans(tmp_path: Path) -> None:
    rows = [
        {"head": "가온", "predicate": "면적", "tail": 1200.50, "unit": "㎡", "score": 0.9},
        {"subject": "가온", "relation": "상장 여부", "object": True},
        {"subject": "가온", "relation": "설립일", "object": "1998-03-02", "object_type": "date"},
    ]
    graph = read_graph(write(tmp_path / "g.jsonl", "\n".join(map(json.dumps, rows))))
    shown = [renderings(t.object, t.kind, t.unit, "ko")[0] for t in graph.triples]
    assert shown == ["1,200.5제곱미터", "예", "1998년 3월 2일"]
    assert graph.ignored == ["score"]


def test_ntriples_tells_labels_and_types_from_facts(tmp_path: Path) -> None:
    x, schema = "http://x.org/", "http://www.w3.org/2000/01/rdf-schema#label"
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
    path = write(
        tmp_path / "g.nt",
        "# a comment\n\n"
        f'<{x}Seoul> <{schema}> "서울"@ko .\n'
        f'<{x}Seoul> <{schema}> "Séoul"@fr .\n'
        f"<{x}Seoul> <{rdf}> <{x}City> .# behind a triple\n"
        f"<{x}Korea>\t<{x}hasCapital> <{x}Seoul>.\n"
        f"<{x}Korea> <{x}part> _:b0 .\n"
        f'<{x}Korea> <{x}founded> "1948"^^<http://www.w3.org/2001/XMLSchema#gYear> .\n'
        f'<{x}Korea> <{x}said> "\\uC548\\u0022\\t\\U0001F600" .\n'
        f"<{x}Korea> <{x}page> <https://korea.example/> .\n"
        f'<{x}Korea> <{x}page> "https://korea.example/a/b" .\n',
    )
    graph = read_graph(path)
    assert [(t.relation, t.object, t.kind) for t in graph.triples] == [
        (f"{x}hasCapital", f"{x}Seoul", "name"),
        (f"{x}founded", "1948", "date"),
        (f"{x}said", '안" 😀', "name"),
        (f"{x}page", "https://korea.example/", "name"),
        (f"{x}page", "https://korea.example/a/b", "name"),
    ]
    assert graph.label("https://korea.example/", "ko") == "https://korea.example/"
    assert graph.label("https://korea.example/a/b", "ko") == "https://korea.example/a/b"
    assert graph.counts == {
        "fact": 5, "label": 1, "type": 1, "other_language": 1, "blank_node": 1,
    }  # fmt: skip
    assert graph.label(f"{x}Seoul", "ko") == "서울"
    assert graph.label(f"{x}Korea", "ko") == "Korea"
    assert graph.label(f"{x}hasCapital", "en", words=True) == "has capital"


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Co", "Zl", "Zp")), min_size=1))
def test_any_escaped_text_is_read_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    escaped = "".join(f"\\U{ord(char):08X}" for char in text)
    plainly = text.replace("\\", "\\\\").replace('"', '\\"')
    path = tmp_path_factory.mktemp("nt") / "g.nt"
    start = "<http://x.org/s> <http://x.org/p> "
    write(path, f'{start}"{escaped}" .\n{start}"{plainly}" .\n')
    one, two = ntriples_statements(path)
    assert not isinstance(one, Problem)
    assert not isinstance(two, Problem)
    assert one.object == two.object


S, P = "<http://x.org/s>", "<http://x.org/p>"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{S} {P} <http://x.org/o>", "column 51: found '', expected ' .'"),
        (f"{S} {P} .", "column 35: found '.' as object"),
        (f"{S} http://x.org/p {S} .", "column 18: found 'http://x.org/p <http' as predicate"),
        (f'"a" {P} {S} .', "column 1: found a literal node as subject"),
        (f"{S} _:p {S} .", "column 18: found a blank node as predicate"),
        (f"<relative> {P} {S} .", "column 1: found <relative>, expected an absolute IRI"),
        (f'{S} {P} "a\\q" .', "column 35: found '\"a"),
        (f'{S} {P} "open .', "column 35: found '\"open .'"),
        (f'{S} {P} "a"^^xsd:int .', "column 40: expected the <IRI> of a datatype"),
        (f'{S} {P} "\\uD800" .', "column 35: \\uD800 is no character"),
        (f"{S} {P} {S} . {S}", "column 51: found ' . <http://x.org/s>', expected"),
        (f"<http://x.org/a b> {P} {S} .", "column 1: found '<http://x.org/a b> <' as subject"),
        (f'{S} {P} "2019-13-01"^^<http://www.w3.org/2001/XMLSchema#date> .', "expected a date"),
        (f'{S} {P} "a\\u0000b" .', "the object holds the character U+0000"),
    ],
)
def test_a_wrong_triple_is_named_with_line_and_column(
    tmp_path: Path, line: str, expected: str
) -> None:
    path = write(tmp_path / "g.nt", f"{S} {P} {S} .\n{line}\n")
    (found,) = problems(path)
    assert found.startswith(f"{path}:2: ")
    assert expected in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("subject,relation\na,b\n", "1: column 'object' is missing; found subject, relation"),
        ("subject,relation,object,subject\na,b,c,d\n", "1: column 'subject' is there twice"),
        ("subject,relation,object,subjct_ko\na,b,c,d\n", "did you mean 'subject_ko'?"),
        ("subject,relation,object\na,b\n", "2: found 2 fields, expected 3"),
        ("subject,relation,object\na,b,c,d\n", "2: found 4 fields, expected 3"),
        ("subject,relation,object\na, ,c\n", "2: 'relation' is empty"),
        ("subject,relation,object\na,b,\x07\n", "2: 'object' holds the character U+0007"),
        ('subject,relation,object\n"a"x,b,c\n', "2: not valid CSV"),
        ('subject,relation,object\na,b,c\na,b,"c\n', "not valid CSV"),
        ("subject,relation,object,object_type\na,b,soon,date\n", "2: found 'soon', expected a d"),
        ("subject,relation,object,object_type\na,b,many,number\n", "2: found 'many', expected a n"),
        ("subject,relation,object,unit\na,b,wide,km\n", "2: unit 'km': found 'wide', expected"),
        ("", "column 'subject' is missing; found nothing"),
        ("subject,relation,object\n", "no fact found"),
        ("subject,relation,object\na,b," + "x" * 2001 + "\n", "2: 'object' has 2001 characters"),
    ],
)
def test_a_wrong_csv_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(write(tmp_path / "g.csv", text))
    assert expected in found


def test_the_line_of_a_row_is_that_of_its_beginning(tmp_path: Path) -> None:
    path = write(tmp_path / "g.csv", 'subject,relation,object\n"a\nb",r,"x\ny"\nonly,two\n')
    assert problems(path) == [
        f"{path}:5: found 2 fields, expected 3: subject,relation,object; quote a value with a comma"
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "not valid JSON"),
        ("[1]", "found list, expected an object"),
        ('{"subject": "a", "relation": "b"}', "column 'object' is missing"),
        ('{"subject": "a", "relation": "b", "object": ["c"]}', "'object' is list"),
        ('{"subject": "a", "relatoin": "b", "object": "c"}', "column 'relation' is missing"),
        ('{"subject": "a", "head": "z", "relation": "b", "object": "c"}', "is there twice"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_wrong_json_line_is_named(tmp_path: Path, line: str, expected: str) -> None:
    good = '{"subject": "a", "relation": "b", "object": "c"}\n'
    path = write(tmp_path / "g.jsonl", good + line + "\n")
    (found,) = problems(path)
    assert found.startswith(f"{path}:2: ")
    assert expected in found


def test_other_encodings_and_endless_lines_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "g.csv"
    path.write_bytes("subject,relation,object\n가온,본사,서울\n".encode("cp949"))
    assert f"{path}:2: byte 1 is no UTF-8; save the file as UTF-8" in problems(path)[0]
    path.write_bytes(b"subject,relation,object\n" + b"a" * 1_000_001)
    assert "longer than 1000000 bytes" in problems(path)[0]
    monkeypatch.setattr(graphs, "MAX_TRIPLES", 2)
    write(path, "subject,relation,object\n" + "".join(f"a,b,c{i}\n" for i in range(9)))
    assert problems(path) == [f"{path}:4: more than 2 triples"]


def test_ten_problems_are_named_and_no_more(tmp_path: Path) -> None:
    path = write(tmp_path / "g.csv", "subject,relation,object\n" + "a,b\n" * 50)
    assert len(problems(path)) == 10


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in problems(tmp_path / "g.csv")[0]
    assert "found '.xml', expected one of" in problems(write(tmp_path / "g.xml", ""))[0]


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ko", "en"),
    [
        ("2019-03-05", "2019년 3월 5일", "March 5, 2019"),
        ("2019. 3. 5.", "2019년 3월 5일", "March 5, 2019"),
        ("2019년 3월", "2019년 3월", "March 2019"),
        ("350 km", "350킬로미터", "350 kilometers"),
        ("1,234,567명", "1,234,567명", "1,234,567 people"),
        ("1 명", "1명", "1 person"),
        ("-5.50 ℃", "-5.50도", "-5.50 degrees Celsius"),
        ("1200원", "1,200원", "1,200 won"),
        ("12345", "12345", "12345"),  # may be a code
        ("3층", "3층", "3층"),  # may be the third floor
        ("010-1234-5678", "010-1234-5678", "010-1234-5678"),
        ("2019-02-30", "2019-02-30", "2019-02-30"),
        ("v2.1", "v2.1", "v2.1"),
    ],
)
def test_a_value_is_written_as_each_language_writes_it(text: str, ko: str, en: str) -> None:
    found = kind_of(text)
    assert renderings(found[1], found[0], found[2], "ko")[0] == ko
    assert renderings(found[1], found[0], found[2], "en")[0] == en


@given(st.integers(min_value=0, max_value=10**20 - 1))
def test_myriads_are_exact(number: int) -> None:
    powers = {"만": 10**4, "억": 10**8, "조": 10**12, "경": 10**16}
    for written in renderings(str(number), "number", "", "ko"):
        parts = re.findall(r"([\d,]+)([만억조경]?)", written)
        assert sum(int(n.replace(",", "")) * powers.get(p, 1) for n, p in parts) == number


# -- templates -------------------------------------------------------------------------------------


def built_in(root: Path, language: str) -> Any:
    path = root / "src/samdan/data/synthesis" / f"{language}.yaml"
    return plain(parse_yaml(path.read_text("utf-8"), path.name))


def strings(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [text for child in children for text in strings(child)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_built_in_templates_use_places_and_modifiers_of_their_language(
    root: Path, language: str
) -> None:
    allowed = PARTICLES.keys() if language == "ko" else ENGLISH_MODIFIERS
    names = {"s", "o", "q", "n", "ns", "t", "a", "s2", "o2", "m", "n2"}
    for text in strings(built_in(root, language)):
        for name, modifier in places(text):
            assert name in names, text
            assert not modifier or modifier in allowed, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_name_stands_for_two_relations(root: Path, language: str) -> None:
    for kind in ("relations", "types"):
        names = Counter(
            name
            for entry in built_in(root, language)[kind]
            for name in {norm(name) for name in entry["names"]}
        )
        assert [name for name, count in names.items() if count > 1] == []


def test_every_korean_sentence_can_be_polite_reported_and_joined(root: Path) -> None:
    tree, grammar = built_in(root, "ko"), GRAMMARS["ko"]
    kinds = ("frames", "name_frames", "phrase_frames", "text_frames", "partial_frames")
    texts = [text for name in kinds for text in tree["phrases"][name]]
    texts += [text for entry in tree["relations"] for text in entry["sentences"]]
    for text in texts:
        assert text.endswith(("다.", "|이다}.")), text
        assert grammar.polite(text).endswith("니다."), text
        assert grammar.reported(text).endswith(("고 한다.", "|이라고} 한다.")), text
        if text.startswith("{s|은} "):
            assert grammar.joined(text, "{s}의 {n|은} {o|이다}.", 0) is not None, text


KOREAN = [
    ("{s|은} {o|이다}.", "{s|은} {o}입니다.", "{s|은} {o|이라고} 한다."),
    ("{s|은} {o}의 {n}이다.", "{s|은} {o}의 {n}입니다.", "{s|은} {o}의 {n|이라고} 한다."),
    ("{s|은} 자회사이다.", "{s|은} 자회사입니다.", "{s|은} 자회사라고 한다."),
    ("{s|은} 곳이다.", "{s|은} 곳입니다.", "{s|은} 곳이라고 한다."),
    ("{s|은} “{o}”이다.", "{s|은} “{o}”입니다.", "{s|은} “{o}”라고 한다."),
    ("{s|은} 있다.", "{s|은} 있습니다.", "{s|은} 있다고 한다."),
    ("{s|은} 설립했다.", "{s|은} 설립했습니다.", "{s|은} 설립했다고 한다."),
    ("{s|은} 만든다.", "{s|은} 만듭니다.", "{s|은} 만든다고 한다."),
    ("{s|은} 일한다.", "{s|은} 일합니다.", "{s|은} 일한다고 한다."),
    ("{s|은} 맡는다.", "{s|은} 맡습니다.", "{s|은} 맡는다고 한다."),
    ("{s|은} 크다.", "{s|은} 큽니다.", "{s|은} 크다고 한다."),
    ("{s|은} 좋아요.", "{s|은} 좋아요.", "{s|은} 좋아요."),
]


@pytest.mark.parametrize(("text", "polite", "reported"), KOREAN)
def test_korean_styles_are_made_from_the_plain_one(text: str, polite: str, reported: str) -> None:
    assert GRAMMARS["ko"].polite(text) == polite
    assert GRAMMARS["ko"].reported(text) == reported


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("{s|은} 있다.", "{s}의 {n|은} {o|이다}.", "{s|은} 있으며, {n|은} {o|이다}."),
        ("{s|은} 만든다.", "{s|은} 있다.", "{s|은} 만들며, 있다."),
        ("{s|은} 일한다.", "{s|은} 있다.", "{s|은} 일하며, 있다."),
        ("{s|은} 맡는다.", "{s|은} 있다.", "{s|은} 맡으며, 있다."),
        ("{s}의 {n|은} {o|이다}.", "{s}의 {n|은} 크다.", "{s}의 {n|은} {o}이며, {n|은} 크다."),
        # The second would be said of the first one's topic.
        ("{s}의 {n|은} {o|이다}.", "{s|은} 있다.", None),
        ("{o|은} {s}의 {n}이다.", "{s|은} 있다.", None),
        ("{s|은} 있다.", "{o|이} {s|을} 세웠다.", None),
    ],
)
def test_korean_sentences_are_joined_where_it_is_right(
    first: str, second: str, joined: str | None
) -> None:
    found = GRAMMARS["ko"].joined(first, second, 0)
    assert (None if found is None else "".join(found)) == joined


def test_english_modifiers() -> None:
    values = {"a": "actor", "u": "university", "d": "March 5, 2019", "y": "2019", "n": "birth date"}
    text = "{a|a} {u|a} {d|on} {y|on} {n|cap}"
    filled = "an actor a university on March 5, 2019 in 2019 Birth date"
    assert fill(text, values, "en") == filled
    assert fill("It reads “{x}”.", {"x": "Done."}, "en") == "It reads “Done.”"


def test_a_value_is_never_read_as_a_template() -> None:
    assert fill("{s|은} {o}", {"s": "{o}", "o": "{s|을}"}, "ko") == "{o}는 {s|을}"


USER = """\
language: ko
relations:
  - names: [대표이사, madeUp, 으뜸관계]
    noun: 으뜸
    value: person
    sentences: ["{s}에서는 {o|이} 으뜸이다."]
    questions: ["{s}의 으뜸은 누구인가요?"]
types:
  - {names: [회사], label: 일터}
"""


def test_templates_of_the_user_come_first(tmp_path: Path) -> None:
    user = load_templates(write(tmp_path / "own.yaml", USER))
    templates = Templates("ko", [("own.yaml", user)])
    wording = templates.wording(["madeUp"])
    assert wording.noun == "으뜸"
    assert wording.sentences[0] == (
        "own.yaml:대표이사.sentences.0",
        "{s}에서는 {o|이} 으뜸이다.",
    )
    assert templates.wording(["대표이사"]).sentences == wording.sentences
    assert templates.type_of(["company"]) == ("일터", "thing")
    assert Templates("en", [("own.yaml", user)]).wording(["으뜸관계"]).noun == "chief executive"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{o|이} 으뜸", "{x} {o} 으뜸", "own.yaml:6:17: relations[0].sentences[0]: unknown place"),
        ("{o|이}", "{o|쯤}", "unknown modifier '쯤'"),
        ("{o|이}", "{o.__class__}", "a place is {name} or {name|modifier}"),
        ("{o|이}", "{o!r}", "a place is {name}"),
        ("{o|이}", "{o:>9999999999}", "a place is {name}"),
        ("{o|이}", "{o", "a place is {name}"),
        ("{o|이} ", "", "the place {o} is missing"),
        ("noun: 으뜸", "nuon: 으뜸", "own.yaml:4:5: relations[0].nuon: unknown key; did you mean"),
        ("value: person", "value: who", "expected 'person', 'place'"),
        ("language: ko", "language: de", "own.yaml:1:1: language: found 'de', expected 'ko' or"),
        ("language: ko", "language: &a ko\nb: *a", "YAML aliases (*name) are not read here"),
        ("language: ko", "language: !!python/object:os.system ko", "language"),
        ("relations:", "relations: [", "not valid YAML"),
    ],
)
def test_wrong_user_templates_are_named(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = write(tmp_path / "own.yaml", USER.replace(old, new, 1))
    if "python/object" in new:  # a tag is not obeyed: the value is the plain text
        assert load_templates(path).language == "ko"
        return
    with pytest.raises(DataError) as caught:
        load_templates(path)
    assert expected in str(caught.value)


def test_a_relation_is_found_by_any_of_its_names_and_keeps_its_own_noun() -> None:
    ko, en = Templates("ko"), Templates("en")
    assert ko.wording(["founded by"]).noun == "설립자"
    assert ko.wording(["창업자"]).noun == "창업자"
    assert ko.wording(["설립"]).noun == "설립 시기"
    assert en.wording(["창업자"]).noun == "founder"
    assert en.wording(["지역"]).sentences == ()  # the name of a type, not of a relation
    for name, is_noun in (("색깔", True), ("설립하다", False), ("flows through", False)):
        assert ko.wording([name]).is_noun == (is_noun and name == "색깔")
    assert not en.wording(["governs"]).is_noun
    assert en.wording(["number of doors"]).is_noun


# -- generation ------------------------------------------------------------------------------------

PEOPLE = ("김", "이", "박", "최", "정", "한")
NAMES = [f"뷁{a}{b}" for a in "가노두리" for b in "온별라수"]


def make_graph(path: Path) -> Graph:
    """Companies whose every name and value begins with a syllable that no template holds."""
    lines = ["subject,relation,object,subject_type,object_type,unit"]
    for i, name in enumerate(NAMES):
        boss, town = f"뷁{PEOPLE[i % 6]}{'준하을'[i % 3]}", f"뷁{'강산들'[i % 3]}시"
        lines += [
            f"{name},대표이사,{boss},회사,인물,",
            f"{name},본사,{town},,도시,",
            f"{name},설립일,{1901 + i}-0{i % 9 + 1}-1{i % 9},,,",
            f"{name},직원 수,{10_000 + 37 * i},,number,명",
            f"{name},사훈,뷁{i}말을 뷁{i}글처럼 아끼고 지킨다.,,text,",
            f"{name},governs,뷁{'갸냐댜'[i % 3]}력,,,",
            *(f"{name},제품,{name}{kind},,," for kind in ("폰", "북")),
        ]
        if i:
            lines.append(f"{name},모회사,{NAMES[i - 1]},,,")
    towns = zip("강산들", "579", strict=True)
    lines += [f"뷁{town}시,인구,{number}0000,,number,명" for town, number in towns]
    return read_graph(write(path, "\n".join(lines) + "\n"))


def generated(
    graph: Graph, out: Path, language: Any = "ko", **wish: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    with Output(out) as output:
        part = generate(graph, Templates(language), Wish(**wish), output)
        summary = output.finish(part, part["drafts"])
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()], summary


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, list[dict[str, Any]], Any]:
    folder = tmp_path_factory.mktemp("graph")
    graph = make_graph(folder / "g.csv")
    rows, summary = generated(graph, folder / "out.jsonl", variants=28)
    return graph, rows, summary


FIGURE = re.compile(r"\d{4}년 \d+월 \d+일|[\d,]+(?:만(?: [\d,]+)?)? ?명")
NAME = re.compile(r"뷁\d+말을 뷁\d+글처럼 아끼고 지킨다\.?|뷁[가-힣]{2}[폰북]?")


def mentioned(text: str) -> set[str]:
    """Everything in a text that is a name, a text, a date or a number of the graph, or could be."""
    names = set(NAME.findall(text))
    left = NAME.sub(" ", text)
    return names | set(FIGURE.findall(left)) | set(re.findall(r"\d+", FIGURE.sub(" ", left)))


def made_up(index: Index, row: dict[str, Any]) -> set[str]:
    """What a text mentions and the triples of its lineage do not hold, and the other way round."""
    told = [t for t in index.graph.triples if t.id in row["lineage"]["triples"]]
    allowed, missing = set(), set()
    found = mentioned(row["text"])
    for triple in told:
        ways = set(index._written(triple, triple.relation))
        allowed |= ways | {triple.subject}
        if not ways & found:
            missing.add(triple.object)
    return (found - allowed) | missing


def test_every_value_in_a_text_is_one_of_the_triples_it_names(made: Any) -> None:
    graph, rows, _ = made
    index = Index(graph, Templates("ko"))
    for row in rows:
        assert row["lineage"]["triples"]
        assert made_up(index, row) == set(), row["text"]


def test_a_made_up_value_is_found(made: Any) -> None:
    """The negative control: another company's value, a changed number, a lost fact."""
    graph, rows, _ = made
    row = next(r for r in rows if "대표이사" in r["text"] and r["lineage"]["style"] == "listing")
    told = row["lineage"]["triples"]
    bosses = [t for t in graph.triples if t.relation == "대표이사"]
    boss = next(t for t in bosses if t.id in told)
    other = next(t.object for t in bosses if t.object != boss.object)
    changed = row | {"text": row["text"].replace(boss.object, other)}
    index = Index(graph, Templates("ko"))
    assert made_up(index, row) == set()
    assert made_up(index, changed) == {boss.object, other}
    assert made_up(index, row | {"text": row["text"] + " 1999년 1월 1일"}) == {"1999년 1월 1일"}


def test_a_line_of_a_listing_or_table_says_the_right_relation(made: Any) -> None:
    graph, rows, _ = made
    index = Index(graph, Templates("ko"))
    known = {
        (t.subject, index.wording(t.relation).noun.lower(), way)
        for t in graph.triples
        for way in index._written(t, t.relation)
    }
    lines = 0
    for row in rows:
        if row["lineage"]["style"] not in ("listing", "table"):
            continue
        subject = next(name for name in NAME.findall(row["text"]))
        for line in row["text"].splitlines()[1:]:
            cells = re.match(ITEM, line)
            if cells and (values := [c for c in cells.groups() if c])[0] not in HEADS:
                noun, objects = values
                lines += 1
                parts = objects.split(", 뷁")
                for part in [parts[0], *("뷁" + part for part in parts[1:])]:
                    assert (subject, noun.lower(), part) in known, row["text"]
    assert lines > 100


def test_a_table_of_subjects_puts_every_value_under_its_relation(made: Any) -> None:
    graph, rows, _ = made
    index = Index(graph, Templates("ko"))
    cells: dict[tuple[str, str], set[str]] = {}
    for triple in graph.triples:
        noun = index.wording(triple.relation).noun
        ways = index._written(triple, triple.relation)
        cells.setdefault((triple.subject, noun), set()).update(ways)
    checked = 0
    for row in rows:
        if row["lineage"]["style"] != "peers":
            continue
        head, _, *lines = (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in row["text"].splitlines()
            if line.startswith("|")
        )
        for name, *values in lines:
            for noun, value in zip(head[1:], values, strict=True):
                known = cells[name, noun[:1].lower() + noun[1:]]
                assert set(re.split("[과와] (?=뷁)", value)) <= known, row["text"]
                checked += 1
    assert checked > 50


ITEM = r"(?:[-*•·] )?([^:|]+?)(?:: | - )(.+)$|\| ([^|]+) \| ([^|]+) \|$"
HEADS = ("구분", "항목", "속성")


def test_every_style_is_written_and_every_fact_told(made: Any) -> None:
    graph, rows, summary = made
    assert set(summary["styles"]) == set(STYLES)
    coverage = summary["coverage"]
    assert coverage["facts"] == len(graph.triples)
    assert coverage["below"] == 0
    assert coverage["mentions_at_least"] >= 5
    assert coverage["wordings_at_least"] >= 5
    counted = Counter(id_ for row in rows for id_ in row["lineage"]["triples"])
    assert sum(counted.values()) == coverage["facts_x_mentions"]
    assert summary["relations"]["quoted"] == ["governs"]


def test_few_variants_are_topped_up_until_every_fact_is_told(tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "g.csv")
    _, summary = generated(graph, tmp_path / "out.jsonl", variants=1, min_mentions=7)
    assert summary["coverage"]["below"] == 0
    assert summary["coverage"]["mentions_at_least"] >= 7
    _, without = generated(graph, tmp_path / "out.jsonl", variants=1, min_mentions=0)
    assert without["out"] + without["dropped"].get("duplicate", 0) == len(NAMES) + 3
    assert without["coverage"]["mentions_at_least"] == 0


def test_what_cannot_be_told_often_enough_is_said(tmp_path: Path) -> None:
    graph = read_graph(write(tmp_path / "g.csv", "subject,relation,object\n가온,사훈,정직\n"))
    wish = {"variants": 3, "min_mentions": 30, "styles": ("listing",)}
    rows, summary = generated(graph, tmp_path / "out.jsonl", **wish)
    assert summary["coverage"]["below"] == 1
    assert summary["coverage"]["first_below"] == ["g.csv:2"]
    assert summary["dropped"]["duplicate"] > 0
    assert len({row["text"] for row in rows}) == len(rows)


def test_accounts_lineage_and_drops(made: Any, tmp_path: Path) -> None:
    graph, rows, summary = made
    assert summary["in"] == summary["out"] + sum(summary["dropped"].values())
    assert summary["out"] == len(rows)
    assert set(rows[0]) == {"text", "source", "lineage"}
    assert rows[0]["source"] == "synthetic"
    assert set(rows[0]["lineage"]) == {
        *("method", "language", "style", "templates", "triples", "teacher", "seed", "samdan")
    }
    generated(graph, tmp_path / "out.jsonl", variants=40)
    drops = beside(tmp_path / "out.jsonl", "dropped.jsonl").read_text("utf-8").splitlines()
    reasons = Counter(json.loads(line)["reason"] for line in drops)
    report = json.loads(beside(tmp_path / "out.jsonl", "summary.json").read_text("utf-8"))
    assert reasons == report["dropped"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "g.csv")
    texts = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / f"{number}.jsonl"
        generated(graph, out, variants=4, seed=seed)
        texts.append(out.read_bytes())
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_subject_is_told_the_same_whatever_else_the_graph_holds(tmp_path: Path) -> None:
    head = "subject,relation,object\n가온,사훈,정직\n가온,상징,소나무\n"
    alone = read_graph(write(tmp_path / "a.csv", head))
    more = read_graph(write(tmp_path / "b.csv", head + "나라,표어,믿음\n"))
    one, _ = generated(alone, tmp_path / "a.jsonl", styles=("qa", "article"))
    two, _ = generated(more, tmp_path / "b.jsonl", styles=("qa", "article"))
    assert [r["text"] for r in one] == [r["text"] for r in two][: len(one)]


def test_particles_in_generated_text_fit(made: Any) -> None:
    """No double form, and none of the wrong ones behind the names of the graph."""
    _, rows, _ = made
    closed, open_ = "[온별강산들준을폰북]", "[라수하시]"
    for row in rows:
        assert graph_fault(row["text"], 1) == ""
        assert not re.search(f"뷁[가-힣]{closed}(는|를|가|와)[ .,]", row["text"]), row["text"]
        assert not re.search(f"뷁[가-힣]{open_}(은|을|과)[ .,]", row["text"]), row["text"]


def test_english_text_has_no_hangul_around_the_names(tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "g.csv")
    rows, summary = generated(graph, tmp_path / "out.jsonl", "en", variants=14)
    assert set(summary["styles"]) == set(STYLES)
    for row in rows:
        left = re.sub(r"사훈|\(?company\)?", "", NAME.sub("", row["text"]))
        assert not re.search("[가-힣]", left), row["text"]
        assert "  " not in row["text"]
    names = {t.subject for t in graph.triples}
    names |= {t.object for t in graph.triples if t.kind == "name"}
    part = summary["names"]
    assert part == {"all": len(names), "without_label": len(names)}


def test_several_objects_are_never_told_as_the_only_one(tmp_path: Path) -> None:
    many = "".join(f"가온,부품,뷁{a}온\n" for a in "가나다라마바")
    graph = read_graph(write(tmp_path / "g.csv", "subject,relation,object\n" + many))
    rows, _ = generated(graph, tmp_path / "out.jsonl", styles=("sentence", "article"))
    for row in rows:
        assert "등" in row["text"]


def test_an_unreadable_name_drops_what_would_be_wrong(tmp_path: Path) -> None:
    graph = read_graph(write(tmp_path / "g.csv", "subject,relation,object\n洪吉童,호,淸隱\n"))
    rows, summary = generated(graph, tmp_path / "out.jsonl")
    assert summary["dropped"]["unknown_reading"] > 0
    assert all("(는)" not in row["text"] for row in rows)


def test_what_is_no_noun_is_quoted(tmp_path: Path) -> None:
    text = (
        "subject,relation,object,object_type\n가온전,저자,미상,\n가온전,상장 여부,true,boolean\n"
        "가온전,누리집,https://gaon.example/a,\n"
    )
    graph = read_graph(write(tmp_path / "g.csv", text))
    wish = {"variants": 20, "styles": ("sentence", "article", "news", "paraphrase", "link")}
    rows, summary = generated(graph, tmp_path / "out.jsonl", **wish)
    assert summary["coverage"]["below"] == 0
    told = " ".join(row["text"] for row in rows)
    assert "“미상”이라고 적혀 있다" in told
    assert "“예”라고" in told
    assert not re.search("[^“]미상|미상[^”]|[^“]예라|여부[가는] 예", told)
    assert set(re.findall(r"https?:[^\s가-힣’]+", told)) == {"https://gaon.example/a"}


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", '{"text": "a"}\n')
    with pytest.raises(DataError, match="was not written by samdan synthesize"):
        Output(path)
    for name in ("mine.txt", "."):
        with pytest.raises(DataError):
            Output(tmp_path / name)
    assert path.read_text() == '{"text": "a"}\n'


def test_a_failure_leaves_the_former_output_alone(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Output(out) as output:
        output.keep("one", {})
        output.finish({}, 1)
    before = sorted(path.name for path in tmp_path.iterdir())

    def fail(asked: int) -> None:
        with Output(out) as output:
            output.keep("two", {})
            output.finish({}, asked)

    with pytest.raises(AssertionError, match="3 texts in, 1 out, 0 dropped"):
        fail(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert '"one"' in out.read_text("utf-8")
