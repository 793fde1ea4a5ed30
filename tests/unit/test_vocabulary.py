"""Continued BPE: old text as before, new text exactly decomposed, every kind of tokenizer."""

from __future__ import annotations

import copy
import json
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import growing
import tiny
from samdan.grow.merges import learn
from samdan.grow.morphemes import cut_at_morphemes
from samdan.grow.tokens import Pieces, pieces_of
from samdan.grow.vocabulary import Vocabulary, grow_vocabulary
from samdan.grow.words import Words, count_words, distinct
from samdan.growing import Vocab
from samdan.growing.scripts import allowed
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.lm.growth import OldPieces
from samdan.lm.sentencepiece import read_sentencepiece
from samdan.lm.tokenizer import load_tokenizer, text_encoder
from samdan.records import DataError

CORPUS = growing.korean(300, 0)
SPEC = Vocab(merges=80, min_count=15)


def message(number: int, data: bytes | int) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(data, int):
        return bytes([number << 3, data])
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + data


def write_sentencepiece(path: Path, kind: int = 2) -> Path:
    """A small model of Mistral's kind: byte fallback, a space in front, merges by score."""
    words = ["계", "약", "계약", "▁", "▁계", "▁계약", "은", "을"]
    words += ["t", "h", "e", "th", "the", "▁the", "▁▁"]
    chars = sorted({char for text in CORPUS for char in text if char != " "} - set("손배상"))
    letters = [chr(code) for code in range(97, 123)]
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
    pieces += [(f"<0x{byte:02X}>", 6) for byte in range(256)]
    pieces += [(text, 1) for text in dict.fromkeys([*words, *chars, *letters])]
    data = b""
    for number, (text, piece_kind) in enumerate(pieces):
        score = struct.pack("<f", -float(number))
        inner = message(1, text.encode()) + bytes([2 << 3 | 5]) + score + message(3, piece_kind)
        data += message(1, inner)
    path.write_bytes(data + message(2, message(3, kind)) + message(3, message(3, 1)))
    return path


def metaspace() -> Any:
    """The newer form of the same kind: words are split by a pre-tokenizer."""
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, show_progress=False, limit_alphabet=100
    )
    backend.train_from_iterator(["the quick brown fox 계약은 원고"] * 5 + list(tiny.TEXTS), trainer)
    state = json.loads(backend.to_str())  # only the control tokens are special
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), unk_token="<unk>",
        bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def whole_words_first() -> Any:
    """Llama 3's kind: a word that is a token is not looked up by merges."""
    tokenizer = tiny.tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["ignore_merges"] = True
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    return tokenizer


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Vocabulary]]:
    home = tmp_path_factory.mktemp("kinds")
    kinds = {
        "byte_level": tiny.tokenizer(),
        "whole_words_first": whole_words_first(),
        "sentencepiece": read_sentencepiece(write_sentencepiece(home / "tokenizer.model")),
        "metaspace": metaspace(),
    }
    return {
        name: (tokenizer, grow_vocabulary(tokenizer, lambda: CORPUS, SPEC))
        for name, tokenizer in kinds.items()
    }


KINDS = ("byte_level", "whole_words_first", "sentencepiece", "metaspace")
every_kind = pytest.mark.parametrize("kind", KINDS)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return text_encoder(tokenizer).encode(text, add_special_tokens=False).ids


def old_ids(made: Vocabulary, ids: Sequence[int]) -> list[int]:
    return [old for token in ids for old in made.learned.pieces.get(token, (token,))]


@every_kind
def test_new_text_is_shorter_and_is_the_old_tokens_put_together(kind: str, grown: Any) -> None:
    old, made = grown[kind]
    before = sum(len(ids_of(old, text)) for text in CORPUS)
    after = sum(len(ids_of(made.tokenizer, text)) for text in CORPUS)
    assert after < 0.75 * before
    for text in CORPUS[:20]:
        ids = ids_of(made.tokenizer, text)
        assert old_ids(made, ids) == ids_of(old, text)
        assert made.tokenizer.decode(ids) == text


ANY = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
KOREAN = st.text(st.sampled_from(sorted({char for text in CORPUS for char in text})), max_size=40)
MIXED = st.lists(st.one_of(ANY, KOREAN, st.sampled_from(CORPUS)), max_size=4).map("".join)


@every_kind
@settings(max_examples=150)
@given(text=MIXED)
def test_any_text_is_the_old_encoding_put_together(kind: str, grown: Any, text: str) -> None:
    old, made = grown[kind]
    ids = ids_of(made.tokenizer, text)
    before = ids_of(old, text)
    assert old_ids(made, ids) == before
    if not set(ids) & set(made.learned.new):
        assert ids == before
    assert made.tokenizer.decode(ids) == old.decode(before)
    if kind in ("byte_level", "whole_words_first"):
        assert made.tokenizer.decode(ids) == text


