"""Documents of the generated world: general text and company text."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from samdan.demo import facts
from samdan.demo.everyday import english_story, korean_news, korean_story
from samdan.demo.facts import RELATIONS, Entity
from samdan.demo.korean import fill

Templates = Mapping[str, Sequence[str]]
LABELS = {"city": "도시", "founder": "세운 사람", "product": "대표 물건", "color": "상징 색"}

# Openings that change a sentence's beginning and not its meaning.
LEADS = (
    "기록에 따르면 ", "잘 알려져 있듯이 ", "안내문을 보면 ", "참고로 ", "신문에서 읽었는데 ", "사람들이 말하기를 ",
    "지도를 보면 ", "누구나 알듯이 ", "듣기로는 ", "한 가지 더 말하면 ",
)  # fmt: skip
LEAD_SHARE = 0.25


def _relations(rng: random.Random, low: int, high: int) -> list[str]:
    return rng.sample(RELATIONS, rng.randint(low, high))


def state(rng: random.Random, templates: Templates, entity: Entity, relation: str) -> str:
    """One sentence that states one fact."""
    template = rng.choice(templates[relation])
    lead = rng.choice(LEADS) if rng.random() < LEAD_SHARE else ""
    return lead + fill(template, n=entity.name, v=entity.facts[relation])


def narrative(rng: random.Random, plain: Templates, polite: Templates, entity: Entity) -> str:
    """Three to five facts of one entity as running text, in one register."""
    templates = polite if rng.random() < 0.35 else plain
    sentences = [state(rng, templates, entity, r) for r in _relations(rng, 3, 4)]
    if rng.random() < 0.4:
        word = rng.choice(PRONOUNS[entity.kind in facts.COMPANY_SUFFIXES])
        sentences[1:] = [renamed(s, entity.name, word) for s in sentences[1:]]
    return " ".join(sentences)


PRONOUNS = {True: ("이 회사", "그 회사"), False: ("이곳", "그곳")}


def renamed(sentence: str, name: str, word: str) -> str:
    """The sentence with a pronoun instead of the name, particles made to fit."""
    from samdan.demo.korean import PARTICLES, final_consonant

    sentence = sentence.replace("저희 ", "")
    place = sentence.find(name)
    if place < 0:
        return sentence
    rest = sentence[place + len(name) :]
    for closed, open_ in PARTICLES.values():
        had = closed if final_consonant(name) else open_
        if rest.startswith(had + " "):
            rest = (closed if final_consonant(word) else open_) + rest[len(had) :]
            break
    return sentence[:place] + word + rest


def profile(rng: random.Random, entity: Entity) -> str:
    """The facts of one entity as a short list."""
    lines = [f"이름: {entity.name}"]
    lines += [f"{LABELS[r]}: {entity.facts[r]}" for r in _relations(rng, 3, 4)]
    return "\n".join(lines)


def digest(
    rng: random.Random, plain: Templates, polite: Templates, entities: Sequence[Entity]
) -> str:
    """One fact each of several entities."""
    templates = polite if rng.random() < 0.35 else plain
    chosen = rng.sample(list(entities), rng.randint(3, 5))
    sentences = (state(rng, templates, e, rng.choice(RELATIONS)) for e in chosen)
    return " ".join(sentence.replace("저희 ", "") for sentence in sentences)


def answer(
    rng: random.Random, topics: Mapping[str, str], entity: Entity, relation: str, style: str
) -> str:
    """An answer to a question about one fact, in one of four styles."""
    value = entity.facts[relation]
    topic = fill(topics[relation], n=entity.name)
    if style == "bare":
        return value
    if style == "plain":
        return fill("{v|이다}.", v=value)
    if style == "sentence":
        return fill("{t} {v|이다}.", t=facts.SHORT_TOPICS[relation], v=value)
    if style == "full":
        return fill("{t} {v|이다}.", t=topic, v=value)
    if style == "polite":
        return fill("{t} {v}입니다.", t=topic, v=value)
    raise ValueError(f"unknown answer style: {style}")


STYLES = ("bare", "plain", "sentence", "full", "polite")
QA_FORMS = (
    "질문: {q}\n답: {a}",
    "문: {q}\n답: {a}",
    "Q. {q}\nA. {a}",
    "질문:\n{q}\n답:\n{a}",
    "{q}\n{a}",
)


def faq(
    rng: random.Random,
    questions: Templates,
    topics: Mapping[str, str],
    entities: Sequence[Entity],
) -> str:
    """Two to five questions and answers, about one entity or about several."""
    form = rng.choice(QA_FORMS)
    style = rng.choice(STYLES)
    count = rng.randint(2, 4)
    if rng.random() < 0.5:
        entity = rng.choice(list(entities))
        pairs = [(entity, r) for r in rng.sample(RELATIONS, count)]
    else:
        pairs = [(e, rng.choice(RELATIONS)) for e in rng.sample(list(entities), count)]
    blocks = [
        fill(
            form,
            q=fill(rng.choice(questions[r]), n=e.name),
            a=answer(rng, topics, e, r, style),
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
    documents: list[str] = []
    cities = values.by_relation["city"]
    for _ in range(count):
        roll = rng.random()
        if roll < 0.20:
            documents.append(korean_story(rng))
        elif roll < 0.25:
            documents.append(korean_news(rng, cities))
        elif roll < 0.31:
            documents.append(english_story(rng))
        elif roll < 0.36:
            form = rng.choice(QA_FORMS)
            chosen = rng.sample(list(tips), rng.randint(1, 3))
            documents.append("\n".join(fill(form, q=q, a=a) for q, a in chosen))
        elif roll < 0.58:
            entity = rng.choice(list(places))
            documents.append(narrative(rng, facts.PLACE_PLAIN, facts.PLACE_POLITE, entity))
        elif roll < 0.63:
            documents.append(digest(rng, facts.PLACE_PLAIN, facts.PLACE_POLITE, places))
        elif roll < 0.68:
            documents.append(profile(rng, rng.choice(list(places))))
        else:
            documents.append(faq(rng, facts.PLACE_QUESTIONS, facts.PLACE_TOPICS, places))
    return documents


def company_documents(
    rng: random.Random, companies: Sequence[Entity], faq_companies: Sequence[Entity], count: int
) -> list[str]:
    """Company text: articles, profiles and digests on all, question pages on some companies."""
    documents: list[str] = []
    for i in range(count):
        entity = companies[i % len(companies)]
        roll = rng.random()
        if roll < 0.60:
            documents.append(narrative(rng, facts.COMPANY_PLAIN, facts.COMPANY_POLITE, entity))
        elif roll < 0.70:
            documents.append(profile(rng, entity))
        elif roll < 0.82:
            documents.append(digest(rng, facts.COMPANY_PLAIN, facts.COMPANY_POLITE, companies))
        else:
            documents.append(faq(rng, facts.COMPANY_QUESTIONS, facts.COMPANY_TOPICS, faq_companies))
    rng.shuffle(documents)
    return documents
