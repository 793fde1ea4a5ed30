"""What documents are measured with, and the terms of a chunk of them, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from samdan.data.selection.hashing import UInt, term_hashes
from samdan.data.selection.models import (
    Embed,
    LogProbs,
    Poll,
    hidden_state_embedder,
    no_poll,
    sentence_embedder,
    surrogate_log_probs,
)
from samdan.data.selection.terms import Tagged, Tags, character_grams, morphemes, tags_of, words
from samdan.records import EnvironmentFailure
from samdan.selecting import Eta, Ets, EtsCom, HiddenStates, Select, TfIdf


@dataclass(frozen=True)
class Tools:
    """What numbers are computed with; anything that a method does not use may be absent."""

    tagged: Tagged | None = None
    embed: Embed | None = None
    log_probs: LogProbs | None = None

    def tagger(self, what: str) -> Tagged:
        if self.tagged is None:
            raise EnvironmentFailure(
                f"select: {what} needs a morpheme tagger: pip install 'samdan[corpus]'"
            )
        return self.tagged


def load_tools(
    spec: Select, tagged: Tagged | None, where: str = "select", poll: Poll = no_poll
) -> Tools:
    """Loads the models that the method names. ``where``: its key in the recipe, for errors."""
    embed = log_probs = None
    if isinstance(spec, Ets | EtsCom) and not isinstance(spec.embedding, TfIdf):
        key = f"{where}.embedding"
        embed = (
            hidden_state_embedder(spec.embedding, key, poll)
            if isinstance(spec.embedding, HiddenStates)
            else sentence_embedder(spec.embedding, key, poll)
        )
    if isinstance(spec, Eta | EtsCom) and spec.surrogate is not None:
        log_probs = surrogate_log_probs(spec.surrogate, f"{where}.surrogate", poll)
    return Tools(tagged, embed, log_probs)


class Chunk:
    """Texts with what is computed of them, once."""

    def __init__(self, texts: Sequence[str], tools: Tools) -> None:
        self.texts = texts
        self.tools = tools

    @cached_property
    def tags(self) -> list[Tags]:
        tagged = self.tools.tagger("this method")
        return [tags_of(text, tagged) for text in self.texts]

    def terms(self, units: str) -> list[UInt]:
        if units == "auto":
            units = "characters" if self.tools.tagged is None else "morphemes"
        if units == "morphemes":
            return [term_hashes(morphemes(tags)) for tags in self.tags]
        if units == "words":
            return [term_hashes(words(text)) for text in self.texts]
        return [character_grams(text) for text in self.texts]
