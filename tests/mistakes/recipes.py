"""Mistakes in the recipe itself, found before anything is read."""

from __future__ import annotations

from .world import CPT, DPO, HEAD, SFT, Mistake, World, source, stage

LLAMA = "model_name_or_path: base\nstage: sft\ndataset: qa\ncutoff_len: 512\n"


def _text(world: World, old: str, new: str) -> list[str]:
    """`samdan check` of a good recipe in which one thing is changed."""
    name = world.recipe(CPT, SFT, DPO)
    text = (world.folder / name).read_text("utf-8")
    assert old in text
    world.write(name, text.replace(old, new, 1))
    return ["check", name]


def _gated(world: World, gate: str) -> str:
    world.write("exam.jsonl", [{"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": 1}])
    exam = "evaluate: [{kind: multiple_choice, name: exam, path: exam.jsonl}]\n"
    return world.recipe(source("qa.jsonl", gates=f"[{gate}]"), more=exam)


MISTAKES = (
    Mistake(
        "The recipe's name is misspelt",
        lambda w: (w.recipe(), ["run", "recipe.yml"])[1],
        ("recipe.yml: there is no such file", "did you mean recipe.yaml"),
        "Give the name of the file that is there.",
    ),
    Mistake(
        "The recipe is a folder",
        lambda w: ["check", "base"],
        ("base: cannot be read as a recipe",),
        "Name the YAML file.",
    ),
    Mistake(
        "The recipe is saved in another encoding",
        lambda w: ["check", w.write("recipe.yaml", "name: 한빛".encode("cp949"))],
        ("recipe.yaml: not UTF-8", "save it as UTF-8"),
        "Save the file as UTF-8 in your editor.",
    ),
    Mistake(
        "A tab where YAML wants spaces",
        lambda w: ["check", w.write("recipe.yaml", f"{HEAD}base:\n\tpath: base\n")],
        ("recipe.yaml:4:1: not valid YAML", "tab", "spaces"),
        "Indent with spaces; most editors can replace tabs.",
    ),
    Mistake(
        "A key is given twice",
        lambda w: ["check", w.write("recipe.yaml", f"{HEAD}seed: 1\nseed: 2\n")],
        ("recipe.yaml:4:1: duplicate key",),
        "Remove one of the two lines.",
    ),
    Mistake(
        "A Windows path in double quotes",
        lambda w: _text(w, "{path: qa.jsonl}", r'{path: "C:\data\qa.jsonl"}'),
        ("recipe.yaml:6", "not valid YAML", "backslash", "single quotes"),
        "Use single quotes, or forward slashes.",
    ),
    Mistake(
        "No space behind the colon",
        lambda w: ["check", w.write("recipe.yaml", "samdan:1\nname:small\n")],
        ("recipe.yaml:1:1", "expected keys such as 'samdan: 1'", "space"),
        "Write `key: value`, with a space.",
    ),
    Mistake(
        "A field is misspelt",
        lambda w: _text(w, "learning_rate", "learning_rat"),
        ("stages[0].learning_rat: unknown key; did you mean 'learning_rate'?",),
        "Write the name that the message gives.",
    ),
    Mistake(
        "A field of another trainer that means several things",
        lambda w: _text(w, "per_device_train_batch_size", "batch_size"),
        ("stages[0].batch_size", "write 'per_device_train_batch_size'"),
        "Say how many records a device takes, and how many such batches make a step.",
    ),
    Mistake(
        "A number in quotes",
        lambda w: _text(w, "learning_rate: 1e-3", "learning_rate: '1e-5'"),
        ("stages[0].learning_rate: found '1e-5', a text", "a number", "without quotes"),
        "Write `1e-5`; samdan reads it as a number.",
    ),
    Mistake(
        "A configuration of another trainer is given to samdan",
        lambda w: ["run", w.write("recipe.yaml", LLAMA)],
        ("recipe.yaml", "llamafactory", "samdan import-recipe recipe.yaml --from llamafactory"),
        "`samdan import-recipe FILE --from TOOL --out recipe.yaml` makes a recipe of it.",
    ),
    Mistake(
        "The recipe is of a later version",
        lambda w: _text(w, "samdan: 1", "samdan: 2"),
        ("recipe.yaml:1:1: samdan: found 2, expected 1",),
        "Update samdan, or take a recipe of this version.",
    ),
    Mistake(
        "A kind of stage that does not exist",
        lambda w: _text(w, "{name: sft", "{name: second, kind: sfft"),
        ("stages[1]: found kind 'sfft', expected one of 'cpt', 'sft', 'dpo'", "did you mean 'sft'"),
        "A stage is `cpt`, `sft` or `dpo`.",
    ),
    Mistake(
        "Two stages have one name",
        lambda w: _text(w, "{name: dpo", "{name: sft, kind: dpo"),
        ("two stages are called 'sft'", "'name' of its own"),
        "Give each stage a `name`; `kind` says what it is.",
    ),
    Mistake(
        "A stage without data",
        lambda w: _text(w, "data: [{path: qa.jsonl}], ", ""),
        ("stages[1].data: missing; this key is required",),
        "Add `data`, a list of sources.",
    ),
    Mistake(
        "Only some sources have a weight",
        lambda w: _text(w, "{path: docs.jsonl}", "{path: docs.jsonl, weight: 0.9}"),
        ("stages[0]: either every source has a 'weight' or none has",),
        "Give every source of the stage a weight, or none.",
    ),
    Mistake(
        "A precision that samdan does not compute in",
        lambda w: _text(w, "precision: fp32", "precision: fp16"),
        ("stages[0].precision: found 'fp16', expected", "'auto'"),
        "Leave it out: `auto` takes bf16 where that is fast.",
    ),
    Mistake(
        "A key or a token in the recipe",
        lambda w: _text(w, "name: small", "name: small\nreport_to: [hf_" + "a1B2" * 9 + "]"),
        ("holds what looks like a key", "environment variable", "HF_TOKEN"),
        "Put it into an environment variable, and make a new key: this one was written down.",
    ),
    Mistake(
        "An override of a stage that is not there",
        lambda w: ["plan", w.recipe(), "--set", "stages.dpo.beta=0.1"],
        ("--set stages.dpo.beta=0.1: nothing is named 'stages.dpo'", "there are: sft"),
        "Name a stage of the recipe.",
    ),
    Mistake(
        "`--until` names no stage",
        lambda w: ["run", w.recipe(), "--until", "spt"],
        ("no stage is called 'spt'; there are: sft",),
        "Name a stage of the recipe.",
    ),
    Mistake(
        "A gate on something that nobody measures",
        lambda w: [
            "check",
            w.recipe(source("qa.jsonl", gates="[{kind: improved, metric: exam/accuracy}]")),
        ],
        ("stage 'sft' has a gate on 'exam/accuracy'", "no source or task is called 'exam'", "qa"),
        "Name a task of `evaluate` or a source, as `name/metric`.",
    ),
    Mistake(
        "A gate on a metric that its task does not have",
        lambda w: ["check", _gated(w, "{kind: at_least, metric: exam/acc, value: 0.9}")],
        ("stage 'sft' has a gate on 'exam/acc', but the task gives exam/accuracy",),
        "Name a metric that the task gives.",
    ),
    Mistake(
        "A gate that can never be passed",
        lambda w: ["plan", _gated(w, "{kind: at_least, metric: exam/accuracy, value: 90}")],
        ("exam/accuracy can never be passed", "write 0.9 for 90%"),
        "Accuracies are shares from 0 to 1.",
        code=0,
        calm=True,
    ),
    Mistake(
        "Stages in the wrong order",
        lambda w: ["plan", w.recipe(SFT, CPT)],
        ("a cpt stage after sft undoes part of it; put it before",),
        "CPT comes before SFT, SFT before DPO.",
        code=0,
        calm=True,
    ),
    Mistake(
        "No replay in continued pre-training",
        lambda w: ["plan", w.recipe(stage("cpt", "docs.jsonl"))],
        ("no source has role 'replay'", "the base forgets", "add one"),
        "Add a source of general text with `role: replay`.",
        code=0,
        calm=True,
    ),
    Mistake(
        "A learning rate that is far too high",
        lambda w: ["plan", w.recipe(stage("dpo", "pairs.jsonl", learning_rate="2e-4"))],
        ("learning_rate 0.0002 is above", "the highest that published work uses for dpo"),
        "Leave it out to take the golden value.",
        code=0,
        calm=True,
    ),
)  # fmt: skip
