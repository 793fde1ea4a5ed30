"""Copies of whole texts, against the Jaccard similarity itself; the first of several stays."""

from __future__ import annotations

import json
import random
from functools import lru_cache
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from samdan.data.duplicates import REMEMBERED, Copies, drop_of, duplicates, estimate
from samdan.data.minhash import NOTHING, Signatures, load, save, signatures
from samdan.records import DataError, Origin
from samdan.removing import Dedup

NEAR = Dedup()
EXACT = Dedup(near=False)
SYLLABLES = "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로모보소오조초"


def korean(rng: random.Random, length: int) -> list[str]:
    return [rng.choice(SYLLABLES) for _ in range(length)]


def edited(text: list[str], changes: int, rng: random.Random) -> list[str]:
    """The text with so many syllables replaced by one that is nowhere else."""
    places = set(rng.sample(range(len(text)), changes))
    return ["뷁" if place in places else unit for place, unit in enumerate(text)]


@lru_cache(maxsize=256)
def grams(text: str) -> frozenset[str]:
    """The n-grams of a text of syllables, which are its characters, as they are."""
    return frozenset(text[i : i + NEAR.ngram] for i in range(len(text) - NEAR.ngram + 1))


def jaccard(left: str, right: str) -> float:
    return len(grams(left) & grams(right)) / len(grams(left) | grams(right))


def copies(*texts: str, spec: Dedup = NEAR) -> list[int]:
    return duplicates([signatures(texts, spec)], spec).copy_of.tolist()


def families(rng: random.Random, count: int) -> list[str]:
    """Texts in threes: an original and two versions, one with few changes and one with many."""
    texts = []
    for _ in range(count):
        original = korean(rng, 400)
        texts.append("".join(original))
        texts += ["".join(edited(original, rng.randrange(most), rng)) for most in (8, 31)]
    return texts


# --- signatures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "exact", "first_band", "last_band", "sketch"),
    [
        (
            "대한민국의 모든 권력은 국민으로부터 나온다.",
            "d2f6c5141733a8cc", "1d734f56716f1207", "b32638fbed7219f9", "a4c6d4c6111ad2cb",
        ),
        (
            "The quick brown fox jumps over the lazy dog.",
            "fae8aea1dff737cb", "3db86054acc5ad64", "ce65ef1b3357fd69", "343678fbf1bb2063",
        ),
        (
            "제3조(정의) 'API'란 application programming interface를 말한다.",
            "8713886d637636b9", "8c5fa384d0dc1990", "83357c25477d9edb", "333d302f8a5c4476",
        ),
    ],
)  # fmt: skip
def test_signatures_are_pinned(
    text: str, exact: str, first_band: str, last_band: str, sketch: str
) -> None:
    """Stored signatures are compared with new ones: whoever changes these raises FORMAT."""
    found = signatures([text], NEAR)
    assert f"{int(found.exact[0]):016x}" == exact
    assert f"{int(found.bands[0, 0]):016x}" == first_band
    assert f"{int(found.bands[0, -1]):016x}" == last_band
    assert found.sketch[0, :8].tobytes().hex() == sketch


def test_the_estimate_is_the_jaccard_similarity_within_its_error() -> None:
    """112 hashes: a standard deviation of at most 0.047, and no bias."""
    rng = random.Random(1)
    errors = []
    for _ in range(60):
        original = korean(rng, 400)
        left = "".join(original)
        right = "".join(edited(original, rng.randrange(1, 120), rng))
        found = signatures([left, right], NEAR).sketch
        errors.append(float(estimate(found[:1], found[1])[0]) - jaccard(left, right))
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.055
    assert np.abs(errors).max() < 0.18


def test_unlike_texts_are_estimated_near_zero() -> None:
    rng = random.Random(2)
    found = signatures(["".join(korean(rng, 300)) for _ in range(40)], NEAR).sketch
    pairs = combinations(range(40), 2)
    estimates = [float(estimate(found[i : i + 1], found[j])[0]) for i, j in pairs]
    assert np.mean(estimates) < 0.005
    assert max(estimates) < 0.1


