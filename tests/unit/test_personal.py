"""Personal data and secrets: found in Korean and English, and not in what only looks so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from samdan.data.numbers import luhn
from samdan.data.personal import LABELS, Redactor, find
from samdan.personal import PERSONAL_KINDS, PersonalData

# Made up; in parts, so that no scanner takes this file for a leak.
AWS = "AKIA" + "2E7QXK5VJH3MPLRT"
GOOGLE = "AIza" + "SyD4k9Qw2Lr8Zx1Vb7Nm3Tp6Hc5Jf0Ge9Ua"
GITHUB = "ghp" + "_a8Kd02LmQ9xZ4vT7rB1nY6wE3sU5pH0jCgFi"
SLACK = "xoxb" + "-2731894650-8Kd02LmQ9xZ4vT7rB1nY6wE3"
OPENAI = "sk" + "-proj-a8Kd02LmQ9xZ4vT7rB1nY6wE3sU5pH0jC"
HUGGING = "hf" + "_aKdLmQxZvTrBnYwEsUpHjCgFiOqWeRtYu7"
STRIPE = "sk" + "_live_51H8Kd02LmQ9xZ4vT7rB1nY6w"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJraW0ifQ" + ".4k9Qw2Lr8Zx1Vb7Nm3Tp6Hc5Jf0Ge9"
HEX = "9f86d081884c7d659a2feaa0c55ad015"
PEM = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow+/a9\nKq3=\n-----END RSA PRIVATE " + "KEY-----"

# kind, sentence with what must be found between ⟦ and ⟧
POSITIVES = [
    ("resident_number", "주민등록번호는 ⟦900215-1425432⟧입니다."),
    ("resident_number", "홍길동(⟦900215-1425431⟧)은 2020년 10월 이후의 번호도 쓴다."),
    ("resident_number", "⟦010830-4829887⟧로 조회하였다"),
    ("resident_number", "주민번호 ⟦9002151425431⟧을 적으시오"),
    ("resident_number", "번호 ⟦9002151425432⟧가 유출되었다"),
    ("resident_number", "피고인 김철수 (⟦850101 - 1234567⟧), 무직"),
    ("resident_number", "The resident number is ⟦900215-1425432⟧."),
    ("resident_number", "윤년: ⟦000229-3123456⟧이 맞다"),
    ("foreigner_number", "외국인등록번호 ⟦851109-6940366⟧의 체류 자격"),
    ("foreigner_number", "⟦020311-7123456⟧을 발급받았다"),
    ("business_number", "사업자등록번호: ⟦744-74-82952⟧"),
    ("business_number", "사업자번호 ⟦6150877345⟧인 업체"),
    ("business_number", "(주)한빛, ⟦266-50-43055⟧에 세금계산서를 발행"),
    ("passport", "여권번호 ⟦M12345678⟧로 입국"),
    ("passport", "여권 ⟦M123A4567⟧을 분실하였다"),
    ("passport", "Passport No. ⟦S23456789⟧"),
    ("driver_license", "운전면허번호 ⟦11-12-345678-90⟧을 입력하세요"),
    ("driver_license", "면허번호: ⟦서울 99-123456-12⟧"),
    ("driver_license", "운전면허 ⟦111234567890⟧번"),
    ("phone", "문의는 ⟦010-1234-5678⟧로 주세요."),
    ("phone", "⟦010 1234 5678⟧이고 낮에만 받습니다"),
    ("phone", "핸드폰:⟦01012345678⟧입니다"),
    ("phone", "⟦010.1234.5678⟧"),
    ("phone", "⟦010)1234-5678⟧ 홍길동"),
    ("phone", "옛 번호 ⟦011-234-5678⟧은 해지"),
    ("phone", "서울 ⟦02-345-6789⟧, 부산 지점"),
    ("phone", "대표전화 ⟦(02) 3456-7890⟧번"),
    ("phone", "⟦031)234-5678⟧로 팩스"),
    ("phone", "사무실 ⟦051-123~4567⟧".replace("~", "-").replace("123", "823")),
    ("phone", "TEL ⟦02-2770-0918~9⟧"),
    ("phone", "인터넷전화 ⟦070-4448-2678⟧"),
    ("phone", "수신자부담 ⟦080-850-3000⟧으로"),
    ("phone", "안심번호 ⟦0505-123-4567⟧을"),
    ("phone", "고객센터 ⟦1588-1234⟧에 전화"),
    ("phone", "콜센터: ⟦1899-1900⟧번"),
    ("phone", "⟦+82-10-1234-5678⟧"),
    ("phone", "Call ⟦+82 2 345 6789⟧ for help"),
    ("phone", "⟦+82 (0)10-9876-5432⟧로 국제전화"),
    ("phone", "⟦+1 415-555-2671⟧ is our office"),
    ("phone", "Phone: ⟦415-555-2671⟧ or ⟦(212) 555-7890⟧"),
    ("phone", "전화: ⟦345-6789⟧로"),
    ("phone", "전화번호 ⟦0212345678⟧을 입력"),
    ("account", "국민은행 ⟦123456-78-901234⟧ 홍길동"),
    ("account", "계좌번호: ⟦110-123-456789⟧로 입금하세요"),
    ("account", "신한 ⟦110-234-567890⟧ (예금주 김철수)"),
    ("account", "⟦1002-345-678901⟧ (우리은행)으로 송금"),
    ("account", "농협 계좌 ⟦3520123456783⟧에 이체"),
    ("account", "카카오뱅크 ⟦3333-01-2345678⟧로 보내 주세요"),
    ("account", "통장 ⟦3521-2345-6789-01⟧에서 인출"),
    ("card", "카드번호 ⟦4539-0174-9410-9883⟧으로 결제"),
    ("card", "⟦5412 1818 0859 2132⟧를 등록"),
    ("card", "my card ⟦9410683626998726⟧ was charged"),
    ("card", "아멕스 ⟦3717-133022-90134⟧입니다"),
    ("card", "유니온페이 ⟦6243298538469994⟧를"),
    ("email", "⟦hong@naver.com⟧이고 회신 바랍니다"),
    ("email", '담당자 "⟦a@b.kr⟧은"'),
    ("email", "메일은⟦gil.dong+work@corp.co.kr⟧로"),
    ("email", "[문의](mailto:⟦help@hanbit.io⟧)"),
    ("email", "Write to ⟦john_smith@mail.house.gov⟧."),
    ("email", "이메일:⟦kim99@gmail.com⟧/전화 없음"),
    ("address", "주소는 ⟦서울특별시 강남구 테헤란로 123⟧입니다."),
    ("address", "⟦서울 강남구 테헤란로 123-4, 101동 1001호⟧에 산다"),
    ("address", "⟦경기도 성남시 분당구 판교역로 235⟧"),
    ("address", "⟦경기 가평군 하면 명지산로 540⟧으로 이전"),
    ("address", "⟦성남시 분당구 성남대로925번길 16⟧에서 만났다"),
    ("address", "⟦서울 은평구 연서로34길 11⟧에 있는 보건소"),
    ("address", "⟦세종대로 110, 4층 401호⟧로 방문"),
    ("address", "⟦서울 강남구 역삼동 123-4⟧번지 앞".replace("⟧번지", "번지⟧")),
    ("address", "⟦상도동 123번지⟧에서 태어났다"),
    ("address", "⟦충남 태안군 안면읍 승언리 1450-7⟧ 전 123평"),
    ("address", "⟦서울 중구 을지로3가 296의 11⟧ 소재 사업장"),
    ("address", "⟦경북 칠곡군 왜관읍 금남동 산 7⟧ 임야"),
    ("address", "피고인의 집인 ⟦한빛아파트 101동 1203호⟧에서"),
    ("address", "⟦부산 해운대구 우동 1500 한빛빌라 201호⟧로 배송"),
    ("ip", "접속 IP는 ⟦211.234.56.78⟧이다"),
    ("ip", "서버 ⟦152.99.56.86⟧:389에 연결"),
    ("ip", "blocked host ⟦198.41.0.4⟧ yesterday"),
    ("private_key", f"키 파일:\n⟦{PEM}⟧\n끝"),
    ("private_key", "⟦-----BEGIN PRIVATE " + "KEY-----\nMIIEvQIBADANBg==⟧"),
    ("api_key", f"aws_access_key_id = ⟦{AWS}⟧"),
    ("api_key", f"구글 키 ⟦{GOOGLE}⟧를 넣는다"),
    ("api_key", f"git clone https://⟦{GITHUB}⟧@github.com/a/b"),
    ("api_key", f"SLACK_TOKEN=⟦{SLACK}⟧"),
    ("api_key", f'openai.api_key = "⟦{OPENAI}⟧"'),
    ("api_key", f"huggingface-cli login --token ⟦{HUGGING}⟧"),
    ("api_key", f"결제 키는 ⟦{STRIPE}⟧이다"),
    ("api_key", f"kakao.rest-api-key: ⟦{HEX}⟧"),
    ("api_key", "X-Naver-Client-Secret: ⟦pQ7xZ4vT7rB1nY6wE3sU⟧"),
    ("api_key", "naver_client_secret = '⟦pQ7xZ4vT7rB1nY6wE3sU⟧'"),
    ("api_key", "serviceKey=⟦4k9Qw2Lr8Zx1Vb7Nm3Tp6Hc5%2BJf0Ge9Ua%3D%3D⟧&numOfRows=10"),
    ("api_key", "인증키: ⟦4k9Qw2Lr8Zx1Vb7Nm3Tp6Hc5⟧"),
    ("jwt", f"Authorization: Bearer ⟦{JWT}⟧"),
    ("password", "spring.datasource.password=⟦Egov!2024⟧"),
    ("password", '<property name="password" value="⟦F2Fa3!33TYyg⟧"/>'),
    ("password", '{"password": "⟦hunter2!⟧"}'),
    ("password", "postgres://admin:⟦s3cr3tPw⟧@db.hanbit.kr:5432/app"),
    ("password", "jdbc:mysql://h/db?user=root&password=⟦rootpw1⟧&ssl=true"),
    ("password", "Server=db;Uid=sa;Pwd=⟦P4ssw0rt⟧"),
    ("password", "비밀번호: ⟦gildong77!⟧"),
    ("password", "(id=admin, password=⟦Egov!2024⟧)"),
    ("password", "와이파이 비밀번호는 ⟦hanbit1234⟧입니다"),
]

NEGATIVES = [
    # versions, builds, identifiers, hashes
    "spring-boot 3.2.10.1 버전을 쓴다",
    "Chrome/114.0.5735.90",
    "egovframe-rte 4.0.0.1 릴리스",
    "nexacro14_2015.03.05.01(14.0.0.143).zip",
    "lib/OmniEnt-SDK-ServerCore/1.0.3.22/core.jar",
    "127.0.0.1:8080과 192.168.0.10, 10.0.0.5는 내부 주소",
    "DNS는 8.8.8.8과 168.126.63.1",
    "문서용 주소 203.0.113.7",
    "0.0.0.0에 바인딩",
    "commit 9f86d081884c7d659a2feaa0c55ad0159f86d081",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "id_01012345678_x",
    "const user01012345678 = 1",
    "react@18.2.0, vue@next, @babel/core",
    "git@github.com:org/repo.git",
    "로고 파일 logo@2x.png",
    "user@localhost",
    "someone@example.com으로 보낸다",
    "@Override public void run()",
    "DefaultListableBeanFactory@1a7508a",
    "timestamp 1617181920212",
    "주문번호 20240115123456",
    "상품코드 8801127440141",
    "3.14159265358979",
    "0.4539017494109883",
    "ISBN 9780446618502",
    "ISBN 978-89-6848-123-4",
    "1,234,567,890,123원",
    "2024-01-15T10:20:30",
    # law
    "2019가단12345 판결",
    "대법원 2010. 4. 15. 선고 2007도8024 판결",
    "제12조의3 제2항",
    "법률 제9449호",
    "헌법 제10조, 제11조 제1항",
    "2009. 2. 6. 개정되기 전의 것",
    "1981. 7. 2. 11:00경",
    "갑 제1호증의 1 내지 3",
    "법인등록번호 110111-4315837",
    "한빛 주식회사(110111-4315837)",
    "국토교통부고시 제2006-38호",
    "별지 1 목록 기재 부동산",
    "이하 ‘1450-7 토지’라 한다",
    "ISO 1600-2008, KS 1588-1599",
    "1592-1598년의 임진왜란",
    "1800-1899년 사이",
    # invalid numbers
    "901315-1234567은 달이 틀리다",
    "900231-1234567은 날이 없다",
    "010229-3123456은 윤년이 아니다",
    "900215-9234567",
    "000000-0000000",
    "123-45-67892은 검증 숫자가 틀리다",
    "4539-0174-9410-9884",
    "1234-5678-9012-3456",
    "0000-0000-0000-0000",
    "1234567890123",
    "10-12-345678-90",
    "M12345678 부품을 주문했다",
    "모델명 S123B4567",
    "110-123-456789 개의 조각",
    "010-12-34",
    "12-345-6789",
    "02-10-2024",
    "+100 -200 +300",
    "점수는 345-6789이다",
    "3-1234",
    # Hangul around numbers
    "서울 강남구에 있는 한빛 주식회사",
    "서울특별시 성북구",
    "으로 3개, 별로 12건",
    "대가로 1주당 18,000원",
    "다시 취득하였으므로 402호에 관하여",
    "청구로 3회",
    "경로 10 이하",
    "3류 대로 2호선의 부지",
    "서울 중구 을지로 1가 소재 공소외 회사",
    "광주 동구 금남로 2가에 있는 지점",
    "종로 3가에서 만나요",
    "활동 3건, 이동 12회",
    "관리 3-1 단계",
    "개발자가 3명",
    "역삼동에는 카페가 많다",
    "부산 동구 행동 3가지",
    "상위 10동",
    "테헤란로 일대",
    "경기 시작 후 30분",
    "국민 123명이 참여",
    "하나 1234567890",
    "우리은행 2024년 실적 1,234억",
    "은행 업무는 09:00-16:00",
    # code that names secrets
    "String password = request.getParameter(\"password\");",
    "password: string;",
    "login(id=user1, password=password1x)",
    "password={process.env.API_PASSWORD}",
    "spring.datasource.password=${DB_PASSWORD}",
    "Globals.Password = PASSWORD",
    "password: <not shown>",
    "'password': 'user.password.label'",
    "const password2 = hash(input);",
    "if (password == null) return;",
    "SOS_token = 1",
    "{PAD_token: \"PAD\"}",
    "api_key = YOUR_API_KEY_0123456789",
    "apiKey: process.env.API_KEY_2024_PRODUCTION",
    "client_secret = {naver_client_secret}",
    "<label for=\"pwd\">Password:</label>",
    "비밀번호는 8자 이상이어야 합니다",
    "비밀번호는 필수입니다",
    "비밀번호는 8~20자로 구성",
    "sk-learn-contrib-project-name",
    "hf_hub_download를 호출한다",
    "-----BEGIN PUBLIC KEY-----",
    "https://user@host.invalid/path",
    "http://localhost:8080/a:b@c",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
]


def marked(text: str) -> str:
    """The text with every finding between ⟦ and ⟧."""
    for item in reversed(find(text)):
        text = f"{text[: item.start]}⟦{text[item.start : item.end]}⟧{text[item.end :]}"
    return text


@pytest.mark.parametrize(("kind", "sentence"), POSITIVES)
def test_what_is_there_is_found_whole(kind: str, sentence: str) -> None:
    text = sentence.replace("⟦", "").replace("⟧", "")
    assert marked(text) == sentence
    assert {item.kind for item in find(text)} == {kind}


@pytest.mark.parametrize("sentence", NEGATIVES)
def test_what_only_looks_so_stays(sentence: str) -> None:
    assert marked(sentence) == sentence


def test_there_are_enough_of_both() -> None:
    assert len(POSITIVES) >= 80
    assert len(NEGATIVES) >= 80
    assert {kind for kind, _ in POSITIVES} == set(PERSONAL_KINDS) == set(LABELS)


# --- masks -----------------------------------------------------------------------


def test_masks_name_the_kind_in_the_language_of_the_text() -> None:
    redact = Redactor(PersonalData())
    korean = redact("문의: 010-1234-5678(홍길동), hong@naver.com이고 IP 211.234.56.78")
    assert korean.text == "문의: ⟨전화번호⟩(홍길동), ⟨이메일⟩이고 IP ⟨IP주소⟩"
    assert korean.counts == {"email": 1, "ip": 1, "phone": 1}
    english = redact("Mail a@b.kr or call +1 415-555-2671.")
    assert english.text == "Mail ⟨e-mail address⟩ or call ⟨phone number⟩."
    assert korean.dropped_because is None


def test_code_keeps_its_shape() -> None:
    text = 'db:\n  password: "Egov!2024"\n  url: postgres://admin:s3cr3tPw@db:5432/app\n'
    masked = Redactor(PersonalData())(text).text
    assert masked == text.replace("Egov!2024", "⟨password⟩").replace("s3cr3tPw", "⟨password⟩")


def test_policy_by_kind() -> None:
    text = "주민번호 900215-1425432, 전화 010-1234-5678, 사업자 744-74-82952"
    assert Redactor(PersonalData())(text).text.endswith("사업자 744-74-82952")
    every = Redactor(PersonalData(keep=()))(text)
    assert every.text == "주민번호 ⟨주민등록번호⟩, 전화 ⟨전화번호⟩, 사업자 ⟨사업자등록번호⟩"
    dropping = Redactor(PersonalData(keep=("phone",), drop=("resident_number",)))(text)
    assert dropping.dropped_because == "resident_number"
    assert "010-1234-5678" in dropping.text
    assert "900215" not in dropping.text  # what is dropped may still be shown to a person
    assert "phone" not in dropping.counts


def test_a_kind_cannot_be_kept_and_dropped() -> None:
    with pytest.raises(ValidationError, match="both 'keep' and 'drop'"):
        PersonalData(keep=("phone",), drop=("phone",))


def test_a_kept_kind_is_not_taken_for_another() -> None:
    text = "국민은행 사업자등록번호 744-74-82952"
    assert Redactor(PersonalData())(text).text == text


def test_a_finding_does_not_hold_its_value() -> None:
    assert "1234" not in repr(find("010-1234-5678"))


def test_a_mask_is_no_context() -> None:
    text = "⟨계좌번호⟩ 123456-789012와 ⟨전화번호⟩ 345-6789"
    assert find(text) == []


PIECES = st.sampled_from(
    [sentence.replace("⟦", "").replace("⟧", "") for _, sentence in POSITIVES]
    + NEGATIVES
    + ["계좌 ", "은행", "전화 ", "비밀번호: ", "-", "02", "010-", "1", " ", "\n", ".", "@", "://"]
)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_redacting_again_finds_nothing(text: str) -> None:
    redact = Redactor(PersonalData(keep=()))
    once = redact(text)
    again = redact(once.text)
    assert again.text == once.text
    assert again.counts == {}
    assert sum(once.counts.values()) == once.text.count("⟨")


@given(st.text(alphabet="0123456789-. ()+@:/=a가동로호번지\n", max_size=200))
def test_findings_are_in_order_and_apart(text: str) -> None:
    found = find(text)
    ends = [0, *(item.end for item in found)]
    assert all(end <= item.start < item.end for end, item in zip(ends, found, strict=False))


HOSTILE = [
    "0", "1", "01", "9 ", "1-", "0-", "12-", "010-", "+8", "4", "a", "A", "a.", "a@", "@", "@a.",
    "가", "로1", "로 1 ", "동1-", "길1길", "번지", "서울", "중구 ", "중구", "서울중구", "시",
    "아파트 1동", "(", "a=", "=", ":", '="', "password=", "key:", "비밀번호는", "://a:", "eyJ",
    "eyJa.", "sk-", "-", "-----BEGIN PRIVATE " + "KEY-----", "M1", "1.", "1.1.", "계좌", "\n",
]  # fmt: skip


# Quadratic would be minutes for the first size and hours for the second.
@pytest.mark.parametrize("size", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_linear_time(piece: str, size: int) -> None:
    Redactor(PersonalData(keep=()))((piece * size)[:size])


def test_luhn_holds_for_a_known_card() -> None:
    assert luhn("4539017494109883")
    assert not luhn("4539017494109884")
