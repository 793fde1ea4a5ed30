"""Documents, pages, mail and conversations: their text, its structure, what is known of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

import documents
from reading import one, read, reasons
from samdan.data.readers.file import Row
from samdan.data.readers.worker import Worker
from samdan.records import Drop


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as running:
        yield running


# --- office formats -------------------------------------------------------------------------------


def test_docx(worker: Worker) -> None:
    assert one(worker, "a/규정.docx", documents.docx()) == {
        "text": "# 출장 규정\n\n출장비는 다음과 같이 지급한다.\n\n- 교통비\n- 숙박비\n\n"
        "| 구분 | 금액 |\n| --- | --- |\n| 국내 | 50,000 |",
        "title": "출장 규정",
        "date": "2024-03-01",
        "path": "a/규정.docx",
    }


def test_docx_reads_what_is_written_into_it_and_not_what_was_deleted(worker: Worker) -> None:
    def build(document: Any) -> None:
        from docx.oxml import parse_xml

        w = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
        mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
        box = (
            "<w:r><w:pict><w:txbxContent><w:p><w:r><w:t>글상자</w:t></w:r></w:p></w:txbxContent>"
            "</w:pict></w:r>"
        )
        body = (
            f'<w:p xmlns:w="{w}" xmlns:mc="{mc}"><w:ins><w:r><w:t>넣은</w:t></w:r></w:ins>'
            "<w:del><w:r><w:delText>지운</w:delText></w:r></w:del><w:r><w:tab/><w:t>글</w:t></w:r>"
            f"<mc:AlternateContent><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
            "</mc:AlternateContent></w:p>"
        )
        form = (
            f'<w:sdt xmlns:w="{w}"><w:sdtContent><w:p><w:r><w:t>양식</w:t></w:r></w:p>'
            "</w:sdtContent></w:sdt>"
        )
        for xml in (body, form):
            document.element.body.insert(0, parse_xml(xml))

    assert one(worker, "x.docx", documents.docx(build))["text"] == "양식\n\n넣은\t글\n\n글상자"


@pytest.mark.parametrize(
    ("given", "title"),
    [("Microsoft Word - 규정.docx", "규정.docx"), ("PowerPoint 프레젠테이션", "x"), ("", "x")],
)
def test_a_title_that_a_program_made_up_is_none(worker: Worker, given: str, title: str) -> None:
    def build(document: Any) -> None:
        document.core_properties.title = given
        document.add_paragraph("글")

    assert one(worker, "x.docx", documents.docx(build))["title"] == title


def test_docx_merged_cells(worker: Worker) -> None:
    def build(document: Any) -> None:
        grid = document.add_table(3, 3)
        for number, cell in enumerate(grid._cells):
            cell.text = str(number)
        grid.cell(0, 0).merge(grid.cell(0, 1)).text = "위"
        grid.cell(1, 0).merge(grid.cell(2, 0)).text = "왼쪽"

    assert one(worker, "x.docx", documents.docx(build))["text"].split("\n")[0::2] == [
        "| 위 |  | 2 |",
        "| 왼쪽 | 4 | 5 |",
    ]


def test_pptx_with_notes(worker: Worker) -> None:
    assert one(worker, "보고.pptx", documents.pptx()) == {
        "text": "## 매출 현황\n\n- 작년보다 늘었다\n\n"
        "| 분기 | 매출 |\n| --- | --- |\n| 1분기 | 12억 |\n\n"
        "출처: 재무팀\n\n> 질문이 많을 것이다",
        "title": "분기 보고",
        "date": "2024-03-01",
        "path": "보고.pptx",
    }


def test_xlsx_is_a_page_for_each_sheet(worker: Worker) -> None:
    sheets = {
        "단가": [["2024년 단가표"], [], ["품목", "단가", "날짜"], ["볼트", 120.0, documents.DAY]],
        "빈 것": [],
        "재고": [["품목", "수량"], ["너트|M3", True], ["=1+1", "#N/A"]],
    }
    first, second = read(worker, "표.xlsx", documents.xlsx(sheets))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert str(first.origin) == "표.xlsx!/단가:1"
    assert (first.values["title"], first.values["path"]) == ("단가", "표.xlsx!/단가")
    lines = first.values["text"].split("\n")
    assert lines[2:] == ["| 품목 | 단가 | 날짜 |", "| 볼트 | 120 | 2024-03-01T09:00:00 |"]
    assert second.values["text"] == "| 품목 | 수량 |\n| --- | --- |\n| 너트\\|M3 | TRUE |"


def test_xlsx_with_the_columns_of_a_record_gives_rows(worker: Worker) -> None:
    sheet = [["질문 모음"], ["No", "prompt", "completion"], [1, "연차는?", 15], [], [2, "병가는?"]]
    rows = read(worker, "qa.xlsx", documents.xlsx({"질문": sheet}))
    assert [str(row.origin) for row in rows] == ["qa.xlsx!/질문:3", "qa.xlsx!/질문:5"]
    found = [dict(row.values) for row in rows if isinstance(row, Row)]
    names = ("No", "prompt", "completion")
    assert [{name: values[name] for name in names} for values in found] == [
        {"No": "1", "prompt": "연차는?", "completion": "15"},
        {"No": "2", "prompt": "병가는?", "completion": None},
    ]
    assert {values["path"] for values in found} == {"qa.xlsx!/질문"}


def test_pdf(worker: Worker) -> None:
    content = documents.pdf([["제1조 목적", "휴가를 정한다."], ["둘째 쪽", "- 2 -"]], "휴가 규정")
    assert one(worker, "규정.pdf", content) == {
        "text": "제1조 목적\n휴가를 정한다.\n\n둘째 쪽",
        "title": "휴가 규정",
        "date": "2024-03-01",
        "path": "규정.pdf",
    }


def test_pdf_loses_running_heads_and_nothing_else(worker: Worker) -> None:
    pages = [["한빛 주식회사", f"{n}쪽의 글", "같은 글", f"문서 {n} / 6"] for n in range(1, 7)]
    text = one(worker, "x.pdf", documents.pdf(pages))["text"]
    assert text == "\n\n".join(f"{n}쪽의 글\n같은 글" for n in range(1, 7))
    few = one(worker, "x.pdf", documents.pdf(pages[:3]))["text"]
    assert few.count("한빛 주식회사") == 3


def test_pdf_without_text_says_so(worker: Worker) -> None:
    [drop] = read(worker, "스캔.pdf", documents.pdf([[], []]))
    assert isinstance(drop, Drop)
    assert (drop.reason, "2 pages" in drop.detail) == ("no_text", True)


def test_hwpx(worker: Worker) -> None:
    assert one(worker, "규칙.hwpx", documents.hwpx()) == {
        "text": "# 제1장 총칙\n\n이 규정은\t모든 직원에게 적용한다.\n\n(계약직 포함)\n\n"
        "- 정규직\n\n"
        "| 직급 | 일수 |\n| --- | --- |\n| 사원 | 15 |",
        "title": "취업 규칙",
        "date": "2024-03-01",
        "path": "규칙.hwpx",
    }


def test_hwp_5(worker: Worker) -> None:
    found = one(worker, "휴가.hwp", documents.hwp(("제1조 목적", "휴가를 정한다.", "끝" * 3000)))
    assert found["text"] == "제1조 목적\n\n휴가를 정한다.\n\n" + "끝" * 3000


def test_a_hwp_file_in_another_format_of_the_program(worker: Worker) -> None:
    assert one(worker, "새것.hwp", documents.hwpx())["title"] == "취업 규칙"
    [drop] = read(worker, "옛것.hwp", b"HWP Document File V3.00 \x1a\1\2\3\4\5")
    assert isinstance(drop, Drop)
    assert drop.reason == "unsupported_file"


def test_locked_documents_are_named(worker: Worker) -> None:
    package = documents.compound({"EncryptedPackage": b"x" * 5000}, {})
    for name, content in (
        ("a.docx", package),
        ("a.xlsx", package),
        ("a.hwp", documents.hwp(flags=3)),
        ("b.hwp", documents.hwp(flags=1 | 4)),  # given out to be read only
        ("a.hwpx", documents.hwpx(encrypted=True)),
        ("b.pdf", b"\x9b DRMONE  This Document is encrypted" + b"x" * 100),
    ):
        assert reasons(read(worker, name, content)) == ["encrypted_file"], name


# --- pages, mail, conversations -------------------------------------------------------------------

PAGE = """<!DOCTYPE html><html><head><meta charset="euc-kr"><title>공지
 사항</title><meta property="article:published_time" content="2023-05-02T10:00:00+09:00">
