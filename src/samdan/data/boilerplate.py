"""Lines that belong to a web page and not to its text, found by rule; each rule has a name.

A rule matches a whole line. A sentence that mentions the words stays: it does not begin with the
mark, is longer, or ends as a sentence does. Words that a manual may use as well (로그인, 목록) are
left out only beside other lines of this kind.
To add a rule: name it in ``BoilerplateRule`` of the core and write it in ``RULES``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Final

from samdan.cleaning import BoilerplateRule

MAX_CHARS: Final = 200
# No rule but "menu" matches a line without one of these: most texts need no further look.
_WORDS: Final = (
    "ⓒ © (c) (C) opyright OPYRIGHT 저작권자 ights IGHTS 금지 금함 금합 불허 기자 특파원"
    " 논설위원 사진 영상 이미지 제공 캡처 캡쳐 Photo PHOTO 공유 보내기 퍼가기 복사 스크랩 글자"
    " Share Tweet Pin share 쿠키 cookies 구독 바로 관련 제보 추가 앱 메뉴 건너 상단 위로 이전"
    " 다음 kip KIP Back"
)
WORDS: Final = tuple(_WORDS.split())

_OPEN: Final = r"[\[(<{【〈\"'▲△▶■※☞*\-=/|·•ㆍ\s]*"
_CLOSE: Final = r"[\])>}】〉\"'*\-=/|.!·\s]*"
_EMAIL: Final = r"[\w.+-]{1,40}@[\w-]{1,30}(?:\.[\w-]{1,20}){1,3}"
_NAME: Final = r"[가-힣]{2,4}"
_PRESS: Final = (
    r"(?:신문|일보|뉴스|방송|닷컴|타임스|경제|미디어|통신|저널|매거진|투데이|데일리|연합|주식회사|\(주\)|㈜"
    r"|재단|협회|공사|공단|위원회|연구원|대학교|[cC]om|Inc|Corp|Co|Ltd)사?"
)
_MARK: Final = (
    r"(?:ⓒ|©\ufe0f?|[cC]opyrights?|COPYRIGHTS?|저작권자|\([cC]\)(?=\s*(?:19|20)\d\d\b))"
    r"(?:\s*(?:ⓒ|©\ufe0f?|\([cC]\)|by\b))*[\s:]*"
)
_COPY: Final = r"(?:무단\s?(?:전재|복제|배포|사용|도용|복사|전제)|재\s?배포|전재|복제)"
_REPRINT: Final = (
    rf"{_COPY}(?:\s*(?:및|[-,·ㆍ/&]|또는|와|과|,?\s*AI\s?학습)?\s*"
    rf"(?:{_COPY}|DB|수집|이용|활용|AI|학습|및|등)){{0,6}}"
    r"\s*(?:[을를은는]\s*)?(?:금지|금함|금합니다|금지합니다|불허|금지됩니다)"
)
# A stretch of one sentence: no sentence end in it, but www.press.co.kr may be.
_PART: Final = r"(?:[^.!?]|\.(?=\S))"
_REPORTER: Final = r"\s?(?:선임|수습|전문|인턴|객원|사진|영상)?\s?(?:기자|특파원|논설위원)"
_PHOTO: Final = r"(?:자료\s?)?(?:사진|영상|이미지)\s?(?:제공|출처|자료)?\s?"
_RIGHTS: Final = r"(?:[aA]ll [rR]ights? [rR]eserved|ALL RIGHTS? RESERVED)"
_SNS: Final = (
    r"(?:페이스북|카카오(?:톡|스토리)|트위터|네이버\s?(?:밴드|블로그)|밴드|블로그|라인|링크드인|[xX]|SNS"
    r"|이\s?(?:기사|글|페이지)|기사)"
)


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


RULES: Final[Mapping[BoilerplateRule, re.Pattern[str]]] = {
    "copyright": _any(
        rf"{_OPEN}{_MARK}(?:{_PART}{{0,60}}\b(?:19|20)\d\d\b[^!?]{{0,80}}"  # a year
        rf"|[^!?]{{0,80}}{_RIGHTS}[^!?]{{0,40}}"
        rf"|{_PART}{{0,40}}{_REPRINT}[^!?]{{0,40}}"
        rf"|(?:[^\s.!?,]|\.(?=\S)){{0,20}}{_PRESS}(?:\s?&\s?[\w.]{{1,20}})?"  # only a name
        rf"){_CLOSE}(?<!다\.)",
        rf"{_OPEN}{_RIGHTS}{_CLOSE}",
    ),
    "reprint": _any(rf"{_OPEN}(?:[^\s.!?]{{1,20}}\s?){{0,2}}?{_REPRINT}{_CLOSE}"),
    "reporter": _any(
        rf"{_OPEN}(?:[가-힣A-Za-z]{{2,10}}\s?=\s?(?:[가-힣A-Za-z]{{2,10}}\s?[)\]】]\s?)?)?"
        rf"(?:글\s?[·ㆍ,]?\s?사진\s?[=:]?\s?)?(?:{_NAME}(?:\s?[·ㆍ,]\s?|\s))?{_NAME}{_REPORTER}"
        rf"\s*[=/(\[|]?\s*{_EMAIL}{_CLOSE}",
        rf"[\[(<【/▶■=](?:\s?[가-힣A-Za-z]{{2,10}}\s?=\s?)?\s?(?:{_NAME}\s?[·ㆍ,]\s?)?"
        rf"{_NAME}{_REPORTER}{_CLOSE}",
        rf"(?:글\s?[·ㆍ,]\s?사진\s)?[가-힣]{{3}}\s{_REPORTER}",
    ),
    "photo_credit": _any(
        rf"[\[(<【]\s?{_PHOTO}[=:ⓒ©]\s?[^.!?]{{1,60}}[\])>】]",
        rf"[▲/\s]*{_PHOTO}[=ⓒ©]\s?[^.,!?()]{{1,30}}",
        r"(?:사진|영상|이미지)\s?(?:제공|출처)\s?:\s?[^.,!?()]{1,30}",
        r"[\[(<【]\s?(?:사진|영상)\s[^.!?\])>】]{1,30}(?:제공|캡처|캡쳐)\s?[\])>】]",
        r"[\[(<【▲]\s?[^.!?\])>】]{1,40}(?:제공|캡처|캡쳐|자료사진)\s?[\])>】]",
        r"(?:Photo|PHOTO)(?:\s(?:by|courtesy of|credit:?)|:)\s?[^!?]{1,60}",
    ),
    "share": _any(
        rf"{_OPEN}(?:{_SNS}?\s?(?:에|으?로)?\s?(?:공유|보내기|퍼가기)(?:하기)?"
        r"|(?:URL|주소|링크|기사)\s?복사(?:하기)?|기사\s?스크랩(?:하기)?"
        r"|글자\s?크기\s?(?:변경|조절|크게|작게|설정)"
        r"|(?:Share|Tweet|Pin)(?:\s(?:on|to|via)\s\w+)?|[sS]hare this (?:article|page|post))"
        r"(?:[\s|·,/]+(?:공유|인쇄|복사|스크랩|프린트|이메일|[\w가-힣]{1,10}(?:공유|하기))){0,6}"
        rf"{_CLOSE}",
    ),
    "cookies": _any(
        r"(?=.*(?:동의|수락|허용|계속\s?(?:이용|사용)|거부))(?:이|본|저희|당사)\s?(?:웹\s?)?"
        r"(?:사이트|홈페이지|서비스)[^.!?]{0,40}쿠키.{0,150}",
        r"(?=.*(?:[aA]ccept|agree|consent|continu|[pP]olicy|preferences))(?:We use cookies"
        r"|(?:This|Our) (?:web ?)?site uses cookies|By (?:using|continuing)[^.]{0,60}cookies)"
        r".{0,150}",
    ),
    "promotion": _any(
        r"[▶►☞■●◆※★☎\[(<【\s]*[▶►☞■●◆※★\[【]\s?[^.!?]{0,60}(?:구독\s?(?:하기|신청|하세요)|바로\s?가기"
        r"|관련\s?(?:기사|뉴스)(?:\s?(?:보기|더보기))?|제보\s?(?:하기|받습니다|는)[^.!?]{0,60}"
        rf"|채널\s?추가|친구\s?추가|앱\s?(?:다운로드|설치)){_CLOSE}",
        rf"[\[(<【\s]*관련\s?(?:기사|뉴스)(?:\s?(?:보기|더보기))?{_CLOSE}",
    ),
    "menu": _any(
        r"(?:본문|주\s?메뉴|메인\s?메뉴|하단\s?메뉴|메뉴|콘텐츠|컨텐츠|내용)\s?(?:으로\s?)?"
        r"(?:바로\s?가기|건너\s?뛰기)",
        r"맨\s?위로(?:\s?(?:가기|이동))?|페이지\s?(?:상단|맨\s?위)(?:으로)?(?:\s?(?:가기|이동))?",
        r"(?:이전\s?글|다음\s?글)(?:\s?(?:보기|없음|이 없습니다\.?))?",
        r"[sS]kip to (?:main )?(?:content|navigation)|SKIP TO CONTENT|Back to top",
        r"글자\s?크기|전체\s?메뉴(?:\s?(?:열기|닫기|보기))?",
    ),
}
# Items of a menu, without spaces. Three in a line are one; fewer only beside other such lines.
_ITEMS: Final = (
    "홈 HOME Home 로그인 로그아웃 회원가입 마이페이지 목록 목록보기 이전글 다음글 이전 다음"
    " 검색 통합검색 메뉴 전체메뉴 사이트맵 고객센터 공지사항 인쇄 인쇄하기 프린트 스크랩 공유"
    " 공유하기 닫기 더보기 댓글 댓글쓰기 추천 신고 글쓰기 수정 삭제 답글 맨위로 장바구니"
    " 이용약관 개인정보처리방침 오시는길 English Login Logout Signin Signup Menu Search Print"
    " Sitemap Contact Contactus"
)
ITEMS: Final = frozenset(_ITEMS.split())
FIRST: Final = frozenset(item[0] for item in ITEMS)
LONGEST_ITEM: Final = max(map(len, ITEMS)) + 4  # with spaces
SEPARATORS: Final = re.compile(r"[|·ㆍ/>]")


def marked(
    lines: Sequence[str], rules: Collection[BoilerplateRule]
) -> dict[int, BoilerplateRule | None]:
    """The lines that match a rule; None for one or two menu words, which need a neighbour."""
    short = [index for index, line in enumerate(lines) if len(line) <= MAX_CHARS]
    found: dict[int, BoilerplateRule | None] = {}
    for index in _with_words(lines, short) if rules else ():
        if rule := _rule(lines[index].strip(), rules):
            found[index] = rule
    for index in short if "menu" in rules else ():
        if index not in found and (items := menu_items(lines[index])):
            found[index] = "menu" if items > 2 else None
    return found


def _with_words(lines: Sequence[str], indices: Sequence[int]) -> set[int]:
    """The lines that hold one of ``WORDS``: by one search of the whole for every word."""
    text = "\n".join(lines[index] for index in indices)
    starts = [0, *accumulate(len(lines[index]) + 1 for index in indices)]
    found: set[int] = set()
    for word in WORDS:
        at = text.find(word)
        while at >= 0:
            line = bisect_right(starts, at) - 1
            found.add(indices[line])
            at = text.find(word, starts[line + 1])
    return found


def settled(
    marks: Mapping[int, BoilerplateRule | None], lines: Sequence[str], code: Sequence[bool]
) -> dict[int, BoilerplateRule]:
    """The marked lines that go: not in code, and no lonely menu word."""
    found: dict[int, BoilerplateRule] = {}
    run: dict[int, BoilerplateRule | None] = {}
    last = -1
    for index in sorted(index for index in marks if not code[index]):
        if any(code[i] or lines[i].strip() for i in range(last + 1, index)):
            found.update(_unless_lonely(run))
            run = {}
        run[index] = marks[index]
        last = index
    found.update(_unless_lonely(run))
    return found


def menu_items(line: str) -> int:
    """How many items of a menu the line consists of; 0 when anything else is in it."""
    if line.lstrip()[:1] not in FIRST or len(line) > LONGEST_ITEM * 8:
        return 0
    if "".join(line.split()) in ITEMS:
        return 1
    parts = SEPARATORS.split(line) if SEPARATORS.search(line) else line.split()
    items = ["".join(part.split()) for part in parts]
    return len(items) if len(items) > 1 and all(item in ITEMS for item in items) else 0


def _rule(line: str, rules: Collection[BoilerplateRule]) -> BoilerplateRule | None:
    """The first rule that matches the whole line."""
    return next((r for r, p in RULES.items() if r in rules and p.fullmatch(line)), None)


def _unless_lonely(run: Mapping[int, BoilerplateRule | None]) -> dict[int, BoilerplateRule]:
    if len(run) == 1 and None in run.values():
        return {}
    return {index: rule or "menu" for index, rule in run.items()}
