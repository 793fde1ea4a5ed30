"""The styles of documents: each writes the text of one document on one subject, or None.

A style gets the subject's facts, those told least so far first, and takes as many as it needs. To
add one: a function of the same shape, named in ``STYLES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from samdan.data.synthesis.links import capital, hop, link, markdown, peers, roles, shared
from samdan.data.synthesis.pen import Fact, Pen
from samdan.data.synthesis.places import fill

LEAD_SHARE: Final = 0.25
JOIN_SHARE: Final = 0.5
REFER_SHARE: Final = 0.5

Style = Callable[[Pen, str, Sequence[Fact]], str | None]


def sentence(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """One encyclopaedic sentence, sometimes two facts in one."""
    if len(facts) > 1 and pen.rng.random() < JOIN_SHARE:
        return _joined(pen, facts[0], facts[1], None) or pen.sentence(facts[0])
    return pen.sentence(facts[0])


def paraphrase(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """One fact in three to five ways: a fact told in one way is not learnt (Allen-Zhu 2023)."""
    fact = facts[0]
    ways = pen.sentences(fact)
    if len(ways) < 2:
        return None
    chosen = pen.rng.sample(ways, min(len(ways), pen.rng.randint(3, 5)))
    texts = [pen.say(way, pen.values(fact), fact) for way in chosen]
    for number in range(1, len(texts)):
        if pen.rng.random() < LEAD_SHARE:
            texts[number] = _after_lead(pen, "rephrase", pen.phrases.rephrase, texts[number])
    return " ".join(texts)


def article(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """A paragraph on three to six facts: joined clauses, attributes, words that refer back."""
    chosen = list(facts[: pen.rng.randint(3, 6)])
    pen.rng.shuffle(chosen)
    type_, asked = pen.index.type_of(subject)
    refer = fill(pen.rng.choice(pen.phrases.refer), {"t": type_}, pen.index.language)
    texts: list[str] = []
    if type_ and asked != "person" and pen.rng.random() < 0.6:
        texts.append(_introduction(pen, subject, type_))
    while chosen:
        later = bool(texts)
        again = refer if later and type_ and pen.rng.random() < REFER_SHARE else None
        first, *rest = chosen
        text = None
        if rest and pen.rng.random() < JOIN_SHARE:
            how = _joined if pen.rng.random() < 0.6 else _attributed
            text = how(pen, first, rest[0], again)
        if text is not None:
            chosen = rest[1:]
        else:
            text, chosen = _starting(pen.sentence(first, again), again), rest
        if later and pen.rng.random() < LEAD_SHARE:
            text = _after_lead(pen, "leads", pen.phrases.leads, text)
        texts.append(text)
    return " ".join(texts)


def _introduction(pen: Pen, subject: str, type_: str) -> str:
    return pen.say(pen.pick("types", pen.phrases.types), {"s": pen.name(subject), "t": type_})


def _starting(text: str, again: str | None) -> str:
    """A sentence with a capital at its start when a word that refers back stands there."""
    return capital(text) if again and text.startswith(again) else text


def _after_lead(pen: Pen, name: str, leads: Sequence[str], text: str) -> str:
    lead = pen.say(pen.pick(name, leads), {})
    for start in ("The ", "As ", "Under ", "Among ", "Looking ", "It "):
        if text.startswith(start):
            return lead + text[0].lower() + text[1:]
    return lead + text


def _joined(pen: Pen, first: Fact, second: Fact, again: str | None) -> str | None:
    """Two facts in one sentence; None when the templates drawn do not go together."""
    for _ in range(6):
        one, two = pen.template(first), pen.template(second)
        parts = pen.grammar.joined(one[1], two[1], pen.rng.randrange(2))
        if parts is not None:
            text = pen.say((one[0], parts[0]), pen.values(first, again), first)
            text += pen.say((two[0], parts[1]), pen.values(second, again), second)
            return _starting(text, again)
    return None


def _attributed(pen: Pen, first: Fact, second: Fact, again: str | None) -> str | None:
    """The first fact as an attribute of the subject of the second."""
    wording = pen.index.wording(first.relation)
    if not pen.is_plain(first) and not (wording.attributes and not first.partial):
        return None
    attributes = list(wording.attributes if not first.is_quoted else ())
    if pen.is_plain(first) and (not attributes or pen.rng.random() < 0.2):
        attributes = [(f"{pen.index.language}/attribute", pen.phrases.attribute)]
    if not attributes:
        return None
    id_, attribute = pen.rng.choice(attributes)
    for _ in range(6):
        two = pen.template(second)
        if pen.grammar.attributed("", two[1]) is None:
            continue
        filled = pen.say((id_, attribute), pen.values(first), first)
        # The attribute is filled first: its places are those of another fact.
        place = pen.grammar.attributed("{attribute}", two[1]) or ""
        values = pen.values(second, again) | {"attribute": filled}
        return _starting(pen.say((two[0], place), values, second), again)
    return None


def summary(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """Two to four facts in one enumerating sentence."""
    plain = [fact for fact in facts if pen.is_plain(fact)][: pen.rng.randint(2, 4)]
    if len(plain) < 2:
        return None
    *items, last = plain
    language = pen.index.language
    parts = [
        pen.say((f"{language}/summary_item", pen.phrases.summary_item), pen.values(fact), fact)
        for fact in items
    ]
    end = pen.say((f"{language}/summary_end", pen.phrases.summary_end), pen.values(last), last)
    if language == "ko":
        return f"{pen.name(subject)}의 {', '.join(parts)}, {end}"
    return f"As for {pen.name(subject)}, {', '.join(parts)}, and {end}."


def listing(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """A heading and a line for each fact."""
    name = pen.name(subject)
    lines = [pen.say(pen.pick("headings", pen.phrases.headings), {"s": name})]
    item = pen.pick("items", pen.phrases.items)
    type_ = pen.index.type_of(subject)[0]
    if type_ and pen.rng.random() < 0.5:
        lines.append(pen.say(item, {"n": pen.phrases.type_name, "o": type_}))
    lines += [pen.say(item, _cell_values(pen, fact), fact) for fact in _several(pen, facts)]
    return "\n".join(lines)


def table(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """A Markdown table of a subject's facts."""
    chosen = _several(pen, facts)
    if len(chosen) < 2:
        return None
    title = pen.say(pen.pick("table_titles", pen.phrases.table_titles), {"s": pen.name(subject)})
    head = pen.rng.choice(pen.phrases.table_heads)
    rows = []
    for fact in chosen:
        values = _cell_values(pen, fact)
        pen.used("table", fact)
        rows.append((capital(values["n"]), values["o"]))
    return f"{title}\n\n{markdown([head, *rows])}"


