"""Errors are worded for the person who wrote the file: place, what was found, what was expected."""

from __future__ import annotations

import pytest

from samdan.recipe import Recipe, parse
from samdan.records import RecipeError
from samdan.spec import nearest_key, parse_yaml, plain, set_value

HEAD = "samdan: 1\nname: a\n"
BASE = "base: {path: b}\n"
SCRATCH = """\
base:
  scratch:
    hidden_size: 32
    num_hidden_layers: 1
    num_attention_heads: 2
  tokenizer: {vocab_size: 400}
  data: [{path: a.jsonl}]
"""
STAGES = "stages:\n  - name: cpt\n    data: [{path: a.jsonl}]\n"


def error(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(text, "r.yaml", overrides)
    return str(caught.value)


def good(*overrides: str) -> Recipe:
    return parse(HEAD + BASE + STAGES, "r.yaml", overrides)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            HEAD + BASE + STAGES + "    max_lenght: 5\n",
            "r.yaml:7:5: stages[0].max_lenght: unknown key; did you mean 'max_length'?",
        ),
        (
            HEAD + BASE + STAGES + "    max_length: 1.5\n",
            "r.yaml:7:5: stages[0].max_length: found 1.5, expected a valid integer",
        ),
        (
            HEAD + BASE + STAGES + "    max_length: yes please\n",
            "r.yaml:7:5: stages[0].max_length: found 'yes please', expected a valid integer",
        ),
        (HEAD + STAGES, "r.yaml:1:1: base: missing; this key is required"),
        ("samdan: 2\nname: a\n" + BASE + STAGES, "r.yaml:1:1: samdan: found 2, expected 1"),
        (HEAD + BASE + "stages: []\n", "r.yaml:4:1: stages: found an empty list, expected"),
        (HEAD + BASE + "stages: 5\n", "r.yaml:4:1: stages: found 5, expected"),
        (
            HEAD + SCRATCH.replace("hidden_size: 32", "hidden_size: 33") + STAGES,
            "hidden_size must be a multiple of num_attention_heads",
        ),
        (
            HEAD + SCRATCH.replace("hidden_size: 32", "hidden_sise: 32") + STAGES,
            "r.yaml:5:5: base.scratch.hidden_sise: unknown key; did you mean 'hidden_size'?",
        ),
        (
            HEAD + SCRATCH + "  train: {max_steps: 0}\n" + STAGES,
            "base.train.max_steps: found 0, expected greater than or equal to 1",
        ),
        (
            HEAD + BASE + STAGES + "evaluate: [{kind: pattern, name: p, path: p, pattern: '('}]\n",
            "evaluate[0].pattern: '(' is not a regular expression",
        ),
        (
            HEAD + BASE + STAGES + "evaluate: [{kind: pattern, name: 5, path: p, pattern: a}]\n",
            "evaluate[0].name: found 5, expected a valid string",
        ),
        (
            HEAD + BASE + STAGES + "evaluate: [{name: p, path: p}]\n",
            "evaluate[0]: key 'kind' is missing",
        ),
        (
            HEAD + BASE + STAGES + "    gates: [{kind: improve, metric: a/bpb}]\n",
            "found kind 'improve', expected one of",
        ),
        (
            HEAD + BASE + STAGES + "    lr_groups: {cpt: -1}\n",
            "stages[0].lr_groups.cpt: found -1, expected greater than or equal to 0",
        ),
        (
            HEAD + BASE + STAGES.replace("cpt", "base\n    kind: cpt"),
            "a stage cannot be called 'base'",
        ),
        (
            HEAD + BASE + STAGES.replace("cpt", "../x\n    kind: cpt"),
            "stages[0].name: found '../x'",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_place(text: str, expected: str) -> None:
    message = error(text)
    assert expected in message
    assert message.startswith("r.yaml:")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "r.yaml:1:1: found nothing, expected keys"),
        ("- a\n", "r.yaml:1:1: found a list, expected keys"),
        ("a: 1\na: 2\n", "r.yaml:2:1: duplicate key"),
        ("a: [1\nb: 2\n", "r.yaml:2:2: not valid YAML"),
        ("a: 'x\n", "not valid YAML"),
    ],
)
def test_what_is_no_yaml_mapping_is_told_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "r.yaml")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_numbers_are_those_of_yaml_12() -> None:
    found = plain(parse_yaml("a: 1e-5\nb: no\nc: 010\nd: 2026-01-01\n", "r.yaml"))
    assert found["a"] == 1e-5
    assert found["b"] == "no"
    assert found["c"] == 10
    assert isinstance(found["d"], str)


