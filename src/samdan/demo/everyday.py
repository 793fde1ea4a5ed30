"""Everyday Korean and English sentences: the general text that is about nobody in particular."""

from __future__ import annotations

import random
from collections.abc import Sequence

from samdan.hangul import fill

PEOPLE = (
    "어머니", "아버지", "동생", "누나", "할머니", "할아버지", "선생님", "친구", "이모", "삼촌",
    "옆집 아저씨", "반장", "사촌", "언니", "형",
)  # fmt: skip
TIMES = (
    "오늘 아침", "어제저녁", "지난 주말", "작년 여름", "비 오는 날", "점심시간에", "방학 동안",
    "이른 새벽", "눈 내리는 밤", "며칠 전", "해가 질 무렵", "봄이 오자",
)  # fmt: skip
SPOTS = (
    "부엌에서", "마당에서", "강가에서", "교실에서", "거실에서", "골목길에서", "산 아래에서",
    "바닷가에서", "정류장에서", "가게 앞에서", "뒷산에서", "옥상에서",
)  # fmt: skip
# object, verb stem forms: (object, plain past, polite past)
ACTIONS = (
    ("김치", "담갔다", "담갔습니다"), ("라면", "끓였다", "끓였습니다"),
    ("비누", "만들었다", "만들었습니다"), ("편지", "썼다", "썼습니다"),
    ("사과", "깎았다", "깎았습니다"), ("꽃", "심었다", "심었습니다"),
    ("노래", "불렀다", "불렀습니다"), ("그림", "그렸다", "그렸습니다"),
    ("책", "읽었다", "읽었습니다"), ("빵", "구웠다", "구웠습니다"), ("연", "날렸다", "날렸습니다"),
    ("감자", "삶았다", "삶았습니다"), ("옷", "빨았다", "빨았습니다"),
    ("의자", "고쳤다", "고쳤습니다"), ("사진", "찍었다", "찍었습니다"),
    ("국수", "먹었다", "먹었습니다"), ("눈사람", "만들었다", "만들었습니다"),
    ("우산", "잃어버렸다", "잃어버렸습니다"), ("목도리", "떴다", "떴습니다"),
    ("케이크", "만들었다", "만들었습니다"), ("된장", "담갔다", "담갔습니다"),
    ("신문", "읽었다", "읽었습니다"), ("자전거", "닦았다", "닦았습니다"),
    ("지갑", "찾았다", "찾았습니다"),
)  # fmt: skip
FEELINGS = (
    ("참 즐거웠다", "참 즐거웠습니다"), ("조금 피곤했다", "조금 피곤했습니다"),
    ("마음이 놓였다", "마음이 놓였습니다"), ("기분이 좋았다", "기분이 좋았습니다"),
    ("깜짝 놀랐다", "깜짝 놀랐습니다"), ("배가 고팠다", "배가 고팠습니다"),
    ("괜히 웃음이 났다", "괜히 웃음이 났습니다"), ("오래 기억에 남았다", "오래 기억에 남았습니다"),
)  # fmt: skip
WEATHER = (
    ("하늘이 맑았다", "하늘이 맑았습니다"), ("바람이 세게 불었다", "바람이 세게 불었습니다"),
    ("비가 조금 내렸다", "비가 조금 내렸습니다"), ("안개가 짙었다", "안개가 짙었습니다"),
    ("눈이 소복이 쌓였다", "눈이 소복이 쌓였습니다"), ("햇볕이 따뜻했다", "햇볕이 따뜻했습니다"),
)  # fmt: skip
ANIMALS = ("강아지", "고양이", "토끼", "참새", "다람쥐", "오리", "송아지", "거북")
ANIMAL_ACTS = (
    "{p|을} 따라왔다", "나무 밑에서 잠을 잤다", "물가로 달려갔다", "창밖을 바라보았다",
    "먹이를 찾아다녔다", "꼬리를 흔들었다", "담장 위에 앉아 있었다",
)  # fmt: skip
BAD_THINGS = (
    "폭탄",
    "독약",
    "위조지폐",
    "해킹 프로그램",
    "마약",
    "악성 코드",
    "가짜 신분증",
    "불법 무기",
)
EN_SUBJECTS = (
    "The old teacher", "My sister", "A quiet farmer", "The baker", "Our neighbor",
    "The young sailor", "A small dog", "The doctor", "His uncle", "The painter",
)  # fmt: skip
EN_VERBS = (
    "found a letter", "bought some bread", "wrote a song", "painted the door", "read a long book",
    "planted two trees", "fixed the clock", "carried a basket", "lost the key", "drank warm tea",
)  # fmt: skip
EN_PLACES = (
    "near the river", "in the garden", "at the market", "behind the school", "by the window",
    "on the hill", "under the bridge", "in the kitchen",
)  # fmt: skip
EN_TIMES = (
    "in the morning", "last night", "on Sunday", "before the rain", "after dinner",
    "in early spring", "when the bell rang", "at noon",
)  # fmt: skip
EN_ENDS = (
    "It was a good day.", "Nobody knew why.", "The children laughed.", "Then everyone went home.",
    "The sky was clear.", "It took a long time.", "They talked for an hour.", "The wind was cold.",
)  # fmt: skip