def test_a_band_agrees_as_often_as_its_rows_say() -> None:
    """With 2 rows, pairs agree in a band with probability Jaccard squared: hashes independent."""
    rng = random.Random(3)
    spec = Dedup(bands=56, rows=2)
    agreed, expected = [], []
    for _ in range(60):
        original = korean(rng, 300)
        left, right = "".join(original), "".join(edited(original, rng.randrange(2, 25), rng))
        found = signatures([left, right], spec).bands
        agreed.append(float((found[0] == found[1]).mean()))
        expected.append(jaccard(left, right) ** 2)
    assert np.mean(agreed) == pytest.approx(np.mean(expected), abs=0.03)


def test_shapes_and_bytes_of_a_document() -> None:
    found = signatures(["하나", "둘", ""], NEAR)
    assert found.exact.shape == (3,)
    assert found.bands.shape == (3, 14)
    assert found.sketch.shape == (3, 112)
    assert found.num_bytes == 3 * (8 + 14 * 8 + 112)
    assert signatures(["하나", "둘", ""], EXACT).num_bytes == 3 * 8
    assert len(signatures([], NEAR)) == 0


@given(st.lists(st.text("가나다ab .\n", max_size=20), max_size=8), st.integers(0, 8))
@settings(max_examples=40)
def test_a_signature_depends_on_its_own_text_only(texts: list[str], cut: int) -> None:
    together = signatures(texts, NEAR)
    apart = [signatures(texts[:cut], NEAR), signatures(texts[cut:], NEAR)]
    assert np.array_equal(together.exact, np.concatenate([part.exact for part in apart]))
    assert np.array_equal(together.bands, np.concatenate([part.bands for part in apart]))
    assert np.array_equal(together.sketch, np.concatenate([part.sketch for part in apart]))


def test_long_texts_are_hashed_in_groups_and_stay_themselves() -> None:
    rng = random.Random(4)
    long = "".join(korean(rng, 150_000))
    found = signatures(["짧은 글", long, "짧은 글", long], NEAR)
    assert np.array_equal(found.bands[1], found.bands[3])
    assert np.array_equal(found.bands[0], found.bands[2])
    assert np.array_equal(found.bands[1], signatures([long], NEAR).bands[0])


def test_signatures_come_back_as_they_were_saved(tmp_path: Path) -> None:
    found = signatures(["하나 둘 셋", "", "one two three"], NEAR)
    save(found, NEAR, tmp_path)
    again = load(tmp_path, NEAR)
    for name in ("exact", "bands", "sketch"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    assert load(tmp_path, Dedup(threshold=0.5, paragraphs=True)).exact.tolist()  # made the same way


def test_exact_signatures_are_saved_without_bands(tmp_path: Path) -> None:
    save(signatures(["가", "나", "가"], EXACT), EXACT, tmp_path)
    assert duplicates([load(tmp_path, EXACT)], EXACT).copy_of.tolist() == [-1, -1, 0]


@pytest.mark.parametrize(
    "other", [Dedup(ngram=4), Dedup(bands=7), Dedup(rows=4), EXACT], ids=lambda spec: str(spec)[:60]
)
def test_signatures_of_other_parameters_are_refused(tmp_path: Path, other: Dedup) -> None:
    save(signatures(["하나 둘 셋"], NEAR), NEAR, tmp_path)
    with pytest.raises(DataError, match="signatures made by"):
        load(tmp_path, other)


def test_half_written_or_older_signatures_are_refused(tmp_path: Path) -> None:
    save(signatures(["하나 둘 셋"], NEAR), NEAR, tmp_path)
    about = tmp_path / "signatures.json"
    told = json.loads(about.read_text("utf-8"))
    about.write_text(json.dumps(told | {"format": 0}), "utf-8")
    with pytest.raises(DataError, match="'format': 0"):
        load(tmp_path, NEAR)
    about.unlink()
    with pytest.raises(DataError, match="no complete signatures"):
        load(tmp_path, NEAR)


# --- exact ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy",
    [
        "법원은 이를 기각하였다.", "법원은  이를\n기각하였다. ", "법원은이를기각하였다.",
        "\t법원은 이를 기각하였다.",
    ],
)
def test_white_space_makes_no_difference(copy: str) -> None:
    assert copies("법원은 이를 기각하였다.", copy, spec=EXACT) == [-1, 0]


