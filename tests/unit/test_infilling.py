"""Fill-in-the-middle: nothing is lost, what is cut is decided by seed and text, held-out stays."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import tiny
from samdan.data.clean import clean_source
from samdan.data.copies import find_copies
from samdan.data.prepare import Preparation, prepare_source
from samdan.data.protect import Cleaned
from samdan.data.tokens import Encoder
from samdan.infilling import Fim, Sentinels, split
from samdan.lm.chat import ChatFormat
from samdan.lm.infilling import Infilling, add_tokens
from samdan.lm.shards import Shard
from samdan.recipe import CptStage, HeldOut, Source, parse
from samdan.records import Document, Origin, RecipeError
from samdan.run.preview import shown

ALWAYS = Fim(rate=1.0, min_chars=1)


def chat() -> ChatFormat:
    tokenizer = tiny.tokenizer()
    add_tokens(tokenizer, Fim().names)
    return ChatFormat(tokenizer)


def texts(count: int) -> list[str]:
    one = "def f{0}(x):\n    return x + {0}  # {0}을 더한다\n"
    return [one.format(n) * (1 + n % 3) for n in range(count)]


# --- where a document is cut ----------------------------------------------------------------------


@given(st.text(min_size=1, max_size=60), st.integers(0, 5))
def test_the_parts_are_the_document_and_the_middle_is_not_empty(text: str, seed: int) -> None:
    parts = split(text, ALWAYS, seed)
    assert parts is not None
    assert parts.prefix + parts.middle + parts.suffix == text
    assert parts.middle


def test_what_is_cut_depends_on_seed_and_text_alone() -> None:
    many = texts(200)
    assert [split(t, Fim(), 1) for t in many] == [split(t, Fim(), 1) for t in many]
    assert [split(t, Fim(), 1) for t in many] != [split(t, Fim(), 2) for t in many]


def test_rate_and_halves_are_as_asked() -> None:
    parts = [split(f"text number {n}", Fim(rate=0.7, spm_share=0.25), 0) for n in range(4000)]
    done = [p for p in parts if p is not None]
    assert abs(len(done) / 4000 - 0.7) < 0.03
    assert abs(sum(p.order == "spm" for p in done) / len(done) - 0.25) < 0.03


def test_every_place_is_cut_equally_often() -> None:
    text = "abcdefghi"
    counts = [0] * (len(text) + 1)
    for seed in range(5000):
        parts = split(text, ALWAYS, seed)
        assert parts is not None
        counts[len(parts.prefix)] += 1
        counts[len(text) - len(parts.suffix)] += 1
    assert min(counts) > 850  # 1000 expected at each of the ten places
    assert max(counts) < 1150


def test_short_documents_stay_as_they_are() -> None:
    assert split("short", Fim(rate=1.0, min_chars=6), 0) is None
    assert split("longer", Fim(rate=1.0, min_chars=6), 0) is not None


def test_two_sentinels_cannot_be_one_token() -> None:
    with pytest.raises(ValidationError, match="must differ"):
        Sentinels(prefix="<a>", middle="<a>")


# --- as tokens ------------------------------------------------------------------------------------


def put_back(ids: list[int], infilling: Infilling) -> str:
    """The document out of its parts, whichever order they are in."""
    decode = infilling.chat.tokenizer.decode
    assert ids[0] == infilling.prefix
    assert ids[-1] == infilling.eot
    suffix, middle = ids.index(infilling.suffix), ids.index(infilling.middle)
    parts = ids[1:suffix], ids[suffix + 1 : middle], ids[middle + 1 : -1]
    before, after, last = (decode(part) for part in parts)
    return before + last + after


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=80))
def test_nothing_is_lost_and_all_of_it_is_trained(text: str) -> None:
    made = chat_once()
    infilling = Infilling(ALWAYS, made, "here")
    for seed in range(4):
        one = infilling.documents([text], ALWAYS, seed, 10_000)[0]
        assert put_back(one.record.tokens.tolist(), infilling) == text
        assert one.record.trained.all()
        assert one.fate in ("psm", "spm")


_CHAT: list[ChatFormat] = []


def chat_once() -> ChatFormat:
    if not _CHAT:
        _CHAT.append(chat())
    return _CHAT[0]


def test_the_layouts_are_the_published_ones() -> None:
    made = chat_once()
    infilling = Infilling(Sentinels(), made, "here")
    a, b = made.encode_text("alpha"), made.encode_text("omega")
    p, s, m = infilling.prefix, infilling.suffix, infilling.middle
    assert infilling.prompt("alpha", "omega", "psm") == [p, *a, s, *b, m]
    assert infilling.prompt("alpha", "omega", "spm") == [p, s, *b, m, *a]
    assert infilling.eot == made.document_end


def test_in_spm_no_token_is_cut_where_the_middle_begins() -> None:
    made = chat_once()
    infilling = Infilling(ALWAYS, made, "here")
    text = "quick quick quick brown fox jumps"
    parts = next(p for s in range(99) if (p := split(text, Fim(rate=1.0, spm_share=1.0), s)))
    ids = infilling.document(parts).tokens.tolist()
    joined = ids[ids.index(infilling.middle) + 1 : -1]
    assert joined == made.encode_text(parts.prefix + parts.middle)


def test_sentinels_typed_in_a_text_are_text() -> None:
    made = chat_once()
    infilling = Infilling(ALWAYS, made, "here")
    ids = infilling.documents(["<|fim_middle|> is a token"], ALWAYS, 0, 999)[0].record.tokens
    assert ids.tolist().count(infilling.middle) == 1


def test_a_document_that_does_not_fit_into_a_pack_stays_whole() -> None:
    made = chat_once()
    infilling = Infilling(ALWAYS, made, "here")
    text = "def f(x): return x + 1\n" * 20
    whole = made.documents([text])[0]
    one = infilling.documents([text], ALWAYS, 0, len(whole))[0]
    assert one.fate == "too_long"
    assert one.record.tokens.tolist() == whole.tokens.tolist()
    fits = infilling.documents([text], ALWAYS, 0, len(whole) + 40)[0]
    assert fits.fate in ("psm", "spm")


def test_a_sentinel_that_is_no_token_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(RecipeError, match=r"stages.cpt.data.docs.fim: '<\|fim_prefix\|>' is no"):
        Infilling(Fim(), tiny.chat(), "stages.cpt.data.docs.fim")


def test_missing_tokens_are_added_once_and_known_ones_are_kept() -> None:
    tokenizer = tiny.tokenizer()
    before = len(tokenizer)
    assert add_tokens(tokenizer, Fim().names) == (before, before + 1, before + 2)
    again = copy.deepcopy(tokenizer)
    assert add_tokens(again, Fim().names) == ()
    assert len(again) == before + 3


# --- in a source ----------------------------------------------------------------------------------


def prepared(folder: Path, source: Source, count: int, **fields: Any) -> dict[str, Any]:
    path = folder / "docs.jsonl"
    path.write_text("\n".join(json.dumps({"text": t}) for t in texts(count)), "utf-8")
    source = source.model_copy(update={"path": str(path)})
    stage = tiny.cpt(data=(source,), dedup=None, **fields)
    clean_source(stage, source, folder / "clean")
    find_copies({"docs": folder / "clean"}, folder / "copies", stage.dedup)
    made = chat_once()
    made.tokenizer.save_pretrained(folder / "tokenizer")
    cleaned = Cleaned(stage, source, folder / "clean", folder / "copies")
    return prepare_source(cleaned, folder / "out", Preparation(made, folder / "tokenizer", 0))


def test_held_out_records_are_not_taken_apart_and_every_token_is_counted(tmp_path: Path) -> None:
    source = tiny.source("docs", fim=Fim(), clean=None, personal=None)
    manifest = prepared(tmp_path, source, 80, max_length=256, heldout=HeldOut(share=0.3))
    infilling = Infilling(Sentinels(), chat_once(), "here")
    train, held = Shard(tmp_path / "out"), Shard(tmp_path / "out" / "heldout")
    assert len(held) == manifest["records_heldout"] > 10
    for number in range(len(held)):
        assert infilling.middle not in held.record(number).tokens
    done = [infilling.middle in train.record(n).tokens for n in range(len(train))]
    fates = manifest["infilling"]
    assert sum(done) == fates["psm"] + fates["spm"] > 0.7 * len(train)
    assert fates["documents"] == len(train) == sum(done) + fates["chance"] + fates["too_long"]
    assert manifest["tokens_trained"] == train.num_tokens
    originals = set(texts(80))
    for number in range(len(train)):
        ids = train.record(number).tokens.tolist()
        if infilling.middle in ids:
            assert put_back(ids, infilling) in originals


def test_a_source_without_it_is_as_before(tmp_path: Path) -> None:
    source = tiny.source("docs", clean=None, personal=None)
    assert prepared(tmp_path, source, 10, heldout=HeldOut(share=0.0))["infilling"] == {}


def test_only_documents_have_a_middle() -> None:
    with pytest.raises(ValidationError, match="'fim' is about documents"):
        tiny.sft(data=(tiny.source("talks", fim=Fim()),))


def test_the_preview_shows_the_parts(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text(
        "\n".join(json.dumps({"text": t}) for t in texts(5)), "utf-8"
    )
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    recipe = parse(
        json.dumps({
            "samdan": 1, "name": "small", "base": {"path": str(tmp_path / "base")},
            "stages": [{"name": "cpt", "data": [
                {"path": str(tmp_path / "docs.jsonl"), "fim": {"rate": 1.0, "add_missing": True}}
            ]}],
        }), "recipe",
    )  # fmt: skip
    assert recipe.added_tokens() == ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
    lines = list(shown(recipe, chat_once(), 2, None))
    assert any(line.startswith("  | ⟦<|fim_prefix|>") for line in lines)
    assert any(line.startswith("  | ⟦<|fim_middle|>") for line in lines)


def test_an_encoder_counts_what_it_did() -> None:
    source = tiny.source("docs", fim=Fim(rate=1.0))
    encode = Encoder(CptStage(data=(source,), max_length=512), source, chat_once(), 0)
    encode([Document(text, Origin("x")) for text in texts(20)])
    assert encode.report()["share"] == 1.0
