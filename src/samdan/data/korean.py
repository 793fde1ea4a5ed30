"""Korean morphemes and sentences, by kiwipiepy: loaded once per process, one thread, no network.

Results do not depend on the machine: with and without vector instructions and quantisation the same
morphemes came out (``docs/filters.md``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, Final

from samdan.records import EnvironmentFailure

# Time and memory grow faster than the text analysed at once: 600,000 characters took four times as
# long whole as in pieces.
CHUNK_CHARS: Final = 8000
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def words(text: str) -> list[str]:
    """Morphemes in their dictionary form: ``했다`` gives ``하``, ``었``, ``다``."""
    return [token.form for _, token in _tokens(text)]


def tagged(text: str) -> list[tuple[str, str]]:
    """Morphemes in their dictionary form with their Sejong tags, such as ``("하", "VV")``."""
    return [(token.form, token.tag) for _, token in _tokens(text)]


def surfaces(text: str) -> list[str]:
    """The stretch of text that each morpheme covers: ``했다`` gives ``했``, ``했``, ``다``.

    What FineWeb2 counts as Korean words: its limits and stop words are made for these.
    """
    found = (part[token.start : token.end].strip() for part, token in _tokens(text))
    return [surface for surface in found if surface]


def sentences(text: str) -> list[str]:
    """Sentences in order, also where punctuation is missing; no sentence spans two pieces."""
    kiwi = analyser()
    split = (s.text.strip() for part in pieces(text) for s in kiwi.split_into_sents(part))
    return [sentence for sentence in split if sentence]


@cache
def analyser() -> Any:
    """The process's one analyser. Raises EnvironmentFailure when kiwipiepy is missing."""
    try:
        kiwipiepy = import_module("kiwipiepy")
    except ImportError:
        raise EnvironmentFailure(
            "Korean morphemes need kiwipiepy, which is not installed: pip install 'samdan[corpus]'"
        ) from None
    return kiwipiepy.Kiwi(num_workers=1, model_type="cong")


def pieces(text: str, size: int = CHUNK_CHARS) -> Iterator[str]:
    """The text in pieces of at most ``size`` characters, cut at line ends where there are any.

    A longer line is cut at a space; without one, anywhere.
    """
    text = _SURROGATE.sub("\ufffd", text)  # the analyser cannot read half a character
    start = 0
    while len(text) - start > size:
        end = start + size
        cut = text.rfind("\n", start + 1, end) + 1 or text.rfind(" ", start + 1, end) + 1 or end
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]


def _tokens(text: str) -> Iterator[tuple[str, Any]]:
    """Every token with the piece of text that its offsets refer to."""
    kiwi = analyser()
    for part in pieces(text):
        for token in kiwi.tokenize(part):
            yield part, token
