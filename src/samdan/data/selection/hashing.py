"""Hashes that are the same on every machine, in every order and for any number of workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

UInt = NDArray[np.uint64]
Float = NDArray[np.float64]


def document_id(text: str) -> int:
    """The first 64 bits of the text's sha256: two copies are one document."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def mixed(values: UInt) -> UInt:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014): every bit depends on every other."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(ids: UInt, seed: int) -> Float:
    """A number in (0, 1) for each document, of (seed, id) alone."""
    start = mixed(np.asarray([seed % 2**64], np.uint64))
    bits = mixed(ids ^ start) >> np.uint64(12)
    return (bits.astype(np.float64) + 0.5) * 2.0**-52  # 53 bits: exact, never 0 or 1


def term_hashes(terms: Iterable[str]) -> UInt:
    """64 bits for each term."""
    return np.fromiter((_term_hash(term) for term in terms), np.uint64)


@lru_cache(maxsize=1 << 18)
def _term_hash(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")


def pair_hashes(hashes: UInt) -> UInt:
    """64 bits for each pair of neighbours, order included."""
    return mixed(mixed(hashes[:-1]) + hashes[1:])


def character_hashes(text: str, smallest: int, largest: int) -> UInt:
    """64 bits for each run of ``smallest`` to ``largest`` characters, in order of length."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    runs, found = codes, []
    for length in range(1, min(largest, len(codes)) + 1):
        if length > 1:
            runs = mixed(runs[:-1]) + codes[length - 1 :]
        if length >= smallest:
            found.append(mixed(runs ^ np.uint64(length << 32)))
    return np.concatenate([np.empty(0, np.uint64), *found])
