"""The smoke recipe: Qwen2.5's own tokenizer through the three stages, on real data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samdan.run.executor import execute
from samdan.run.loading import load_recipe


@pytest.mark.slow
def test_a_hundred_steps_with_qwens_own_tokenizer(
    shared_data: Path, root: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(root / "recipes" / "qwen-smoke.yaml")
    outcome = execute(recipe, tmp_path / "run", say=lambda text: None)
    steps = {stage["name"]: stage["steps"] for stage in outcome.report["stages"]}
    assert steps == {"base": 40, "cpt": 30, "sft": 20, "dpo": 10}
    config = json.loads((tmp_path / "run" / "dpo" / "model" / "generation_config.json").read_text())
    assert config["eos_token_id"] == [151645, 151643]
