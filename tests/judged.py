"""A finished run made by hand: evaluations with answers, no training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

RECIPE = """
samdan: 1
name: judged
seed: 7
base: {path: base-model}
stages:
  - {name: cpt, kind: cpt, data: [{path: a.md}]}
  - {name: sft, kind: sft, data: [{path: b.jsonl}]}
  - name: dpo
    kind: dpo
    data: [{path: c.jsonl}]
    gates: [{kind: preferred, over: before, at_least: 0.5}]
evaluate:
  - {kind: pattern, name: polite, path: polite.jsonl, pattern: "니다"}
  - {kind: multiple_choice, name: options, path: options.jsonl}
samples: [안녕하세요?, 한국의 수도는 어디인가요?]
"""
POLITE = "네, {n}번 질문에 답해 드리겠습니다. 이 제품은 {n}년에 나왔습니다."
BLUNT = "{n}년에 나왔다."
GREETINGS = {"base": "안녕", "cpt": "안녕.", "sft": "안녕하다.", "dpo": "안녕하십니까? 반갑습니다."}


def make_run(folder: Path, prompts: int = 44, said: Mapping[str, str] | None = None) -> Path:
    """``said``: what each model answers to the task's prompts, with ``{n}`` for the number."""
    words = said or {"base": "{n}? 모른다", "cpt": "제품 {n}", "sft": BLUNT, "dpo": POLITE}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE, "utf-8")
    for model, text in words.items():
        items = [
            {"prompt": f"제품 {n}호는 언제 나왔나요?", "said": text.format(n=1900 + n)}
            for n in range(prompts)
        ]
        options = [{"prompt": "1 + 1 =", "said": "2", "correct": True}]
        write_evaluation(
            folder, model, {"polite": items, "options": options}, [GREETINGS[model], "서울입니다."]
        )
    return folder


def write_evaluation(
    folder: Path,
    model: str,
    items: Mapping[str, Sequence[Mapping[str, object]]],
    samples: Sequence[str],
) -> None:
    value = {"model": model, "results": [], "items": items, "samples": samples}
    (folder / model).mkdir(exist_ok=True)
    path = folder / model / "eval.json"
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")
