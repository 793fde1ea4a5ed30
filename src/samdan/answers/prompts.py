"""Instruction prompts with checks, generated from topics: the same seed gives the same set."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from samdan.answers.base import BaseCheck, Language
from samdan.answers.checks import parse_checks

Topic = Mapping[str, Any]
"""``{"ask", "words", "avoid", "start", "keys"}``: a request, and words that fit it or do not."""

# Check kinds that are asked for one at a time, and those that combine: one out of each group.
ALONE: Final = (
    "json", "table", "separated", "parts", "lines", "quoted", "heading", "postscript",
)  # fmt: skip
GROUPS: Final = (
    ("characters", "words", "sentences", "paragraphs", "bullets", "numbered"),
    ("include", "exclude", "occurs", "starts", "ends", "first_sentence", "no_digits", "no_commas",
     "with_number", "no_hanja"),
    ("bold", "titled", "asks", "level", "no_english", "lower", "upper"),
)  # fmt: skip
_KOREAN_ONLY: Final = frozenset({"level", "no_english", "no_hanja"})
_ENGLISH_ONLY: Final = frozenset({"lower", "upper"})
# What one answer can hardly do both of, or where one makes the other doubtful.
_CLASHES: Final = frozenset(
    frozenset(pair)
    for pair in (
        ("numbered", "no_digits"), ("numbered", "starts"), ("bullets", "starts"),
        ("titled", "starts"), ("ends", "asks"), ("ends", "level"),
        ("bullets", "ends"), ("numbered", "ends"),
        ("bullets", "level"), ("numbered", "level"), ("bullets", "asks"), ("numbered", "asks"),
        ("bold", "starts"), ("lower", "starts"), ("upper", "starts"), ("upper", "include"),
        ("lower", "ends"), ("upper", "ends"), ("titled", "sentences"), ("titled", "level"),
        ("titled", "paragraphs"), ("paragraphs", "asks"), ("titled", "first_sentence"),
    )
)  # fmt: skip
_ENDING: Final = {"ko": ("이상입니다.", "감사합니다."), "en": ("That is all.", "Thank you.")}
_MARK: Final = {"ko": "추신:", "en": "P.S."}


def prompts(
    topics: Sequence[Topic], language: Language, seed: int, count: int
) -> list[dict[str, Any]]:
    """``count`` items ``{"prompt", "checks", "topic"}``; one, two and three checks in turn.

    Every kind of check comes up about equally often.
    """
    chance = random.Random(f"{seed}/{language}")
    groups = [_shuffled(kinds, language, chance) for kinds in GROUPS]
    alone = _shuffled(ALONE, language, chance)
    order = list(topics)
    chance.shuffle(order)
    items = []
    for number in range(count):
        topic = order[number % len(order)]
        kinds = _kinds(number, groups, alone, chance)
        checks = [_made(kind, topic, language, chance) for kind in kinds]
        asked = " ".join([topic["ask"], *(check.asked(language) for check in checks)])
        rows = [check.model_dump(mode="json", exclude_none=True) for check in checks]
        items.append({"prompt": asked, "checks": rows, "topic": topic["ask"]})
    return items


def clash(kinds: Sequence[str]) -> bool:
    """Whether two of the kinds do not go together."""
    return any(frozenset(pair) in _CLASHES for pair in combinations(kinds, 2))


def _shuffled(kinds: Sequence[str], language: Language, chance: random.Random) -> list[str]:
    foreign = _ENGLISH_ONLY if language == "ko" else _KOREAN_ONLY
    kept = [kind for kind in kinds if kind not in foreign]
    chance.shuffle(kept)
    return kept


def _kinds(
    number: int, groups: Sequence[list[str]], alone: list[str], chance: random.Random
) -> tuple[str, ...]:
    """The next kinds. What was used moves to the end of its list, so that all come up."""
    if number % 4 == 3:
        return (_next(alone),)
    wanted = 1 + number % 4
    chosen: tuple[str, ...] = ()
    for group in chance.sample(list(groups), wanted):
        fitting = next((kind for kind in group if not clash((*chosen, kind))), None)
        if fitting is not None:
            group.append(group.pop(group.index(fitting)))
            chosen = (*chosen, fitting)
    return chosen


def _next(kinds: list[str]) -> str:
    kinds.append(kinds.pop(0))
    return kinds[-1]


def _made(kind: str, topic: Topic, language: Language, chance: random.Random) -> BaseCheck:
    make = _FIELDS.get(kind)
    fields = make(topic, language, chance) if make else {}
    (check,) = parse_checks([{"kind": kind} | fields], "a generated prompt")
    return check


def _between(low: Sequence[int], high: Sequence[int]) -> Callable[..., dict[str, Any]]:
    """At least one of ``low``, at most one of ``high``, or both."""

    def fields(topic: Topic, language: Language, chance: random.Random) -> dict[str, Any]:
        least, most = {"at_least": chance.choice(low)}, {"at_most": chance.choice(high)}
        return chance.choice([least, most, least | most])

    return fields


def _exactly(*numbers: int) -> Callable[..., dict[str, Any]]:
    def fields(topic: Topic, language: Language, chance: random.Random) -> dict[str, Any]:
        number = chance.choice(numbers)
        return {"at_least": number, "at_most": number}

    return fields


_FIELDS: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    "characters": _between((80, 100, 150), (200, 300, 400)),
    "words": _between((20, 30, 40), (50, 80, 100)),
    "sentences": _exactly(1, 2, 3, 4, 5),
    "paragraphs": _exactly(2, 3),
    "lines": _exactly(3, 4, 5),
    "bullets": _exactly(3, 4, 5),
    "numbered": _exactly(3, 4, 5),
    "include": lambda topic, *_: {"words": topic["words"]},
    "exclude": lambda topic, *_: {"words": topic["avoid"]},
    "occurs": lambda topic, _, chance: {
        "word": chance.choice(topic["words"]), "at_least": chance.choice((2, 3)),
    },
    "starts": lambda topic, *_: {"text": topic["start"]},
    "ends": lambda _, language, chance: {"text": chance.choice(_ENDING[language])},
    "first_sentence": lambda topic, _, chance: {"word": chance.choice(topic["words"])},
    "level": lambda *given: {"level": given[2].choice(("hapsyo", "haeyo", "plain"))},
    "bold": lambda *given: {"at_least": given[2].choice((1, 2, 3))},
    "json": lambda topic, *_: {"keys": topic["keys"]},
    "table": lambda *given: {"columns": given[2].choice((2, 3))},
    "separated": lambda *given: {"exactly": given[2].choice((4, 5, 6))},
    "parts": lambda *given: {"exactly": given[2].choice((2, 3))},
    "postscript": lambda _, language, __: {"mark": _MARK[language]},
}  # fmt: skip


def kinds_of(items: Sequence[Mapping[str, Any]]) -> set[str]:
    """The kinds of checks that a set of items asks for."""
    return {check["kind"] for item in items for check in item["checks"]}


