"""Korean addresses down to a house: street and number, lot and number, or an apartment's door.

A region, a company's seat without a number, and a number behind a particle (으로 3개) are none. The
search starts at the name's last syllable before a number and looks back over a bounded stretch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from samdan.data.numbers import Span

LOOK_BACK: Final = 60
# Cities, counties and districts of Korea, today's and those that were merged since 1945: words like
# 다시, 역시 or 요구 end as they do, so only names will do.
DISTRICTS: Final = (
    "중 동 서 남 북 종로 용산 성동 광진 동대문 중랑 성북 강북 도봉 노원 은평 서대문 마포 양천"
    " 강서 구로 금천 영등포 동작 관악 서초 강남 송파 강동 영도 부산진 동래 해운대 사하 금정"
    " 연제 수영 사상 기장 수성 달서 달성 군위 미추홀 연수 남동 부평 계양 강화 옹진 검단 영종"
    " 광산 유성 대덕 울주 수원 장안 권선 팔달 영통 성남 수정 중원 분당 의정부 안양 만안 동안"
    " 부천 원미 소사 오정 광명 평택 동두천 안산 상록 단원 고양 덕양 일산동 일산서 일산 과천"
    " 구리 남양주 오산 시흥 군포 의왕 하남 용인 처인 기흥 수지 파주 이천 안성 김포 화성 광주"
    " 양주 포천 여주 연천 가평 양평 춘천 원주 강릉 동해 태백 속초 삼척 홍천 횡성 영월 평창 정선"
    " 철원 화천 양구 인제 고성 양양 청주 상당 서원 흥덕 청원 충주 제천 보은 옥천 영동 증평 진천"
    " 괴산 음성 단양 천안 동남 서북 공주 보령 아산 서산 논산 계룡 당진 금산 부여 서천 청양 홍성"
    " 예산 태안 연기 전주 완산 덕진 군산 익산 정읍 남원 김제 완주 진안 무주 장수 임실 순창 고창"
    " 부안 목포 여수 순천 나주 광양 담양 곡성 구례 고흥 보성 화순 장흥 강진 해남 영암 무안 함평"
    " 영광 장성 완도 진도 신안 포항 경주 김천 안동 구미 영주 영천 상주 문경 경산 의성 청송 영양"
    " 영덕 청도 고령 성주 칠곡 예천 봉화 울진 울릉 창원 의창 성산 마산합포 마산회원 마산 진해"
    " 진주 통영 사천 김해 밀양 거제 양산 의령 함안 창녕 남해 하동 산청 함양 거창 합천 제주"
    " 서귀포 서울 부산 대구 인천 대전 울산 세종 미금 송탄 이리 충무 삼천포 점촌 온양 대천"
    " 장승포 여천 천원 원성 선산 금릉 영일 월성 승주 동광양 북제주 남제주 경기 송정 명주 삼천"
    " 춘성 옥구 정주 금성 진양"
)
_ANY: Final = "|".join(sorted(set(DISTRICTS.split()), key=lambda name: (-len(name), name)))
_PROVINCE: Final = (
    r"(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주"
    r"|충청[남북]|전라[남북]|경상[남북])(?:특별자치시|특별자치도|특별시|광역시|직할시|시|도)?"
)
REGION: Final = re.compile(
    rf"(?:{_PROVINCE})?(?:(?:{_ANY})(?:시|군|구)){{1,2}}|{_PROVINCE}(?![가-힣])"
)
WORD: Final = re.compile("[가-힣0-9A-Za-z·]+")
TOWN: Final = re.compile("(?!.+(?:하|르|이|라)면)[가-힣]{1,5}[0-9]?(?:읍|면|동)")  # 하면, no 의하면
# Floor and door: (역삼동, 한빛빌딩) 101동 1001호, 제3층 제301호, 지하 1층
_DOOR: Final = (
    r"(?:,?\s{0,2}\([가-힣0-9][가-힣0-9A-Za-z ,.·-]{1,30}\))?"
    r"(?:,?\s{0,2}[가-힣A-Za-z][가-힣A-Za-z0-9]{0,15}"
    r"(?:아파트|빌딩|타워|빌라|오피스텔|맨션|연립|주공|센터|하우스|프라자))?"
    r"(?:,?\s{0,2}(?:제\s?)?[0-9A-Za-z가-힣]{1,4}동(?=\s?(?:제\s?)?[0-9지]))?"
    r"(?:,?\s{0,2}(?:지하\s?|지상\s?|제\s?)?[0-9]{1,3}층)?"
    r"(?:,?\s{0,2}(?:제\s?|[비BbA-Z]-?)?[0-9]{1,5}호(?!선|기|봉|증|표|실))?"
)
_DASH: Final = "[-‐‑–—−]"
_SUB: Final = rf"(?:\s?{_DASH}\s?[0-9]{{1,4}}|\s?의\s?[0-9]{{1,4}})"
# What a number that is no house counts; 조 in 1의 6 조선정미 is no unit, 2 in 을지로 2가 no house.
_NO_HOUSE: Final = rf"(?!{_DASH}?[0-9]|,[0-9]|\.\s?[0-9]|[A-Za-z]|호선|호기|지구|단지)"
_UNITS: Final = (
    r"(?!\s?(?:[%‰㎡㎞ℓ]|번?길|층|호선|호기|지구|단지|통장|브럭|블[럭록]|평방"
    r"|(?:년|월|일|개|명|인|원|시간|시|분|초|회|차|통|반|번(?!지)|장|절|조|항|배|건|만|억|천|백|세|위|급"
    r"|권|쪽|점|가지|퍼센트|미터|킬로|세대|가구|필지|곳|평|주|단계|종|자리|구)"
    r"(?![가-힣](?<![이가을를의에로은는도만과와간째씩미]))))"
)
_NUMBER: Final = r"(?![0-9]가|[0-9]{1,3}대)[0-9]{1,5}"

STREET: Final = re.compile(
    rf"[로길](?:\s?[0-9]{{1,4}}(?:번|[가나다라])?길)?\s?(?:지하\s?)?"
    rf"{_NUMBER}(?:{_DASH}[0-9]{{1,4}}|{_UNITS}){_NO_HOUSE}({_DOOR})"
)
LOT: Final = re.compile(
    rf"(?:동|리|가|로(?=\s?[0-9]가))(?:\s?[0-9]가)?\s?(?:산\s?)?"
    rf"{_NUMBER}(?:({_SUB})|{_UNITS})(?:(\s?번지){_SUB}?)?{_NO_HOUSE}({_DOOR})"
)
LOT_NAME: Final = re.compile(r"[가-힣]{1,6}(?:제?[0-9]{1,2})?")
STREET_NAME: Final = re.compile(r"[가-힣0-9·]{1,12}")
HOUSE: Final = re.compile(
    r"(?:아파트|빌라|맨션|연립|오피스텔|타운|캐슬|자이|래미안|푸르지오|힐스테이트|아이파크|주공|편한세상)"
    r"\s{0,2}(?:제\s?)?[0-9A-Za-z가-힣]{1,4}동\s{0,2}"
    r"(?:(?:제\s?)?[0-9]{1,2}층\s{0,2})?(?:제\s?)?[0-9]{1,5}호"
)
HOUSE_NAME: Final = re.compile(r"[가-힣A-Za-z0-9]{0,15}$")
# What stands before 로 and 길 where they are no street: particles and adverbs.
NO_STREET: Final = re.compile(
    r".*[으므]|[별대바따서새제진경도통회단세수공연하미블프항선차퇴피기이그저것자급실주]"
    r"|스스|활주|임의|절대|상호|그대|이대|뜻대|말대|사실대"
)


def addresses(text: str) -> Iterator[Span]:
    """Street addresses, lots and doors of apartments."""
    for match in STREET.finditer(text):
        place = _place(text, match.start(), STREET_NAME)
        if place is None or NO_STREET.fullmatch(place.name):
            continue
        # Without a region a door must follow: 테헤란로 123, 4층 401호.
        if place.region or "호" in match[1] or "층" in match[1]:
            yield "address", place.start, match.end()
    for match in LOT.finditer(text):
        place = _place(text, match.start(), LOT_NAME)
        if place is not None and _is_lot(match, place):
            yield "address", place.start, match.end()
    for match in HOUSE.finditer(text):
        name = HOUSE_NAME.search(text, max(0, match.start() - 15), match.start())
        yield "address", name.start() if name else match.start(), match.end()


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    name: str  # without its last syllable: 테헤란 of 테헤란로
    region: bool
    town: bool


def _place(text: str, end: int, shape: re.Pattern[str]) -> _Place | None:
    """The name whose last syllable begins at ``end``, and the region that stands before it."""
    words = list(WORD.finditer(text, max(0, end - LOOK_BACK), end))
    if not words or words[-1].end() != end:
        return None
    word = words[-1]
    start, name, region, town = word.start(), word[0], False, False
    if (inner := REGION.match(name)) and inner.end() < len(name):  # 강남구역삼동
        name, region = name[inner.end() :], True
    if not shape.fullmatch(name):
        return None
    for word in reversed(words[:-1][-4:]):
        gap = text[word.end() : start]
        if len(gap) > 3 or not gap.isspace():
            break
        if REGION.fullmatch(word[0]):
            region = True
        elif not (region or town) and _is_town(word[0], shape):
            town = True
        else:
            break
        start = word.start()
    return _Place(start, name, region, town)


def _is_town(word: str, shape: re.Pattern[str]) -> bool:
    same = shape is LOT_NAME and word == "같은"  # 같은 동 541-17, but not 같은 사유로 2020
    return same or TOWN.fullmatch(word) is not None


def _is_lot(match: re.Match[str], place: _Place) -> bool:
    """A lot needs a region, or 번지; 리 and 가 end many words and need more."""
    sub, lot, region = match[1], match[2], place.region or place.town
    if match[0][0] == "가" and not place.name[-1].isdigit():
        return False
    if match[0][0] in "동로":
        return bool(lot or region)
    return bool(lot or (region and sub))
