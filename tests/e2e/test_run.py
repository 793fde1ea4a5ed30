"""Three stages from one recipe: what lies in the run, what is done again, what adds up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samdan as samdan_package
from e2e.helpers import (
    STAGES,
    all_weights,
    done_again,
    events,
    python,
    rows_of,
    samdan,
    stopped_before,
    weights,
)
from samdan.lm.shards import Index, Shard, TrainingData
from samdan.run import api

TRAINED = ("cpt", "sft", "dpo")


@pytest.fixture
def finished(reference: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(reference, tmp_path / "run"))


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


# -- what lies there -------------------------------------------------------------------------------


def test_the_run_directory_holds_what_the_design_names(reference: Path) -> None:
    for name in ("recipe.yaml", "events.jsonl", "metrics.jsonl", "report.html", "report.json"):
        assert (reference / name).is_file(), name
    for stage in STAGES:
        for name in ("data/manifest.json", "model/config.json", "model/model.safetensors"):
            assert (reference / stage / name).is_file(), f"{stage}/{name}"
        assert "# small" in (reference / stage / "model" / "README.md").read_text("utf-8")
    for stage in TRAINED:
        assert load(reference / stage / "gate.json")["gate"] == "passed"
        assert load(reference / stage / "eval.json")["results"]
    unwanted = {path.suffix for path in reference.rglob("*")} & {".pt", ".pth", ".pkl", ".tmp"}
    assert not unwanted


def test_checkpoints_of_a_finished_stage_are_removed(reference: Path) -> None:
    assert not list(reference.rglob("step-*"))


def test_every_line_of_metrics_has_the_fields_of_the_design(reference: Path) -> None:
    fields = [
        "step_name",
        "stage",
        "step",
        "tokens",
        "loss",
        "lr",
        "grad_norm",
        "tokens_per_second",
    ]
    rows = rows_of(reference / "metrics.jsonl")
    assert {row["stage"] for row in rows} == set(STAGES)
    for row in rows:
        assert all(row[field] is not None for field in fields)


def test_report_json_has_the_fields_of_the_design(reference: Path) -> None:
    report = load(reference / "report.json")
    assert report["samdan"] == 1
    assert report["status"] == "done"
    assert report["wall_seconds"] > 0
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert [name for name in stages if name != "base"] == list(TRAINED)
    for name in TRAINED:
        stage = stages[name]
        assert stage["gate"] == "passed"
        assert stage["attempts"] == 1
        assert stage["model"] == f"{name}/model"
        assert stage["tokens"]["seen"] > 0
        assert set(stage["tokens"]) == {"seen", "by_source", "dropped"}
        assert {rule["rule"] for rule in stage["rules"]} >= {"non_finite", "loss_spike"}
        for rule in stage["rules"]:
            assert {"rule", "fired", "value", "limit", "response"} <= set(rule)
        for row in stage["metrics"].values():
            assert {"base", "before", "after", "n", "ci95"} <= set(row)
            assert set(row["ci95"]) == {"after", "vs_before", "vs_base"}
    expected = {"docs/bpb", "general/bpb", "qa/bpb", "knowledge/accuracy", "pairs/accuracy"}
    assert expected <= set(stages["dpo"]["metrics"])
    assert set(report["samples"][0]["answers"]) == set(STAGES)


def test_report_html_is_one_file_without_foreign_addresses(reference: Path) -> None:
    page = (reference / "report.html").read_text("utf-8")
    assert "dpo" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_nothing_of_the_machine_is_in_the_model_card(reference: Path) -> None:
    for stage in STAGES:
        card = (reference / stage / "model" / "README.md").read_text("utf-8")
        assert str(reference.parent) not in card


# -- accounts --------------------------------------------------------------------------------------


def test_every_token_is_accounted_for_by_source(reference: Path) -> None:
    for stage in STAGES:
        manifest = load(reference / stage / "data" / "manifest.json")
        for label, row in manifest["by_source"].items():
            given = row["in"] + row["repeated"]
            used = row["trained"] + row["masked"] + sum(row["dropped"].values())
            assert given == used > 0, f"{stage}/{label}"


def test_the_manifest_agrees_with_what_the_loop_saw(reference: Path) -> None:
    last = {row["stage"]: row["tokens"] for row in rows_of(reference / "metrics.jsonl")}
    for stage in STAGES:
        assert load(reference / stage / "data" / "manifest.json")["tokens_seen"] == last[stage]


def test_an_epoch_is_one_pass_over_the_target(reference: Path) -> None:
    """Two epochs of CPT present every token of the target twice, and replay for 25% of them."""
    sources = load(reference / "cpt" / "data" / "manifest.json")["by_source"]
    docs, general = sources["docs"], sources["general"]
    heldout = docs["dropped"]["heldout"]
    assert docs["repeated"] == docs["in"] - heldout
    seen = {name: row["trained"] + row["masked"] for name, row in sources.items()}
    assert seen["general"] / sum(seen.values()) == pytest.approx(0.25, abs=0.03)
    assert general["role"] == "replay"


def test_held_out_records_are_never_trained_on(reference: Path) -> None:
    """Also not in another stage that reads the same source."""
    held: set[bytes] = set()
    trained: set[bytes] = set()
    for stage in STAGES:
        data = reference / stage / "data"
        labels = sorted(path.parent.name for path in data.glob("*/manifest.json"))
        for label in labels:
            held |= records(Shard(data / label / "heldout"))
            trained |= records(Shard(data / label))
    assert len(held) > 10
    assert len(trained) > 200
    assert not held & trained


def test_the_index_reads_the_training_shards_only(reference: Path) -> None:
    data = reference / "dpo" / "data"
    training = TrainingData([data / "pairs"], Index.load(reference / "dpo" / "index"))
    units = training.index.num_units
    seen = {
        training.piece(p).tokens.tobytes() for u in range(units) for p in training.pieces_of_unit(u)
    }
    assert seen == records(Shard(data / "pairs"))


def records(shard: Shard) -> set[bytes]:
    return {np.asarray(shard.record(n).tokens).tobytes() for n in range(len(shard))}


# -- the models ------------------------------------------------------------------------------------

PLAIN = """
import json, sys
sys.modules["peft"] = None  # a merged model needs no adapters
from transformers import AutoModelForCausalLM, AutoTokenizer
said = {}
for path in sys.argv[1:]:
    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    asked = [{"role": "user", "content": "가온은 어디 있나요?"}]
    inputs = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    said[path] = {
        "new": output.shape[1] - inputs["input_ids"].shape[1],
        "config": model.config.eos_token_id,
        "generation": model.generation_config.eos_token_id,
        "tokenizer": tokenizer.eos_token,
        "turn_end": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "samdan": "samdan" in sys.modules,
    }
