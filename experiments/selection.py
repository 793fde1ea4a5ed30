"""A tenth of a corpus, chosen by several methods, against the whole of it.

python -m experiments.selection runs/selection [--seeds 42 43 44]

Claim (FinPythia, arXiv 2311.08545): continued pre-training on the best tenth can beat the whole.
Per seed: a generated corpus in which a tenth of the tokens is about the companies of the demo's
world and the rest is everyday text and noise; a base trained from random weights on other everyday
text; and from it one CPT stage for each way of choosing. Everything is measured on company
documents, on questions about the companies and on everyday text that no model has seen. Writes
result.json, table.md and every selection's report.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import samdan
from samdan.data.selection.markdown import rendered
from samdan.data.selection.pipeline import Selected, select_documents
from samdan.data.selection.report import selection_report
from samdan.data.selection.terms import Tagged
from samdan.data.selection.tools import load_tools
from samdan.demo import facts
from samdan.demo.chat import ASK
from samdan.demo.documents import company_documents, general_documents
from samdan.demo.world import World, knowledge_records, make_world
from samdan.evals.stats import compare
from samdan.hangul import fill
from samdan.lm.model import load_chat
from samdan.records import Document, EvalResult, Origin
from samdan.selecting import Select

SHARE = 0.1
ARMS = ("ets", "ets_com", "eta", "random", "all")
# Documents at scale 1: of the base, and of the corpus by origin.
N_BASE, N_RELEVANT, N_EVERYDAY, N_NOISE, N_HELD = 6000, 1600, 9600, 2400, 300
METRICS = ("target/bpb", "knowledge/accuracy", "general/bpb")
SCRATCH = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "initializer_range": 0.06,
}
TRAIN = {
    "num_train_epochs": 1,
    "weight_decay": 0.1,
    "max_length": 320,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "warmup_steps": 0.05,
    "save_steps": 100_000,
    "eval_steps": 100_000,
    "heldout": {"share": 0.01, "max_records": 50},
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    arguments.add_argument("--scale", type=float, default=1.0, help="of the number of documents")
    given = arguments.parse_args()
    tagged = tagger()
    started = time.monotonic()
    seeds = [run_seed(given.out / f"seed-{s}", s, given.scale, tagged) for s in given.seeds]
    shown = table(seeds) + f"\n{time.monotonic() - started:.0f} seconds for {len(seeds)} seeds.\n"
    (given.out / "result.json").write_text(json.dumps(seeds, indent=1) + "\n", "utf-8")
    (given.out / "table.md").write_text(shown, "utf-8")
    print(shown)


# --- the corpus -----------------------------------------------------------------------------------


def write_files(folder: Path, seed: int, scale: float) -> None:
    """Everything that a seed's models read, of which no text is in two files."""

    def rng(name: str) -> random.Random:
        return random.Random(f"selection-{name}-{seed}")

    def count(number: int) -> int:
        return max(20, int(number * scale))

    world = make_world(seed)
    base, relevant, everyday, noisy, held = map(
        count, (N_BASE, N_RELEVANT, N_EVERYDAY, N_NOISE, N_HELD)
    )
    tips = [
        (fill(form, t=task.text), task.plain)
        for task in world.train_tasks
        if not task.unsafe
        for form in ASK
    ]
    general = general_documents(
        rng("general"), world.values, world.places, tips, base + everyday + held
    )
    company = distinct_company_documents(rng("company"), world, relevant + held)
    corpus = [("company", text) for text in company[held:]]
    corpus += [("everyday", text) for text in general[base + held :]]
    corpus += [("noise", text) for text in noise(rng("noise"), general[:base], noisy)]
    rng("order").shuffle(corpus)
    write(folder / "base.jsonl", ({"text": text} for text in general[:base]))
    write(folder / "corpus.jsonl", ({"text": t, "source": s} for s, t in dict.fromkeys(corpus)))
    write(folder / "target.jsonl", ({"text": text} for text in company[:held]))
    write(folder / "general.jsonl", ({"text": text} for text in general[base : base + held]))
    write(folder / "knowledge.jsonl", knowledge_records(world, rng("knowledge")))
    write(folder / "task.jsonl", ({"text": text} for text in questions(world, rng("task"))))


def distinct_company_documents(rng: random.Random, world: World, count: int) -> list[str]:
    texts: dict[str, None] = {}
    while len(texts) < count:
        made = company_documents(rng, world.companies, world.sft_companies, count)
        texts |= dict.fromkeys(made)
    return list(texts)[:count]


