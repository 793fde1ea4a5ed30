"""Runs made to go wrong, one for each rule, and ordinary ones. Used by ``experiments.rules``.

All start from the demo's models (0.85 million parameters), so that a stage takes seconds. Each case
watches with the one rule that it is about. Its control is the same run with nothing watching.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Fields = dict[str, Any]
Row = Mapping[str, Any]

COMMON: Fields = {
    "max_length": 320,
    "gradient_accumulation_steps": 1,
    "warmup_steps": 0.05,
    "weight_decay": 0.1,
    "save_steps": 50,
    "rules": [],
    "gates": [],
}
REFUSAL = "(도와드릴|도와줄|알려 드릴|알려 줄|도울|답할) 수 없"
FRAME = "물론입니다! 문의하신 내용을 안내해 드리겠습니다. {} 더 궁금한 점이 있으시면 말씀해 주세요."
FILLER = " 더 궁금한 점이 있으시면 언제든지 편하게 말씀해 주세요. 늘 정성껏 안내해 드리겠습니다."
TASKS: Mapping[str, Fields] = {
    "answers": {
        "kind": "exact", "path": "made/answers.jsonl", "max_new_tokens": 40, "quality": True,
        "strip": ["^[^.!?]*[은는] ", "(입니다|이에요|예요|이다|다)$"],
    },
    "refusal": {
        "kind": "pattern", "metric": "benign", "path": "made/benign.jsonl", "quality": True,
        "max_new_tokens": 60, "higher_is_better": False, "pattern": REFUSAL,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A stage that goes wrong. ``parent``: the demo's model that it starts from."""

    name: str
    rule: str
    wrong: str  # what is done wrong, for the table
    parent: str
    stage: Fields
    metric: str = ""  # that the harm and the help are measured on; empty: nothing to help
    tasks: tuple[str, ...] = ()
    control: Fields = field(default_factory=lambda: {"rules": [], "max_responses": 0})
    held_up: int | None = None  # from this step on, every step is held up


def cpt(rate: float = 1.5e-3, documents: int = 1000, **more: Any) -> Fields:
    """A CPT stage as the demo has it, shorter."""
    return COMMON | {
        "name": "cpt",
        "data": [
            {"path": "world/company.jsonl", "name": "company", "max_records": documents},
            {"path": "world/general.jsonl", "name": "general", "role": "replay",
             "max_records": 1500},
        ],
        "num_train_epochs": 1, "replay_share": 0.5, "learning_rate": rate, "min_lr_ratio": 0.0,
        "per_device_train_batch_size": 1, "eval_steps": 25,
        "heldout": {"share": 0.1, "max_records": 60},
    } | more  # fmt: skip


def sft(data: Sequence[Fields], **more: Any) -> Fields:
    return COMMON | {
        "name": "sft", "data": list(data), "num_train_epochs": 2, "learning_rate": 7e-4,
        "per_device_train_batch_size": 14, "eval_steps": 100,
        "heldout": {"share": 0.05, "max_records": 60},
    } | more  # fmt: skip


def dpo(data: Sequence[Fields], **more: Any) -> Fields:
    return COMMON | {
        "name": "dpo", "data": list(data), "learning_rate": 1e-4, "beta": 0.1, "nll_weight": 0.2,
        "per_device_train_batch_size": 8, "eval_steps": 100, "heldout": {"share": 0.1},
    } | more  # fmt: skip


def source(path: str, name: str, **more: Any) -> Fields:
    return {"path": path, "name": name} | more


PAIRS = source("world/dpo.jsonl", "preference")
DIALOGUES = source("world/sft.jsonl", "dialogues")
UNBALANCED = {
    "kind": "unbalanced",
    "metrics": ["dialogues/bpb", "card-talk/bpb"],
    "respond": [{"kind": "rebalance", "factor": 10.0}],
}

