"""Words cut where Korean morphemes meet, so that no merge is learned across such an edge.

The encoder knows no morphemes: only the choice of merges is guided. A token across an edge that
the old tokenizer has stays as it is.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from samdan.grow.tokens import Pieces
from samdan.grow.words import Words, distinct
from samdan.records import EnvironmentFailure


@cache
def _analyser() -> Any:
    """All cores: it is handed hundreds of thousands of words at once."""
    try:
        kiwipiepy = import_module("kiwipiepy")
    except ImportError:
        raise EnvironmentFailure(
            "base.grow.vocab.morphemes needs kiwipiepy, which is not installed: "
            "pip install 'samdan[corpus]'"
        ) from None
    return kiwipiepy.Kiwi(num_workers=len(os.sched_getaffinity(0)), model_type="cong")


def cut_at_morphemes(words: Words, pieces: Pieces) -> Words:
    """The same words, each cut at the edges of its morphemes where a token ends there too."""
    tokens = [pieces.bytes_of[number] for number in words.ids.tolist()]
    starts = words.starts.tolist()
    spelled: list[list[bytes]] = [tokens[a:b] for a, b in pairwise(starts)]
    texts = [b"".join(word).decode(errors="replace") for word in spelled]
    edges: list[int] = []
    for start, word, text, found in zip(
        starts, spelled, texts, _analyser().tokenize(iter(texts)), strict=False
    ):
        inside = {len(text[: m.start].encode()) for m in found}
        # Bytes are counted as spelled; where a word is no whole text, nothing is cut.
        if "\ufffd" in text:
            inside = set()
        ends = np.cumsum([len(token) for token in word]).tolist()
        edges += [start, *(start + n + 1 for n, end in enumerate(ends[:-1]) if end in inside)]
    cut = np.asarray([*edges, len(words.ids)], np.int64)
    owner = np.searchsorted(words.starts, cut[:-1], side="right") - 1
    found_words = distinct(words.ids, cut, words.counts[owner])
    return Words(found_words.ids, found_words.starts, found_words.counts, words.chars)