def questions(world: World, rng: random.Random) -> list[str]:
    """What the task looks like, without answers, and about few of the companies only."""
    return [
        fill(rng.choice(facts.COMPANY_QUESTIONS[relation]), n=company.name)
        for company in world.sft_companies
        for relation in facts.RELATIONS
        for _ in range(3)
    ]


def noise(rng: random.Random, texts: Sequence[str], count: int) -> list[str]:
    """Shuffled characters, repeated lines, tables of numbers, random syllables."""
    made: dict[str, None] = {}
    while len(made) < count:
        text = rng.choice(texts)
        kind = rng.randrange(4)
        if kind == 0:
            made["".join(rng.sample(text, len(text)))] = None
        elif kind == 1:
            line = " ".join(rng.sample(text.split(), min(4, len(text.split()))))
            made["\n".join([line] * rng.randint(4, 8))] = None
        elif kind == 2:
            rows = (f"{rng.randrange(10**4)} | {rng.random():.3f}" for _ in range(6))
            made["\n".join(rows)] = None
        else:
            made["".join(chr(rng.randrange(0xAC00, 0xD7A4)) for _ in range(15))] = None
    return list(made)


def write(path: Path, rows: Iterable[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), "utf-8")


def read(path: Path) -> list[Document]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [
        Document(row["text"], Origin(path.name, number), {"source": row["source"]})
        for number, row in enumerate(rows, 1)
    ]


# --- choosing and training ------------------------------------------------------------------------


def run_seed(folder: Path, seed: int, scale: float, tagged: Tagged) -> dict[str, Any]:
    write_files(folder, seed, scale)
    base = {"scratch": SCRATCH, "tokenizer": {"vocab_size": 1600, "split_particles": True}}
    base |= {"data": [{"path": "base.jsonl"}], "train": {**TRAIN, "learning_rate": 3e-3}}
    # The base's tokenizer is trained on the corpus too, so it needs a stage that names it.
    first = recipe(folder, seed, "base", base, "corpus.jsonl", max_steps=1)
    samdan.run(first, folder / "base", say=print)
    model = folder / "base" / "base" / "model"
    corpus = read(folder / "corpus.jsonl")
    arms = {}
    for arm in ARMS:
        started = time.monotonic()
        if arm == "all":
            file, chosen = "corpus.jsonl", corpus
        else:
            file = f"{arm}.jsonl"
            chosen = choose(folder, arm, corpus, model, seed, tagged)
        selecting = time.monotonic() - started
        arms[arm] = train(folder, seed, arm, model, file) | {
            "selection_seconds": round(selecting, 1),
            "documents": len(chosen),
            "company_share": share_of_company(chosen),
        }
    return {"seed": seed, "arms": arms, "base": results(folder / "base" / "base" / "eval.json")}


def choose(
    folder: Path, arm: str, corpus: list[Document], model: Path, seed: int, tagged: Tagged
) -> list[Document]:
    """Writes ``<arm>.jsonl`` and the selection's report beside it."""
    spec: Select = TypeAdapter(Select).validate_python(method(folder, arm, model))
    chat = load_chat(str(model))

    def count_tokens(texts: Sequence[str]) -> list[int]:
        return [len(record) for record in chat.documents(texts)]

    tools = load_tools(spec, tagged)
    selected: Selected = select_documents(spec, lambda: corpus, count_tokens, tools, seed)
    kept = [document for document, yes in zip(corpus, selected.chosen.mask, strict=True) if yes]
    write(folder / f"{arm}.jsonl", ({"text": document.text} for document in kept))
    report = selection_report(selected, lambda places: [corpus[i] for i in places], tagged)
    (folder / f"{arm}.md").write_text(rendered(report), "utf-8")
    return kept


def method(folder: Path, arm: str, model: Path) -> dict[str, Any]:
    if arm == "random":
        return {"kind": "random", "share": SHARE}
    # The documents have 30 to 100 tokens; shorter ones are single lines.
    spec: dict[str, Any] = {"kind": arm, "share": SHARE, "min_tokens": 20}
    if arm != "eta":
        spec["tasks"] = [str(folder / "task.jsonl")]
    return spec if arm == "ets" else spec | {"surrogate": {"path": str(model)}}