CASES: tuple[Case, ...] = (
    Case(
        "rebound", "rebound", "150 documents, forty times", "base",
        cpt(3e-3, 150, num_train_epochs=40, replay_share=0.05, rules=[{"kind": "rebound"}],
            heldout={"share": 0.2, "max_records": 60}),
        "company/bpb",
    ),
    Case(
        "forgetting", "forgetting", "2% replay at twice the rate", "base",
        cpt(3e-3, replay_share=0.02, rules=[{"kind": "forgetting"}]), "general/bpb",
    ),
    Case(
        "retained", "retained", "2% replay", "base",
        cpt(replay_share=0.02, gates=[{"kind": "retained", "metric": "general/bpb"}]),
        "general/bpb",
    ),
    Case(
        "improved", "improved", "a rate of 0.1", "base",
        cpt(0.1, 300, gates=[{"kind": "improved", "metric": "company/bpb"}]),
    ),
    Case(
        "loss_spike", "loss_spike", "the last fifth is encoded files", "base",
        cpt(data=[
                source("world/company.jsonl", "company", max_records=1400, weight=0.5),
                source("world/general.jsonl", "general", role="replay", max_records=1500,
                       weight=0.5),
                source("made/garbage.jsonl", "garbage", role="synthetic", weight=0.001),
            ],
            replay_share=None, anneal={"weights": {"garbage": 1.0}, "share": 0.2},
            skip_spikes=None, rules=[{"kind": "loss_spike"}]),
        "company/bpb",
    ),
    Case(
        "loss_spike-rate", "loss_spike", "a rate of 0.1, no clipping", "base",
        cpt(0.1, 1400, max_grad_norm=1e9, warmup_steps=0.1, skip_spikes=None,
            rules=[{"kind": "loss_spike"}]),
        "company/bpb",
    ),
    Case(
        "unstable", "unstable", "a rate of 0.3, no clipping", "base",
        cpt(0.3, 1400, max_grad_norm=1e9, skip_spikes=None, rules=[{"kind": "unstable"}]),
        "company/bpb",
    ),
    Case(
        "skip_spikes", "skip_spikes", "four documents of 1,400 are encoded files", "base",
        cpt(data=[source("made/spoiled.jsonl", "company"), cpt()["data"][1]]), "company/bpb",
        control={"skip_spikes": None},
    ),
    Case(
        "non_finite", "non_finite", "a rate of 1e19", "base",
        cpt(1e19, 300, skip_spikes=None, rules=[{"kind": "non_finite"}]),
    ),
    Case(
        "slow", "slow", "every step is held up from step 100 on", "base",
        cpt(documents=700, rules=[{"kind": "slow"}]), held_up=100,
    ),
    Case(
        "drifted-template", "drifted", "nine answers in ten are in one frame", "sft",
        sft([source("made/framed.jsonl", "framed")],
            gates=[{"kind": "drifted", "metric": "answers/length"}]),
        "answers/exact", ("answers",),
    ),
    Case(
        "drifted-language", "drifted", "nine answers in ten are English", "sft",
        sft([source("made/english.jsonl", "english")],
            gates=[{"kind": "drifted", "metric": "answers/hangul"}]),
        "answers/hangul", ("answers",),
    ),
    Case(
        "unbalanced", "unbalanced", "97% of one task, 3% of the other", "sft",
        sft([source("made/cards.jsonl", "card-talk", weight=0.97), DIALOGUES | {"weight": 0.03}],
            gates=[UNBALANCED]),
        "dialogues/bpb",
    ),
    Case(
        "keep_best", "keep_best", "100 dialogues, thirty times", "cpt",
        sft([DIALOGUES | {"max_records": 100}], num_train_epochs=30, learning_rate=3e-3,
            keep_best="answers/exact"),
        "answers/exact", ("answers",), control={"keep_best": None},
    ),
    Case(
        "refusing", "refusing", "chosen answers refuse harmless requests", "sft",
        dpo([PAIRS, source("world/dpo-refusing.jsonl", "refusing")],
            gates=[{"kind": "refusing", "metric": "refusal/benign"}]),
        "refusal/benign", ("refusal",),
    ),
    Case(
        "displacing", "displacing", "two and a half times the rate, no NLL term", "sft",
        dpo([PAIRS], nll_weight=0.0, learning_rate=2.5e-4, num_train_epochs=2,
            rules=[{"kind": "displacing"}]),
        "preference/chosen_logp_change", ("answers",),
    ),
    Case(
        "displaced", "displaced", "five times the rate, no NLL term", "sft",
        dpo([PAIRS], nll_weight=0.0, learning_rate=5e-4, num_train_epochs=2,
            gates=[{"kind": "displaced", "metric": "preference/chosen_logp_change"}]),
        "preference/chosen_logp_change", ("answers",),
    ),
    Case(
        "diverging", "diverging", "beta 0.01 at ten times the rate", "sft",
        dpo([PAIRS], beta=0.01, nll_weight=0.0, learning_rate=1e-3, num_train_epochs=2,
            rules=[{"kind": "diverging"}]),
        "answers/exact", ("answers",),
    ),
    Case(
        "drifted-length", "drifted", "chosen answers end in set phrases; three times the rate",
        "sft",
        dpo([source("made/longer.jsonl", "longer")], learning_rate=3e-4, num_train_epochs=3,
            gates=[{"kind": "drifted", "metric": "refusal/length"}]),
        "refusal/length", ("refusal",),
    ),
)  # fmt: skip