print(json.dumps(said))
"""


def test_models_work_in_plain_transformers_and_stop_at_the_turns_end(
    recipe: Path, reference: Path, tmp_path: Path
) -> None:
    lora = stopped_before(reference, "sft/train", tmp_path / "lora")
    asked = ("--set", "stages.sft.lora={r: 4, dropout: 0.1}", "--until", "sft")
    made = samdan("run", recipe, "--out", lora, *asked)
    assert made.code == 0, made.err
    assert not list((lora / "sft" / "model").glob("*adapter*"))
    assert weights(lora, "sft") != weights(reference, "sft")
    models = [reference / "cpt", reference / "sft", reference / "dpo", lora / "sft"]
    done = python("-c", PLAIN, *(str(folder / "model") for folder in models))
    assert done.code == 0, done.err
    cpt, *taught = json.loads(done.out.splitlines()[-1]).values()
    for model in (cpt, *taught):
        assert 1 <= model["new"] <= 8
        assert not model["samdan"]
    assert cpt["tokenizer"] == "<|endoftext|>"  # nothing has taught it to close a turn yet
    for model in taught:
        assert model["config"] == model["turn_end"]
        assert model["turn_end"] in model["generation"]
        assert model["tokenizer"] == "<|im_end|>"


# -- running again ---------------------------------------------------------------------------------


def test_running_again_skips_everything_and_touches_no_weights(
    recipe: Path, finished: Path
) -> None:
    files = list(finished.rglob("*.safetensors"))
    before = {file: file.stat().st_mtime_ns for file in files}
    again = samdan("run", recipe, "--out", finished)
    assert again.code == 0
    assert done_again(finished) == {}
    planned = {event["step"] for event in events(finished, "step_done")}
    assert again.err.count("done before, skipped") == len(planned)
    assert {file: file.stat().st_mtime_ns for file in files} == before


def test_a_changed_rate_redoes_what_depends_on_it_and_says_why(
    recipe: Path, finished: Path
) -> None:
    before = all_weights(finished)
    again = samdan("run", recipe, "--out", finished, "--set", "stages.sft.learning_rate=2e-3")
    assert again.code == 0
    why = done_again(finished)
    assert set(why) == {
        "sft/train",
        "sft/evaluate",
        "sft/gate",
        "dpo/reference",
        "dpo/train",
        "dpo/evaluate",
        "dpo/gate",
    }
    assert why["sft/train"] == "recipe: learning_rate was 0.001, is 0.002"
    assert why["dpo/reference"] == "result of sft/train changed"
    assert f"sft/train: {why['sft/train']}" in again.err
    assert weights(finished, "cpt") == before["cpt"]
    assert weights(finished, "sft") != before["sft"]
    assert (finished / "sft" / "attempt-1" / "eval.json").is_file()
    attempts = {s["name"]: s["attempts"] for s in load(finished / "report.json")["stages"]}
    assert attempts == {"base": 1, "cpt": 1, "sft": 2, "dpo": 2}


def test_a_changed_file_is_prepared_again_and_named(
    recipe: Path, finished: Path, tmp_path: Path
) -> None:
    world = Path(shutil.copytree(recipe.parent, tmp_path / "world"))
    with (world / "pairs.jsonl").open("a", encoding="utf-8") as opened:
        opened.write('{"prompt": "새 질문", "chosen": "네.", "rejected": "아니요."}\n')
    again = samdan("run", world / "recipe.yaml", "--out", finished)
    assert again.code == 0
    why = done_again(finished)
    assert why["dpo/clean/pairs"] == "files changed"
    assert why["dpo/prepare/pairs"].startswith("result of dpo/clean/pairs changed")
    assert "cpt/train" not in why
    assert "sft/train" not in why
    assert why["dpo/train"].startswith("result of dpo/")


def test_another_way_of_watching_trains_nothing_again(recipe: Path, finished: Path) -> None:
    changed = ("--set", "stages.sft.logging_steps=1", "--set", "stages.sft.save_steps=100")
    assert samdan("run", recipe, "--out", finished, *changed).code == 0
    assert done_again(finished) == {}


def test_a_deleted_model_is_made_again_and_what_follows_is_not(
    recipe: Path, finished: Path
) -> None:
    before = all_weights(finished)
    shutil.rmtree(finished / "cpt" / "model")
    assert samdan("run", recipe, "--out", finished).code == 0
    assert done_again(finished) == {"cpt/train": "its files are gone"}
    assert all_weights(finished) == before


def test_until_stops_after_the_stage_and_going_on_gives_the_same_weights(
    recipe: Path, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert samdan("run", recipe, "--out", run, "--until", "cpt").code == 0
    assert weights(run, "cpt") == weights(reference, "cpt")
    assert not (run / "sft" / "model").exists()
    assert samdan("run", recipe, "--out", run).code == 0
    assert "cpt/train" not in done_again(run)
    assert all_weights(run) == all_weights(reference)


def test_set_changes_the_run_and_the_recipe_that_is_kept(recipe: Path, finished: Path) -> None:
    assert samdan("run", recipe, "--out", finished, "--set", "stages.dpo.beta=0.05").code == 0
    assert set(done_again(finished)) == {"dpo/train", "dpo/evaluate", "dpo/gate"}
    kept = (finished / "recipe.yaml").read_text("utf-8")
    assert "beta: 0.05" in kept


def test_the_kept_recipe_is_a_recipe_of_the_same_run(finished: Path) -> None:
    assert samdan("run", finished / "recipe.yaml", "--out", finished).code == 0
    assert done_again(finished) == {}


def test_a_stage_may_be_left_out_and_one_repeated_under_another_name(
    recipe: Path, tmp_path: Path
) -> None:
    common = (
        "data: [{path: qa.jsonl}], learning_rate: 1e-3, max_length: 64, gates: [], max_steps: 3"
    )
    stages = f"[{{name: sft, {common}}}, {{name: sft2, kind: sft, {common}}}]"
    run = tmp_path / "run"
    done = samdan("run", recipe, "--out", run, "--set", f"stages={stages}")
    assert done.code == 0, done.err
    report = load(run / "report.json")
    assert [stage["name"] for stage in report["stages"]] == ["base", "sft", "sft2"]
    assert len({weights(run, name) for name in ("base", "sft", "sft2")}) == 3
    second = report["stages"][2]["metrics"]["qa/bpb"]
    first = report["stages"][1]["metrics"]["qa/bpb"]
    assert second["before"] == first["after"]
    assert second["base"] == first["base"]


# -- from Python -----------------------------------------------------------------------------------


def test_the_python_functions_do_what_the_commands_do(
    recipe: Path, reference: Path, tmp_path: Path
) -> None:
    loaded = api.load_recipe(recipe)
    planned = [step.name for step in api.plan(loaded)]
    assert planned == [event["step"] for event in events(reference, "step_done")]
    outcome = api.run(loaded, tmp_path / "run")
    assert outcome.status == "done"
    assert outcome.report["stages"][-1]["name"] == "dpo"
    assert all_weights(tmp_path / "run") == all_weights(reference)
    found = api.evaluate(tmp_path / "run" / "dpo" / "model", loaded.evaluate)
    measured = load(reference / "report.json")["stages"][-1]["metrics"]["knowledge/accuracy"]
    assert found["knowledge/accuracy"]["value"] == pytest.approx(measured["after"])


def test_the_package_offers_the_functions_by_name(recipe: Path) -> None:
    """The example of the package's own documentation."""
    loaded = samdan_package.load_recipe(recipe)
    assert samdan_package.plan(loaded)[0].name == "base/clean/general"
    assert all(callable(getattr(samdan_package, name)) for name in ("plan", "run", "evaluate"))