<style>p {}</style></head><body><nav><a href="1">메뉴</a></nav><header>회사</header>
<div><h2>점검 <b>안내</b></h2><p>서버를<br>점검한다.
  계속</p><ul><li>하나<ul><li>둘</li></ul></li><li><p>셋</p></li></ul>
<table><tr><th>가<th>나</tr><tr><td rowspan=2>1<td>2</tr><tr><td>3|4</table>
<pre>a  b
  c</pre><script>alert(1)</script><p style="display: none">숨김</p></div>꼬리
<footer>주소</footer>"""


def test_html(worker: Worker) -> None:
    assert one(worker, "공지.html", PAGE) == {
        "text": "## 점검 안내\n\n서버를\n점검한다. 계속\n\n- 하나\n  - 둘\n- 셋\n\n"
        "| 가 | 나 |\n| --- | --- |\n| 1 | 2 |\n|  | 3\\|4 |\n\n```\na  b\n  c\n```\n\n꼬리",
        "title": "공지 사항",
        "date": "2023-05-02",
        "path": "공지.html",
    }


@pytest.mark.parametrize("codec", ["cp949", "utf-8", "utf-16"])
def test_html_in_any_encoding(worker: Worker, codec: str) -> None:
    assert one(worker, "공지.htm", PAGE.encode(codec))["title"] == "공지 사항"


def test_html_takes_the_main_element_where_there_is_one(worker: Worker) -> None:
    page = "<body><div>둘레</div><main><header><h1>글</h1></header>본문<nav>메뉴</nav></main>"
    assert one(worker, "x.xhtml", page)["text"] == "# 글\n\n본문"
    assert one(worker, "x.html", "<body><main><nav>a</nav></main>본문")["text"] == "본문"


def test_html_for_the_look_of_the_page_is_read_as_text(worker: Worker) -> None:
    inner = "<table><tr><td>가<td>나<tr><td>다<td>라</table>"
    page = f"<table><tr><td>{inner}</td></tr><tr><td>아래</td></tr></table>"
    assert one(worker, "x.html", page)["text"] == "| 가 | 나 |\n| --- | --- |\n| 다 | 라 |\n\n아래"
    page = f"<table><tr><td>왼<td>{inner}<tr><td>1<td>2</table>"
    assert one(worker, "x.html", page)["text"].split("\n")[0] == "| 왼 | 가 / 나 다 / 라 |"


def test_html_nested_deeper_than_functions_can_be(worker: Worker) -> None:
    assert one(worker, "x.html", "<div>" * 1000 + "속" + "<b>" * 1000 + "말")["text"] == "속말"
    assert reasons(read(worker, "x.html", "겉" + "<div>" * 3000 + "속")) == ["reader_limit"]


def mail(*parts: str, headers: str = "") -> bytes:
    body = "".join(f"--b\n{part}\n" for part in parts)
    return (
        "From: =?EUC-KR?B?yKux5rW/?= <hong@example.com>\n"
        "Subject: =?utf-8?Q?=EA=B2=AC=EC=A0=81_=EC=9A=94=EC=B2=AD?=\n"
        "Date: Fri, 1 Mar 2024 23:30:00 +0900\n"
        f"{headers}Content-Type: multipart/mixed; boundary=b\n\n{body}--b--\n"
    ).encode()


TEXT_PART = (
    "Content-Type: text/plain; charset=ks_c_5601-1987\n"
    "Content-Transfer-Encoding: quoted-printable\n\n"
    "=B0=DF=C0=FB=C0=BB =BA=B8=B3=BB=C1=D6=BC=BC=BF=E4."
)
HTML_PART = "Content-Type: text/html; charset=utf-8\n\n<p>견적을 <b>보내주세요</b>.</p>"
ABOUT = {"title": "견적 요청", "author": "홍길동 <hong@example.com>", "date": "2024-03-01"}


def attached(name: str, content: bytes, kind: str = "application/octet-stream") -> str:
    encoded = base64.encodebytes(content).decode()
    return (
        f'Content-Type: {kind}\nContent-Disposition: attachment; filename="{name}"\n'
        f"Content-Transfer-Encoding: base64\n\n{encoded}"
    )


def test_mail(worker: Worker) -> None:
    [row] = read(worker, "m.eml", mail(TEXT_PART, HTML_PART))
    assert isinstance(row, Row)
    assert row.values == {"text": "견적을 보내주세요.", "path": "m.eml", **ABOUT}
    assert row.notes == ("converted_cp949",)


def test_mail_in_html_only(worker: Worker) -> None:
    found = one(worker, "m.eml", mail(HTML_PART))
    assert found == {"text": "견적을 보내주세요.", "path": "m.eml!/text1.html", **ABOUT}


def test_attachments_are_files(worker: Worker) -> None:
    name = f"=?UTF-8?B?{base64.b64encode('견적.docx'.encode()).decode()}?="
    inner = f"Subject: inner\n{TEXT_PART}"
    rows = read(
        worker,
        "m.eml",
        mail(
            TEXT_PART,
            attached(name, documents.docx()),
            attached("../logo.png", b"x", "image/png"),
            f"Content-Type: message/rfc822\n\n{inner}",
        ),
    )
    found = [str(row.origin) for row in rows]
    assert found == ["m.eml", "m.eml!/견적.docx", "m.eml!/logo.png", "m.eml!/3.eml"]
    assert reasons(rows) == ["", "", "unsupported_file", ""]
    assert isinstance(rows[1], Row)
    assert (rows[1].values["title"], rows[1].values["author"]) == ("출장 규정", ABOUT["author"])


def test_a_mail_that_cannot_be_decoded_keeps_its_attachments(worker: Worker) -> None:
    body = "Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=FF=FE=00"
    rows = read(worker, "m.eml", mail(body.replace("=00", "=80"), attached("a.txt", b"a")))
    assert reasons(rows) == ["invalid_utf16", ""]


def test_mbox(worker: Worker) -> None:
    two = b"Subject: two\n\n>From here on\n"
    rows = read(worker, "in.mbox", b"From a@b Fri\n" + mail(TEXT_PART) + b"\nFrom c@d\n" + two)
    assert [(str(row.origin), row.values["text"]) for row in rows if isinstance(row, Row)] == [
        ("in.mbox!/1.eml", "견적을 보내주세요."),
        ("in.mbox!/2.eml", "From here on"),
    ]
    assert reasons(read(worker, "in.mbox", b"no mail")) == ["broken_mbox"]


WINDOWS = """개발팀 님과 카카오톡 대화
저장한 날짜 : 2024-03-01 09:10:11

