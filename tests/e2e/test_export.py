"""`samdan export` on real runs: of all stages, with adapters, stopped by a gate, and spoilt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from e2e.helpers import RECIPE, samdan

TASK = "evaluate:\n  - {kind: multiple_choice, name: knowledge, path: choices.jsonl}\n"


def test_a_run_is_exported_with_its_card(reference: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "home"
    done = samdan("export", reference, "--out", out)
    assert done.code == 0, done.err
    assert "same as the run's model" in done.out
    assert "vllm serve" in done.out
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "가온은 어디 있나요?"}],
        add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )  # fmt: skip
    assert model.generate(**asked, max_new_tokens=4).shape[1] > asked["input_ids"].shape[1]
    card = (out / "README.md").read_text("utf-8")
    for said in ("| `cpt` | docs | target |", "### `dpo`", "knowledge/accuracy", "# 한국어"):
        assert said in card
    for place in (str(reference), str(tmp_path), str(Path.home())):
        assert place not in card
        assert place not in (out / "export.json").read_text("utf-8")
    record = json.loads((out / "export.json").read_text("utf-8"))
    assert record["check"]["texts"] > 50
    assert record["check"]["fp32"]["positions"] > 100
    again = samdan("export", reference, "--out", out)
    assert again.code == 1
    assert "is not empty" in again.err
    wrong = samdan("export", reference, "--stage", "nothing", "--out", tmp_path / "x")
    assert wrong.code == 1
    assert "it has base, cpt, sft, dpo" in wrong.err


def test_weights_that_the_run_never_measured_are_refused(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    file = run / "sft" / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"][0] += 0.5
    save_file(tensors, file, metadata={"format": "pt"})
    done = samdan("export", run, "--stage", "sft", "--out", tmp_path / "out")
    assert done.code == 3
    assert "not those that the run trained and measured" in done.err
    assert not (tmp_path / "out").exists()
    done = samdan("export", run, "--stage", "sft", "--anyway", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "Exported although the run does not vouch for it" in card
    # The stage before is untouched.
    fine = samdan("export", run, "--stage", "cpt", "--out", tmp_path / "cpt")
    assert fine.code == 0, fine.err


def test_adapters_are_merged_and_a_failed_gate_is_told(recipe: Path, tmp_path: Path) -> None:
    """A LoRA stage on the tiny base whose gate asks for what nobody can do."""
    base, _, rest = RECIPE.partition("stages:\n")
    stage = rest.partition("  - name: dpo")[0].partition("  - name: sft")[2]
    stage = "  - name: sft" + stage.replace(
        "gates: []",
        "lora: {r: 4}\n    gates: [{kind: at_least, metric: knowledge/accuracy, value: 1.0}]",
    )
    world = tmp_path / "world"
    shutil.copytree(recipe.parent, world)
    text = f"{base}stages:\n{stage}decontaminate: null\n{TASK}"
    (world / "lora.yaml").write_text(text, "utf-8")
    run = tmp_path / "run"
    stopped = samdan("run", world / "lora.yaml", "--out", run)
    assert stopped.code == 3, stopped.err
    done = samdan("export", run, "--out", tmp_path / "out")
    assert done.code == 3
    assert "stage 'sft' did not pass its gate" in done.err
    done = samdan(
        "export", run, "--anyway", "--dtype", "bfloat16", "--max-shard-size", "0.02MB",
        "--lang", "en", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "model.safetensors.index.json" in names
    assert "adapter_config.json" not in names
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "did not pass its gate" in card
    assert "# 한국어" not in card