@pytest.mark.parametrize(
    "other", ["법원은 이를 기각하였다", "법원은 이를 기각하였다!", "법원이 이를 기각하였다.", ""]
)
def test_everything_else_does(other: str) -> None:
    assert copies("법원은 이를 기각하였다.", other, spec=EXACT) == [-1, -1]


def test_case_counts_for_exact_and_not_for_near() -> None:
    lower, upper = "the quick brown fox jumps over it", "The Quick Brown Fox Jumps Over It"
    assert copies(lower, upper, spec=EXACT) == [-1, -1]
    assert copies(lower, upper) == [-1, 0]


def test_empty_texts_are_exact_copies_and_never_near_ones() -> None:
    """Texts without a letter resemble nothing, not even each other."""
    found = duplicates([signatures(["", " \n", "...", "!!!", "가나다라마바"], NEAR)], NEAR)
    assert found.copy_of.tolist() == [-1, 0, -1, -1, -1]
    assert found.exact.tolist() == [False, True, False, False, False]
    assert (signatures(["...", ""], NEAR).bands == NOTHING).all()


def test_short_texts_are_compared_as_a_whole() -> None:
    """Fewer units than an n-gram has: similar means equal but for punctuation."""
    assert copies("좋아", "좋아!", "좋다", "좋", "아좋", "그건 좋아") == [-1, 0, -1, -1, -1, -1]


# --- near -----------------------------------------------------------------------------------------


def test_every_near_copy_is_found_and_nothing_else() -> None:
    """Against all pairs: above the threshold and the error dropped, below it never."""
    texts = families(random.Random(5), 25)
    found = duplicates([signatures(texts, NEAR)], NEAR)
    dropped = above = below = 0
    for number, text in enumerate(texts):
        earlier = [j for j in range(number) if found.copy_of[j] < 0]
        nearest = max((jaccard(texts[j], text) for j in earlier), default=0.0)
        if nearest >= 0.9:
            above += 1
            assert found.copy_of[number] >= 0, (number, nearest)
        if nearest < 0.68:
            below += 1
            assert found.copy_of[number] < 0, (number, nearest)
        if found.copy_of[number] >= 0:
            dropped += 1
            mine = jaccard(texts[found.copy_of[number]], text)
            assert found.similarity[number] == pytest.approx(mine, abs=0.15)
    assert above >= 8
    assert below >= 30
    assert dropped < 50


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.95])
def test_the_threshold_is_the_line(threshold: float) -> None:
    """More bands than the default, so that low thresholds have their candidates."""
    spec = Dedup(threshold=threshold, bands=56, rows=2)
    rng = random.Random(6)
    seen = {True: 0, False: 0}
    for _ in range(60):
        original = korean(rng, 300)
        left, right = "".join(original), "".join(edited(original, rng.randrange(45), rng))
        similarity = jaccard(left, right)
        if abs(similarity - threshold) > 0.12 or similarity == 1:
            assert (copies(left, right, spec=spec)[1] == 0) == (similarity >= threshold)
            seen[similarity >= threshold] += 1
    assert seen[False] > 5
    assert seen[True] > 0


def test_a_footer_makes_a_near_copy_and_no_exact_one() -> None:
    text = "".join(korean(random.Random(7), 600))
    repeat = f"{text}\n무단전재 및 재배포 금지"
    assert copies(text, repeat) == [-1, 0]
    assert copies(text, repeat, spec=EXACT) == [-1, -1]


