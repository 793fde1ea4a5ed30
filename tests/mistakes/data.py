"""Mistakes in the data: found by `samdan check`, and by `samdan run` before anything is trained."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from typing import Any

from .world import Mistake, World, source, stage

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def data(
    kind: str, content: str | bytes | Sequence[Any], name: str = ""
) -> Callable[[World], list[str]]:
    """`samdan run` of one stage on this content."""
    file = name or f"{kind}.jsonl"
    return lambda world: ["run", world.recipe(stage(kind, world.write(file, content)))]


def _no_library(world: World) -> list[str]:
    world.patch.setattr("samdan.data.readers.find_spec", lambda name: None)
    return ["run", world.recipe(stage("cpt", world.write("manual.pdf", b"%PDF-1.4\n")))]


LONG = "{kind: length, min_chars: 5000}"
ONE = [{"prompt": "a", "completion": "b"}]


def _leak(world: World) -> list[str]:
    words = [f"word{n}" for n in range(400)]
    texts = [{"text": " ".join(words[n * 40 : n * 40 + 40])} for n in range(10)]
    exam = world.write("exam.jsonl", texts)
    recipe = world.recipe(
        stage("cpt", world.write("leak.jsonl", texts)),
        more=f"evaluate: [{{kind: bpb, name: exam, path: {exam}}}]\n",
    )
    return ["run", recipe]


TURNS = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "네."}]

MISTAKES = (
    Mistake(
        "A path that leads nowhere",
        lambda w: ["run", w.recipe(source("qa.jsonI"))],
        ("stages.sft.data", "there is no", "did you mean", "qa.jsonl"),
        "Correct the path; relative ones start at the recipe's folder.",
    ),
    Mistake(
        "A glob that matches nothing",
        lambda w: ["run", w.recipe(stage("cpt", "'base/**/*.txt'"))],
        ("base/**/*.txt", "found no file"),
        "Correct the pattern; `**` stands for any number of folders.",
    ),
    Mistake(
        "A kind of file that is not read",
        lambda w: ["run", w.recipe(stage("cpt", w.write("notes.rtf", "{}")))],
        ("notes.rtf: this kind of file is not supported", "save it as .docx"),
        "Save it as one of the kinds that the message lists.",
    ),
    Mistake(
        "One JSON document where lines are expected",
        lambda w: ["run", w.recipe(source(w.write("qa.json", "[{}]")))],
        ("qa.json: this kind of file is not supported", "one object a line, as .jsonl"),
        "Write one object a line: `jq -c '.[]' qa.json > qa.jsonl`.",
    ),
    Mistake(
        "A JSON array in a file that is called .jsonl",
        data("sft", '[\n {"prompt": "a",\n  "completion": "b"}\n]\n'),
        ("sft.jsonl", "broken_json", "one JSON object a line"),
        "Write one object a line: `jq -c '.[]' old.jsonl > new.jsonl`.",
    ),
    Mistake(
        "An empty file",
        data("sft", ""),
        ("stages.sft.data.sft", "empty_file"),
        "Give a file with records, or remove the source.",
    ),
    Mistake(
        "A Git LFS pointer instead of the file",
        data("sft", POINTER),
        ("Git LFS", "git lfs pull"),
        "`git lfs pull` brings the real file.",
    ),
    Mistake(
        "A column has another name",
        data("sft", [{"질문": "어디?", "답변": "서울"}] * 20),
        ("stages.sft.data.sft", "looked for", "prompt", "found 질문, 답변", "'columns'"),
        "Name the columns: `columns: {prompt: 질문, completion: 답변}`.",
    ),
    Mistake(
        "`columns` names a column that is not there",
        lambda w: ["run", w.recipe(stage("sft", "qa.jsonl", ", columns: {prompt: question}"))],
        ("columns names 'question', which the file does not have", "found prompt, completion"),
        "Correct the name in `columns`.",
    ),
    Mistake(
        "`columns` the wrong way round",
        lambda w: ["run", w.recipe(stage("sft", "qa.jsonl", ", columns: {question: prompt}"))],
        ("columns.question: unknown key", "our name comes first: {prompt: question}"),
        "Our name comes first: `columns: {prompt: question}`.",
    ),
    Mistake(
        "Questions with answers in a CPT stage",
        lambda w: ["run", w.recipe(stage("cpt", "qa.jsonl"))],
        ("stages.cpt.data.qa", "looked for text", "found prompt, completion"),
        "Give a CPT stage documents; questions belong into an SFT stage.",
    ),
    Mistake(
        "Documents in an SFT stage",
        lambda w: ["run", w.recipe(stage("sft", "docs.jsonl"))],
        ("stages.sft.data.docs", "looked for", "found text"),
        "Give an SFT stage conversations; documents belong into a CPT stage.",
    ),
    Mistake(
        "Rows of several kinds in one file",
        data("sft", [r for i in range(8) for r in (
            {"prompt": f"a{i}", "completion": "b"}, {"text": f"t{i}"}, {"question": f"q{i}"})]),
        ("stages.sft.data.sft", "16 of 24 rows are bad", "missing_column"),
        "Divide it into a file for each kind, or raise `max_bad_rows` to leave them out.",
    ),
    Mistake(
        "A message without a role",
        data("sft", [{"messages": [{"content": "a"}, {"role": "assistant", "content": "b"}]}] * 9),
        ("unknown_role", "messages[0]", "no role"),
        "Every message needs `role` (system, user, assistant) and `content`.",
    ),
    Mistake(
        "Roles that are not known",
        data("sft", [{"messages": [{"role": "tool", "content": "a"}, TURNS[1]]}] * 9),
        ("unknown_role", "messages[0]: tool"),
        "samdan trains system, user and assistant; leave tool calls out.",
    ),
    Mistake(
        "The last message is not the assistant's",
        data("sft", [{"messages": TURNS[:1]}] * 9),
        ("no_final_answer",),
        "End every conversation with the answer that is to be learned.",
    ),
    Mistake(
        "Two messages of the user in a row",
        data("sft", [{"messages": [TURNS[0], TURNS[0], TURNS[1]]}] * 9),
        ("role_order", "turn 2 is the user's"),
        "User and assistant take turns; join what belongs together.",
    ),
    Mistake(
        "Pairs of which both answers are equal",
        data("dpo", [{"prompt": f"a{i}", "chosen": "b", "rejected": "b"} for i in range(9)]),
        ("equal_answers",),
        "Leave such pairs out: there is nothing to prefer.",
    ),
    Mistake(
        "Pairs without a rejected answer",
        data("dpo", [{"prompt": f"a{i}", "chosen": "b"} for i in range(9)]),
        ("looked for rejected", "found prompt, chosen"),
        "A pair has `prompt`, `chosen` and `rejected`.",
    ),
    Mistake(
        "`max_length` shorter than every record",
        lambda w: ["run", w.recipe(stage("sft", "qa.jsonl", max_length=8))],
        ("nothing is left to train on (over_max_length 40)", "raise max_length"),
        "Raise `max_length` to what the records need.",
    ),
    Mistake(
        "Too few records to measure anything",
        lambda w: ["plan", w.recipe(source(w.write("few.jsonl", ONE)))],
        ("only 1 optimizer step", "1 conversations are few (below 200)"),
        "Give more records: of one, none can be held out.",
        code=0,
        calm=True,
    ),
    Mistake(
        "Filters that leave nothing",
        lambda w: ["run", w.recipe(stage("cpt", "docs.jsonl", f", filters: [{LONG}]"))],
        ("stages.cpt.data.docs: nothing is left to train on", "length"),
        "`samdan preview` shows what each filter drops; loosen it.",
    ),
    Mistake(
        "Training data that hold the test",
        _leak,
        ("stages.cpt.data.leak: nothing is left to train on", "contaminated", "take others"),
        "Take other items for `evaluate`, or leave the records out of training.",
    ),
    Mistake(
        "A broken archive",
        lambda w: ["run", w.recipe(stage("cpt", w.write("docs.zip", b"PK\x03\x04 no archive")))],
        ("stages.cpt.data.docs", "damaged", "docs.zip", "broken_zip", "pack the file again"),
        "Pack or download it again.",
    ),
    Mistake(
        "A compressed file that ends too early",
        data("cpt", gzip.compress(b'{"text": "a line"}\n' * 500)[:40], "docs.jsonl.gz"),
        ("stages.cpt.data.docs", "damaged", "docs.jsonl.gz"),
        "Download it again; compare sizes or hashes.",
    ),
    Mistake(
        "A Parquet file that is none",
        data("cpt", b"PAR1 and nothing", "docs.parquet"),
        ("stages.cpt.data.docs", "damaged", "docs.parquet", "download"),
        "Download it again.",
    ),
    Mistake(
        "A library for this kind of file is missing",
        _no_library,
        ("manual.pdf: needs the extra samdan[documents]", "pip install 'samdan[documents]'"),
        "Install the extra that the message names.",
        code=4,
    ),
    Mistake(
        "A data set of the Hub without a network",
        lambda w: ["run", w.recipe("{name: sft, data: [{hub: owner/set}]}")],
        ("owner/set", "network", "give 'path'"),
        "Download it where there is a network, and give `path`.",
        code=4,
    ),
    Mistake(
        "Two sources of one name",
        lambda w: ["check", w.recipe(stage("cpt", "docs.jsonl}, {path: more/docs.jsonl"))],
        ("two sources are called 'docs'", "'name' of its own"),
        "Give one of them a `name`.",
    ),
)  # fmt: skip
