"""A pen writes the sentences of one document and keeps account of the facts and templates used."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from samdan.data.synthesis.grammar import GRAMMARS
from samdan.data.synthesis.graph import Graph, Triple
from samdan.data.synthesis.places import fill
from samdan.data.synthesis.templates import Asked, Templates, Wording
from samdan.data.synthesis.values import Language, parse_date, parse_number, renderings

MAX_LISTED: Final = 4  # objects of one relation that a sentence names; more are told in parts
FRAME_SHARE: Final = 0.3  # sentences from general frames where the relation has its own


@dataclass(frozen=True, slots=True)
class Fact:
    """What a graph says on one subject and relation: one object, or several together."""

    subject: str
    relation: str
    objects: tuple[str, ...]
    kind: str
    triples: tuple[int, ...]  # numbers in Graph.triples
    partial: bool = False  # the relation has more objects than these

    @property
    def is_name(self) -> bool:
        return self.kind == "name"

    @property
    def is_quoted(self) -> bool:
        """Whether the object is no noun: a text, or yes and no."""
        return self.kind in ("text", "boolean")


class Index:
    """A graph as it is told in one language."""

    def __init__(self, graph: Graph, templates: Templates) -> None:
        self.graph = graph
        self.templates = templates
        self.language: Language = templates.language
        self.grammar = GRAMMARS[templates.language]
        self.facts: dict[str, list[Fact]] = {}
        self.incoming: defaultdict[str, list[Fact]] = defaultdict(list)
        self.sharing: defaultdict[tuple[str, str], list[Fact]] = defaultdict(list)
        self.by_type: defaultdict[str, list[str]] = defaultdict(list)
        self._wordings: dict[str, Wording] = {}
        self._types: dict[str, tuple[str, Asked]] = {}
        grouped: dict[tuple[str, str], list[int]] = {}
        for number, triple in enumerate(graph.triples):
            if triple.language in ("", self.language):
                grouped.setdefault((triple.subject, triple.relation), []).append(number)
        for (subject, relation), numbers in grouped.items():
            kinds = {n: self._kind(graph.triples[n], relation) for n in numbers}
            self.facts.setdefault(subject, []).extend(_facts(graph.triples, kinds))
        for subject, facts in self.facts.items():
            for fact in facts:
                if fact.is_name:
                    for key in fact.objects:
                        self.incoming[key].append(fact)
                        self.sharing[fact.relation, key].append(fact)
            if type_ := self.type_of(subject)[0]:
                self.by_type[type_].append(subject)

    def name(self, key: str) -> str:
        return self.graph.label(key, self.language)

    def wording(self, relation: str) -> Wording:
        """How a relation is worded; made once for each."""
        if relation not in self._wordings:
            labels = self.graph.labels.get(relation, {})
            best = self.graph.label(relation, self.language, words=True)
            local = self.graph.label(relation, "en", words=True)
            names = list(dict.fromkeys((best, *labels.values(), local, relation)))
            self._wordings[relation] = self.templates.wording(names)
        return self._wordings[relation]

    def type_of(self, key: str) -> tuple[str, Asked]:
        """The noun for a subject's type, empty when there is none, and how is asked for it."""
        type_ = self.graph.types.get(key)
        if type_ is None:
            return "", "thing"
        if type_ not in self._types:
            best = self.graph.label(type_, self.language, words=True)
            labels = self.graph.labels.get(type_, {})
            self._types[type_] = self.templates.type_of([best, *labels.values(), type_])
        return self._types[type_]

    def ways(self, fact: Fact) -> list[tuple[str, ...]]:
        """For each object of a fact the ways of writing it."""
        return [self._written(self.graph.triples[n], fact.relation) for n in fact.triples]

    def _kind(self, triple: Triple, relation: str) -> str:
        """The kind of an object; figures are a date or a number where their relation wants one."""
        value = self.wording(relation).value
        if triple.kind == "name" and value == "date" and parse_date(triple.object):
            return "date"
        if triple.kind == "name" and value == "number" and parse_number(triple.object):
            return "number"
        return triple.kind

    def _written(self, triple: Triple, relation: str) -> tuple[str, ...]:
        kind = self._kind(triple, relation)
        if kind in ("name", "text"):
            return (self.name(triple.object),)
        unit = triple.unit or self.wording(relation).unit
        return renderings(triple.object, kind, unit, self.language)

    def asked(self, fact: Fact) -> Asked:
        """Whether who, where, when or what is asked."""
        if fact.kind == "text":
            return "text"
        if fact.kind in ("date", "number"):
            return "date" if fact.kind == "date" else "number"
        value = self.wording(fact.relation).value
        if value != "thing":
            return value
        return self.type_of(fact.objects[0])[1] if fact.is_name else "thing"


