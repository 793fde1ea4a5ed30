"""Fill-in-the-middle and a long phase on small models trained from random weights.

python -m experiments.code_domain runs/code-domain [RESULTS.json] [--seeds 0 1 2]

The documents are made-up programs: every function is followed by a comment that says what it does,
so that a hidden line can be told from what stands behind it, and sentences with a number come again
at the end, so that the number must be found. Models see blocks of 256 tokens; the long
phase goes on with four times as many. Everything runs through recipes, as a user would do it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samdan.answers.needles import needle
from samdan.evals.stats import interval
from samdan.recipe import parse, with_paths
from samdan.records import EvalResult
from samdan.run.api import run

VERBS = ("get", "make", "find", "sum", "scale", "check", "load", "mix")
NOUNS = ("price", "rate", "width", "height", "score", "limit", "count", "weight", "depth", "speed")
OBJECTS = ("order", "box", "user", "page", "item", "car")
VARIABLES = ("total", "value", "result", "amount", "part", "size")
OPERATIONS = {"+": "plus", "-": "minus", "*": "times", "/": "over"}
SHORT, LONG = 256, 1024
LENGTHS = (128, 256, 512, 1024)
# By variant: per seed, stage and metric.
Found = dict[str, list[dict[str, dict[str, EvalResult]]]]
# Only its base is of interest: the model to compare infilling with.
PLAIN = "no infilling"
# What the long phase changes, by the name of the variant.
PHASES: dict[str, dict[str, Any] | None] = {
    "theta 1e4 to 1e5": {"theta": 1e5},
    "YaRN, factor 4": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": SHORT},
    "longer packs only": None,
}


def function(rng: random.Random) -> str:
    """One function and the comment behind it that says what its line computes."""
    name = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}"
    thing, variable = rng.choice(OBJECTS), rng.choice(VARIABLES)
    one, other = rng.sample(NOUNS, 2)
    sign = rng.choice(list(OPERATIONS))
    return (
        f"def {name}({thing}):\n"
        f"    {variable} = {thing}.{one} {sign} {thing}.{other}\n"
        f"    return {variable}\n"
        f"# {name} takes {thing}: {variable} is {one} {OPERATIONS[sign]} {other}\n"
    )


def program(rng: random.Random, functions: int, sentences: int) -> str:
    """Functions, sentences with a number anywhere between them, and all of these once more."""
    parts = [function(rng) for _ in range(functions)]
    hidden: dict[str, str] = {}
    while len(hidden) < sentences:
        one = needle("en", rng)
        hidden[one.question] = one.sentence
    for sentence in hidden.values():
        parts.insert(rng.randrange(len(parts) + 1), f"{sentence}\n")
    again = rng.sample(list(hidden.values()), len(hidden))
    return "\n".join([*parts, *again]) + "\n"


def short_program(rng: random.Random) -> str:
    """Half of them hold numbers only: looking one up is learned slowly where it is rare."""
    if rng.random() < 0.5:
        return program(rng, 0, 7)
    return program(rng, rng.randint(1, 4), rng.randint(1, 3))


def write_world(folder: Path, seed: int) -> None:
    """Programs that fit the short blocks, programs that need the long ones, and text to hide in."""
    rng = random.Random(f"code/{seed}")
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "short": [short_program(rng) for _ in range(6000)],
        "long": [program(rng, rng.randint(4, 20), rng.randint(1, 5)) for _ in range(600)],
        "unseen": [program(rng, rng.randint(2, 4), 1) for _ in range(60)],
        # Functions only: a second number would be another needle.
        "hay": [program(rng, 20, 0) for _ in range(40)],
    }
    for name, found in texts.items():
        rows = (json.dumps({"text": text}) for text in found)
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")


def recipe_text(
    seed: int, fim: bool, rope: dict[str, Any] | None, steps: tuple[int, int], name: str
) -> str:
    """The base on short blocks, with or without fill-in-the-middle, and the long phase."""
    infilling = {"fim": {"add_missing": True}} if fim else {}
    source = {"clean": None, "personal": None}
    shared = {
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "dedup": None,
        "precision": "fp32", "save_steps": 100_000, "heldout": {"share": 0.02, "max_records": 40},
    }  # fmt: skip
    infill = [
        {"kind": "infill", "name": f"infill-{order}", "path": "unseen.jsonl", "lines": "all",
         "order": order, "min_chars": 8, "max_new_tokens": 32, "max_items": 80}
        for order in (("psm", "spm", "prefix_only") if fim else ("prefix_only",))
    ]  # fmt: skip
    found = {"kind": "needle", "name": "needle", "path": "hay.jsonl", "language": "en",
             "lengths": LENGTHS, "per_cell": 5}  # fmt: skip
    tree = {
        "samdan": 1, "name": name, "seed": seed, "decontaminate": None,
        "base": {
            "scratch": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                        "max_position_embeddings": SHORT, "initializer_range": 0.1},
            "tokenizer": {"vocab_size": 420},
            "data": [{"path": "short.jsonl", "name": "short", **source, **infilling}],
            "train": {**shared, "max_length": SHORT, "learning_rate": 3e-3,
                      "num_train_epochs": 50, "max_steps": steps[0]},
        },
        "stages": [{
            "name": "long", "kind": "cpt", **shared, "per_device_train_batch_size": 2,
            "max_length": LONG, "learning_rate": 1e-3, "num_train_epochs": 50,
            "max_steps": steps[1], "gates": [], "warmup_steps": 0.05,
            "data": [{"path": "long.jsonl", "name": "long", **source, **infilling}],
            **({"rope": rope} if rope else {}),
        }],
        "evaluate": [*infill, found],
    }  # fmt: skip
    return json.dumps(tree)  # JSON is YAML


def measured(folder: Path, world: Path, text: str) -> dict[str, dict[str, EvalResult]]:
    """Runs the recipe and returns every metric of the base and of the model behind the phase."""
    recipe = with_paths(parse(text, folder.name), lambda path, is_model: str(world / path))
    run(recipe, folder, say=print)
    found = {}
    for stage in ("base", "long"):
        results = json.loads((folder / stage / "eval.json").read_text("utf-8"))["results"]
        found[stage] = {
            row["name"]: EvalResult(
                row["name"], tuple(row["numerators"]), tuple(row["denominators"]),
                row["higher_is_better"], row["exponential"],
            )
            for row in results
        }  # fmt: skip
    return found


def pooled(results: Sequence[EvalResult]) -> dict[str, Any]:
    """One metric over the seeds: its value, a 95% interval over all items, and the seeds' values.

    Items of all seeds are resampled together; how much the seeds differ is shown beside it.
    """
    first = results[0]
    whole = EvalResult(
        first.name,
        tuple(x for r in results for x in r.numerators),
        tuple(x for r in results for x in r.denominators),
        first.higher_is_better,
    )
    low, high = interval(whole)
    return {"value": whole.value, "ci95": [low, high], "n": len(whole.numerators),
            "seeds": [r.value for r in results]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs=2, default=(1000, 100))
    given = parser.parse_args()
    variants: list[tuple[str, bool, dict[str, Any] | None]] = [
        (name, True, rope) for name, rope in PHASES.items()
    ]
    variants.insert(1, (PLAIN, False, None))
    found: Found = {}
    for seed in given.seeds:
        world = given.out / f"world-{seed}"
        write_world(world, seed)
        for number, (name, fim, rope) in enumerate(variants):
            steps = (given.steps[0], given.steps[1] if fim else 1)
            text = recipe_text(seed, fim, rope, steps, f"code-{seed}-{number}")
            results = measured(given.out / f"run-{seed}-{number}", world.resolve(), text)
            found.setdefault(name, []).append(results)
            _write(found, given)
    _print(_table(found))


def _table(found: Found) -> dict[str, Any]:
    """By variant, model and metric: the value over the seeds that are done."""
    return {
        name: {
            stage: {
                metric: pooled([one[stage][metric] for one in by_seed])
                for metric in by_seed[0][stage]
                if not metric.endswith("/perplexity")
            }
            for stage in (("base",) if name == PLAIN else ("base", "long"))
        }
        for name, by_seed in found.items()
    }


def _write(found: Found, given: argparse.Namespace) -> None:
    """After every run, so that what is measured so far can be looked at."""
    if given.results:
        value = {"seeds": given.seeds, "steps": given.steps, "variants": _table(found)}
        given.results.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


def _print(table: dict[str, Any]) -> None:
    print("| variant | model | metric | value | 95% interval | seeds | n |")
    print("|---|---|---|---|---|---|---|")
    for name, stages in table.items():
        for stage, metrics in stages.items():
            for metric, row in metrics.items():
                seeds = ", ".join(f"{value:.3f}" for value in row["seeds"])
                low, high = row["ci95"]
                print(
                    f"| {name} | {stage} | `{metric}` | {row['value']:.3f} | {low:.3f} to "
                    f"{high:.3f} | {seeds} | {row['n']} |"
                )


if __name__ == "__main__":
    main()
