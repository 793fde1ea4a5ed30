"""Documents on several subjects and how they are connected, as EntiGraph writes them (2409.07431).

Subjects that share a neighbour, a subject and its neighbour, what one neighbour is to several
subjects, two steps along the graph, and a table of subjects of one type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from samdan.data.synthesis.pen import Fact, Pen
from samdan.data.synthesis.places import fill

T = TypeVar("T")


def shared(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """Two subjects with the same object of the same relation, and in what else they differ."""
    found = _sharing(pen, facts)
    if found is None:
        return None
    fact, other = found
    pair = pen.grammar.listed([pen.name(subject), pen.name(other.subject)])
    named = {"s": pen.name(subject), "s2": pen.name(other.subject)}
    texts = [_same(pen, fact, other, pair)]
    contrast = _contrast(pen, facts, other.subject, fact.relation)
    texts += [contrast] if contrast else []
    text = " ".join(texts)
    if pen.rng.random() < 0.4:
        question = pen.say(pen.pick("pair_questions", pen.phrases.pair_questions), named)
        return pen.say(pen.pick("qa", pen.phrases.qa), {"q": question, "a": text})
    if pen.rng.random() < 0.5:
        title = pen.say(pen.pick("pair_titles", pen.phrases.pair_titles), named)
        return f"{title}\n\n{text}"
    return text


def _sharing(pen: Pen, facts: Sequence[Fact]) -> tuple[Fact, Fact] | None:
    """A fact of the subject, and one of another subject with an object in common."""
    for fact in facts:
        if not fact.is_name or not pen.index.wording(fact.relation).is_noun:
            continue
        for key in fact.objects:
            for other in drawn(pen, pen.index.sharing[fact.relation, key], 4):
                if other.subject != fact.subject:
                    return fact, other
    return None


def drawn(pen: Pen, pool: Sequence[T], count: int) -> list[T]:
    """Up to ``count`` members in random order; a neighbour of 100,000 subjects costs no more."""
    return [pool[i] for i in pen.rng.sample(range(len(pool)), min(count, len(pool)))]


def _same(pen: Pen, fact: Fact, other: Fact, pair: str) -> str:
    common = [key for key in fact.objects if key in other.objects]
    both = Fact(
        fact.subject, fact.relation, tuple(common), "name",
        tuple(n for n in fact.triples if pen.index.graph.triples[n].object in common),
        fact.partial or other.partial,
    )  # fmt: skip
    theirs = Fact(
        other.subject, other.relation, both.objects, "name",
        tuple(n for n in other.triples if pen.index.graph.triples[n].object in common),
    )  # fmt: skip
    values = pen.values(both, pair)
    alone = len(fact.objects) == len(other.objects) == 1 and not both.partial
    own = [
        (id_, changed)
        for id_, text in pen.index.wording(fact.relation).sentences
        if (changed := pen.grammar.both(text)) is not None
    ]
    if own and (not alone or pen.rng.random() < 0.5):
        return pen.say(pen.rng.choice(own), values, both, theirs)
    name = "shared" if alone else "shared_partial"
    texts = pen.phrases.shared if alone else pen.phrases.shared_partial
    return pen.say(pen.pick(name, texts), values, both, theirs)


def _contrast(pen: Pen, facts: Sequence[Fact], other: str, without: str) -> str | None:
    """A relation of which both subjects have exactly one object, and not the same."""
    theirs = {fact.relation: fact for fact in pen.index.facts[other]}
    for fact in facts:
        second = theirs.get(fact.relation)
        if second is None or fact.relation == without or not pen.is_plain(fact):
            continue
        if not pen.is_plain(second) or fact.objects == second.objects:
            continue
        mine, other_values = pen.values(fact), pen.values(second)
        values = mine | {"s2": other_values["s"], "o2": other_values["o"]}
        return pen.say(pen.pick("contrasts", pen.phrases.contrasts), values, fact, second)
    return None


def link(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """How a subject and one of its neighbours are related, and a fact on the neighbour."""
    for fact in facts:
        if not fact.is_name or len(fact.objects) > 1 or not pen.is_plain(fact):
            continue
        values = pen.values(fact)
        if not any(map(str.isalpha, values["o"])):
            continue  # a telephone number is related to nobody
        question = pen.say(pen.pick("link_questions", pen.phrases.link_questions), values)
        answer = pen.say(pen.pick("link_answers", pen.phrases.link_answers), values, fact)
        further = [f for f in pen.index.facts.get(fact.objects[0], []) if subject not in f.objects]
        if further:
            answer += " " + pen.polite(pen.rng.choice(further))
        return pen.say(pen.pick("qa", pen.phrases.qa), {"q": question, "a": answer})
    return None


def roles(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """What one neighbour of the subject is to it and to up to two other subjects."""
    for fact in facts:
        if not fact.is_name or len(fact.objects) > 1 or not pen.is_plain(fact):
            continue
        others = [
            other
            for other in drawn(pen, pen.index.incoming[fact.objects[0]], 6)
            if other is not fact and len(other.objects) == 1 and pen.is_plain(other)
        ]
        if not others:
            continue
        told = [fact, *others[: pen.rng.randint(1, 2)]]
        pen.rng.shuffle(told)
        return _roles(pen, fact, told)
    return None


def _roles(pen: Pen, fact: Fact, told: Sequence[Fact]) -> str:
    language, phrases = pen.index.language, pen.phrases
    parts = []
    for number, one in enumerate(told):
        name = "first" if number == 0 else ("last" if number == len(told) - 1 else "next")
        text = {"first": phrases.roles_first, "next": phrases.roles_next}.get(
            name, phrases.roles_last
        )
        parts.append(pen.say((f"{language}/roles_{name}", text), pen.values(one), one))
    glue = ", " if language == "ko" else " and "
    text = ", ".join(parts[:-1]) + glue + parts[-1]
    if pen.rng.random() < 0.5:
        return text
    title = pen.say(pen.pick("roles_titles", phrases.roles_titles), pen.values(fact))
    return f"{title}\n\n{text}"


def hop(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """Two steps along the graph, as a sentence or as a question with its answer."""
    for first in facts:
        if not first.is_name or len(first.objects) > 1 or not pen.is_plain(first):
            continue
        nexts = [
            second
            for second in pen.index.facts.get(first.objects[0], [])
            if pen.is_plain(second) and subject not in second.objects
        ]
        if not nexts:
            continue
        second = pen.rng.choice(nexts)
        values = pen.values(first) | {
            "m": pen.value(first),
            "n2": pen.noun(second),
            "o": pen.value(second),
        }
        if pen.rng.random() < 0.5:
            return pen.say(pen.pick("hops", pen.phrases.hops), values, first, second)
        asked = pen.index.asked(second)
        texts = pen.phrases.hop_questions.get(asked) or pen.phrases.hop_questions["thing"]
        question = pen.say(pen.pick(f"hop_questions.{asked}", texts), values)
        answer = pen.say(
            pen.pick("hop_answers", pen.phrases.hop_answers), values, first, second
        )
        return pen.say(pen.pick("qa", pen.phrases.qa), {"q": question, "a": answer})
    return None


def peers(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """A table of two to five subjects of one type and the relations they have in common."""
    type_ = pen.index.type_of(subject)[0]
    same = drawn(pen, pen.index.by_type.get(type_, []), pen.rng.randint(2, 5))
    chosen = [subject, *(key for key in same if key != subject)]
    if len(chosen) < 2:
        return None
    known = [_by_relation(pen, key) for key in chosen]
    relations = [r for r in dict.fromkeys(f.relation for f in facts) if all(r in k for k in known)]
    relations = relations[: pen.rng.randint(2, 3)]
    if not relations:
        return None
    nouns = [capital(pen.index.wording(relation).noun) for relation in relations]
    rows = [[pen.phrases.name_column, *nouns]]
    for key, theirs in zip(chosen, known, strict=True):
        told = [theirs[relation] for relation in relations]
        pen.used("peers", *told)
        rows.append([pen.name(key), *(pen.value(fact) for fact in told)])
    title = fill(pen.rng.choice(pen.phrases.peers_titles), {"t": type_}, pen.index.language)
    return f"{title}\n\n{markdown(rows)}"


def _by_relation(pen: Pen, key: str) -> dict[str, Fact]:
    return {fact.relation: fact for fact in pen.index.facts[key] if not fact.partial}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def capital(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]
