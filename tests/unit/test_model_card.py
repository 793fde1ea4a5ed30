"""The model card: a golden file in both languages, and nothing in it that data could forge."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from samdan.report.model_card import model_card
from samdan.report.model_card_data import languages
from samdan.report.model_card_words import CARD

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cards"
FACTS: dict[str, Any] = {
    "name": "hanbit-dpo",
    "stage": "dpo",
    "version": "0.1.0",
    "base_hub": "Qwen/Qwen2.5-7B",
    "base_licence": "apache-2.0",
    "licence": "apache-2.0",
    "parameters": 7615616512,
    "tensors": 339,
    "positions": 131072,
    "vocabulary": 151665,
    "dtype": "bfloat16",
    "place": "hanbit/hanbit-7b",
    "vllm": "vllm serve hanbit/hanbit-7b --dtype bfloat16 --max-model-len 131072",
    "ollama": "ollama create hanbit-dpo -f Modelfile",
    "chat": True,
    "greedy": True,
    "ends": ["<|im_end|>", "<|endoftext|>"],
    "sources": {
        "cpt/handbook": {"hub": None, "revision": None},
        "cpt/wiki": {"hub": "hanbit/wiki-ko", "revision": "1a2b3c"},
    },
    "check": {
        "tensors": 339,
        "texts": 120,
        "fp32": {"positions": 441, "rms": 2.1e-7, "limit": 1e-4, "largest": 0.01, "same_top": 1.0},
        "as_written": {
            "positions": 441, "rms": 0.0071, "limit": 0.0139, "largest": 0.25, "same_top": 0.991,
        },
    },
}  # fmt: skip


def metric(base: float, before: float, after: float, better: bool = True) -> dict[str, Any]:
    return {
        "base": base, "before": before, "after": after, "n": 200, "higher_is_better": better,
        "ci95": {
            "after": [after - 0.02, after + 0.02],
            "vs_before": [after - before - 0.008, after - before + 0.008],
            "vs_base": [after - base - 0.008, after - base + 0.008],
        },
    }  # fmt: skip


def report() -> dict[str, Any]:
    handbook = {
        "role": "target", "trained": 900, "tokens": 1200000, "records_in": 1000,
        "dropped": {"duplicate": 60, "contaminated": 40}, "personal": {"phone": 12},
        "license": {"unknown": 1000}, "script": {"hangul": 900, "latin": 100}, "notes": [],
    }  # fmt: skip
    wiki = handbook | {
        "role": "replay", "license": {"CC-BY-SA-4.0": 800, "unknown": 200}, "dropped": {},
        "notes": ["Selected by dsir: 900 of 1000 documents, 1 of 2 tokens (selection.md)"],
    }  # fmt: skip
    settings = {"learning_rate": 1e-5, "num_train_epochs": 2.0, "max_length": 4096}
    gate = {"rule": "improved(handbook/bpb)", "fired": False, "value": 0.2, "limit": 0.0}
    return {
        "seed": 42,
        "notes": [],
        "status": "done",
        "stages": [
            {
                "name": "cpt", "kind": "cpt", "status": "done", "settings": settings,
                "tokens": {"seen": 4800000}, "steps": 9, "attempts": 2, "gates": [gate],
                "data": {"handbook": handbook, "wiki": wiki},
                "metrics": {
                    "handbook/bpb": metric(0.9, 0.9, 0.7, better=False),
                    "kobest/accuracy": metric(0.61, 0.61, 0.6),
                },
                "rules": [
                    {"rule": "forgetting", "fired": True, "value": 0.08, "limit": 0.05,
                     "message": "wiki/bpb rose by 8%", "response": "more_replay"}
                ],
                "history": [
                    {"attempt": 1, "rules": [{"rule": "forgetting"}],
                     "changes": "data.wiki.weight 0.4"}
                ],
            },
            {
                "name": "dpo", "kind": "dpo", "status": "done", "attempts": 1,
                "settings": settings | {"learning_rate": 5e-7, "beta": 0.1, "max_length": 2048},
                "tokens": {"seen": 100000}, "steps": 3, "gates": [gate],
                "data": {"pairs": handbook | {"dropped": {}, "personal": {}}},
                "metrics": {"kobest/accuracy": metric(0.61, 0.6, 0.52)}, "rules": [],
            },
        ],
    }  # fmt: skip


@pytest.mark.parametrize("language", ["both", "ko"])
def test_the_card_is_the_golden_one(language: Any) -> None:
    made = model_card(FACTS, report(), language)
    assert made == (GOLDEN / f"{language}.md").read_text("utf-8")


def test_the_front_matter_is_yaml_that_the_hub_knows() -> None:
    from ruamel.yaml import YAML

    front = YAML(typ="safe").load(model_card(FACTS, report()).split("---\n")[1])
    assert front == {
        "license": "apache-2.0",
        "language": ["ko", "en"],
        "base_model": "Qwen/Qwen2.5-7B",
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "tags": ["samdan", "cpt", "dpo"],
        "datasets": ["hanbit/wiki-ko"],
    }


def test_it_says_what_is_unknown_lost_and_untested() -> None:
    made = model_card(FACTS, report(), "en")
    assert "| `cpt` | handbook | target | local files | **unknown** |" in made
    assert "CC-BY-SA-4.0 (800), unknown (200)" in made
    assert "Worse than the base, when last measured: kobest/accuracy -0.090" in made
    assert "| `cpt` | forgetting | 0.08 | 0.05 | **fired**: wiki/bpb rose by 8% |" in made
    assert "refusing what is unsafe" in made
    assert "All gates of the run were passed." in made
    plain = report()
    for stage in plain["stages"]:
        stage["gates"] = []
    assert "The run had no gate" in model_card(FACTS, plain, "en")
    anyway = model_card(FACTS | {"not_passed": "stage 'dpo' did not pass its gate"}, report(), "en")
    assert "**Exported although the run does not vouch for it:** stage 'dpo'" in anyway


def test_an_earlier_stage_s_card_tells_nothing_of_later_ones() -> None:
    found = report()
    later = found["stages"][1]["data"]["pairs"]
    later |= {"notes": ["pairs note"], "personal": {"email": 3}, "script": {"kana": 9000}}
    sources = {"dpo/pairs": {"hub": "hanbit/pairs"}}
    made = model_card(FACTS | {"stage": "cpt", "chat": True, "sources": sources}, found, "en")
    assert 'language: ["ko", "en"]' in made
    assert "email" not in made
    assert "pairs" not in made
    assert "`dpo`" not in made.split("## How")[1]
    assert "it was not taught to answer" in made


def test_without_a_run_it_says_what_is_not_known() -> None:
    made = model_card(FACTS | {"stage": None, "sources": {}}, {}, "en")
    assert "How it was trained, and on what, is not known here." in made
    assert "## Recipe" not in made


def test_what_data_say_is_no_markup() -> None:
    hostile = (
        "[click](javascript:alert(1))", "![x](//evil.example/a.png)",
        "<img src=x onerror=alert(1)>", "a | b",
        "\u202egnp.exe\x1b[2J", "https://evil.example a@evil.example", "```\n# top\n---",
    )  # fmt: skip
    found = report()
    stage = found["stages"][0]
    source = stage["data"].pop("handbook")
    for number, text in enumerate(hostile):
        stage["data"][f"{text}{number}"] = copy.deepcopy(source) | {
            "license": {text: 3}, "role": text, "notes": [text], "dropped": {text: 1}
        }  # fmt: skip
        stage["rules"].append({"rule": text, "fired": True, "value": 1, "message": text})
        stage["metrics"][text] = metric(1, 1, 2)
        found["notes"].append(text)
    stage["settings"]["lr_scheduler_type"] = hostile[0]
    made = model_card(FACTS, found)
    for text in ("[click](", "![x](", "<img", "a | b", "\u202e", "\x1b", "://evil", "a@evil"):
        assert text not in made
    assert len(re.findall("^```", made, re.MULTILINE)) == 8  # our own blocks, both languages
    assert "# top" not in made.splitlines()


def test_broken_reports_give_a_card_all_the_same() -> None:
    assert "# hanbit-dpo" in model_card(FACTS, {"stages": [{"name": "dpo", "data": 3}, "x"]})
    assert languages([{"data": {"a": {"script": {"hangul": "?"}}}}]) == []


def test_both_languages_fill_in_the_same() -> None:
    names = re.compile(r"\{(\w+)\}")
    for english, korean in CARD.values():
        assert set(names.findall(english)) == set(names.findall(korean))
        assert re.search("[가-힣]", korean)
    assert json.dumps(CARD["what"])