def recipe(
    folder: Path, seed: int, name: str, base: dict[str, Any], file: str, **fields: Any
) -> samdan.recipe.Recipe:
    # No text is in two files, and choosing is what is compared: nothing else leaves a text out.
    stage = {"name": "cpt", "data": [{"path": file, "name": "corpus"}], "gates": [], "dedup": None}
    made = {
        "samdan": 1,
        "name": name,
        "seed": seed,
        "base": base,
        "decontaminate": None,
        "stages": [stage | TRAIN | {"learning_rate": 1.5e-3, "min_lr_ratio": 0.0} | fields],
        "evaluate": [
            {"kind": "bpb", "name": "target", "path": "target.jsonl"},
            {"kind": "multiple_choice", "name": "knowledge", "path": "knowledge.jsonl"},
            {"kind": "bpb", "name": "general", "path": "general.jsonl"},
        ],
    }
    path = folder / f"{name}.yaml"  # JSON is YAML
    path.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return samdan.load_recipe(path)


def train(folder: Path, seed: int, arm: str, model: Path, file: str) -> dict[str, Any]:
    base = {"path": str(model.resolve())}
    started = time.monotonic()
    outcome = samdan.run(recipe(folder, seed, arm, base, file), folder / arm, say=print)
    stage = outcome.report["stages"][-1]
    return {
        "tokens": stage["tokens"]["seen"],
        "run_seconds": round(time.monotonic() - started, 1),
        "results": results(folder / arm / "cpt" / "eval.json"),
    }


def results(path: Path) -> dict[str, Any]:
    rows = json.loads(path.read_text("utf-8"))["results"]
    return {row["name"]: row for row in rows if row["name"] in METRICS}


def share_of_company(documents: Sequence[Document]) -> float:
    """By characters."""
    sizes = [(len(document.text), document.meta["source"]) for document in documents]
    mine = sum(size for size, source in sizes if source == "company")
    return mine / sum(size for size, _ in sizes)


def tagger() -> Tagged:
    """Kiwi's morphemes; every text is tagged once, although several methods ask."""
    import kiwipiepy

    kiwi = kiwipiepy.Kiwi()

    @functools.cache
    def tagged(text: str) -> tuple[tuple[str, str], ...]:
        return tuple((token.form, str(token.tag)) for token in kiwi.tokenize(text))

    return tagged


# --- the table ------------------------------------------------------------------------------------


def table(seeds: Sequence[dict[str, Any]]) -> str:
    """Means over the items of all seeds, 95% bootstrap intervals paired by item, seeds in order."""
    head = ["", "tokens", "of them company", "seconds to choose", "seconds to run", *METRICS]
    lines = [head, ["---"] * len(head), ["base", "", "", "", "", *cells(seeds, None)]]
    for arm in ARMS:
        mine = [seed["arms"][arm] for seed in seeds]
        mean = functools.partial(_mean, mine)
        cost = [f"{mean('tokens'):,.0f}", f"{mean('company_share'):.0%}"]
        cost += [f"{mean('selection_seconds'):.0f}", f"{mean('run_seconds'):.0f}"]
        lines.append([arm, *cost, *cells(seeds, arm)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)


def cells(seeds: Sequence[dict[str, Any]], arm: str | None) -> list[str]:
    """``value [interval], against all [interval] (each seed)``"""
    made = []
    for metric in METRICS:
        base, whole, mine = (
            pooled([of(seed)[metric] for seed in seeds])
            for of in (results_of(None), results_of("all"), results_of(arm))
        )
        found = compare(base, whole, mine, seed=0)
        each = ", ".join(f"{pooled([results_of(arm)(s)[metric]]).value:.3f}" for s in seeds)
        low, high = found.after_ci
        text = f"{found.after:.3f} [{low:.3f}, {high:.3f}]"
        if arm not in (None, "all"):
            low, high = found.vs_before_ci
            text += f", {found.after - found.before:+.3f} [{low:+.3f}, {high:+.3f}]"
        made.append(f"{text} ({each})")
    return made


def results_of(arm: str | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda seed: seed["base"] if arm is None else seed["arms"][arm]["results"]


def pooled(rows: Sequence[dict[str, Any]]) -> EvalResult:
    return EvalResult(
        rows[0]["name"],
        tuple(value for row in rows for value in row["numerators"]),
        tuple(value for row in rows for value in row["denominators"]),
        rows[0]["higher_is_better"],
    )


if __name__ == "__main__":
    main()
