"""Documents of the generated world: general text and company text."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samdan.demo import facts
from samdan.demo.everyday import english_story, korean_news, korean_story
from samdan.demo.facts import RELATIONS, Entity
from samdan.hangul import fill

Templates = Mapping[str, Sequence[str]]
LABELS = {"city": "도시", "founder": "세운 사람", "product": "대표 물건", "color": "상징 색"}

# Openings that change a sentence's beginning and not its meaning.
LEADS = (
    "기록에 따르면 ", "잘 알려져 있듯이 ", "안내문을 보면 ", "참고로 ", "신문에서 읽었는데 ",
    "사람들이 말하기를 ", "지도를 보면 ", "누구나 알듯이 ", "듣기로는 ", "한 가지 더 말하면 ",
)  # fmt: skip
LEAD_SHARE = 0.3
POLITE_SHARE = 0.35


def _relations(rng: random.Random, low: int, high: int) -> list[str]:
    return rng.sample(RELATIONS, rng.randint(low, high))


@dataclass(frozen=True)
class Wording:
    """How the facts of one group of entities are worded, in both registers."""

    plain: Templates
    polite: Templates
    nouns: Templates
    questions: Templates
    topics: Mapping[str, str]
    short_topics: Mapping[str, str]


COMPANY_WORDING = Wording(
    facts.COMPANY_PLAIN,
    facts.COMPANY_POLITE,
    facts.COMPANY_NOUNS,
    facts.COMPANY_QUESTIONS,
    facts.COMPANY_TOPICS,
    facts.COMPANY_SHORT_TOPICS,
)
PLACE_WORDING = Wording(
    facts.PLACE_PLAIN,
    facts.PLACE_POLITE,
    facts.PLACE_NOUNS,
    facts.PLACE_QUESTIONS,
    facts.PLACE_TOPICS,
    facts.PLACE_SHORT_TOPICS,
)


def state(rng: random.Random, wording: Wording, entity: Entity, relation: str, polite: bool) -> str:
    """One sentence that states one fact."""
    value = entity.facts[relation]
    if rng.random() < facts.FRAME_SHARE:
        frame = rng.choice(facts.FRAMES_POLITE if polite else facts.FRAMES_PLAIN)
        noun = rng.choice(wording.nouns[relation])
        return fill(frame, n=entity.name, np=noun, v=value)
    templates = wording.polite if polite else wording.plain
    lead = rng.choice(LEADS) if rng.random() < LEAD_SHARE else ""
    return lead + fill(rng.choice(templates[relation]), n=entity.name, v=value)


def narrative(rng: random.Random, wording: Wording, entity: Entity) -> str:
    """Three or four facts of one entity as running text, in one register."""
    polite = rng.random() < POLITE_SHARE
    return " ".join(state(rng, wording, entity, r, polite) for r in _relations(rng, 3, 4))


def profile(rng: random.Random, entity: Entity) -> str:
    """The facts of one entity as a short list."""
    lines = [f"이름: {entity.name}"]
    lines += [f"{LABELS[r]}: {entity.facts[r]}" for r in _relations(rng, 3, 4)]
    return "\n".join(lines)


def digest(rng: random.Random, wording: Wording, entities: Sequence[Entity]) -> str:
    """One fact each of several entities."""
    polite = rng.random() < POLITE_SHARE
    chosen = rng.sample(list(entities), rng.randint(3, 5))
    sentences = (state(rng, wording, e, rng.choice(RELATIONS), polite) for e in chosen)
    return " ".join(sentence.replace("저희 ", "") for sentence in sentences)


# Styles of an answer: the template that holds the value, {t} being its topic ("창업자는"), {u} the
# topic with the entity's name.
STYLES = {
    "bare": "{v}",
    "plain": "{v|이다}.",
    "sentence": "{t} {v|이다}.",
    "polite": "{t} {v}입니다.",
    "full": "{u} {v|이다}.",
    "polite full": "{u} {v}입니다.",
}


def answer(wording: Wording, entity: Entity, relation: str, style: str) -> str:
    """An answer to a question about one fact, in one of the styles."""
    return fill(
        STYLES[style],
        t=wording.short_topics[relation],
        u=fill(wording.topics[relation], n=entity.name),
        v=entity.facts[relation],
    )


QA_FORMS = (
    "질문: {q}\n답: {a}",
    "문: {q}\n답: {a}",
    "Q. {q}\nA. {a}",
    "질문:\n{q}\n답:\n{a}",
    "{q}\n{a}",
)


def faq(
    rng: random.Random,
    wording: Wording,
    entities: Sequence[Entity],
) -> str:
    """Two to five questions and answers, about one entity or about several."""
    form = rng.choice(QA_FORMS)
    style = rng.choice(tuple(STYLES))
    count = rng.randint(2, 4)
    if rng.random() < 0.5:
        entity = rng.choice(list(entities))
        pairs = [(entity, r) for r in rng.sample(RELATIONS, count)]
    else:
        pairs = [(e, rng.choice(RELATIONS)) for e in rng.sample(list(entities), count)]
    blocks = [
        fill(
            form,
            q=fill(rng.choice(wording.questions[r]), n=e.name),
            a=answer(wording, e, r, style),
        )
        for e, r in pairs
    ]
    return "\n".join(blocks)


def general_documents(
    rng: random.Random,
    values: facts.Values,
    places: Sequence[Entity],
    tips: Sequence[tuple[str, str]],
    count: int,
) -> list[str]:
    """General text: everyday Korean, news, English, and documents about fictional places."""
    cities = values.by_relation["city"]
    # Distinct documents, so that held-out ones never occur in training.
    documents: dict[str, None] = {}
    while len(documents) < count:
        documents[_general_document(rng, cities, places, tips)] = None
    return list(documents)


def _general_document(
    rng: random.Random,
    cities: Sequence[str],
    places: Sequence[Entity],
    tips: Sequence[tuple[str, str]],
) -> str:
    roll = rng.random()
    if roll < 0.26:
        return korean_story(rng)
    if roll < 0.32:
        return korean_news(rng, cities)
    if roll < 0.40:
        return english_story(rng)
    if roll < 0.45:
        form = rng.choice(QA_FORMS)
        chosen = rng.sample(list(tips), rng.randint(1, 3))
        return "\n".join(fill(form, q=q, a=a) for q, a in chosen)
    if roll < 0.65:
        return narrative(rng, PLACE_WORDING, rng.choice(list(places)))
    if roll < 0.70:
        return digest(rng, PLACE_WORDING, places)
    if roll < 0.74:
        return profile(rng, rng.choice(list(places)))
    return faq(rng, PLACE_WORDING, places)


def company_documents(
    rng: random.Random, companies: Sequence[Entity], faq_companies: Sequence[Entity], count: int
) -> list[str]:
    """Company text: articles, profiles and digests on all, question pages on some companies."""
    documents: list[str] = []
    for i in range(count):
        entity = companies[i % len(companies)]
        roll = rng.random()
        if roll < 0.60:
            documents.append(narrative(rng, COMPANY_WORDING, entity))
        elif roll < 0.70:
            documents.append(profile(rng, entity))
        elif roll < 0.82:
            documents.append(digest(rng, COMPANY_WORDING, companies))
        else:
            documents.append(faq(rng, COMPANY_WORDING, faq_companies))
    rng.shuffle(documents)
    return documents
