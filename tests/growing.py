"""A small base on disk, text it has not seen, and recipes that grow it; shared by several tests."""

from __future__ import annotations

import json
import random
from pathlib import Path

import tiny

STEMS = ("계약", "손해", "배상", "청구", "판결", "법원", "원고", "피고", "증거", "소송", "이행")
ENDINGS = ("은", "는", "을", "를", "에서", "으로", "이다", "하였다", "하여야", "한다")


def korean(lines: int, seed: int) -> list[str]:
    """Made-up sentences that repeat a few words, so that merges are frequent."""
    rng = random.Random(seed)
    return [
        " ".join(rng.choice(STEMS) + rng.choice(ENDINGS) for _ in range(12)) + f" {number}."
        for number in range(lines)
    ]


def write_rows(path: Path, texts: list[str]) -> Path:
    rows = (json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    path.write_text("".join(f"{row}\n" for row in rows), "utf-8")
    return path


def base(folder: Path, tied: bool = True, padding: int = 0, **shape: int) -> Path:
    """A random model with a tokenizer of 400 tokens in ``folder``."""
    tokenizer = tiny.tokenizer()
    rows = len(tokenizer) + padding
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    made = tiny.model(vocab_size=rows, tie_word_embeddings=tied, **ends, **shape)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recipe(folder: Path, vocab: str = "{merges: 60, min_count: 20}") -> str:
    """YAML of a CPT stage over ``folder``'s base and documents."""
    return f"""\
samdan: 1
name: grown
base: {{path: {folder / "model"}, grow: {{vocab: {vocab}}}}}
stages:
  - name: cpt
    data: [{{path: {folder / "docs.jsonl"}}}, {{path: {folder / "en.jsonl"}, role: replay}}]
    max_length: 64
    per_device_train_batch_size: 2
    gradient_accumulation_steps: 1
    max_steps: 4
    learning_rate: 1e-3
    precision: fp32
    dedup: null
    heldout: {{share: 0.1, max_records: 10}}
    gates: []
    rules: []
decontaminate: null
"""


def world(folder: Path) -> Path:
    """Base and documents for ``recipe``."""
    folder.mkdir(parents=True, exist_ok=True)
    base(folder / "model")
    write_rows(folder / "docs.jsonl", korean(300, 0))
    english = [f"The quick brown fox number {n} jumps over {n * 7} lazy dogs." for n in range(60)]
    write_rows(folder / "en.jsonl", english)
    return folder