def test_one_form_with_other_contents_is_no_copy() -> None:
    """Half of the text is the same: agreement in bands alone is not enough."""
    rng = random.Random(8)
    form = "".join(korean(rng, 200))
    filled = [form + "".join(korean(rng, 200)) for _ in range(100)]
    assert copies(*filled) == [-1] * 100


def test_no_chains() -> None:
    """a resembles b and b resembles c, a does not resemble c: b goes, c stays."""
    a = korean(random.Random(9), 400)
    b = [*a[40:], *korean(random.Random(10), 40)]
    c = [*b[40:], *korean(random.Random(11), 40)]
    texts = ["".join(each) for each in (a, b, c)]
    spec = Dedup(threshold=0.75)
    assert jaccard(texts[0], texts[2]) < 0.68
    assert copies(*texts[:2], spec=spec) == [-1, 0]
    assert copies(*texts[1:], spec=spec) == [-1, 0]
    assert copies(*texts, spec=spec) == [-1, 0, -1]


def test_an_exact_copy_of_a_near_copy_belongs_to_the_one_that_stays() -> None:
    rng = random.Random(12)
    original = korean(rng, 400)
    kept, near = "".join(original), "".join(edited(original, 3, rng))
    found = duplicates([signatures([kept, near, near + "\n", kept], NEAR)], NEAR)
    assert found.copy_of.tolist() == [-1, 0, 0, 0]
    assert found.exact.tolist() == [False, False, False, True]
    assert found.similarity[3] == 1
    assert 0.8 <= found.similarity[2] == found.similarity[1] < 1
    assert found.cluster.tolist() == [4, 0, 0, 0]


def test_more_look_alikes_than_are_remembered_lose_nothing() -> None:
    """The limit is per value of a band: what sets one of many forms apart still finds its copy."""
    rng = random.Random(13)
    form = "".join(korean(rng, 300))
    filled = [form + "".join(korean(rng, 100)) for _ in range(REMEMBERED + 30)]
    found = duplicates([signatures([*filled, filled[-1] + "끝"], NEAR)], NEAR)
    assert (found.copy_of[:-1] == -1).all()
    assert found.copy_of[-1] == len(filled) - 1


def made(bands: list[list[int]], sketches: list[int]) -> Signatures:
    """Texts with these bands; those with the same number of a sketch have the same sketch."""
    random_bytes = np.random.default_rng(0).integers(0, 256, (9, 112), np.uint8)
    exact = np.arange(1, len(bands) + 1, dtype=np.uint64)
    return Signatures(exact, np.array(bands, np.uint64), random_bytes[sketches])


def test_a_copy_is_found_behind_others_that_agree_in_its_band() -> None:
    """The third agrees in its only band with two texts and resembles the second of them."""
    assert duplicates([made([[7], [7], [7]], [0, 1, 1])], NEAR).copy_of.tolist() == [-1, -1, 1]


def test_of_two_that_it_resembles_the_first_is_named() -> None:
    found = duplicates([made([[1, 5], [2, 6], [2, 5]], [0, 0, 0])], NEAR)
    assert found.copy_of.tolist() == [-1, -1, 0]


def test_texts_that_agree_in_no_band_are_not_compared() -> None:
    """Equal values of different bands are not the same value."""
    parts = [made([[1, 2], [1, 3], [5, 1], [6, 1]], [0, 1, 0, 2])]
    assert duplicates(parts, NEAR).copy_of.tolist() == [-1] * 4


# --- order, parts, repetition ---------------------------------------------------------------------


def copied(texts: list[str], bounds: list[int], spec: Dedup = NEAR) -> Copies:
    """With the texts cut into parts."""
    edges = [0, *sorted(bounds), len(texts)]
    parts = [texts[a:b] for a, b in pairwise(edges)]
    return duplicates([signatures(part, spec) for part in parts], spec)