def _facts(triples: Sequence[Triple], kinds: Mapping[int, str]) -> list[Fact]:
    """The triples of one subject and relation as facts; texts are told one by one."""
    found = []
    for kind in dict.fromkeys(kinds.values()):
        same = [number for number in kinds if kinds[number] == kind]
        # Parts of about equal length: five are told as three and two, not as four and one.
        size = 1 if kind in ("text", "boolean") else -(-len(same) // -(-len(same) // MAX_LISTED))
        for start in range(0, len(same), size):
            part = same[start : start + size]
            first = triples[part[0]]
            objects = tuple(triples[n].object for n in part)
            partial = len(same) > size > 1
            found.append(
                Fact(first.subject, first.relation, objects, kind, tuple(part), partial)
            )
    return found


class Pen:
    """Writes one document: chooses wordings by its generator, and remembers them."""

    def __init__(self, index: Index, rng: random.Random) -> None:
        self.index = index
        self.phrases = index.templates.phrases
        self.grammar = index.grammar
        self.rng = rng
        self.templates: dict[str, None] = {}
        self.told: dict[int, set[str]] = {}  # triple -> templates that told it
        self._values: dict[tuple[int, ...], str] = {}

    # -- words -------------------------------------------------------------------------------------
    def name(self, key: str) -> str:
        return self.index.name(key)

    def value(self, fact: Fact) -> str:
        """The objects of a fact as they are written throughout this document."""
        if fact.triples not in self._values:
            ways = self.index.ways(fact)
            self._values[fact.triples] = self.grammar.listed([self.rng.choice(w) for w in ways])
        return self._values[fact.triples]

    def noun(self, fact: Fact) -> str:
        return self.index.wording(fact.relation).noun

    def is_plain(self, fact: Fact) -> bool:
        """Whether 'the noun of the subject is the object' can be said of it."""
        return (
            not fact.is_quoted
            and not fact.partial
            and self.index.wording(fact.relation).is_noun
            and (self.index.language == "ko" or len(fact.objects) == 1)
        )

    # -- templates ---------------------------------------------------------------------------------
    def pick(self, name: str, texts: Sequence[str]) -> tuple[str, str]:
        """One of the phrases called ``name``, as (id, text); a new one as long as there is one."""
        named = [(f"{self.index.language}/{name}.{i}", text) for i, text in enumerate(texts)]
        return self.rng.choice([one for one in named if one[0] not in self.templates] or named)

    def say(self, picked: tuple[str, str], values: Mapping[str, str], *facts: Fact) -> str:
        """Fills a template and notes that it told these facts."""
        self.used(picked[0], *facts)
        return fill(picked[1], values, self.index.language)

    def used(self, template: str, *facts: Fact) -> None:
        self.templates[template] = None
        for fact in facts:
            for number in fact.triples:
                self.told.setdefault(number, set()).add(template)

    def values(self, fact: Fact, subject: str | None = None) -> dict[str, str]:
        """The values of a sentence's places; ``subject`` stands for the name where it is given."""
        wording = self.index.wording(fact.relation)
        name = self.name(fact.subject) if subject is None else subject
        value = self.value(fact)
        return {"s": name, "o": value, "q": f"“{value}”", "n": wording.noun, "ns": wording.plural}

    def sentences(self, fact: Fact) -> list[tuple[str, str]]:
        """Every template that can tell the fact."""
        own, frames = self._own(fact), self._frames(fact)
        return list({text: (id_, text) for id_, text in (*frames, *own)}.values())

    def _own(self, fact: Fact) -> tuple[tuple[str, str], ...]:
        wording = self.index.wording(fact.relation)
        if fact.is_quoted or fact.partial:
            return ()
        return (*wording.sentences, *(wording.single if len(fact.objects) == 1 else ()))

    def _frames(self, fact: Fact) -> list[tuple[str, str]]:
        phrases, wording = self.phrases, self.index.wording(fact.relation)
        if fact.is_quoted:
            chosen = {"text_frames": phrases.text_frames}
        elif not wording.is_noun:
            chosen = {"phrase_frames": phrases.phrase_frames}
        elif fact.partial or (len(fact.objects) > 1 and self.index.language == "en"):
            chosen = {"partial_frames": phrases.partial_frames}
        elif fact.is_name:
            chosen = {"frames": phrases.frames, "name_frames": phrases.name_frames}
        else:
            chosen = {"frames": phrases.frames}
        return [
            (f"{self.index.language}/{name}.{i}", text)
            for name, texts in chosen.items()
            for i, text in enumerate(texts)
        ]

    def template(self, fact: Fact) -> tuple[str, str]:
        """One template for the fact: of its relation, or a general frame now and then."""
        own = self._own(fact)
        if own and self.rng.random() >= FRAME_SHARE:
            return self.rng.choice(own)
        return self.rng.choice(self._frames(fact))

    def sentence(self, fact: Fact, subject: str | None = None) -> str:
        """One sentence in plain style that tells the fact."""
        return self.say(self.template(fact), self.values(fact, subject), fact)

    def polite(self, fact: Fact) -> str:
        """The same in polite style."""
        id_, text = self.template(fact)
        return self.say((id_, self.grammar.polite(text)), self.values(fact), fact)

    def question(self, fact: Fact, follow_up: bool = False) -> str:
        """A question that the fact answers; a follow-up does not name the subject."""
        wording, phrases = self.index.wording(fact.relation), self.phrases
        asked = self.index.asked(fact) if wording.is_noun else "phrase"
        if follow_up:
            name, texts = "follow_ups", phrases.follow_ups[asked]
        elif wording.questions and (self.rng.random() >= FRAME_SHARE):
            return self.say(self.rng.choice(wording.questions), self.values(fact))
        else:
            name, texts = "questions", phrases.questions[asked]
        return self.say(self.pick(f"{name}.{asked}", texts), self.values(fact))

    def answer(self, fact: Fact, spoken: bool = False) -> str:
        """An answer to a question on the fact: the value alone, or a sentence."""
        phrases, wording = self.phrases, self.index.wording(fact.relation)
        if not spoken and self.rng.random() < 0.25:
            return self.say(("value", "{o}"), self.values(fact), fact)
        if fact.is_quoted:
            picked = self.pick("quoted_answers", phrases.quoted_answers)
        elif not wording.is_noun:
            picked = self.pick("phrase_answers", phrases.phrase_answers)
        elif not self.is_plain(fact) or self.rng.random() < 0.5:
            return self.polite(fact)
        elif spoken:
            picked = self.pick("spoken_answers", phrases.spoken_answers)
        else:
            picked = self.pick("answers", phrases.answers)
        return self.say(picked, self.values(fact), fact)

