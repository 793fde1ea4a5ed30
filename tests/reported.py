"""A report made by hand, as the pages show it, and the same with every string another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def metric(base: float, before: float, after: float, half: float, higher: bool) -> dict[str, Any]:
    def around(value: float) -> list[float]:
        return [round(value - half, 6), round(value + half, 6)]

    return {
        "base": base,
        "before": before,
        "after": after,
        "n": 200,
        "higher_is_better": higher,
        "ci95": {
            "after": around(after),
            "vs_before": around(after - before),
            "vs_base": around(after - base),
        },
    }


def stage(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": name,
        "status": "done",
        "seconds": 80.2,
        "steps": 4,
        "tokens_per_second": 9000.0,
        "settings": {"learning_rate": 1e-5, "loss_type": ["sigmoid"], "beta": None},
        "attempts": 1,
        "gate": "passed",
        "model": f"{name}/model",
        "rules": [verdict("loss_spike", False, "no spike that lasts")],
        "gates": [verdict("improved(handbook/bpb)", False, "the gain is 0.5")],
        "curve": {
            "step": [1, 2, 3, 4],
            "loss": [3.0, 2.5, 2.25, 2.0],
            "lr": [1e-6, 1e-5, 5e-6, 0.0],
            "grad_norm": [1.0, 1.1, 0.9, 0.8],
            "tokens_per_second": [9000.0, 9100.0, 8900.0, 9000.0],
        },
        "heldout_curve": {"handbook/bpb": {"step": [0, 4], "value": [1.8, 1.3]}},
        **more,
    }


def verdict(rule: str, fired: bool, message: str) -> dict[str, Any]:
    response = "go again at half the learning rate"
    return {
        "rule": rule,
        "fired": fired,
        "value": 7.3,
        "limit": 6.0,
        "response": response,
        "message": message,
    }


def source(role: str, **counts: Any) -> dict[str, Any]:
    return {"role": role, "records_in": 80, "records_dropped": {"same": 2}, **counts}


SHARE = {"count": 9, "n": 12, "share": 0.75, "ci95": [0.428, 0.945]}
MATCH = {"a": "sft", "b": "dpo", "pairs": 14, "wins_a": 3, "wins_b": 9, "ties": 1, "bad": 1,
         "share_b": 0.75, "ci95": [0.428, 0.945], "rate_b": 0.714}  # fmt: skip
PART: dict[str, Any] = {
    "votes": 20, "pairs": 14, "matches": [MATCH],
    "at_equal_length": [{"a": "sft", "b": "dpo", "rate_b": 0.61, "ci95": [0.3, 0.9], "n": 12}],
    "left_won": SHARE, "longer_won": SHARE,
    "strengths": [{"model": name, "points": points, "ci95": [points - 90, points + 90]}
                  for name, points in (("base", -200.0), ("sft", 20.0), ("dpo", 180.0))],
}  # fmt: skip


def sample() -> dict[str, Any]:
    """A report that holds every section."""
    handbook = {"in": 1000, "repeated": 1000, "trained": 1900, "masked": 0}
    replay = {"in": 500, "repeated": 0, "trained": 495, "masked": 0, "dropped": {"tail": 5}}
    cpt = stage(
        "cpt",
        attempts=2,
        rules=[verdict("loss_spike", True, "the last 4 losses are too high")],
        tokens={
            "seen": 2395,
            "by_source": {
                "handbook": source(
                    "target", **handbook, dropped={"near_duplicate": 90, "short": 10}
                ),
                "general-en": source("replay", **replay),
            },
            "dropped": {"near_duplicate": 90, "short": 10, "tail": 5},
        },
        metrics={
            "handbook/bpb": metric(1.842, 1.842, 1.317, 0.021, higher=False),
            "한국어/bpb": metric(1.214, 1.214, 1.187, 0.012, higher=False),
            "general-en/bpb": metric(0.982, 0.982, 1.004, 0.008, higher=False),
            "copa/accuracy": metric(0.612, 0.612, 0.605, 0.03, higher=True),
        },
    )
    qa = {"in": 1000, "trained": 300, "masked": 700}
    sft = stage(
        "sft",
        seconds=3725,
        tokens={"seen": 1_234_567, "by_source": {"qa": source("target", **qa)}},
        metrics={"qa/exact": metric(0.04, 0.11, 0.71, 0.07, higher=True)},
        lengths={"qa": {"base": [3, 90, 256], "before": [2, 80, 1256], "after": [4, 12, 31]}},
    )
    return {
        "samdan": 1,
        "version": "0.1.0",
        "name": "demo",
        "status": "done",
        "wall_seconds": 312.5,
        "seed": 42,
        "recipe": "samdan: 1\nname: demo\n",
        "message": "",
        "machine": {"cpu": "a cpu", "cores": 2, "device": "cpu", "torch": "2.13.0"},
        "notes": ["the demo uses learning rates that suit a tiny model"],
        "model": {"parameters": 1234567, "layers": 4, "hidden_size": 128, "origin": "scratch"},
        "stages": [cpt, sft, stage("dpo", metrics={}, gate="none", gates=[])],
        "samples": [{"prompt": "연차는?", "answers": {"base": "", "cpt": "3일", "dpo": "사흘"}}],
        "votes": {
            "people": PART | {"raters": {"kim": 12, "lee": 8},
                              "agreement": {"pairs": 8, "alpha": 0.61, "same": {"share": 0.75}}},
            "judges": {"model:x": PART | {
                "both_orders": 12, "inconsistent": 3, "turned_around": 2,
                "with_people": {"pairs": 9, "kappa": 0.4, "same": SHARE},
            }},
            "identical": [{"a": "sft", "b": "dpo", "prompts": 3}],
            "other": 4,
        },
        "lineage": [
            {
                "step": "cpt/train",
                "identity": "0123456789abcdef",
                "output": "fedcba9876543210",
                "inputs": ["cpt/mix", "base"],
                "seconds": 80.2,
                "status": "done",
            }
        ],
        "events": [{"time": "09:00", "event": "finished", "step": "cpt/train", "text": "ok"}],
    }


def with_strings(value: Any, make: Callable[[], str]) -> Any:
    """The same report, every string in it (and every name in a mapping of names) another one."""
    if isinstance(value, dict):
        names = FIXED_KEYS.isdisjoint(value)
        return {make() if names else key: with_strings(one, make) for key, one in value.items()}
    if isinstance(value, list):
        return [with_strings(one, make) for one in value]
    return make() if isinstance(value, str) and value else value


# A mapping with one of these keys is part of the schema; in all others the keys are data.
FIXED_KEYS = {"samdan", "name", "step", "seen", "role", "base", "rule", "prompt", "after", "time",
              "parameters"}  # fmt: skip
