"""Changed inputs: bytes that are cut, repeated and flipped, and trees whose nodes are exchanged."""

from __future__ import annotations

import copy
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**63, -(2**63), 10**400, 0.5, 1e308, -0.0, "", " ", "nan"),
    *("\x00", "\x1b[2J", "\u202e", "\ud800", "../../etc/passwd", "/", "~", "%s", "{}", "{{ 1 }}"),
    *("a" * 5000, "가" * 300, "1e999", "0x10", "true", "null", "no", "2024-01-01", "~x/y"),
    *([], {}, [[]], [{}], {"": None}, {"kind": "x"}, {"name": "cpt"}, [None] * 50, ["a"] * 3),
)


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to sixteen edits of single bits, bytes and runs of bytes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        at, size = rng.randrange(len(changed)), rng.randrange(1, 64)
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice((0, 9, 10, 34, 39, 58, 91, 92, 123, 127, 128, 255))
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = rng.randbytes(size)
            case 4:
                changed[at:at] = changed[at : at + size] * rng.randrange(1, 9)
            case 5:
                del changed[at:]
            case 6:
                other = rng.randrange(len(changed))
                changed[at : at + size] = changed[other : other + size]
    return bytes(changed)


def changed_tree(tree: Any, rng: random.Random) -> Any:
    """A copy of a JSON value in which some nodes are exchanged, left out, repeated or renamed."""
    made = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(made))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        match rng.randrange(5):
            case 0 | 1:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
            case 2:
                del holder[key]
            case 3:
                other, name = rng.choice(places)
                if name in other if isinstance(other, dict) else name < len(other):
                    holder[key] = copy.deepcopy(other[name])
            case 4 if isinstance(holder, dict):
                new = rng.choice((f"{key}x", str(key)[:-1], str(key).upper(), "kind", "path"))
                holder[new] = holder.pop(key)
            case _:
                holder.insert(0, copy.deepcopy(holder[key])) if isinstance(holder, list) else None
    return made


def _places(node: Any) -> Any:
    if isinstance(node, dict):
        for key, value in node.items():
            yield node, key
            yield from _places(value)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield node, number
            yield from _places(value)
