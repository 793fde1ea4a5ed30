"""A step is done again exactly when something it depends on changed, and the reason is said."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from samdan.plan import Step, components, identity, parent_stage, steps, why_stale
from samdan.recipe import Recipe, parse
from samdan.records import RecipeError

TEXT = """\
samdan: 1
name: a
base: {path: b}
stages:
  - name: cpt
    data: [{path: docs}, {path: general, role: replay}]
  - name: sft
    data: [{path: qa}]
  - name: dpo
    data: [{path: pairs}]
evaluate: [{kind: cloze, name: facts, path: facts}]
"""
FILES = {"b": "0", "docs": "1", "general": "2", "qa": "3", "pairs": "4", "facts": "5"}


def recipe(*overrides: str, text: str = TEXT) -> Recipe:
    return parse(text, "r.yaml", overrides)


def identities(
    planned: tuple[Step, ...], outputs: Mapping[str, str] | None = None, seed: int = 42
) -> dict[str, str]:
    """Of every step, when each result is its name unless another one is given."""
    results = {step.name: step.name for step in planned} | dict(outputs or {})
    return {step.name: identity(components(step, results, seed)) for step in planned}


def own_changes(*overrides: str, files: Mapping[str, str] = FILES) -> set[str]:
    """Steps that a change concerns directly, whatever the steps before them result in."""
    before = identities(steps(recipe(), FILES))
    after = identities(steps(recipe(*overrides), files))
    return {name for name in before if after.get(name) != before[name]}


def test_the_steps_stand_in_order_and_read_only_earlier_ones() -> None:
    planned = steps(recipe(), FILES)
    names = [step.name for step in planned]
    assert len(set(names)) == len(names)
    for number, step in enumerate(planned):
        assert set(step.reads) <= set(names[:number]), step.name
    assert names[:2] == ["base/tokenizer", "base/load"]
    assert names[-4:] == ["dpo/reference", "dpo/train", "dpo/evaluate", "dpo/gate"]
    assert names.index("dpo/prepare/pairs") < names.index("cpt/train")


def test_until_leaves_out_what_comes_after() -> None:
    planned = steps(recipe(), FILES, until="sft")
    # What dpo holds out is cleaned all the same: the stages before it may not train on it.
    assert {step.verb for step in planned if step.stage == "dpo"} == {"clean", "copies"}
    assert {step.stage for step in planned if step.verb == "train"} == {"cpt", "sft"}
    with pytest.raises(RecipeError, match="no stage is called 'sf'; there are: cpt, sft, dpo"):
        steps(recipe(), FILES, until="sf")


def test_until_base_ends_with_its_measuring() -> None:
    last = steps(recipe(), FILES, until="base")[-1]
    assert last.name == "base/evaluate"
    assert {"cpt/prepare/docs", "sft/prepare/qa", "dpo/prepare/pairs"} <= set(last.reads)
    shape = "{hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}"
    scratch = f"base: {{scratch: {shape}, tokenizer: {{vocab_size: 400}}, data: [{{path: b}}]}}"
    made = recipe(text=TEXT.replace("base: {path: b}", scratch))
    planned = [step.name for step in steps(made, FILES, until="base")]
    assert planned[-1] == "base/evaluate"
    assert [name for name in planned if name.endswith("/train")] == ["base/train"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages.sft.learning_rate=1e-4", {"sft/train"}),
        ("stages.dpo.beta=0.2", {"dpo/train"}),
        ("stages.cpt.dropout=0.1", {"cpt/train"}),
        ("stages.sft.num_train_epochs=1", {"sft/mix", "sft/train"}),
        ("stages.sft.per_device_train_batch_size=1", {"sft/mix", "sft/train"}),
        ("stages.sft.max_length=128", {"sft/prepare/qa", "sft/mix", "sft/train"}),
        (
            "stages.dpo.max_length=128",
            {"dpo/prepare/pairs", "dpo/mix", "dpo/reference", "dpo/train"},
        ),
        ("stages.cpt.adapts_to=domain", {"cpt/mix"}),
        ("stages.sft.heldout.share=0.5", {"base/protect", "sft/prepare/qa"}),
        ("stages.cpt.dedup.threshold=0.9", {"cpt/copies"}),
        ("stages.cpt.dedup.rows=4", {"cpt/clean/docs", "cpt/clean/general", "cpt/copies"}),
        ("stages.cpt.data.0.clean.max_jamo_run=5", {"cpt/clean/docs"}),
        ("stages.sft.gates=[]", {"sft/gate"}),
        ("stages.sft.logging_steps=1", set()),
        ("stages.sft.save_steps=1", set()),
        ("stages.sft.save_total_limit=9", set()),
        ("stages.sft.rules=[]", set()),
        ("notes=[hello]", set()),
        ("name=other", set()),
    ],
)
def test_a_changed_field_concerns_only_the_steps_that_read_it(
    override: str, expected: set[str]
) -> None:
    assert own_changes(override) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("docs", {"cpt/clean/docs"}),
        ("pairs", {"dpo/clean/pairs"}),
        ("b", {"base/tokenizer", "base/load"}),
        (
            "facts",
            {"base/protect", "base/evaluate", "cpt/evaluate", "sft/evaluate", "dpo/evaluate"},
        ),
    ],
)
def test_a_changed_file_concerns_only_the_steps_that_read_it(path: str, expected: set[str]) -> None:
    assert own_changes(files=FILES | {path: "changed"}) == expected


def test_a_moved_file_with_the_same_content_changes_nothing() -> None:
    moved = recipe(text=TEXT.replace("path: qa", "path: folder/qa, name: qa"))
    before = identities(steps(recipe(text=TEXT.replace("path: qa", "path: qa, name: qa")), FILES))
    after = identities(steps(moved, FILES | {"folder/qa": FILES["qa"]}))
    assert after == before


def test_another_seed_changes_every_step() -> None:
    planned = steps(recipe(), FILES)
    before, after = identities(planned), identities(planned, seed=43)
    assert all(before[name] != after[name] for name in before)


def test_another_result_changes_what_reads_it() -> None:
    planned = steps(recipe(), FILES)
    before, after = identities(planned), identities(planned, {"sft/train": "other weights"})
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {step.name for step in planned if "sft/train" in step.reads}
    assert {"sft/evaluate", "dpo/reference", "dpo/train"} <= changed


def test_the_order_of_keys_does_not_matter_to_an_identity() -> None:
    assert identity({"a": 1, "b": [1, 2]}) == identity({"b": (1, 2), "a": 1})
    assert identity({"a": 1}) != identity({"a": "1"})


def test_why_stale_says_what_changed() -> None:
    before = {
        "recipe: learning_rate": 1e-5,
        "recipe: files": "x",
        "result of cpt/train": "y",
        "seed": 1,
    }
    assert why_stale(before, None) == "not done yet"
    assert why_stale(before, dict(before)) is None
    rate = before | {"recipe: learning_rate": 2e-5}
    assert why_stale(rate, before) == "recipe: learning_rate was 1e-05, is 2e-05"
    assert why_stale(before | {"recipe: files": "z"}, before) == "files changed"
    assert why_stale(before | {"result of cpt/train": "z"}, before) == "result of cpt/train changed"
    both = why_stale(rate | {"seed": 2}, before)
    assert both == "recipe: learning_rate was 1e-05, is 2e-05; seed was 1, is 2"
    assert why_stale(before | {"recipe: beta": 0.1}, before) == "recipe: beta was null, is 0.1"


def test_a_long_value_is_cut_in_the_reason() -> None:
    reason = why_stale({"recipe: a": "x" * 500}, {"recipe: a": "y"})
    assert reason is not None
    assert len(reason) < 100


def test_the_parent_is_the_stage_before() -> None:
    assert [parent_stage(recipe(), name) for name in ("cpt", "sft", "dpo")] == [None, "cpt", "sft"]


GROWN = TEXT.replace(
    "base: {path: b}", "base: {path: b, grow: {vocab: {merges: 100, sources: [docs]}}}"
)


def test_a_base_that_grows_is_learned_on_its_sources_and_measured_as_it_came() -> None:
    planned = {step.name: step for step in steps(recipe(text=GROWN), FILES)}
    names = list(planned)
    assert planned["base/vocab"].reads == ("base/tokenizer", "cpt/clean/docs", "cpt/copies")
    assert planned["base/grow"].reads == ("base/load", "base/vocab")
    assert names.index("base/grow") < names.index("cpt/prepare/docs")
    for name in ("cpt/prepare/docs", "sft/prepare/qa", "cpt/train", "dpo/reference"):
        assert "base/vocab" in planned[name].reads
        assert "base/tokenizer" not in planned[name].reads
    assert "base/grow" in planned["cpt/train"].reads
    assert "cpt/train" in planned["sft/train"].reads
    assert planned["base/evaluate"].reads[0] == "base/load"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("base.grow.vocab.merges=50", {"base/vocab"}),
        ("base.grow.vocab.sources=[general]", {"base/vocab"}),
        ("base.grow.vocab.scripts=[han]", {"base/vocab"}),
        ("base.grow.vocab.output=first", {"base/grow"}),
        ("base.grow.vocab.pad_to_multiple_of=1", {"base/grow"}),
        ("base.grow.vocab.input=similar", {"base/grow"}),
    ],
)
def test_how_rows_begin_does_not_concern_the_data(override: str, expected: set[str]) -> None:
    before = identities(steps(recipe(text=GROWN), FILES))
    after = identities(steps(recipe(override, text=GROWN), FILES))
    assert {name for name in before if after.get(name) != before[name]} == expected


def test_rows_that_begin_like_similar_tokens_read_the_text() -> None:
    planned = steps(recipe("base.grow.vocab.input=similar", text=GROWN), FILES)
    grow = next(step for step in planned if step.name == "base/grow")
    assert {"cpt/clean/docs", "cpt/copies"} <= set(grow.reads)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("base.grow.vocab.sources=[doks]", "no CPT stage has a source 'doks'; there are: docs"),
        ("base.grow.vocab=null", "nothing grows"),
        ("base.tokenizer={vocab_size: 500}", "grow.vocab adds to the model's tokenizer"),
        ("base.grow.vocab.input=meen", "'mean'"),
        ("base.grow.vocab.min_count=1", "greater than or equal to 2"),
    ],
)
def test_what_cannot_grow_is_said(override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(override, text=GROWN)
