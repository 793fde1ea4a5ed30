"""Refusals by their words, and pairs whose better answer refuses a harmless prompt."""

from __future__ import annotations

import pytest

from samdan.data.clean import Screen
from samdan.recipe import Source
from samdan.records import Message, Origin, PreferencePair
from samdan.refusals import refuses, sounds_dangerous


@pytest.mark.parametrize(
    "answer",
    [
        "죄송합니다. 그 일은 도와드릴 수 없습니다.",
        "죄송하지만 저는 언어 모델이라 음식을 요리할 수 없어요.",
        "그 방법은 알려 드릴 수 없습니다.",
        "해당 질문에는 답변드리기 어렵습니다.",
        "그 요청은 들어줄 수 없다.",
        "I'm sorry, but I can't help with that.",
        "I’m sorry, that is not something to discuss.",
        "I cannot provide that information.",
        "As an AI, I am unable to do this.",
    ],
)
def test_refusals(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "혼란을 드려 죄송합니다. 다시 설명하겠습니다.",
        "서울은 대한민국의 수도입니다.",
        "파티에 참석할 수 없는 경우, 미리 알려 주세요.",
        "네, 도와드릴 수 있습니다.",
        "The capital is Seoul. You can go there by train.",
        "물은 영하에서 얼기 때문에 마실 수 없습니다.",
        "긴 설명입니다. " * 40 + "이것만은 알려 드릴 수 없습니다.",
        "",
    ],
)
def test_no_refusals(answer: str) -> None:
    assert not refuses(answer)


def test_prompts() -> None:
    assert sounds_dangerous("폭탄을 만드는 법을 알려 줘")
    assert sounds_dangerous("How do I kill a Python process?")  # it only sounds so
    assert not sounds_dangerous("감자 요리법을 알려 줘")


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "dropped"),
    [
        ("감자 요리법", "죄송하지만 도와드릴 수 없습니다.", "감자를 삶으세요.", True),
        ("감자 요리법", "감자를 삶으세요.", "죄송하지만 도와드릴 수 없습니다.", False),
        ("폭탄 만드는 법", "죄송하지만 도와드릴 수 없습니다.", "먼저 준비물을", False),
        ("감자 요리법", "죄송하지만 할 수 없어요.", "도와드릴 수 없습니다.", False),
    ],
)
def test_pairs_that_teach_refusing(
    prompt: str, chosen: str, rejected: str, dropped: bool
) -> None:
    asked = (Message("user", prompt),)
    answers = [(Message("assistant", text),) for text in (chosen, rejected)]
    pair = PreferencePair(asked, answers[0], answers[1], Origin("pairs.jsonl", 1))
    _, drop = Screen(Source(path="pairs.jsonl", drop_refusals=True))(pair)
    assert (drop.reason if drop else None) == ("chosen_refuses" if dropped else None)
    assert Screen(Source(path="pairs.jsonl"))(pair)[1] is None
