"""A short round of ``make fuzz``, its own checks, and every input that once failed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import loop
from fuzz.mutants import VALUES, changed_bytes, changed_tree
from fuzz.targets import TARGETS
from samdan.recipe import parse
from samdan.records import DataError, RecipeError

# Cases here; `make fuzz` has the rest. Models have tests of their own.
SHORT = {"recipe": 25, "file": 40, "rows": 150, "template": 60, "checkpoint": 40, "run": 40,
         "request": 60}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_a_short_round_finds_nothing(name: str) -> None:
    found = loop.run(name, TARGETS[name][0], SHORT[name], 2026, 30)
    assert found.failures == {}
    assert found.cases > 0


def test_every_target_begins() -> None:
    """One that could not begin found nothing, and nobody saw it: `make fuzz` alone would run it."""
    assert {*SHORT, "model"} == set(TARGETS)
    assert loop.run("model", TARGETS["model"][0], 2, 2026, 60).failures == {}


def test_a_whole_round_has_at_least_twenty_thousand_cases() -> None:
    assert sum(cases for _, cases in TARGETS.values()) >= 20_000


def test_the_loop_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MAX_SECONDS", 0.05)

    @contextmanager
    def target() -> Iterator[loop.Case]:
        def case(rng: random.Random) -> str:
            match rng.randrange(4):
                case 0:
                    raise KeyError("a")
                case 1:
                    raise loop.Wrong("lost")
                case 2:
                    while True:
                        pass
            return "fine"

        yield case

    found = loop.run("a", target, 40, 1, 60)
    assert found.cases == 40
    kinds = {what.partition(" ")[0] for what in found.failures}
    assert kinds == {"KeyError", "Wrong", "Hang"}
    assert found.outcomes["fine"] + found.outcomes["FAILED"] == 40
    key, _ = next(value for what, value in found.failures.items() if what.startswith("KeyError"))
    with pytest.raises(KeyError):
        loop.again(target, key)


def test_a_seed_gives_the_same_inputs() -> None:
    def made(seed: int) -> list[object]:
        rng = random.Random(seed)
        return [changed_bytes(b"abcdef" * 9, rng), repr(changed_tree({"a": [1, {"b": 2}]}, rng))]

    assert made(1) == made(1)
    assert len({repr(made(seed)) for seed in range(50)}) > 30


# Changes of a tokenizer's files that were once a traceback (fuzz: model:11:7, :202, :239).
ONCE = {
    "a token of a merge is gone": ("tokenizer.json", lambda t: t["model"]["vocab"].pop("a")),
    "two tokens of one number": ("tokenizer.json", lambda t: t["model"]["vocab"].update(n=298)),
    "a length that is a text": ("tokenizer_config.json", lambda t: t.update(model_max_length="x")),
    "an end that is nothing": ("tokenizer_config.json", lambda t: t.update(eos_token="")),
}


@pytest.mark.parametrize("what", ONCE)
def test_a_tokenizer_that_loads_and_cannot_be_used_is_refused(what: str, tmp_path: Path) -> None:
    import tiny
    from samdan.lm.model import load_chat
    from samdan.lm.tokenizer import train_tokenizer

    train_tokenizer(tiny.TEXTS, 300).save_pretrained(tmp_path)
    load_chat(str(tmp_path))
    name, change = ONCE[what]
    tree = json.loads((tmp_path / name).read_text("utf-8"))
    change(tree)
    (tmp_path / name).write_text(json.dumps(tree, ensure_ascii=False), "utf-8")
    with pytest.raises(DataError, match="its tokenizer cannot be"):
        load_chat(str(tmp_path))


nodes = st.recursive(
    st.sampled_from([value for value in VALUES if not isinstance(value, list | dict)]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "kind", "path", "data", "x"]), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, database=None)
@given(st.sampled_from(["base", "stages", "evaluate", "samples", "seed", "name", "x"]), nodes)
def test_a_recipe_with_any_value_is_accepted_or_refused(key: str, value: object) -> None:
    recipe = {
        "samdan": 1,
        "name": "a",
        "base": {"path": "model"},
        "stages": [{"name": "cpt", "data": [{"path": "a.md"}]}],
    }
    try:
        parse(json.dumps(recipe | {key: value}), "recipe.yaml")
    except RecipeError as error:
        named = "recipe.yaml" in str(error)
    else:
        named = True
    assert named


@settings(max_examples=60, deadline=None, database=None)
@given(st.text(max_size=80))
def test_any_text_is_a_recipe_or_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        parse(text, "recipe.yaml")
