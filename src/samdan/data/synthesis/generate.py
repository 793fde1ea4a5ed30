"""From a graph to documents: variants for each subject, and every fact told often enough."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from samdan import __version__
from samdan.data.synthesis.checks import graph_fault
from samdan.data.synthesis.graph import Graph
from samdan.data.synthesis.pen import Fact, Index, Pen
from samdan.data.synthesis.styles import STYLES
from samdan.data.synthesis.templates import Templates
from samdan.data.synthesis.values import Language
from samdan.data.synthesis.write import Output
from samdan.hangul import is_syllable

MIN_CHARS: Final = 8
# Styles for facts that were told too seldom: all of them can tell any fact.
TOPPING_UP: Final[tuple[str, ...]] = ("sentence", "qa", "article", "listing", "dialogue")
TRIES: Final = 12  # for one more mention of a fact


@dataclass(frozen=True, slots=True)
class Draft:
    """A written document: its text, and what it was made of."""

    text: str
    style: str
    templates: tuple[str, ...]
    told: Mapping[int, frozenset[str]]  # triple -> templates that told it


@dataclass
class Coverage:
    """How often, and in how many wordings, every fact was told."""

    mentions: Counter[int] = field(default_factory=Counter)
    wordings: dict[int, set[str]] = field(default_factory=dict)

    def add(self, draft: Draft) -> None:
        for number, templates in draft.told.items():
            self.mentions[number] += 1
            self.wordings.setdefault(number, set()).update(templates)

    def of(self, number: int) -> int:
        """How often a fact was told, a wording that came back counted once."""
        return min(self.mentions[number], len(self.wordings.get(number, ())))

    def report(self, graph: Graph, numbers: Sequence[int], at_least: int) -> dict[str, Any]:
        """Counts over the facts ``numbers``; ``below`` lists the first of those told too seldom."""
        mentions = [self.mentions[n] for n in numbers]
        wordings = [len(self.wordings.get(n, ())) for n in numbers]
        below = [graph.triples[n].id for n in numbers if self.of(n) < at_least]
        return {
            "facts": len(numbers),
            "facts_x_mentions": sum(mentions),
            "mentions_at_least": min(mentions, default=0),
            "mentions_mean": round(sum(mentions) / max(1, len(numbers)), 2),
            "wordings_at_least": min(wordings, default=0),
            "wordings_mean": round(sum(wordings) / max(1, len(numbers)), 2),
            "asked_at_least": at_least,
            "below": len(below),
            "first_below": below[:20],
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """How many documents are wanted, and which."""

    variants: int = 8
    min_mentions: int = 5
    styles: tuple[str, ...] = tuple(STYLES)
    seed: int = 42
    min_chars: int = MIN_CHARS


def generate(
    graph: Graph,
    templates: Templates,
    wish: Wish,
    output: Output,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Writes the documents of one language; returns the language's part of the summary."""
    index = Index(graph, templates)
    coverage, styles, seen, drafts = Coverage(), Counter[str](), set[bytes](), 0
    for done, subject in enumerate(index.facts, 1):
        rng = random.Random(f"{wish.seed}/{templates.language}/{subject}")
        for draft in _documents(index, subject, wish, rng, coverage):
            drafts += 1
            reason = graph_fault(draft.text, wish.min_chars)
            key = hashlib.blake2b(draft.text.encode(), digest_size=16).digest()
            if not reason and key in seen:
                reason = "duplicate"
            lineage = _lineage(graph, draft, templates.language, wish.seed)
            if reason:
                output.drop(reason, draft.text, lineage)
                continue
            seen.add(key)
            coverage.add(draft)
            styles[draft.style] += 1
            output.keep(draft.text, lineage)
        progress(done, len(index.facts))
    numbers = [n for facts in index.facts.values() for fact in facts for n in fact.triples]
    return {
        "drafts": drafts,
        "subjects": len(index.facts),
        "styles": dict(sorted(styles.items())),
        "names": _names(index),
        "relations": _relations(index),
        "coverage": coverage.report(graph, sorted(numbers), wish.min_mentions),
    }


def _names(index: Index) -> dict[str, int]:
    """How many names are told, and how many have no label in the language: Hangul in English."""
    keys = set(index.facts) | set(index.incoming)
    lacking = sum(any(map(is_syllable, index.name(key))) for key in keys)
    return {"all": len(keys), "without_label": lacking if index.language == "en" else 0}


def _relations(index: Index) -> dict[str, Any]:
    """How many relations have templates of their own; those that are only quoted, by name."""
    used = dict.fromkeys(fact.relation for facts in index.facts.values() for fact in facts)
    wordings = {relation: index.wording(relation) for relation in used}
    return {
        "own_templates": sum(bool(wording.questions) for wording in wordings.values()),
        "general_templates": sum(not w.questions and w.is_noun for w in wordings.values()),
        "quoted": sorted(relation for relation, w in wordings.items() if not w.is_noun),
    }


def _documents(
    index: Index, subject: str, wish: Wish, rng: random.Random, coverage: Coverage
) -> Iterator[Draft]:
    """The subject's variants, then more documents on facts that were told too seldom."""
    facts = index.facts[subject]
    waiting: list[str] = []
    written = tries = 0
    while written < wish.variants and tries < wish.variants * 3 + len(wish.styles):
        tries += 1
        waiting = waiting or rng.sample(wish.styles, len(wish.styles))
        draft = _draft(index, subject, facts, waiting.pop(), rng, coverage)
        if draft is not None:
            written += 1
            yield draft
    styles = tuple(name for name in TOPPING_UP if name in wish.styles) or wish.styles
    for _ in range(TRIES * wish.min_mentions * len(facts)):
        seldom = [fact for fact in facts if _mentions(fact, coverage) < wish.min_mentions]
        if not seldom:
            return
        draft = _draft(index, subject, seldom, rng.choice(styles), rng, coverage)
        if draft is not None:
            yield draft


def _mentions(fact: Fact, coverage: Coverage) -> int:
    return min(map(coverage.of, fact.triples))


def _draft(
    index: Index,
    subject: str,
    facts: Sequence[Fact],
    style: str,
    rng: random.Random,
    coverage: Coverage,
) -> Draft | None:
    order = rng.sample(facts, len(facts))
    order.sort(key=lambda fact: _mentions(fact, coverage))
    pen = Pen(index, rng)
    text = STYLES[style](pen, subject, order)
    if text is None:
        return None
    told = {number: frozenset(names) for number, names in pen.told.items()}
    return Draft(text, style, tuple(pen.templates), told)


def _lineage(graph: Graph, draft: Draft, language: Language, seed: int) -> dict[str, Any]:
    return {
        "method": "graph",
        "language": language,
        "style": draft.style,
        "templates": draft.templates,
        "triples": [graph.triples[number].id for number in sorted(draft.told)],
        "teacher": None,
        "seed": seed,
        "samdan": __version__,
    }
