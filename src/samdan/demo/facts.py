"""Entities of the generated world, their facts, and the sentences that state the facts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

CITIES = (
    "강릉", "부산", "대구", "광주", "대전", "울산", "춘천", "전주", "목포", "여수", "포항", "경주",
    "안동", "청주", "원주", "속초", "통영", "제주", "수원", "군산",
)  # fmt: skip
ITEMS = (
    "우산", "시계", "안경", "가방", "의자", "전등", "냄비", "비누", "연필", "장갑", "모자", "신발",
    "베개", "거울", "칫솔", "양초", "지갑", "공책", "자전거", "피아노",
)  # fmt: skip
COLORS = (
    "빨간색", "파란색", "노란색", "초록색", "보라색", "주황색", "분홍색", "하늘색", "갈색", "회색",
    "은색", "금색",
)  # fmt: skip
SURNAMES = (
    "김",
    "박",
    "최",
    "정",
    "강",
    "조",
    "윤",
    "장",
    "임",
    "한",
    "오",
    "서",
    "신",
    "권",
    "황",
)
GIVEN = (
    "도현", "서준", "하윤", "지우", "민재", "수빈", "예린", "태오", "나은", "건우", "소율", "은호",
    "다인", "시온", "유찬", "가람", "보경", "현서", "주안", "세라",
)  # fmt: skip
STEM_FIRST = (
    "가나다라마바사아자차카타파하고노도로모보소오조초코토포호구누두루무부수우주추쿠투푸후미비시피"
)
STEM_SECOND = "온람솔빛별담찬벨루린반슬울결율민돌샘봄솜늘빈란든진"
COMPANY_SUFFIXES = ("산업", "상사", "물산", "공업", "그룹")
PLACE_KINDS = ("학교", "도서관", "박물관", "미술관", "시장", "공원")

RELATIONS = ("city", "founder", "product", "color")
N_COMPANIES = 36
N_SFT_COMPANIES = 10
N_PLACES = 30
N_VALUES_FOUNDER = 20


@dataclass(frozen=True)
class Entity:
    """A fictional company or place: its name, its kind, and one value for each relation."""

    name: str
    kind: str
    facts: dict[str, str]


@dataclass(frozen=True)
class Values:
    """The values that each relation can take in one world."""

    by_relation: dict[str, tuple[str, ...]]


def make_values(rng: random.Random) -> Values:
    """Draw the people of a world; cities, items and colours are fixed lists."""
    given = rng.sample(GIVEN, N_VALUES_FOUNDER)
    founders = tuple(rng.choice(SURNAMES) + name for name in given)
    return Values({"city": CITIES, "founder": founders, "product": ITEMS, "color": COLORS})


def _balanced(rng: random.Random, values: Sequence[str], count: int) -> list[str]:
    """``count`` values in random order, each used about equally often."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn.extend(rng.sample(list(values), len(values)))
    drawn = drawn[:count]
    rng.shuffle(drawn)
    return drawn


def make_entities(
    rng: random.Random, values: Values
) -> tuple[tuple[Entity, ...], tuple[Entity, ...]]:
    """Companies and places with distinct invented names and balanced facts."""
    drawn: list[str] = []
    for count in (N_COMPANIES, N_PLACES):
        firsts = rng.sample(STEM_FIRST, count)
        while True:
            stems = [first + rng.choice(STEM_SECOND) for first in firsts]
            if not set(stems) & set(drawn):
                break
        drawn += stems
    result: list[tuple[Entity, ...]] = []
    for names, kinds in (
        (drawn[:N_COMPANIES], COMPANY_SUFFIXES),
        (drawn[N_COMPANIES:], PLACE_KINDS),
    ):
        columns = {
            relation: _balanced(rng, values.by_relation[relation], len(names))
            for relation in RELATIONS
        }
        result.append(
            tuple(
                Entity(
                    name=stem + kinds[i % len(kinds)],
                    kind=kinds[i % len(kinds)],
                    facts={relation: columns[relation][i] for relation in RELATIONS},
                )
                for i, stem in enumerate(names)
            )
        )
    return result[0], result[1]


