"""Continued BPE from end to end: a tokenizer and text to a tokenizer with more tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from samdan.grow.merges import Learned, learn
from samdan.grow.morphemes import cut_at_morphemes
from samdan.grow.tokens import Pieces, extended, pieces_of
from samdan.grow.words import count_words
from samdan.growing import Vocab
from samdan.growing.scripts import allowed
from samdan.lm.tokenizer import text_encoder


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer that was grown, what it grew by, and the text it was learned on."""

    tokenizer: Any
    learned: Learned
    chars: int
    sizes: dict[int, int]
    """UTF-8 bytes of each old token."""


def grow_vocabulary(
    tokenizer: Any,
    texts: Callable[[], Iterable[str]],
    spec: Vocab,
    poll: Callable[[], None] = lambda: None,
) -> Vocabulary:
    """``texts``: gives the text anew each time; SentencePiece reads it twice, for characters first.

    Raises DataError for a tokenizer of another kind. Nothing may be found: then nothing is new.
    """
    pieces = pieces_of(tokenizer)
    sizes = {number: len(token) for number, token in pieces.bytes_of.items()}
    sizes |= dict.fromkeys(pieces.fallback.values(), 1)
    characters = _characters(texts(), pieces, spec) if pieces.fallback else Learned({}, [], {})
    if characters.new:
        tokenizer = extended(tokenizer, pieces, characters.new, [])
        pieces = pieces_of(tokenizer)
    words = count_words(texts(), text_encoder(tokenizer), pieces, poll)
    if spec.morphemes:
        words = cut_at_morphemes(words, pieces)
    most = spec.merges - len(characters.new)
    found = learn(words, pieces, most, spec.min_count, spec.scripts, poll)
    grown = extended(tokenizer, pieces, found.new, found.merges) if found.new else tokenizer
    own = {
        number: tuple(old for part in parts for old in characters.pieces.get(part, (part,)))
        for number, parts in found.pieces.items()
    }
    learned = Learned(characters.new | found.new, found.merges, characters.pieces | own)
    return Vocabulary(grown, learned, words.chars, sizes)


def _characters(texts: Iterable[str], pieces: Pieces, spec: Vocab) -> Learned:
    """Frequent characters that SentencePiece spells in bytes: tokens without a merge."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    missing = [
        (count, char)
        for char, count in counts.items()
        if count >= spec.min_count
        and char not in pieces.ids
        and char != " "
        and allowed(char.encode(errors="replace"), spec.scripts)
    ]
    missing.sort(key=lambda item: (-item[0], item[1]))
    new, parts = {}, {}
    for number, (_, char) in enumerate(missing[: spec.merges], pieces.first_new):
        token = char.encode()
        new[number] = token
        parts[number] = tuple(pieces.fallback[bytes([byte])] for byte in token)
    return Learned(new, [], parts)