def small_texts() -> st.SearchStrategy[list[str]]:
    """Lists with exact and near copies in them."""
    originals = families(random.Random(14), 4)
    return st.lists(
        st.one_of(st.sampled_from(originals), st.text("가나 .", max_size=6)), max_size=14
    )


@given(small_texts(), st.lists(st.integers(0, 14), max_size=4))
@settings(max_examples=40)
def test_parts_do_not_matter(texts: list[str], bounds: list[int]) -> None:
    one, several = copied(texts, []), copied(texts, [min(b, len(texts)) for b in bounds])
    for name in ("copy_of", "exact", "similarity", "cluster"):
        assert np.array_equal(getattr(one, name), getattr(several, name)), name


@given(small_texts())
@settings(max_examples=40)
def test_again_changes_nothing_and_the_first_stays(texts: list[str]) -> None:
    found = copied(texts, [])
    kept = [text for text, stays in zip(texts, found.kept, strict=True) if stays]
    assert copied(kept, []).kept.all()
    for number, original in enumerate(found.copy_of.tolist()):
        if original >= 0:
            assert original < number
            assert found.copy_of[original] == -1  # what it points to is kept: no chains
    assert found.cluster.sum() == len(texts)
    assert found.kept.tolist() == [size > 0 for size in found.cluster.tolist()]


def test_the_earlier_part_wins_whichever_it_is() -> None:
    rng = random.Random(15)
    original = korean(rng, 400)
    left, right = "".join(original), "".join(edited(original, 2, rng))
    for first, second in ((left, right), (right, left)):
        parts = [signatures([first], NEAR), signatures(["다른 글이다", second], NEAR)]
        assert duplicates(parts, NEAR).copy_of.tolist() == [-1, -1, 0]


def test_loaded_parts_decide_like_fresh_ones(tmp_path: Path) -> None:
    texts = families(random.Random(16), 6)
    halves = [texts[:7], texts[7:]]
    for number, half in enumerate(halves):
        save(signatures(half, NEAR), NEAR, tmp_path / str(number))
    loaded = duplicates([load(tmp_path / str(number), NEAR) for number in range(2)], NEAR)
    assert np.array_equal(loaded.copy_of, copied(texts, []).copy_of)
    assert (~loaded.kept).any()


def test_no_texts_and_no_parts() -> None:
    assert len(duplicates([], NEAR).copy_of) == 0
    parts: list[Signatures] = [signatures(texts, NEAR) for texts in ([], ["가"], [])]
    assert duplicates(parts, NEAR).copy_of.tolist() == [-1]


def test_a_drop_says_why_and_of_what() -> None:
    rng = random.Random(17)
    original = korean(rng, 400)
    kept, near = "".join(original), "".join(edited(original, 3, rng))
    found = duplicates([signatures([kept, kept, near], NEAR)], NEAR)
    origins = {number: Origin("corpus", f"{number}.txt") for number in range(3)}
    exact_drop, near_drop = drop_of(found, 1, origins), drop_of(found, 2, origins)
    assert drop_of(found, 0, origins) is None
    assert exact_drop is not None
    assert near_drop is not None
    assert (exact_drop.reason, exact_drop.origin) == ("duplicate", origins[1])
    assert (near_drop.reason, near_drop.origin) == ("near_duplicate", origins[2])
    assert exact_drop.detail == f"of {origins[0]}"
    assert near_drop.detail == f"{found.similarity[2]:.2f} like {origins[0]}"


# --- what a recipe can say ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"bands": 200, "rows": 8}, "1600 hashes a document, at most 1024"),
        ({"exact": False}, "'near: true' drops exact copies too"),
        ({"exact": False, "near": False}, "nothing is removed"),
        ({"threshold": 0.0}, "greater than 0"),
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"ngram": 0}, "greater than or equal to 1"),
    ],
)
def test_what_removes_nothing_or_cannot_be_is_refused(
    settings_: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Dedup.model_validate(settings_)
