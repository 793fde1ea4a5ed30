"""Shipped recipes parse, the JSON schema accepts them, and the defaults are the golden ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from samdan import recipe as recipes
from samdan.run.loading import load_recipe
from samdan.spec import parse_yaml, plain

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted([*ROOT.glob("recipes/**/*.yaml"), *ROOT.glob("src/samdan/demo/**/*.yaml")])
SCHEMA = recipes.schema()


def tree(path: Path) -> Any:
    return plain(parse_yaml(path.read_text("utf-8"), path.name))


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_shipped_recipes() -> None:
    names = {path.name for path in SHIPPED}
    assert {"golden-qwen2.5-7b.yaml", "real-small.yaml"} <= names


@pytest.mark.parametrize("path", SHIPPED, ids=by_name)
def test_every_shipped_recipe_parses(path: Path) -> None:
    if "stages" not in tree(path):
        pytest.skip("a list of tasks, not a recipe")
    assert load_recipe(path).stages


@pytest.mark.parametrize("path", SHIPPED, ids=by_name)
def test_the_schema_accepts_every_shipped_recipe_and_no_unknown_key(path: Path) -> None:
    value = tree(path)
    if "stages" not in value:
        pytest.skip("a list of tasks, not a recipe")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid(value), next(validator.iter_errors(value)).message
    value["stages"][0]["learning_rat"] = 1e-5
    assert not validator.is_valid(value)


GOLDEN = {
    "cpt": {
        "num_train_epochs": 2,
        "learning_rate": 1e-5,
        "per_device_train_batch_size": 32,
        "gradient_accumulation_steps": 4,
        "warmup_steps": 1000,
        "logging_steps": 100,
        "save_steps": 5000,
        "eval_steps": 1000,
        "max_length": 4096,
        "lr_scheduler_type": "cosine",
        "min_lr_ratio": 0.1,
    },
    "sft": {
        "num_train_epochs": 3,
        "learning_rate": 2e-5,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 8,
        "warmup_steps": 500,
        "logging_steps": 50,
        "save_steps": 2000,
        "eval_steps": 500,
        "max_length": 4096,
        "lr_scheduler_type": "cosine",
        "min_lr_ratio": 0.0,
    },
    "dpo": {
        "num_train_epochs": 1,
        "learning_rate": 5e-7,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "warmup_steps": 0.1,
        "logging_steps": 25,
        "save_steps": 1000,
        "eval_steps": 250,
        "max_length": 2048,
        "lr_scheduler_type": "linear",
        "beta": 0.1,
    },
}
EVERY_STAGE = {"adam_beta1": 0.9, "adam_beta2": 0.95, "max_grad_norm": 1.0, "save_total_limit": 2}


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_defaults_are_the_golden_values(kind: str) -> None:
    text = f"samdan: 1\nname: a\nbase: {{path: b}}\nstages: [{{name: {kind}, data: [{{path: c}}]}}]"
    stage = recipes.parse(text, "r.yaml").stages[0]
    found = stage.model_dump()
    expected = GOLDEN[kind] | EVERY_STAGE
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("kind", GOLDEN)
def test_adapters_learn_ten_times_as_fast_unless_a_rate_is_given(kind: str) -> None:
    text = (
        f"samdan: 1\nname: a\nbase: {{path: b}}\n"
        f"stages: [{{name: {kind}, data: [{{path: c}}], lora: {{r: 8}}}}]"
    )
    recipe = recipes.parse(text, "r.yaml")
    assert recipe.stages[0].learning_rate == pytest.approx(10 * GOLDEN[kind]["learning_rate"])
    kept = recipes.with_paths(recipe, lambda path, hub: path)  # as a run reads it again
    assert kept.stages[0].learning_rate == recipe.stages[0].learning_rate
    given = recipes.parse(text, "r.yaml", [f"stages.{kind}.learning_rate=3e-5"])
    assert given.stages[0].learning_rate == 3e-5


def test_the_golden_recipe_is_the_golden_table() -> None:
    stages = load_recipe(ROOT / "recipes" / "golden-qwen2.5-7b.yaml").stages
    for stage in stages:
        expected = GOLDEN[stage.kind]
        found = stage.model_dump()
        assert {key: found[key] for key in expected} == expected


def test_replay_defaults_are_25_percent_for_a_language_and_5_for_a_domain() -> None:
    source = recipes.Source(path="a")
    assert recipes.CptStage(data=(source,)).replay == 0.25
    assert recipes.CptStage(data=(source,), adapts_to="domain").replay == 0.05