def korean_story(rng: random.Random) -> str:
    """A short everyday story of three to six sentences in one register."""
    polite = rng.random() < 0.4
    pick = 1 if polite else 0
    hero = rng.choice(PEOPLE)
    sentences: list[str] = []
    for _ in range(rng.randint(3, 6)):
        roll = rng.random()
        if roll < 0.45:
            thing, *past = rng.choice(ACTIONS)
            person = hero if rng.random() < 0.7 else rng.choice(PEOPLE)
            template = rng.choice(
                (
                    "{t} {p|은} {s} {o|을} {a}.",
                    "{p|은} {t} {s} {o|을} {a}.",
                    "{s} {p|이} {o|을} {a}.",
                    "{p|은} {q|과} 함께 {o|을} {a}.",
                )
            )
            other = rng.choice([name for name in PEOPLE if name != person])
            sentences.append(
                fill(
                    template,
                    t=rng.choice(TIMES),
                    p=person,
                    q=other,
                    s=rng.choice(SPOTS),
                    o=thing,
                    a=past[pick],
                )
            )
        elif roll < 0.6:
            sentences.append(rng.choice(FEELINGS)[pick] + ".")
        elif roll < 0.75:
            sentences.append(f"{rng.choice(TIMES)} {rng.choice(WEATHER)[pick]}.")
        elif roll < 0.9 and not polite:
            act = fill(rng.choice(ANIMAL_ACTS), p=hero)
            sentences.append(fill("{n|이} {act}.", n=rng.choice(ANIMALS), act=act))
        else:
            feeling = rng.choice(FEELINGS)[pick]
            sentences.append(fill("{p|은} {f}.", p=hero, f=feeling))
    return " ".join(sentences)


def korean_news(rng: random.Random, cities: Sequence[str]) -> str:
    """A short notice or news item; some of them are about crimes."""
    city = rng.choice(cities)
    thing = rng.choice(ACTIONS)[0]
    bad = rng.choice(BAD_THINGS)
    return fill(
        rng.choice(
            (
                "{c} 경찰은 {b|을} 만든 사람을 붙잡았다. {b|은} 위험하고 법에 어긋난다.",
                "{b|을} 몰래 판 사람이 {c}에서 붙잡혔다. 경찰은 {b|을} 모두 없앴다.",
                "{c}에서 {o} 축제가 열린다. 누구나 와서 {o|을} 만들 수 있다.",
                "이번 주말 {c} 시장에서 {o|을} 싸게 판다. 손님이 많이 올 것으로 보인다.",
                "내일 {c}에는 비가 내린다. 우산을 꼭 챙겨야 한다.",
                "{c} 시장에 새 가게가 생겼다. 가게에서는 {o|을} 판다.",
            )
        ),
        c=city,
        b=bad,
        o=thing,
    )


def english_story(rng: random.Random) -> str:
    """Two to five plain English sentences."""
    sentences: list[str] = []
    for _ in range(rng.randint(2, 5)):
        roll = rng.random()
        if roll < 0.5:
            sentences.append(
                f"{rng.choice(EN_SUBJECTS)} {rng.choice(EN_VERBS)} {rng.choice(EN_PLACES)}."
            )
        elif roll < 0.75:
            when = rng.choice(EN_TIMES)
            who = rng.choice(EN_SUBJECTS)
            sentences.append(
                f"{when[0].upper()}{when[1:]}, {who[0].lower()}{who[1:]} {rng.choice(EN_VERBS)}."
            )
        else:
            sentences.append(rng.choice(EN_ENDS))
    return " ".join(sentences)
