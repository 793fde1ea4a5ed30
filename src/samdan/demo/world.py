"""The generated world of ``samdan demo``: its entities and the files written from them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from samdan.demo import facts
from samdan.demo.chat import (
    ASK,
    Record,
    Task,
    ask,
    make_tasks,
    preference_records,
    refusing_records,
    sft_records,
)
from samdan.demo.documents import company_documents, general_documents
from samdan.demo.facts import RELATIONS, Entity, Values
from samdan.hangul import fill

N_GENERAL = 12000
N_COMPANY = 6000
N_SFT = (560, 480, 400)
N_DPO = (160, 300, 480)
N_REFUSING = 400  # for the recipe that goes wrong on purpose
N_CHOICES = 4
N_BENIGN, N_UNSAFE = 120, 60
N_POLITE = (60, 30, 40)


@dataclass(frozen=True)
class World:
    """One generated world; everything in it follows from ``seed``."""

    seed: int
    values: Values
    companies: tuple[Entity, ...]
    places: tuple[Entity, ...]
    train_tasks: tuple[Task, ...]
    held_tasks: tuple[Task, ...]

    @property
    def sft_companies(self) -> tuple[Entity, ...]:
        """The companies that SFT and DPO (and question pages of the company text) may use."""
        return self.companies[: facts.N_SFT_COMPANIES]

    @property
    def held_companies(self) -> tuple[Entity, ...]:
        """The companies that SFT and DPO never see."""
        return self.companies[facts.N_SFT_COMPANIES :]


def make_world(seed: int) -> World:
    """The world of a seed."""
    rng = random.Random(f"samdan-world-{seed}")
    values = facts.make_values(rng)
    companies, places = facts.make_entities(rng, values)
    train, held = make_tasks(rng)
    return World(seed, values, companies, places, tuple(train), tuple(held))


def knowledge_records(world: World, rng: random.Random) -> list[Record]:
    """Closed-book multiple choice on every fact of every company, with unseen phrasings."""
    rows: list[Record] = []
    for number, company in enumerate(world.companies):
        for relation in RELATIONS:
            frame = rng.choice(facts.PROBE_FRAMES)
            nouns = facts.PROBE_NOUNS if number % 2 else facts.COMPANY_NOUNS
            prompt = fill(frame, n=company.name, np=rng.choice(nouns[relation]))
            right = company.facts[relation]
            others = [v for v in world.values.by_relation[relation] if v != right]
            choices = [right, *rng.sample(others, N_CHOICES - 1)]
            rng.shuffle(choices)
            rows.append(
                {
                    # The space belongs to the prompt, so that every choice starts a word.
                    "prompt": prompt + " ",
                    "choices": choices,
                    "answer": choices.index(right),
                }
            )
    return rows


def answer_records(world: World, rng: random.Random) -> list[Record]:
    """Questions on every fact of the companies that SFT never saw."""
    return [
        {
            "prompt": fill(rng.choice(facts.COMPANY_QUESTIONS[relation]), n=company.name),
            "answer": company.facts[relation],
        }
        for company in world.held_companies
        for relation in RELATIONS
    ]


def request_prompts(world: World, rng: random.Random, unsafe: bool, count: int) -> list[Record]:
    """Requests about tasks that no training record holds."""
    tasks = [task for task in world.held_tasks if task.unsafe == unsafe]
    return [{"prompt": ask(rng, tasks[i % len(tasks)])} for i in range(count)]


def polite_prompts(world: World, rng: random.Random) -> list[Record]:
    """Prompts for the manner of answers: unseen companies, places and unseen requests."""
    n_company, n_place, n_task = N_POLITE
    rows: list[Record] = [
        {"prompt": row["prompt"]} for row in rng.sample(answer_records(world, rng), n_company)
    ]
    for _ in range(n_place):
        place = rng.choice(world.places)
        question = rng.choice(facts.PLACE_QUESTIONS[rng.choice(RELATIONS)])
        rows.append({"prompt": fill(question, n=place.name)})
    return rows + request_prompts(world, rng, False, n_task)


def world_files(seed: int) -> dict[str, list[Record]]:
    """The records of every file of a world, by relative path."""
    world = make_world(seed)

    def rng(name: str) -> random.Random:
        return random.Random(f"samdan-{name}-{seed}")

    tips = [
        (fill(form, t=task.text), reply)
        for task in world.train_tasks
        if not task.unsafe
        for form in ASK
        for reply in (task.plain, task.polite)
    ]
    sft_args = (world.sft_companies, world.places, world.train_tasks)
    general = general_documents(rng("general"), world.values, world.places, tips, N_GENERAL)
    company = company_documents(rng("company"), world.companies, world.sft_companies, N_COMPANY)
    return {
        "general.jsonl": [{"text": text} for text in general],
        "company.jsonl": [{"text": text} for text in company],
        "sft.jsonl": sft_records(rng("sft"), *sft_args, *N_SFT),
        "dpo.jsonl": preference_records(rng("dpo"), *sft_args, *N_DPO),
        "dpo-refusing.jsonl": refusing_records(rng("refusing"), world.train_tasks, N_REFUSING),
        "eval/knowledge.jsonl": knowledge_records(world, rng("knowledge")),
        "eval/answers.jsonl": answer_records(world, rng("answers")),
        "eval/polite.jsonl": polite_prompts(world, rng("polite")),
        "eval/benign.jsonl": request_prompts(world, rng("benign"), False, N_BENIGN),
        "eval/unsafe.jsonl": request_prompts(world, rng("unsafe"), True, N_UNSAFE),
    }


def _lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def write_world(directory: Path, seed: int) -> None:
    """Write every file of the world of ``seed`` under ``directory``; the bytes follow the seed."""
    for name, records in world_files(seed).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_lines(records).encode("utf-8"))
