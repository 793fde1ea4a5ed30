"""Which answers are put side by side, in which order and on which side."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from samdan.preferences.votes import Pair, Side


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and what each model answered."""

    prompt: str
    source: str
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """``pairs``: to be judged, in this order; ``possible``: all whose answers differ.

    ``identical``: per two models, prompts whose answers are the same: nobody is asked about them.
    """

    pairs: tuple[Pair, ...]
    possible: tuple[Pair, ...]
    identical: Mapping[tuple[str, str], int]


def choose(asked: Sequence[Asked], models: Sequence[str], most: int, seed: int = 0) -> Chosen:
    """Up to ``most`` pairs, as many of each two models as there are, prompts by chance.

    Of a prompt that comes twice, the first place where both models answered counts.

    The same answers and seed give the same pairs in the same order, and a larger ``most`` only adds
    some at the end: all raters see the same pairs, so that their agreement can be measured.
    """
    queues: list[list[Pair]] = []
    possible: list[Pair] = []
    identical: dict[tuple[str, str], int] = {}
    for a, b in combinations(models, 2):
        found: list[Pair] = []
        prompts: set[str] = set()
        for one in asked:
            if one.prompt in prompts or a not in one.said or b not in one.said:
                continue
            prompts.add(one.prompt)
            if one.said[a].strip() == one.said[b].strip():
                identical[a, b] = identical.get((a, b), 0) + 1
            else:
                found.append(Pair(one.prompt, a, b, one.said[a], one.said[b], one.source))
        possible += found
        queues.append(sorted(found, key=lambda pair: _drawn(seed, pair.prompt)))
    return Chosen(tuple(_in_turn(queues, most)), tuple(possible), identical)


def _in_turn(queues: Sequence[list[Pair]], most: int) -> Iterator[Pair]:
    given = 0
    for position in range(max(map(len, queues), default=0)):
        for queue in queues:
            if position < len(queue) and given < most:
                given += 1
                yield queue[position]


def _drawn(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}/{text}".encode("utf-8", "surrogatepass")).digest()


def side(secret: bytes, rater: str, pair: str) -> Side:
    """The model on the left: by chance, the same after a reload, not to be foreseen by a rater."""
    draw = hmac.digest(secret, f"{rater}/{pair}".encode(), "sha256")
    return "a" if draw[0] & 1 else "b"
