"""What a recipe can say about selection, and how it is told what is wrong."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from samdan.records import RecipeError
from samdan.selecting import (
    Dsir,
    Ets,
    EtsCom,
    Random,
    Recency,
    Select,
    TextFile,
    TfIdf,
    is_soft,
    text_files,
)
from samdan.spec import Spec, explain, parse_yaml, plain

TAGS = frozenset([
    "ets", "eta", "ets_com", "dsir", "recency", "quality", "random",
    "tfidf", "hidden_states", "sentence_model",
])  # fmt: skip
ADAPTER: TypeAdapter[Any] = TypeAdapter(Select)


class Holder(Spec):
    select: Select = Field()


def parse(text: str) -> Any:
    tree = parse_yaml(f"select: {text}\n", "r.yaml")
    try:
        return Holder.model_validate(plain(tree)).select
    except ValidationError as error:
        raise explain(error, tree, "r.yaml", TAGS) from None


def test_the_short_form_of_a_file_is_its_path() -> None:
    made = parse("{kind: ets, tasks: [a.jsonl, {path: b.jsonl, columns: [question]}], share: 0.1}")
    assert made == Ets(
        tasks=(TextFile(path="a.jsonl"), TextFile(path="b.jsonl", columns=("question",))),
        share=0.1,
    )
    assert made.embedding == TfIdf()
    assert text_files(made) == {"tasks": made.tasks}


def test_a_dump_can_be_read_again() -> None:
    made = parse(
        "{kind: recency, tokens: 5, half_life_days: 30, as_of: 2024-03-01, quota: {at_most: 0.5}}"
    )
    assert made.as_of == date(2024, 3, 1)
    for mode in ("python", "json"):
        dumped = made.model_dump(mode=mode, exclude_unset=True)
        assert ADAPTER.validate_python(dumped) == made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{kind: random}", "select: expected exactly one of 'tokens' and 'share'"),
        ("{kind: random, tokens: 5, share: 0.1}", "expected exactly one of 'tokens' and 'share'"),
        ("{kind: random, share: 0}", "select.share: found 0, expected greater than 0"),
        ("{kind: random, share: 1.5}", "select.share: found 1.5, expected less than or equal to 1"),
        ("{kind: random, share: 0.1, sampling: soft}", "select.sampling: unknown key"),
        ("{kind: randum, share: 0.1}", "found kind 'randum', expected one of"),
        ("{kind: ets, share: 0.1}", "select.tasks: missing; this key is required"),
        ("{kind: ets, share: 0.1, tasks: []}", "select.tasks"),
        ("{kind: ets, share: 0.1, tasks: [5]}", "select.tasks[0]"),
        (
            "{kind: ets, share: 0.1, tasks: [a], embedding: {kind: tfidf, units: word}}",
            "select.embedding.units: found 'word', expected 'auto', 'morphemes' or 'characters'",
        ),
        ("{kind: eta, share: 0.1}", "'ppl' needs a 'surrogate': {path: a small model}"),
        ("{kind: eta, share: 0.1, use: []}", "use: expected 'ppl', 'ent' or both, each once"),
        ("{kind: eta, share: 0.1, use: [ent, ent]}", "each once"),
        (
            "{kind: eta, share: 0.1, use: [ent], surrogate: {path: a}}",
            "a 'surrogate' has no effect unless 'use' names 'ppl'",
        ),
        (
            "{kind: eta, share: 0.1, surrogate: {path: a}, trim: [0.9, 0.1]}",
            "trim: found [0.9, 0.1], expected [low, high] with low < high",
        ),
        (
            "{kind: recency, share: 0.1, half_life_days: 30, not_before: 20240101}",
            "select.not_before: found 20240101, expected a date such as 2024-03-01",
        ),
        (
            "{kind: recency, share: 0.1, half_life_days: 30, not_before: '2024-02-30'}",
            "select.not_before: found '2024-02-30', expected a date",
        ),
        (
            "{kind: recency, share: 0.1, half_life_days: 3, not_before: 2024-02-01, "
            "not_after: 2024-01-01}",
            "not_before 2024-02-01 is later than not_after",
        ),
        (
            "{kind: recency, share: 0.1, half_life_days: 3, not_after: 2024-01-01, "
            "undated: oldest}",
            "nobody knows on which side such a document lies; use 'drop'",
        ),
        ("{kind: random, share: 0.1, quota: {by: source}}", "select.quota.at_most: missing"),
    ],
)
def test_what_is_wrong_is_named(text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(text)
    assert expected in str(caught.value)


def test_budget_is_tokens_or_a_share_of_all_tokens() -> None:
    assert Random(tokens=7).budget(1000) == 7
    assert Random(share=0.1).budget(1000) == 100


def test_sampling_is_what_the_papers_do() -> None:
    assert not is_soft(Ets(tasks=("a",), share=0.1))
    assert not is_soft(EtsCom(tasks=("a",), share=0.1, surrogate={"path": "m"}))
    assert is_soft(Dsir(tasks=("a",), share=0.1))
    assert is_soft(Recency(share=0.1, half_life_days=30))
    assert not is_soft(Random(share=0.1))


def test_an_editor_is_told_both_forms_of_a_file() -> None:
    items = ADAPTER.json_schema()["$defs"]["Ets"]["properties"]["tasks"]["items"]
    assert {"type": "string"} in items["anyOf"]