@every_kind
def test_special_tokens_and_english_are_what_they_were(kind: str, grown: Any) -> None:
    old, made = grown[kind]
    assert made.tokenizer.all_special_tokens == old.all_special_tokens
    assert made.tokenizer.added_tokens_encoder == old.added_tokens_encoder
    assert min(made.learned.new) == len(old)
    assert max(made.learned.new) == len(made.tokenizer) - 1
    english = "The quick brown fox jumps over the lazy dog.\n\n  12 the"
    assert made.tokenizer(english).input_ids == old(english).input_ids
    begins = [old.bos_token_id] if kind == "sentencepiece" else []
    whole = made.tokenizer(CORPUS[0]).input_ids
    assert whole == begins + ids_of(made.tokenizer, CORPUS[0])


@every_kind
def test_it_is_read_back_by_both_libraries(kind: str, grown: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = copy.deepcopy(grown[kind][1].tokenizer)
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(tmp_path)
    auto = AutoTokenizer.from_pretrained(tmp_path)
    plain = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in (CORPUS[0], "The <s> 12 계약\n\t은", "😀 손해배상"):
        expected = tokenizer(text).input_ids
        assert auto(text).input_ids == plain.encode(text).ids == expected
        for skip in (True, False):
            assert auto.decode(expected, skip) == tokenizer.decode(expected, skip)
    assert auto.chat_template == "{{ messages }}"
    assert auto.eos_token_id == tokenizer.eos_token_id
    assert len(auto) == len(tokenizer)


def test_sentencepiece_learns_missing_characters_first(grown: Any) -> None:
    old, made = grown["sentencepiece"]
    assert len(ids_of(old, "손")) == 1 + 3  # the space in front, and three bytes
    assert [token.decode() for token in list(made.learned.new.values())[:3]] == sorted("손배상")
    assert all(len(made.learned.pieces[number]) == 3 for number in list(made.learned.new)[:3])
    assert made.tokenizer.decode(ids_of(made.tokenizer, "손해배상의 손")) == "손해배상의 손"


def test_sentencepiece_files_that_are_none_of_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no BPE"):
        read_sentencepiece(write_sentencepiece(tmp_path / "tokenizer.model", kind=1))
    whole = write_sentencepiece(tmp_path / "whole").read_bytes()
    for content in (b"", b"hello, world", whole[:-3]):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(DataError, match="SentencePiece"):
            read_sentencepiece(tmp_path / "broken")


def test_a_folder_with_a_bare_sentencepiece_model_is_a_tokenizer(tmp_path: Path) -> None:
    write_sentencepiece(tmp_path / "tokenizer.model")
    tokenizer = load_tokenizer(str(tmp_path))
    ids = tokenizer("the 계약은").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the 계약은"
    assert ChatFormat(tokenizer).document_start == tokenizer.bos_token_id


def backend(model: Any, **parts: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(model)
    for name, part in parts.items():
        setattr(made, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (backend(models.WordPiece(vocab={"a": 0}, unk_token="a")), "found a WordPiece tokenizer"),
        (backend(models.Unigram([("a", 0.0)], 0)), "found a Unigram tokenizer"),
        (backend(models.BPE(vocab={"a": 0}, merges=[], end_of_word_suffix="</w>")), "</w>"),
        (
            backend(models.BPE(vocab={"a": 0}, merges=[]), normalizer=normalizers.NFC()),
            "neither byte-level nor",
        ),
    ],
)  # fmt: skip
def test_other_tokenizers_are_refused_with_what_is_expected(made: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        grow_vocabulary(made, lambda: CORPUS, SPEC)
    assert "expected byte-level BPE" in str(caught.value)


# --- what is learned ------------------------------------------------------------------------------


def encoded(word: Sequence[int], ranks: dict[tuple[int, int], tuple[int, int]]) -> list[int]:
    """As an encoder does it: the pair of the lowest rank first, the leftmost of equal ones."""
    ids = list(word)
    while True:
        found = [(ranks[pair][0], at) for at, pair in enumerate(pairwise(ids)) if pair in ranks]
        if not found:
            return ids
        _, at = min(found)
        ids[at : at + 2] = [ranks[ids[at], ids[at + 1]][1]]


def textbook(
    words: Sequence[tuple[Sequence[int], int]], pieces: Pieces, most: int, least: int
) -> list[tuple[int, int, int, int]]:
    """Every word encoded and every pair counted anew for each merge."""
    bytes_of, by_bytes = dict(pieces.bytes_of), {}
    ranks: dict[tuple[int, int], tuple[int, int]] = {}
    made = []
    while len(by_bytes) < most:
        counts: Counter[tuple[int, int]] = Counter()
        for word, times in words:
            for pair in pairwise(encoded(word, ranks)):
                counts[pair] += times
        ordered = sorted(
            (-count, bytes_of[a] + b"\0" + bytes_of[b], a, b)
            for (a, b), count in counts.items()
            if count >= least
            and bytes_of[a] + bytes_of[b] not in pieces.bytes_of.values()
            and allowed(bytes_of[a] + bytes_of[b], ("hangul",))
        )
        if not ordered:
            break
        count, _, a, b = ordered[0]
        token = bytes_of[a] + bytes_of[b]
        new = by_bytes.setdefault(token, pieces.first_new + len(by_bytes))
        bytes_of[new] = token
        ranks[a, b] = len(ranks), new
        made.append((a, b, new, -count))
    return made


def words_of(rows: Sequence[tuple[Sequence[int], int]]) -> Words:
    ids = np.asarray([number for word, _ in rows for number in word], np.int64)
    starts = np.cumsum([0, *(len(word) for word, _ in rows)])
    return distinct(ids, starts, np.asarray([count for _, count in rows], np.int64))


# Few letters and long words: overlapping pairs, and tokens that two ways lead to.
PIECES = Pieces(
    "byte_level",
    {"가": 0, "나": 1, "다": 2, "가나": 3},
    {0: "가".encode(), 1: "나".encode(), 2: "다".encode(), 3: "가나".encode()},
    10,
)
WORDS = st.lists(
    st.tuples(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.integers(1, 5)),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=200)
@given(rows=WORDS, most=st.integers(1, 8), least=st.integers(2, 6))
def test_the_merges_are_those_of_the_textbook(
    rows: list[tuple[list[int], int]], most: int, least: int
) -> None:
    found = learn(words_of(rows), PIECES, most, least, ("hangul",))
    expected = textbook(rows, PIECES, most, least)
    assert [(m.left, m.right, m.new, m.count) for m in found.merges] == expected


@given(rows=WORDS)
def test_equal_words_are_counted_once(rows: list[tuple[list[int], int]]) -> None:
    found = words_of(rows)
    expected: Counter[tuple[int, ...]] = Counter()
    for word, count in rows:
        expected[tuple(word)] += count
    seen = {
        tuple(found.ids[a:b].tolist()): count
        for (a, b), count in zip(pairwise(found.starts), found.counts.tolist(), strict=True)
    }
    assert seen == expected


def test_words_are_counted_as_the_tokenizer_splits_them() -> None:
    tokenizer = tiny.tokenizer()
    pieces = pieces_of(tokenizer)
    texts = ["계약 계약을, 계약", "the <|im_end|> fox"] * 3

    def split() -> Iterator[tuple[int, ...]]:
        for text in texts:
            for word, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text):
                ids = tuple(t.id for t in tokenizer.backend_tokenizer.model.tokenize(word))
                if len(ids) > 1:
                    yield ids

    found = count_words(texts, text_encoder(tokenizer), pieces)
    seen = {
        tuple(found.ids[a:b].tolist()): count
        for (a, b), count in zip(pairwise(found.starts), found.counts.tolist(), strict=True)
    }
    assert seen == Counter(split())
    assert found.chars == sum(map(len, texts))


def test_a_merge_occurs_often_enough_and_there_are_no_more_than_asked_for() -> None:
    tokenizer = tiny.tokenizer()
    for least in (10, 100, 400):
        made = grow_vocabulary(tokenizer, lambda: CORPUS, Vocab(merges=500, min_count=least))
        assert min(merge.count for merge in made.learned.merges) >= least
    few = grow_vocabulary(tokenizer, lambda: CORPUS, Vocab(merges=7, min_count=10))
    assert len(few.learned.new) == 7
    none = grow_vocabulary(tokenizer, lambda: CORPUS, Vocab(merges=7, min_count=10**6))
    assert none.learned.new == {}
    assert len(none.tokenizer) == len(tokenizer)


def test_the_order_of_the_texts_does_not_matter() -> None:
    one, two = (
        grow_vocabulary(tiny.tokenizer(), lambda texts=texts: texts, SPEC)
        for texts in (CORPUS, CORPUS[::-1])
    )
    assert one.learned.merges == two.learned.merges
    assert one.learned.new == two.learned.new


@pytest.mark.parametrize(
    ("token", "scripts", "expected"),
    [
        ("계약".encode(), ("hangul",), True),
        (" 계약".encode(), ("hangul",), True),
        ("(주".encode(), ("hangul",), True),
        ("ㅋㅋ".encode(), ("hangul",), True),
        ("계약.".encode(), ("hangul",), False),
        ("A계약".encode(), ("hangul",), False),
        ("1심".encode(), ("hangul",), False),
        ("  계약".encode(), ("hangul",), False),
        ("\n계약".encode(), ("hangul",), False),
        ("계 약".encode(), ("hangul",), False),
        (b" the", ("hangul",), False),
        (b"  ", ("hangul",), False),
        ("계".encode()[:2], ("hangul",), True),  # a syllable in the making
        (b" " + "계".encode()[:2], ("hangul",), True),
        ("계".encode()[1:], ("hangul",), False),  # its end
        ("계".encode() + "약".encode()[:1], ("hangul",), False),  # one and a part
        ("漢".encode()[:2], ("hangul",), False),  # of another script
        ("漢字".encode(), ("hangul", "han"), True),
        ("漢字".encode(), ("hangul",), False),
        (b" the", ("latin",), True),
        ("😀".encode()[:3], (), True),
        (b"\x80\x80", (), False),
        (b" a1;", (), True),
    ],
)  # fmt: skip
def test_what_a_new_token_may_be(token: bytes, scripts: tuple[str, ...], expected: bool) -> None:
    assert allowed(token, scripts) is expected


def test_no_merge_crosses_a_morpheme() -> None:
    pytest.importorskip("kiwipiepy", reason="the extra 'corpus' is not installed")
    tokenizer = tiny.tokenizer()
    pieces = pieces_of(tokenizer)
    texts = ["법원은 계약을 해제하였다. 학교에서는 원고의"] * 30
    words = count_words(texts, text_encoder(tokenizer), pieces)
    cut = cut_at_morphemes(words, pieces)
    spelled = {
        b"".join(pieces.bytes_of[n] for n in cut.ids[a:b].tolist()).decode(errors="replace").strip()
        for a, b in pairwise(cut.starts)
    }
    assert {"법원", "계약", "원고"} <= spelled
    assert not spelled & {"법원은", "계약을", "원고의"}
    made = grow_vocabulary(tokenizer, lambda: texts, Vocab(min_count=20, morphemes=True))
    tokens = {token.decode(errors="replace").strip() for token in made.learned.new.values()}
    assert "계약" in tokens
    assert "계약을" not in tokens


# --- prepared records as the old tokenizer has them -----------------------------------------------


def test_old_pieces_keep_what_is_trained_and_where_the_branch_begins() -> None:
    record = Encoded(
        np.asarray([5, 90, 6, 91, 7, 90], np.uint32),
        np.asarray([False, False, True, True, True, True]),
        prefix=2, span=4,
    )  # fmt: skip
    found = OldPieces({90: (1, 2), 91: (3, 4, 1)})(record)
    assert found.tokens.tolist() == [5, 1, 2, 6, 3, 4, 1, 7, 1, 2]
    assert found.trained.tolist() == [False] * 3 + [True] * 7
    assert (found.prefix, found.span) == (3, 7)


def test_old_pieces_of_a_document_are_its_old_encoding(grown: Any) -> None:
    _, made = grown["byte_level"]
    expand = OldPieces(made.learned.pieces)
    for text in CORPUS[:5]:
        ours = expand(ChatFormat(made.tokenizer).documents([text])[0])
        theirs = ChatFormat(tiny.tokenizer()).documents([text])[0]
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        assert ours.span == theirs.span


@pytest.mark.parametrize("name", ["qwen2.5", "mistral-v1"])
def test_real_tokenizers_grow(shared_data: Path, name: str) -> None:
    old = load_tokenizer(str(shared_data / "tokenizers" / name))
    made = grow_vocabulary(old, lambda: CORPUS, SPEC)
    assert 20 < len(made.learned.new) <= 80
    english = "fn main() { println!(\"Hello, world!\"); }  // 12,345 — naïve"
    assert ids_of(made.tokenizer, english) == ids_of(old, english)
    for text in (*CORPUS[:5], english):
        assert old_ids(made, ids_of(made.tokenizer, text)) == ids_of(old, text)
        assert made.tokenizer.decode(ids_of(made.tokenizer, text)) == text


@pytest.mark.parametrize(
    ("kind", "family"),
    [("byte_level", "Qwen2"), ("byte_level", "Llama"), ("sentencepiece", "Mistral"),
     ("sentencepiece", "Llama"), ("metaspace", "Mistral")],
)  # fmt: skip
def test_beside_a_model_of_its_family_it_is_the_same(
    kind: str, family: str, grown: Any, tmp_path: Path
) -> None:
    """AutoTokenizer looks at the model's config as well, and may take another class."""
    import transformers

    tokenizer = grown[kind][1].tokenizer
    getattr(transformers, f"{family}Config")(**tiny.SHAPE).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (CORPUS[0], "The quick  brown\n\nfox 12,345 손해배상 😀 \t the", ""):
        assert auto(text).input_ids == tokenizer(text).input_ids
        assert auto.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
