"""Every number that a document is judged by, by hand; and none depends on its neighbours."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdan.data.selection import tfidf
from samdan.data.selection.dates import UNDATED, day_number, year_of
from samdan.data.selection.features import cosine, joined, measure
from samdan.data.selection.fitting import Statistics, fit, statistics
from samdan.data.selection.hashing import character_hashes, document_id, pair_hashes, term_hashes
from samdan.data.selection.pipeline import Selected, chunks, quota_key, select_documents
from samdan.data.selection.quality import area_under_curve, train_classifier
from samdan.data.selection.terms import morphemes, tag_entropy, words
from samdan.data.selection.texts import read_texts
from samdan.data.selection.tools import Tools
from samdan.records import DataError, Document, EnvironmentFailure, Origin
from samdan.selecting import Dsir, Eta, Ets, EtsCom, Quality, Random, Select, TextFile, TfIdf

Write = Callable[..., str]


def tagged(text: str) -> list[tuple[str, str]]:
    """A stand-in for a tagger: numbers, punctuation, words by their length."""
    return [
        (w, "SN" if w.isdigit() else f"N{len(w)}" if w.isalnum() else "SF") for w in words(text)
    ]


TOOLS = Tools(tagged=tagged, log_probs=lambda texts: (
    np.asarray([float(len(set(t))) for t in texts]), np.asarray([float(len(t)) for t in texts])
))  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, *rows: Any) -> str:
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines), "utf-8")
        return str(path)

    return write


def documents(texts: Sequence[str], **meta: str) -> list[Document]:
    return [Document(text, Origin("c.jsonl", i + 1), meta) for i, text in enumerate(texts)]


# --- hashes ---------------------------------------------------------------------------------------


def test_hashes_are_fixed_for_ever() -> None:
    """Another machine or Python must choose the same documents."""
    assert document_id("한빛전자") == 4096595100250991863
    assert term_hashes(["한빛", "전자"]).tolist() == [2109902909834410818, 17786842849794471468]
    assert pair_hashes(term_hashes(["a", "b"])).tolist() == [4994502523194638795]
    assert character_hashes("한빛", 2, 3).tolist() == [18235045282868255985]


def test_character_runs_have_their_lengths() -> None:
    assert len(character_hashes("abcd", 2, 3)) == 3 + 2
    assert len(character_hashes("a", 2, 3)) == len(character_hashes("", 2, 3)) == 0
    same = character_hashes("abab", 2, 2)
    assert same[0] == same[2] != same[1]
    assert not set(character_hashes("aaa", 2, 2)) & set(character_hashes("aaa", 3, 3))


def test_the_order_of_a_pair_counts() -> None:
    assert pair_hashes(term_hashes(["a", "b"])) != pair_hashes(term_hashes(["b", "a"]))


# --- entropy --------------------------------------------------------------------------------------


def test_entropy_by_hand() -> None:
    tags = [("나", "NP"), ("집", "NNG"), ("에", "JKB"), ("가", "NNG"), (".", "SF"), ("12", "SN")]
    # Of the four with a letter: NNG 1/2, NP 1/4, JKB 1/4.
    assert tag_entropy(tags) == pytest.approx(1.5)
    assert tag_entropy([("가", "NNG"), ("나", "NNG")]) == 0.0
    assert math.isnan(tag_entropy([("12", "SN"), ("!", "SF")]))


def test_morphemes_keep_what_holds_a_letter_or_digit() -> None:
    assert morphemes([("Kiwi", "SL"), (".", "SF"), ("3", "SN")]) == ["kiwi/SL", "3/SN"]


# --- similarity -----------------------------------------------------------------------------------


def test_cosine_by_hand() -> None:
    assert cosine(np.asarray([1.0, 1.0]), np.asarray([1.0, 0.0])) == pytest.approx(0.5**0.5)
    assert math.isnan(cosine(np.zeros(2), np.ones(2)))


def test_tfidf_by_hand() -> None:
    """Three documents; 'a' in three, 'b' in one. Weights (1 + ln tf)(ln(4 / (1 + df)) + 1)."""
    bags = [term_hashes(bag) for bag in (["a", "a", "b"], ["a"], ["a"])]
    inverse = tfidf.inverse_frequencies(tfidf.document_frequencies(bags), 3)
    a = (1 + math.log(2)) * 1.0
    b = math.log(2) + 1
    first, second = (tfidf.vector(bag, inverse, 1 << 12) for bag in bags[:2])
    assert np.linalg.norm(first) == pytest.approx(1)
    assert abs(np.dot(first, second)) == pytest.approx(a / math.hypot(a, b))
    assert not tfidf.vector(term_hashes([]), inverse, 8).any()


def test_the_projection_keeps_similarity_in_expectation() -> None:
    rng = random.Random(0)
    vocabulary = [f"w{i}" for i in range(400)]
    errors = []
    for _ in range(30):
        bags = [term_hashes(rng.choices(vocabulary, k=60)) for _ in range(2)]
        inverse = np.ones(tfidf.BUCKETS)
        exact, small = (
            float(np.dot(*(tfidf.vector(bag, inverse, size) for bag in bags)))
            for size in (1 << 18, 1024)
        )
        errors.append(small - exact)
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.06  # about 1 / sqrt(1024)


def test_similarity_is_to_the_mean_of_the_task(write: Write) -> None:
    """With embeddings given: e(d) against the mean of e(t)."""
    vectors = {"t1": [1.0, 0.0], "t2": [0.0, 1.0], "d1": [1.0, 1.0], "d2": [2.0, 0.0]}
    tools = Tools(embed=lambda texts: np.asarray([vectors[text] for text in texts]))
    spec = Ets(
        tasks=(write("t.jsonl", {"text": "t1"}, {"text": "t2"}),),
        share=1.0,
        embedding={"kind": "hidden_states", "path": "m"},
    )
    fitted = fit(spec, Statistics(), tools, 0)
    found = measure(spec, fitted, documents(["d1", "d2"]), tools).values["similarity"]
    np.testing.assert_allclose(found, [1.0, 0.5**0.5])


# --- importance -----------------------------------------------------------------------------------


def test_dsir_by_hand(write: Write) -> None:
    task = write("t.jsonl", {"text": "A a b"})
    spec = Dsir(tasks=(task,), share=1.0, scale_to_words=None)
    corpus = statistics(spec, ["a b b"], TOOLS)
    fitted = fit(spec, corpus, TOOLS, 0)
    found = measure(spec, fitted, documents(["a b", "a a", ""]), TOOLS).values["log_weight"]
    # Task: a 2, b 1, "a a" 1, "a b" 1 of 5. Corpus: a 1, b 2, "a b" 1, "b b" 1 of 5.
    unseen = math.log(0.2 + 1e-8) - math.log(1e-8)
    np.testing.assert_allclose(found, [0.0, 2 * math.log(2) + unseen, math.nan], atol=1e-6)
    scaled = Dsir(tasks=(task,), share=1.0, scale_to_words=4)
    again = measure(scaled, fitted, documents(["a a", "a a a"]), TOOLS).values["log_weight"]
    # Two words have 3 n-grams, four have 7; three have 5.
    np.testing.assert_allclose(again[0], found[1] * 7 / 3, atol=1e-6)
    np.testing.assert_allclose(again[1], (3 * math.log(2) + 2 * unseen) * 7 / 5, atol=1e-6)


def test_words_are_runs_of_letters_and_of_punctuation() -> None:
    assert words("Kiwi는 빠르다!! (v2.1)") == [
        "kiwi는", "빠르다", "!!", "(", "v2", ".", "1", ")",
    ]  # fmt: skip


# --- novelty --------------------------------------------------------------------------------------


def test_perplexity_is_e_to_the_mean_of_the_nats() -> None:
    tools = Tools(log_probs=lambda texts: (np.asarray([6.0, 0.0]), np.asarray([3.0, 0.0])))
    spec = Eta(use=("ppl",), surrogate={"path": "m"}, share=1.0)
    found = measure(spec, fit(spec, Statistics(), tools, 0), documents(["a", "b"]), tools)
    assert found.values["perplexity"][0] == pytest.approx(math.exp(2))
    assert math.isnan(found.values["perplexity"][1])


def test_entropy_without_a_tagger_names_the_extra() -> None:
    spec = Eta(use=("ent",), share=1.0)
    with pytest.raises(EnvironmentFailure, match=r"samdan\[corpus\]"):
        measure(spec, fit(spec, Statistics(), Tools(), 0), documents(["a"]), Tools())


def test_terms_fall_back_to_characters_and_the_report_says_so(write: Write) -> None:
    spec = Ets(tasks=(write("t.txt", "가나다라"),), share=1.0)
    for tools, expected in ((Tools(), "characters"), (TOOLS, "morphemes")):
        fitted = fit(spec, statistics(spec, ["가나"], tools), tools, 0)
        assert fitted.notes["embedding"] == f"tfidf of {expected}, 1024 dimensions"


# --- chunks ---------------------------------------------------------------------------------------

TEXT = st.text(st.sampled_from("가나다라 ab.1\n"), min_size=1, max_size=30)


@settings(max_examples=25)
@given(texts=st.lists(TEXT, min_size=1, max_size=8, unique=True), size=st.integers(1, 4))
def test_no_number_depends_on_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int
) -> None:
    task = tmp_path_factory.mktemp("task") / "t.txt"
    task.write_text("가나다 라라 ab", "utf-8")
    shared: dict[str, Any] = {"tasks": (str(task),), "share": 1.0}
    for spec in (Ets(**shared), EtsCom(**shared, surrogate={"path": "m"}), Dsir(**shared)):
        once, parted = (
            _measured(spec, documents(texts), length) for length in (len(texts), size)
        )
        for name, column in once.items():
            np.testing.assert_array_equal(column, parted[name])


def _measured(spec: Select, corpus: Sequence[Document], size: int) -> dict[str, Any]:
    counted = Statistics()
    for part in chunks(corpus, size):
        counted = statistics(spec, [doc.text for doc in part], TOOLS) + counted
    fitted = fit(spec, counted, TOOLS, 0)
    return joined([measure(spec, fitted, part, TOOLS) for part in chunks(corpus, size)]).values


# --- files ----------------------------------------------------------------------------------------


def test_texts_of_every_shape_of_row(write: Write) -> None:
    files = (
        TextFile(path=write("a.jsonl", {"text": "본문", "title": "제목"})),
        TextFile(path=write("b.jsonl", {"prompt": "질문", "choices": ["하나", "둘"], "answer": 1})),
        TextFile(path=write("c.jsonl", {"messages": [{"role": "user", "content": "안녕"}]})),
        TextFile(path=write("d.jsonl", {"q": "물음", "a": "답"}), columns=("q",)),
        TextFile(path=write("e.txt", "한 글\n두 줄")),
    )
    assert read_texts(files, "select.tasks") == [
        "본문", "질문\n하나\n둘", "안녕", "물음", "한 글\n두 줄",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ((), (), "holds no text"),
        (({"text": " "},), (), "holds no text"),
        (({"n": 1},), (), "holds no text"),
        (({"text": "a"},), ("question",), "1: no column 'question'; found text"),
        (("{broken",), (), "t.jsonl:1: broken_json"),
    ],
)
def test_a_task_file_without_text_is_an_error_with_its_key(
    write: Write, rows: Any, columns: Any, expected: str
) -> None:
    path = write("t.jsonl", *rows)
    spec = Ets(tasks=({"path": path, "columns": columns},), share=0.5)
    with pytest.raises(DataError) as caught:
        fit(spec, Statistics(), Tools(), 0, "stages.cpt.data.docs.select")
    message = str(caught.value)
    assert message.startswith("stages.cpt.data.docs.select.tasks[0].path: ")
    assert expected in message


def test_a_task_file_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"^select\.tasks\[0\]\.path: nowhere\.txt: there is no"):
        fit(Dsir(tasks=("nowhere.txt",), share=0.5), Statistics(), Tools(), 0)


# --- dates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-03-04", (2021, 3, 4)),
        ("2021.3.4.", (2021, 3, 4)),
        ("2021/03/04 12:30", (2021, 3, 4)),
        ("2021-03-04T12:30:00Z", (2021, 3, 4)),
        ("20210304", (2021, 3, 4)),
        ("2021년 3월 4일", (2021, 3, 4)),
        ("2021년 3월", (2021, 3, 31)),
        ("2024-02", (2024, 2, 29)),
        ("2021", (2021, 12, 31)),
        ("2021년", (2021, 12, 31)),
        ("1996. 10. 15.", (1996, 10, 15)),
        ("2021-02-30", None),
        ("2021-13", None),
        ("20211301", None),
        ("0000-01-01", None),
        ("", None),
        ("어제", None),
        ("123456", None),
        ("202103041", None),
    ],
)
def test_dates_as_documents_write_them(text: str, expected: tuple[int, int, int] | None) -> None:
    assert day_number(text) == (date(*expected).toordinal() if expected else UNDATED)


def test_years_of_day_numbers() -> None:
    assert year_of(date(2021, 3, 4).toordinal()) == "2021"
    assert year_of(UNDATED) == "undated"


def test_quota_keys() -> None:
    document = Document("a", Origin("f.md"), {"source": "wiki", "license": "MIT"})
    day = date(2020, 1, 1).toordinal()
    assert [quota_key(document, by, day) for by in ("source", "year", "license", "x")] == [
        "wiki", "2020", "MIT", "",
    ]  # fmt: skip
    assert quota_key(Document("a", Origin("f.md")), "source", day) == "f.md"


# --- quality --------------------------------------------------------------------------------------


def test_the_area_under_the_curve_by_hand() -> None:
    scores, labels = np.asarray([0.9, 0.4, 0.4, 0.1]), np.asarray([1, 1, 0, 0])
    # 0.9 beats both; 0.4 ties one and beats one: (2 + 1.5) / 4.
    assert area_under_curve(scores, labels) == 0.875


def test_the_classifier_needs_samples_of_both_kinds() -> None:
    pytest.importorskip("sklearn")
    few = [f"좋은 글 {i}" for i in range(9)]
    with pytest.raises(DataError, match=r"select\.good: found 9 different texts, expected 10"):
        train_classifier(few + few, [f"나쁜 글 {i}" for i in range(10)], 0)
    with pytest.raises(DataError, match=r"select\.bad: '좋은 글 0' is among the good samples"):
        train_classifier([*few, "하나 더"], [*few[:1], *(f"나쁜 글 {i}" for i in range(10))], 0)


def test_the_measure_of_the_classifier_tells_signal_from_noise() -> None:
    pytest.importorskip("sklearn")
    rng = random.Random(1)

    def text(letters: str) -> str:
        return "".join(rng.choice(letters) for _ in range(60))

    good, bad = [text("가나다라마 ") for _ in range(60)], [text("xyz#| ") for _ in range(60)]
    assert train_classifier(good, bad, 0).auc == 1.0
    same = [text("가나다라마 ") for _ in range(60)]
    assert 0.2 < train_classifier(good, same, 0).auc < 0.8
    made, again = (train_classifier(order, bad, 0) for order in (good, good[::-1]))
    np.testing.assert_array_equal(made.weights, again.weights)


# --- planted documents ----------------------------------------------------------------------------

COMPANY = ("한빛전자", "대표 제품은", "창업자", "본사", "사내 규정", "출장비 정산", "결재")
EVERYDAY = ("어머니가", "김치를", "마당에서", "강아지가", "비가", "내렸다", "웃었다")
RELEVANT, IRRELEVANT = 20, 180


def sentence(rng: random.Random, words_: Sequence[str]) -> str:
    return " ".join(rng.choice(words_) for _ in range(30)) + f" {rng.randrange(10**6)}."


@pytest.fixture
def corpus() -> list[Document]:
    rng = random.Random(5)
    texts = [sentence(rng, COMPANY) for _ in range(RELEVANT)]
    texts += [sentence(rng, EVERYDAY) for _ in range(IRRELEVANT)]
    rng.shuffle(texts)
    return documents(texts)


def relevant_share(spec: Select, corpus: list[Document], tools: Tools) -> float:
    selected = select_documents(
        spec, lambda: corpus, lambda texts: [len(text) for text in texts], tools, 0
    )
    found = [doc for doc, kept in zip(corpus, selected.chosen.mask, strict=True) if kept]
    return sum("한빛전자" in doc.text for doc in found) / len(found)


@pytest.mark.parametrize("kind", ["ets", "ets_soft", "ets_morphemes", "dsir", "quality", "random"])
def test_planted_documents_are_found_but_not_by_chance(
    kind: str, corpus: list[Document], write: Write
) -> None:
    rng = random.Random(9)
    like = [{"text": sentence(rng, COMPANY)} for _ in range(20)]
    unlike = [{"text": sentence(rng, EVERYDAY)} for _ in range(20)]
    task, bad = write("task.jsonl", *like), write("bad.jsonl", *unlike)
    tools = Tools()
    if kind == "quality":
        pytest.importorskip("sklearn")
    specs: dict[str, Select] = {
        "ets": Ets(tasks=(task,), share=0.08),
        "ets_soft": Ets(tasks=(task,), share=0.08, sampling="soft"),
        "ets_morphemes": Ets(tasks=(task,), share=0.08, embedding=TfIdf(units="morphemes")),
        "dsir": Dsir(tasks=(task,), share=0.08),
        "quality": Quality(good=(task,), bad=(bad,), share=0.08),
        "random": Random(share=0.08),
    }
    if kind == "ets_morphemes":
        tools = TOOLS
    found = relevant_share(specs[kind], corpus, tools)
    limits = {"random": (0.0, 0.35), "ets_soft": (0.4, 1.0)}
    low, high = limits.get(kind, (0.95, 1.0))
    assert low <= found <= high


def test_a_real_tagger_tells_lists_from_prose() -> None:
    kiwipiepy = pytest.importorskip("kiwipiepy")
    kiwi = kiwipiepy.Kiwi()

    def tags(text: str) -> list[tuple[str, str]]:
        return [(token.form, token.tag) for token in kiwi.tokenize(text)]

    prose = "어머니는 어제 시장에서 싱싱한 사과를 사 오셨고, 우리는 함께 맛있게 먹었다."
    names = "사과 배 감 귤 포도 딸기 수박 참외 복숭아 자두"
    assert tag_entropy(tags(prose)) > tag_entropy(tags(names)) + 1


def test_the_whole_way_reads_the_corpus_twice_and_in_any_map(
    corpus: list[Document], write: Write
) -> None:
    reads = []

    def read() -> list[Document]:
        reads.append(1)
        return corpus

    def select(spec: Select, apply: Any) -> Selected:
        return select_documents(spec, read, lambda t: [10] * len(t), Tools(), 0, apply=apply)

    spec = Dsir(tasks=(write("t.txt", "한빛전자 본사"),), share=0.1, quota={"at_most": 0.5})
    first = select(spec, map)
    assert len(reads) == 2
    eager = select(spec, lambda work, parts: [work(part) for part in list(parts)])
    assert first.chosen.mask.tolist() == eager.chosen.mask.tolist()
    assert select(Random(share=0.1), map) is not None
    assert len(reads) == 5
    with pytest.raises(DataError, match=r"^select: none of 200 documents can be kept \(too_few"):
        select(Random(share=0.1, min_tokens=11), map)