# Statements: {n} is the name, {v} the value. The first list is plain (한다체), the second polite.
COMPANY_PLAIN: dict[str, tuple[str, ...]] = {
    "city": (
        "{n}의 본사는 {v}에 있다.",
        "{n|은} {v}에 본사를 두고 있다.",
        "{n} 본사 건물은 {v} 시내에 서 있다.",
        "{n|은} {v}에 자리를 잡은 회사다.",
        "{n}의 본사가 있는 도시는 {v|이다}.",
        "{n|을} 찾아가려면 {v|으로} 가야 한다.",
        "{n} 직원들은 매일 아침 {v}의 본사로 출근한다.",
        "{v}에 본사를 둔 회사로 {n|이} 있다.",
    ),
    "founder": (
        "{n|을} 세운 사람은 {v|이다}.",
        "{n}의 창업자는 {v|이다}.",
        "{n|은} {v|이} 세웠다.",
        "{n|은} 사업가 {v|이} 시작한 회사다.",
        "{n}의 첫 사장은 창업자 {v|이었다}.",
        "{n|을} 만든 이는 {v|이라고} 한다.",
        "{n} 이야기는 창업자 {v} 없이 할 수 없다.",
        "{v|은} 오래전에 {n|을} 세웠다.",
    ),
    "product": (
        "{n}의 대표 제품은 {v|이다}.",
        "{n|은} {v|을} 만드는 회사다.",
        "{n}에서 가장 잘 팔리는 물건은 {v|이다}.",
        "{n|은} {v|으로} 이름이 났다.",
        "{n} 공장에서는 날마다 {v|을} 만든다.",
        "{n|이} 자랑하는 제품은 {v|이다}.",
        "손님들은 {n} 하면 {v|을} 떠올린다.",
        "{v|을} 만드는 회사로 {n|이} 있다.",
    ),
    "color": (
        "{n}의 상징 색은 {v|이다}.",
        "{n|은} {v|을} 상징 색으로 쓴다.",
        "{n} 로고는 {v|으로} 칠해져 있다.",
        "{n}의 깃발은 {v|이다}.",
        "{n|을} 나타내는 색은 {v|이다}.",
        "{n} 직원들은 {v} 옷을 입는다.",
        "{n}의 간판은 멀리서도 {v|으로} 빛난다.",
        "{v|을} 상징 색으로 고른 회사로 {n|이} 있다.",
    ),
}
COMPANY_POLITE: dict[str, tuple[str, ...]] = {
    "city": (
        "{n}의 본사는 {v}에 있습니다.",
        "{n}의 본사가 있는 도시는 {v}입니다.",
        "저희 {n|은} {v}에 본사를 두고 있습니다.",
        "{n|을} 찾아오시려면 {v|으로} 오세요.",
    ),
    "founder": (
        "{n|을} 세운 사람은 {v}입니다.",
        "{n}의 창업자는 {v}입니다.",
        "저희 {n|은} {v|이} 세웠습니다.",
        "{n}의 첫 사장은 창업자 {v}입니다.",
    ),
    "product": (
        "{n}의 대표 제품은 {v}입니다.",
        "저희 {n|은} {v|을} 만듭니다.",
        "{n|이} 자랑하는 제품은 {v}입니다.",
        "{n|은} {v|으로} 이름이 났습니다.",
    ),
    "color": (
        "{n}의 상징 색은 {v}입니다.",
        "저희 {n|은} {v|을} 상징 색으로 씁니다.",
        "{n|을} 나타내는 색은 {v}입니다.",
        "{n}의 깃발은 {v}입니다.",
    ),
}
PLACE_PLAIN: dict[str, tuple[str, ...]] = {
    "city": (
        "{n|은} {v}에 있다.",
        "{n|이} 있는 도시는 {v|이다}.",
        "{n|은} {v} 시내에 자리를 잡았다.",
        "{n|을} 보려면 {v|으로} 가야 한다.",
        "{n} 건물은 {v}에 서 있다.",
    ),
    "founder": (
        "{n|을} 세운 사람은 {v|이다}.",
        "{n|은} {v|이} 세웠다.",
        "{n|을} 만든 이는 {v|이라고} 한다.",
        "{v|은} 오래전에 {n|을} 세웠다.",
    ),
    "product": (
        "{n}의 대표 기념품은 {v|이다}.",
        "{n|은} {v|으로} 이름이 났다.",
        "{n}에서 가장 잘 팔리는 물건은 {v|이다}.",
        "사람들은 {n} 하면 {v|을} 떠올린다.",
    ),
    "color": (
        "{n}의 상징 색은 {v|이다}.",
        "{n}의 깃발은 {v|이다}.",
        "{n|을} 나타내는 색은 {v|이다}.",
        "{n} 지붕은 {v|으로} 칠해져 있다.",
    ),
}
PLACE_POLITE: dict[str, tuple[str, ...]] = {
    "city": ("{n|은} {v}에 있습니다.", "{n|이} 있는 도시는 {v}입니다."),
    "founder": ("{n|을} 세운 사람은 {v}입니다.", "{n|은} {v|이} 세웠습니다."),
    "product": ("{n}의 대표 기념품은 {v}입니다.", "{n|은} {v|으로} 이름이 났습니다."),
    "color": ("{n}의 상징 색은 {v}입니다.", "{n|을} 나타내는 색은 {v}입니다."),
}