--------------- 2024년 2월 29일 목요일 ---------------
[홍길동] [오전 9:01] 안녕하세요
여러 줄: [줄]
[김 부장] [오후 3:12] 네
김 부장님이 나갔습니다.
"""
MOBILE = """개발팀 3 카카오톡 대화
저장한 날짜 : 2024년 3월 1일 오후 3:21


2024년 2월 29일 목요일
2024년 2월 29일 오전 9:01, 홍길동 : 안녕하세요
여러 줄: [줄]
2024. 2. 29. 오후 3:12, 김 부장 : 네
2024년 2월 29일 오후 3:13, 김 부장님이 나갔습니다.
"""


@pytest.mark.parametrize("export", [WINDOWS, MOBILE])
def test_kakaotalk(worker: Worker, export: str) -> None:
    found = one(worker, "대화.txt", export)
    said = "홍길동: 안녕하세요\n여러 줄: [줄]\n김 부장: 네\n김 부장님이 나갔습니다."
    assert found["text"] == said
    assert (found["title"], found["date"]) == ("개발팀", "2024-03-01")


def test_a_text_about_kakaotalk_stays_as_it_is(worker: Worker) -> None:
    text = "개발팀 카카오톡 대화\n\n[공지] [중요] 방을 옮깁니다.  \n"
    assert one(worker, "안내.txt", text)["text"] == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "회의.vtt",
            "WEBVTT - x\n\nNOTE 00:01\nnone\n\nSTYLE\n::cue {}\n\n"
            "1\n00:01.000 --> 00:02.000 align:start\n<v 홍길동>회의를 <b>시작</b>합니다</v>\n\n"
            "00:00:02.000 --> 00:00:03.000\n<v 홍길동>네 &amp;\n\n"
            "00:00:03.000 --> 00:00:04.000\n<v.loud 김철수>좋습니다\n",
        ),
        (
            "회의.srt",
            "1\r\n00:00:01,000 --> 00:00:02,000\r\n"
            "홍길동: 회의를 <i>시작</i>합니다 네 &amp;\r\n\r\n"
            "2\r\n00:00:02,000 --> 00:00:03,000\r\n김철수: 좋습니다\r\n\r\n"
            "3\r\n00:00:03,000 --> 00:00:04,000\r\n김철수: 좋습니다",
        ),
    ],
)
def test_subtitles(worker: Worker, name: str, text: str) -> None:
    assert one(worker, name, text)["text"] == "홍길동: 회의를 시작합니다 네 &\n김철수: 좋습니다"