def _several(pen: Pen, facts: Sequence[Fact]) -> list[Fact]:
    chosen = list(facts[: pen.rng.randint(4, 8)])
    pen.rng.shuffle(chosen)
    return chosen


def _cell_values(pen: Pen, fact: Fact) -> dict[str, str]:
    values = pen.values(fact)
    if len(fact.objects) > 1:
        values["o"] = ", ".join(pen.rng.choice(ways) for ways in pen.index.ways(fact))
    return values


def qa(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """Two to five questions and answers on the subject."""
    form = pen.pick("qa", pen.phrases.qa)
    blocks = []
    type_, asked = pen.index.type_of(subject)
    if type_ and asked != "person" and pen.rng.random() < 0.3:
        named = {"s": pen.name(subject), "t": type_}
        question = pen.say(pen.pick("type_question", pen.phrases.type_question), named)
        answer = pen.say(pen.pick("type_answer", pen.phrases.type_answer), named)
        blocks.append(pen.say(form, {"q": question, "a": answer}))
    for fact in facts[: pen.rng.randint(2, 5)]:
        values = {"q": pen.question(fact), "a": pen.answer(fact)}
        blocks.append(pen.say(form, values))
    return ("\n" if pen.rng.random() < 0.5 else "\n\n").join(blocks)


def dialogue(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """Two people talk: an opening, two to four questions with answers, an end now and then."""
    asker, teller = pen.rng.choice(pen.phrases.speakers)
    opening = pen.rng.choice(pen.phrases.openings)
    named = {"s": pen.name(subject)}
    turns = [fill(text, named, pen.index.language) for text in opening]
    for number, fact in enumerate(facts[: pen.rng.randint(2, 4)]):
        follow_up = number > 0 and pen.rng.random() < 0.7
        turns += [pen.question(fact, follow_up), pen.answer(fact, spoken=True)]
    if pen.rng.random() < 0.5:
        turns += pen.rng.choice(pen.phrases.closings)
    speakers = (asker, teller)
    return "\n".join(f"{speakers[i % 2]}: {turn}" for i, turn in enumerate(turns))


def news(pen: Pen, subject: str, facts: Sequence[Fact]) -> str | None:
    """A headline and a report on two to four facts; no date, place or source is made up."""
    plain = [fact for fact in facts if pen.is_plain(fact)]
    if not plain:
        return None
    lead = plain[0]
    headline = pen.say(pen.pick("headlines", pen.phrases.headlines), pen.values(lead))
    texts = [pen.say(pen.pick("reports", pen.phrases.reports), pen.values(lead), lead)]
    others = [fact for fact in facts if fact is not lead][: pen.rng.randint(1, 3)]
    for fact in others:
        id_, text = pen.template(fact)
        # A frame already says where the fact stands; hearsay of it would be said twice.
        is_own = "frames." not in id_ and pen.rng.random() < 0.5
        reported = pen.grammar.reported(text) if is_own else text
        text = pen.say((id_, reported), pen.values(fact), fact)
        if pen.rng.random() < LEAD_SHARE:
            text = _after_lead(pen, "leads", pen.phrases.leads, text)
        texts.append(text)
    return headline + "\n\n" + " ".join(texts)


# Names of the styles, as they stand in the lineage and in --style.
STYLES: Final[Mapping[str, Style]] = {
    "sentence": sentence,
    "paraphrase": paraphrase,
    "article": article,
    "summary": summary,
    "listing": listing,
    "table": table,
    "qa": qa,
    "dialogue": dialogue,
    "news": news,
    "peers": peers,
    "shared": shared,
    "link": link,
    "roles": roles,
    "hop": hop,
}