def test_other_tools_names_are_answered_with_ours() -> None:
    assert nearest_key("lr", {"learning_rate"}) == "unknown key; here it is called 'learning_rate'"
    assert nearest_key("betaa", {"beta", "name"}) == "unknown key; did you mean 'beta'?"
    assert nearest_key("zzz", {"beta", "name"}) == "unknown key; known here: beta, name"


def test_an_override_addresses_entries_by_name_or_number() -> None:
    assert good("stages.cpt.max_length=128").stages[0].max_length == 128
    assert good("stages.0.max_length=128").stages[0].max_length == 128
    assert good("stages.cpt.heldout.share=0.5").stages[0].heldout.share == 0.5
    assert good("seed=7", "seed=8").seed == 8


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages.cpd.max_length=1", "nothing is named 'stages.cpd'; did you mean 'cpt'?"),
        ("stages.x.max_length=1", "nothing is named 'stages.x'; there are: cpt"),
        ("seed", "expected KEY=VALUE, as in stages.dpo.beta=0.05"),
        ("=5", "expected KEY=VALUE"),
        ("name.first=x", "'name' holds no keys"),
        ("name.first.second=x", "'name.first' does not exist"),
        ("seed=[1", "'[1' is not a YAML value"),
    ],
)
def test_a_wrong_override_is_quoted(override: str, expected: str) -> None:
    message = error(HEAD + BASE + STAGES, override)
    assert message.startswith(f"--set {override}: ")
    assert expected in message
    assert len(message.splitlines()) == 1


def test_set_value_replaces_an_entry_of_a_list() -> None:
    tree = {"samples": ["a", "b"]}
    set_value(tree, "samples.1=c")
    assert tree == {"samples": ["a", "c"]}


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        good().seed = 5


def test_a_value_where_keys_are_expected_is_worded_without_class_names() -> None:
    text = """samdan: 1
name: a
base: {path: b}
stages: [{name: cpt, data: [{path: d}], heldout: many}]
"""
    with pytest.raises(RecipeError, match="heldout: found 'many', expected a mapping of keys"):
        parse(text, "r.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + BASE + "stages: 5\n", "r.yaml:4:1: stages: found 5, expected a list"),
        (HEAD + BASE + "stages: [cpt]\n", "found 'cpt', expected a mapping of keys to values"),
        (HEAD + BASE + "stages: []\n", "found an empty list, expected at least one entry"),
        ("- a\n", "r.yaml:1:1: found a list, expected keys"),
        (HEAD + BASE + STAGES + "    learning_rate: .inf\n", "expected a finite number"),
        (HEAD + BASE + STAGES + "evaluate: [{name: a}]\n", "evaluate[0]: key 'kind' is missing"),
        (
            HEAD + BASE + STAGES + "    gates: [{kind: improved, metric: b/bpb}]\n",
            "a gate on 'b/bpb', but no source or task is called 'b'; there are: a",
        ),
        (
            HEAD + SCRATCH + "  train: {data: [{path: b}]}\n" + STAGES,
            "'data' of a base from scratch stands in base.data",
        ),
        (
            HEAD + BASE + "stages: [{kind: cpt, name: events.jsonl, data: [{path: a}]}]\n",
            "a stage cannot be called 'events.jsonl'",
        ),
        (
            HEAD + BASE + "stages: [{name: cpt, data: [{path: a, name: manifest.json}]}]\n",
            "a source cannot be called 'manifest.json'",
        ),
    ],
)
def test_errors_speak_of_recipes_and_come_before_training(text: str, expected: str) -> None:
    found = error(text)
    assert expected in found
    assert "uple" not in found
    assert "Commented" not in found


def test_brackets_without_end_are_refused_at_once() -> None:
    """The parser itself needs seconds to come upon its limit of recursion."""
    with pytest.raises(RecipeError, match="more than 200 brackets"):
        parse_yaml('{"a": ' + "[" * 100_000, "recipe.yaml")
    assert parse_yaml("a: [[1, 2], {b: [3]}]\nc: ']['\n", "recipe.yaml")["a"][0] == [1, 2]