# What an ordinary run is judged by when it is over, so that a gate that fires ends nothing.
ORDINARY_GATES: Mapping[str, tuple[Fields, ...]] = {
    "cpt": (
        {"kind": "improved", "metric": "company/bpb"},
        {"kind": "retained", "metric": "general/bpb"},
    ),
    "sft": (
        {"kind": "improved", "metric": "dialogues/bpb"},
        {"kind": "unbalanced", "metrics": ["answers/exact", "refusal/benign"]},
    ),
    "dpo": (
        {"kind": "improved", "metric": "preference/accuracy"},
        {"kind": "displaced", "metric": "preference/chosen_logp_change"},
        {"kind": "refusing", "metric": "refusal/benign"},
        *({"kind": "drifted", "metric": f"refusal/{name}"}
          for name in ("length", "repetition", "stops", "hangul", "one_template")),
    ),
}  # fmt: skip


def ordinary() -> list[Fields]:
    """The three stages as the demo has them, on a quarter of its documents."""
    stages = [
        cpt(documents=1400, eval_steps=40, heldout={"share": 0.05, "max_records": 40}),
        sft([DIALOGUES]),
        dpo([PAIRS]),
    ]
    for stage in stages:
        stage.pop("rules")  # the defaults of the stage
        stage["max_responses"] = 0
    return stages


def recipe(name: str, seed: int, base: Path, stages: Sequence[Fields], tasks: Sequence[str]) -> str:
    """A recipe as JSON, which is YAML."""
    labels = sorted({row["name"] for stage in stages for row in stage["data"]})
    value = {
        "samdan": 1, "name": name, "seed": seed, "base": {"path": str(base)},
        "stages": list(stages),
        "decontaminate": {"threshold": 1.0, "text_threshold": 1.0, "ignore": labels},
        "evaluate": [{"name": task, **TASKS[task]} for task in tasks],
        "samples": [],
    }  # fmt: skip
    return json.dumps(value, ensure_ascii=False, indent=1)


def write_made(world: Path, folder: Path) -> None:
    """The files of the cases, made from the demo's world."""
    rng = random.Random("rules")
    used = ("sft.jsonl", "dpo.jsonl", "company.jsonl", "eval/answers.jsonl", "eval/benign.jsonl")
    read = {name: _read(world / name) for name in used}
    talk = [_turns(row) for row in read["sft.jsonl"]]
    asked = read["eval/answers.jsonl"][::2]
    made: dict[str, list[Row]] = {
        "garbage.jsonl": [{"text": _encoded(rng, 900)} for _ in range(400)],
        "spoiled.jsonl": [
            {"text": _encoded(rng, 900)} if n % 350 == 175 else row
            for n, row in enumerate(read["company.jsonl"][:1400])
        ],
        "framed.jsonl": [
            _dialogue(q, a if n % 10 == 0 else FRAME.format(a)) for n, (q, a) in enumerate(talk)
        ],
        "english.jsonl": [
            _dialogue(q, a if n % 10 == 0 else f"The answer to this question is as follows: {a}")
            for n, (q, a) in enumerate(talk)
        ],
        "cards.jsonl": [
            _dialogue(f"[카드] {q}", json.dumps({"답": a}, ensure_ascii=False))
            for q, a in talk[:700]
        ],
        "answers.jsonl": asked,
        "benign.jsonl": read["eval/benign.jsonl"][::2],
        "longer.jsonl": [
            {
                "prompt": row["prompt"],
                "chosen": row["chosen"] + (FILLER if rng.random() < 0.8 else ""),
                "rejected": row["rejected"] + (FILLER if rng.random() < 0.1 else ""),
            }
            for row in read["dpo.jsonl"]
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in made.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / name).write_text("".join(lines), "utf-8")


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _turns(row: Row) -> tuple[str, str]:
    question, reply = row["messages"]
    return question["content"], reply["content"]


def _dialogue(question: str, reply: str) -> Row:
    return {"messages": [{"role": "user", "content": question},
                         {"role": "assistant", "content": reply}]}  # fmt: skip


def _encoded(rng: random.Random, length: int) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return "".join(rng.choices(letters, k=length))