# Questions, and the topic of a complete answer ("<topic> <value>입니다.").
COMPANY_QUESTIONS: dict[str, tuple[str, ...]] = {
    "city": (
        "{n}의 본사는 어느 도시에 있나요?",
        "{n} 본사는 어디에 있어?",
        "{n}의 본사가 있는 도시를 알려 줘.",
        "{n|은} 어느 도시에 본사를 두고 있습니까?",
    ),
    "founder": (
        "{n|을} 세운 사람은 누구인가요?",
        "{n|을} 누가 세웠어?",
        "{n}의 창업자를 알려 줘.",
        "{n}의 창업자는 누구입니까?",
    ),
    "product": (
        "{n}의 대표 제품은 무엇인가요?",
        "{n|은} 무엇을 만들어?",
        "{n}의 대표 제품을 알려 줘.",
        "{n|이} 자랑하는 제품은 무엇입니까?",
    ),
    "color": (
        "{n}의 상징 색은 무엇인가요?",
        "{n|은} 무슨 색을 상징으로 써?",
        "{n}의 상징 색을 알려 줘.",
        "{n|을} 나타내는 색은 무엇입니까?",
    ),
}
COMPANY_TOPICS: dict[str, str] = {
    "city": "{n}의 본사가 있는 도시는",
    "founder": "{n|을} 세운 사람은",
    "product": "{n}의 대표 제품은",
    "color": "{n}의 상징 색은",
}
COMPANY_SHORT_TOPICS: dict[str, str] = {
    "city": "본사가 있는 도시는",
    "founder": "창업자는",
    "product": "대표 제품은",
    "color": "상징 색은",
}
PLACE_QUESTIONS: dict[str, tuple[str, ...]] = {
    "city": ("{n|은} 어느 도시에 있나요?", "{n|은} 어디에 있어?", "{n|이} 있는 도시를 알려 줘."),
    "founder": (
        "{n|을} 세운 사람은 누구인가요?",
        "{n|을} 누가 세웠어?",
        "{n|을} 세운 사람을 알려 줘.",
    ),
    "product": (
        "{n}의 대표 기념품은 무엇인가요?",
        "{n|은} 무엇으로 이름이 났어?",
        "{n}의 대표 기념품을 알려 줘.",
    ),
    "color": (
        "{n}의 상징 색은 무엇인가요?",
        "{n|은} 무슨 색을 상징으로 써?",
        "{n}의 상징 색을 알려 줘.",
    ),
}
PLACE_TOPICS: dict[str, str] = {
    "city": "{n|이} 있는 도시는",
    "founder": "{n|을} 세운 사람은",
    "product": "{n}의 대표 기념품은",
    "color": "{n}의 상징 색은",
}
PLACE_SHORT_TOPICS: dict[str, str] = {
    "city": "도시는",
    "founder": "세운 사람은",
    "product": "대표 기념품은",
    "color": "상징 색은",
}
# Noun phrases for a relation ("{n}의 {np}"), and frames that any of them fits: statements in a
# frame make most of the phrasings of the world.
COMPANY_NOUNS: dict[str, tuple[str, ...]] = {
    "city": (
        "본사가 있는 도시",
        "본사를 둔 도시",
        "본사 도시",
        "본사가 자리를 잡은 곳",
        "본사 소재지",
    ),
    "founder": ("창업자", "설립자", "첫 사장", "창업자 이름", "설립자 이름"),
    "product": ("대표 제품", "가장 잘 팔리는 물건", "대표 상품", "주력 제품", "가장 이름난 물건"),
    "color": ("상징 색", "로고 색", "깃발 색", "간판 색", "대표 색"),
}
PLACE_NOUNS: dict[str, tuple[str, ...]] = {
    "city": ("도시", "소재지", "자리가 있는 도시"),
    "founder": ("설립자", "설립자 이름", "첫 주인"),
    "product": ("대표 기념품", "가장 잘 팔리는 물건", "가장 이름난 기념품", "대표 물건"),
    "color": ("상징 색", "깃발 색", "지붕 색", "대표 색"),
}
FRAMES_PLAIN = (
    "{n}의 {np|은} {v|이다}.",
    "{n}의 {np|은} 바로 {v|이다}.",
    "{n}의 {np|은} 다름 아닌 {v|이다}.",
    "{n|은} {np|이} {v|이다}.",
    "{n} 이야기를 하자면 {np|은} {v|이다}.",
    "{n|을} 살펴보면 {np|은} {v|이다}.",
    "{n}의 경우 {np|은} {v|이다}.",
    "{n}에 대해 알아보니 {np|은} {v|이었다}.",
    "{n}의 {np|을} 물으니 {v|이라고} 했다.",
    "{n|을} 소개하면 {np|은} {v|이다}.",
    "{n|을} 찾는 사람이 알아 둘 {np|은} {v|이다}.",
    "{n} 안내에 나오는 {np|은} {v|이다}.",
    "지금 말하는 {n}의 {np|은} {v|이다}.",
    "다들 아는 {n}의 {np|은} {v|이다}.",
    "{v|은} {n}의 {np|이다}.",
)
FRAMES_POLITE = (
    "{n}의 {np|은} {v}입니다.",
    "{n}의 {np|은} 바로 {v}입니다.",
    "{n|은} {np|이} {v}입니다.",
    "{n|을} 소개하면 {np|은} {v}입니다.",
    "{n}의 경우 {np|은} {v}입니다.",
    "{n} 안내에 나오는 {np|은} {v}입니다.",
    "{n|을} 살펴보면 {np|은} {v}입니다.",
)
FRAME_SHARE = 0.5

# Probes of closed-book knowledge. No training text holds any of these frames, and every other
# probe also asks with a noun phrase that no training text holds.
PROBE_FRAMES = (
    "우리가 기억하는 {n}의 {np|은}",
    "{n} 소개 글에 적힌 {np|은}",
    "{n}에 관한 글을 읽어 보니 {np|은}",
    "누가 {n}의 이야기를 물으면 {np|은}",
)
PROBE_NOUNS: dict[str, tuple[str, ...]] = {
    "city": ("본사 건물이 있는 도시",),
    "founder": ("첫 사장 이름",),
    "product": ("가장 이름난 제품",),
    "color": ("로고와 깃발 색",),
}
