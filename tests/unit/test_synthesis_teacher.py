"""A teacher is asked over HTTP: it may fail in every way, nothing is lost and nothing leaks."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import teacher_server as fake
from samdan.data.synthesis.checks import copied_share, teacher_fault
from samdan.data.synthesis.journal import Journal
from samdan.data.synthesis.passages import Passage, cut
from samdan.data.synthesis.requests import entities_in
from samdan.data.synthesis.settings import TeacherSettings, read_settings
from samdan.data.synthesis.write import beside
from samdan.lm import client
from samdan.lm.client import Teacher
from samdan.lm.endpoint import parse_endpoint, read_key
from samdan.records import DataError, EnvironmentFailure
from samdan.run.synthesizing import FromTeacher, synthesize
from teacher_server import ANSWER, Script, Seen, Server, teacher_server

KEY = "sk-secret-0123456789"
QUICK = ("backoff_seconds=0.001", "timeout_seconds=30")


def text_of(number: int) -> str:
    return f"회사 {number}호의 본사는 강릉에 있다. 직원은 {number + 10}명이고 대표는 김하늘이다."


def documents(folder: Path, count: int) -> Path:
    path = folder / "docs.jsonl"
    rows = [{"text": text_of(number)} for number in range(count)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def number_of(seen: Seen, count: int = 50) -> int:
    """Which document a request is about."""
    return next(number for number in range(count) if text_of(number) in seen.user)


def good(seen: Seen, _count: int = 1) -> str:
    return ANSWER.format(n=number_of(seen))


def job(server: Server, folder: Path, count: int = 4, *settings: str, **fields: Any) -> FromTeacher:
    source = fields.pop("source", None) or documents(folder, count)
    return FromTeacher(
        source=source,
        out=folder / "out.jsonl",
        endpoint=fields.pop("endpoint", server.url),
        model=fields.pop("model", "teacher-1"),
        task=fields.pop("task", "qa"),
        settings=(*QUICK, *settings),
        **fields,
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def drops_of(folder: Path) -> list[dict[str, Any]]:
    return rows_of(beside(folder / "out.jsonl", "dropped.jsonl"))


# -- answers that are used -------------------------------------------------------------------------


def test_rows_carry_text_and_lineage_in_the_order_of_the_documents(tmp_path: Path) -> None:
    said: list[str] = []
    first = threading.Event()

    def script(seen: Seen, _count: int) -> str:
        if number_of(seen) == 0:
            first.wait(30)  # the first document is answered last
        elif number_of(seen) == 3:
            first.set()
        return good(seen)

    with teacher_server(script) as server:
        summary = synthesize(job(server, tmp_path), said.append)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["text"] for row in rows] == [ANSWER.format(n=n) for n in range(4)]
    assert {row["source"] for row in rows} == {"synthetic"}
    lineage = rows[2]["lineage"]
    assert lineage.pop("request")
    assert lineage == {
        "method": "teacher", "language": "ko", "task": "qa", "prompt": "qa/ko/0",
        "documents": ["docs.jsonl:3"], "teacher": "teacher-1", "seed": 42,
        "samdan": summary["samdan"],
    }  # fmt: skip
    assert summary["in"] == summary["out"] == 4
    assert summary["tokens"] == {"in": 400, "out": 80, "answers_without_counts": 0}
    assert said[0] == (
        "teacher teacher-1: 4 requests now, 0 answered before, 0 retries, 400 tokens in, "
        "80 tokens out"
    )


def test_a_request_holds_what_the_interface_asks_for(tmp_path: Path) -> None:
    with teacher_server(good) as server:
        synthesize(job(server, tmp_path, 1, "temperature=0.25", "max_tokens=99", "variants=2"))
        one, two = server.seen
    assert one.path == "/v1/chat/completions"
    assert one.body["model"] == "teacher-1"
    assert (one.body["temperature"], one.body["max_tokens"]) == (0.25, 99)
    assert [message["role"] for message in one.body["messages"]] == ["system", "user"]
    assert one.user != two.user
    assert one.body["seed"] != two.body["seed"]
    assert "authorization" not in one.headers


def test_no_more_requests_than_allowed_are_under_way(tmp_path: Path) -> None:
    meeting = threading.Barrier(3)

    def script(seen: Seen, _count: int) -> str:
        meeting.wait(30)  # two would never meet
        time.sleep(0.1)  # a fourth would come meanwhile
        return good(seen)

    with teacher_server(script) as server:
        synthesize(job(server, tmp_path, 9, "parallel=3"))
        assert server.most == 3
        assert len(server.seen) == 9


@pytest.mark.parametrize("task", ["rewrite", "qa", "summary", "dialogue"])
@pytest.mark.parametrize("language", ["ko", "en"])
def test_every_task_has_prompts_in_both_languages(
    tmp_path: Path, task: Any, language: Any
) -> None:
    english = "A is in Gangneung, where it has been for a long time, as number {n} says. " * 2

    def script(seen: Seen, _count: int) -> str:
        assert text_of(0) in seen.user
        assert "{" not in seen.user
        return good(seen) if language == "ko" else english.format(n=len(seen.user))

    with teacher_server(script) as server:
        made = synthesize(
            job(server, tmp_path, 1, "variants=2", task=task, languages=(language,))
        )
    assert made["in"] == 2
    assert rows_of(tmp_path / "out.jsonl")[0]["lineage"]["prompt"] == f"{task}/{language}/0"


def test_relations_ask_for_entities_first_and_keep_only_those_that_are_there(
    tmp_path: Path,
) -> None:
    def script(seen: Seen, _count: int) -> str:
        if "JSON" in seen.user:
            if number_of(seen) == 1:
                return "대상이 없습니다."
            return '여기 있습니다: ["강릉", "김하늘", "서울", "직원", 7, "강릉"]'
        assert "서울" not in seen.user
        asked = seen.user.split("의 관계")[0]
        names = [name for name in ("강릉", "김하늘", "직원") if name in asked]
        assert len(names) == 2
        return f"{names}의 관계를 풀어 쓴 글이다. 충분히 길게 쓰려고 문장을 하나 더 덧붙인다."

    with teacher_server(script) as server:
        summary = synthesize(job(server, tmp_path, 2, "min_chars=10", task="relations"))
    assert summary["dropped"] == {"fewer_than_two_entities": 1}
    assert summary["out"] == 3
    assert summary["tokens"]["in"] == 500  # the entity answers cost as well
    assert all(row["lineage"]["task"] == "relations" for row in rows_of(tmp_path / "out.jsonl"))


def test_triples_are_told_to_the_teacher_as_a_list(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text(
        "subject,relation,object,unit\n가온,본사,강릉,\n가온,직원 수,120,명\n", "utf-8"
    )

    def script(seen: Seen, _count: int) -> str:
        assert "가온\n- 본사 소재지: 강릉\n- 직원 수: 120명" in seen.user
        return "가온과 강릉의 관계는 본사 소재지라는 것으로, 가온은 강릉에 본사를 두고 있다. " * 2

    with teacher_server(script) as server:
        synthesize(job(server, tmp_path, source=path, task="relations"))
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["lineage"]["triples"] == ["g.csv:2", "g.csv:3"]
    assert "documents" not in row["lineage"]


# -- answers that are not used ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (fake.answer("중간에 끊긴 긴 답", "length"), "truncated"),
        (fake.answer("<think>끝나지 않는 생각"), "truncated"),
        (fake.answer(""), "empty"),
        (fake.answer("  \n"), "empty"),
        (fake.answer(None), "empty"),
        (fake.answer(None, refusal="I will not"), "refused"),
        (fake.answer(None, "content_filter"), "refused"),
        (fake.answer("죄송하지만 그 요청은 도와드릴 수 없습니다. " * 3), "refused"),
        (fake.answer("I'm sorry, but I can't help with that. " * 3), "refused"),
        (fake.answer("짧은 답"), "too_short"),
        (fake.answer("This answer is written in English although Korean was wanted. " * 2),
         "wrong_language"),
        (fake.answer("这家公司的总部设在江陵，公司共有四十多名员工，代表是金天。" * 3),
         "wrong_language"),
        (fake.answer("물론입니다! 다음은 요청하신 질문과 답입니다. " * 3), "preamble"),
        (fake.answer(f"<문서>\n{'가온의 본사는 강릉에 있다. ' * 5}"), "template_leak"),
        (fake.answer(text_of(0) + "</" + "문서>"), "template_leak"),
        (fake.answer(text_of(0)), "near_copy"),
        (fake.answer(ANSWER.format(n=1)), "duplicate"),
        (fake.status(400, "context length exceeded"), "rejected"),
        (fake.status(422), "rejected"),
    ],
)  # fmt: skip
def test_what_is_no_good_answer_is_counted_and_not_used(
    tmp_path: Path, action: Any, reason: str
) -> None:
    def script(seen: Seen, _count: int) -> Any:
        return good(seen) if number_of(seen) else action

    with teacher_server(script) as server:
        settings = ("min_chars=20", "parallel=1")
        source = documents(tmp_path, 2)
        if reason == "duplicate":  # the second of two equal answers is dropped
            script_two = fake.answer(ANSWER.format(n=1))
            server.script = lambda seen, count: script_two
        summary = synthesize(job(server, tmp_path, 2, *settings, source=source))
        assert len(server.seen) == 2
    assert summary["dropped"] == {reason: 1}
    assert (summary["in"], summary["out"]) == (2, 1)
    (drop,) = drops_of(tmp_path)
    assert drop["reason"] == reason
    assert drop["lineage"]["teacher"] == "teacher-1"
    if reason == "rejected":
        assert drop["detail"].startswith("HTTP 4")


def test_thoughts_are_not_part_of_the_answer(tmp_path: Path) -> None:
    with teacher_server(lambda s, c: f"<think>생각\n생각</think>\n\n{good(s)}") as server:
        synthesize(job(server, tmp_path, 1))
    assert rows_of(tmp_path / "out.jsonl")[0]["text"] == ANSWER.format(n=0)


def test_tokens_that_nobody_counted_are_said(tmp_path: Path) -> None:
    content = json.dumps(
        {"choices": [{"message": {"content": ANSWER}}], "usage": {"prompt_tokens": "7"}}
    )
    said: list[str] = []
    with teacher_server(lambda s, c: fake.raw(content.encode())) as server:
        summary = synthesize(job(server, tmp_path, 1), said.append)
    assert summary["tokens"]["answers_without_counts"] == 1
    assert "(1 answers without counts)" in said[0]


# -- failures that pass ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        fake.status(429, Retry_After="0"),
        fake.status(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        fake.status(500),
        fake.status(503),
        fake.raw(b"<html>busy</html>"),
        fake.raw(b""),
        fake.raw(b"[]"),
        fake.raw(b'{"choices": []}'),
        fake.raw(b'{"choices": [{"message": "no"}]}'),
        fake.raw(b"[" * 100_000),
        fake.raw(b"\xff\xfe"),
        fake.reset,
        fake.cut_short,
    ],
)
def test_a_passing_failure_is_tried_again(tmp_path: Path, action: Any) -> None:
    with teacher_server(lambda s, count: action if count < 3 else good(s)) as server:
        summary = synthesize(job(server, tmp_path, 2))
        assert len(server.seen) == 6
    assert summary["out"] == 2
    assert summary["dropped"] == {}
    assert summary["requests"] == {"now": 2, "before": 0, "retries": 4}


@pytest.mark.parametrize("action", [fake.hang, fake.drip])
def test_a_server_that_takes_too_long_is_cut_off(tmp_path: Path, action: Any) -> None:
    settings = ("timeout_seconds=1", "attempts=20")  # a busy machine may need several
    with teacher_server(lambda s, count: action if count == 1 else good(s)) as server:
        summary = synthesize(job(server, tmp_path, 1, *settings))
    assert summary["out"] == 1
    assert summary["requests"]["retries"] >= 1


def test_an_answer_without_end_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_RESPONSE_BYTES", 5000)
    big = fake.raw(b" " * 5001)
    with teacher_server(lambda s, c: good(s) if number_of(s) else big) as server:
        summary = synthesize(job(server, tmp_path, 2, "attempts=1"))
    assert summary["dropped"] == {"failed": 1}


def test_pauses_double_and_heed_the_server() -> None:
    teacher = Teacher(parse_endpoint("http://localhost/v1"), "m", "", TeacherSettings())
    pauses = [teacher._pause("id", attempt, None) for attempt in range(1, 12)]
    for attempt, pause in enumerate(pauses):
        assert min(60.0, 2**attempt / 2) <= pause <= min(60.0, 2**attempt)
    assert teacher._pause("id", 1, 30.0) == 30.0
    assert teacher._pause("id", 1, 86_400.0) == 60.0
    assert teacher._pause("id", 1, None) != teacher._pause("other", 1, None)


# -- failures that do not pass ---------------------------------------------------------------------


def test_what_failed_is_asked_again_by_the_next_run_and_nothing_else(tmp_path: Path) -> None:
    broken = {1, 2}

    def script(seen: Seen, _count: int) -> Any:
        return fake.status(500) if number_of(seen) in broken else good(seen)

    said: list[str] = []
    with teacher_server(script) as server:
        summary = synthesize(job(server, tmp_path, 4, "attempts=2"), said.append)
        assert summary["dropped"] == {"failed": 2}
        assert "2 requests failed; run the same command again" in said[-1]
        broken.clear()
        server.seen.clear()
        summary = synthesize(job(server, tmp_path, 4, "attempts=2"))
        assert sorted(map(number_of, server.seen)) == [1, 2]
    assert (summary["out"], summary["dropped"]) == (4, {})
    assert summary["requests"]["before"] == 2
    assert summary["tokens"]["in"] == 400  # of all answers, whenever they came
    assert [r["text"] for r in rows_of(tmp_path / "out.jsonl")] == [
        ANSWER.format(n=n) for n in range(4)
    ]


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_wrong_key_or_model_stops_at_once_and_what_is_answered_stays(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    settings = ("api_key_env=TEACHER_KEY", "parallel=1")

    def script(seen: Seen, _count: int) -> Any:
        return good(seen) if number_of(seen) < 3 else fake.status(code, f"bad key {KEY}")

    with teacher_server(script) as server:
        with pytest.raises(EnvironmentFailure, match=f"HTTP {code}: bad key \\*\\*\\*") as caught:
            synthesize(job(server, tmp_path, 9, *settings))
        assert KEY not in str(caught.value)
        assert not (tmp_path / "out.jsonl").exists()
        server.script = good
        server.seen.clear()
        summary = synthesize(job(server, tmp_path, 9, *settings))
        # A set: what was on its way when the first job ended may arrive only now.
        assert set(map(number_of, server.seen)) == {3, 4, 5, 6, 7, 8}
    assert summary["out"] == 9


def test_an_endpoint_that_is_down_is_named(tmp_path: Path) -> None:
    with teacher_server(good) as server:
        wish = job(server, tmp_path, 3, "attempts=1")
    with pytest.raises(EnvironmentFailure, match=r"gives no answers .*Connection"):
        synthesize(wish)
    assert [path.name for path in tmp_path.glob("out*")] == ["out.jsonl.answers.jsonl"]


def test_ten_failures_in_a_row_end_the_asking(tmp_path: Path) -> None:
    settings = ("attempts=1", "parallel=1")
    with teacher_server(lambda s, c: fake.status(500)) as server:
        with pytest.raises(EnvironmentFailure, match="HTTP 500"):
            synthesize(job(server, tmp_path, 50, *settings))
        assert 10 <= len(server.seen) < 15


def test_a_stop_ends_what_is_under_way() -> None:
    with teacher_server(lambda s, c: fake.hang) as server:
        teacher = Teacher(parse_endpoint(server.url), "m", "", TeacherSettings())
        found: list[Any] = []
        asking = threading.Thread(
            target=lambda: found.append(teacher.ask("id", [{"role": "user", "content": "x"}], 1))
        )
        asking.start()
        while not server.seen:
            asking.join(0.01)
        teacher.stop()
        asking.join(30)
        assert found[0].status == "failed"


# -- resuming --------------------------------------------------------------------------------------


def test_a_journal_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    with teacher_server(good) as server:
        synthesize(job(server, tmp_path, 4))
        whole = (tmp_path / "out.jsonl").read_bytes()
        path = beside(tmp_path / "out.jsonl", "answers.jsonl")
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(lines[0] + b'{"request": 5}\n\xff\n[]\n' + lines[1] + lines[2][:-25])
        server.seen.clear()
        synthesize(job(server, tmp_path, 4))
        assert len(server.seen) == 2
        server.seen.clear()
        synthesize(job(server, tmp_path, 4))
        assert server.seen == []
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_other_settings_are_other_requests(tmp_path: Path) -> None:
    with teacher_server(good) as server:
        synthesize(job(server, tmp_path, 2))
        for changed in ({"model": "other"}, {"seed": 7}, {"task": "summary"}):
            server.seen.clear()
            synthesize(job(server, tmp_path, 2, **changed))
            assert len(server.seen) == 2, changed
        server.seen.clear()
        synthesize(job(server, tmp_path, 2, "min_chars=60", "parallel=1", "attempts=1"))
        assert server.seen == []  # how answers are judged or asked for changes no request


def test_two_processes_do_not_ask_for_one_output(tmp_path: Path) -> None:
    with (
        Journal(beside(tmp_path / "out.jsonl", "answers.jsonl")),
        teacher_server(good) as server,
        pytest.raises(EnvironmentFailure, match="another process"),
    ):
        synthesize(job(server, tmp_path))


# -- who is contacted, and what leaks --------------------------------------------------------------


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with teacher_server(good) as elsewhere:
        moved = fake.status(307, Location=f"{elsewhere.url}/chat/completions?token=x")
        with (
            teacher_server(lambda s, c: moved) as server,
            pytest.raises(EnvironmentFailure, match=r"redirects to 127\.0\.0\.1; redirects are"),
        ):
            synthesize(job(server, tmp_path))
        assert elsewhere.seen == []


def test_proxies_of_the_environment_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with teacher_server(good) as proxy, teacher_server(good) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        synthesize(job(server, tmp_path))
        assert proxy.seen == []
        assert len(server.seen) == 4


def test_the_key_goes_into_the_header_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    said: list[str] = []

    def script(seen: Seen, count: int) -> Any:
        if number_of(seen) == 1:
            return fake.status(500, KEY)
        if number_of(seen) == 2:
            return fake.status(400, f"your key {KEY} is odd")
        return good(seen) + f" {KEY}"  # even a server that says it gives nothing away

    with teacher_server(script) as server:
        synthesize(
            job(server, tmp_path, 4, "api_key_env=TEACHER_KEY", "attempts=2"), said.append
        )
        assert {seen.headers["authorization"] for seen in server.seen} == {f"Bearer {KEY}"}
        assert all(KEY not in json.dumps(seen.body) for seen in server.seen)
    written = "".join(path.read_text("utf-8") for path in tmp_path.iterdir())
    captured = capsys.readouterr()
    assert KEY not in written + "".join(said) + captured.out + captured.err
    assert "your key *** is odd" in written


@pytest.mark.parametrize(
    ("url", "allowed", "expected"),
    [
        ("http://llm.example/v1", False, "http to llm.example can be read on the way"),
        ("http://10.0.0.5:8000/v1", False, "allow it with --set allow_plain_http=true"),
        ("http://127.0.0.1.evil.example/v1", False, "can be read on the way"),
        ("http://localhost.evil.example/v1", False, "can be read on the way"),
        ("https://user:hunter2@llm.example/v1", False, "holds a user name or password"),
        ("ftp://x:hunter2@llm.example/v1", True, "expected one such as http://127"),
        ("llm.example/v1", True, "expected one such as"),
        ("https:///v1", True, "expected one such as"),
        ("https://llm.example/v1?key=hunter2", True, "expected no ? or #"),
        ("https://llm.example:99999/v1", True, "--endpoint: "),
        ("http://[::1/v1", True, "--endpoint: "),
    ],
)
def test_an_endpoint_that_is_none_or_not_safe_is_refused(
    url: str, allowed: bool, expected: str
) -> None:
    with pytest.raises(DataError) as caught:
        parse_endpoint(url, allowed)
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "allowed", "shown"),
    [
        ("http://127.0.0.1:8000/v1/", False, "http://127.0.0.1:8000/v1"),
        ("http://localhost/v1", False, "http://localhost/v1"),
        ("http://[::1]:8000/v1", False, "http://[::1]:8000/v1"),
        ("https://llm.example", False, "https://llm.example"),
        ("http://llm.example/v1", True, "http://llm.example/v1"),
    ],
)
def test_an_endpoint_is_taken_apart(url: str, allowed: bool, shown: str) -> None:
    assert parse_endpoint(url, allowed).shown == shown


def test_a_key_that_is_not_there_or_no_header_is_refused() -> None:
    assert read_key(None, {}) == ""
    assert read_key("K", {"K": " abc\n"}) == "abc"
    for environment in ({}, {"K": ""}, {"K": "secret\r\nX: y"}, {"K": "비밀"}):
        with pytest.raises(DataError) as caught:
            read_key("K", environment)
        assert "secret" not in str(caught.value)
        assert "비밀" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("paralel=3", "--set paralel: unknown key; did you mean 'parallel'?"),
        ("parallel=0", "--set parallel: found 0, expected greater than or equal to 1"),
        ("parallel=1000", "parallel: found 1000"),
        ("allow_plain_http=1", "--set allow_plain_http: found 1, expected a valid boolean"),
        ("variants", "expected KEY=VALUE"),
    ],
)
def test_wrong_settings_are_named(setting: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read_settings([setting])
    assert expected in str(caught.value)


def test_input_without_a_document_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text('{"txt": "a"}\n{"text": " "}\n', "utf-8")
    with teacher_server(good) as server:
        with pytest.raises(DataError, match=r"no document in it; .*missing_column"):
            synthesize(job(server, tmp_path, source=path))
        source = documents(tmp_path, 1)
        with pytest.raises(DataError, match="is the input"):
            synthesize(FromTeacher(source, source, server.url, "m", "qa"))
        assert server.seen == []


# -- small parts -----------------------------------------------------------------------------------


@given(st.text("가나 다.\n!", max_size=400), st.integers(min_value=5, max_value=60))
def test_a_cut_text_loses_nothing_but_space(text: str, limit: int) -> None:
    parts = list(cut(text, limit))
    assert all(0 < len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_a_text_is_cut_between_paragraphs_first() -> None:
    text = "첫 문단이다. 두 문장이다.\n\n둘째 문단이다. 여기도 두 문장이다."
    assert list(cut(text, 30)) == text.split("\n\n")
    assert next(cut(text, 24)) == "첫 문단이다. 두 문장이다."


def test_long_documents_are_asked_about_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "long.md"
    path.write_text("\n\n".join(text_of(n) for n in range(12)), "utf-8")
    with teacher_server(lambda s, c: ANSWER.format(n=s.user[-90:-20])) as server:
        synthesize(job(server, tmp_path, 0, "max_document_chars=200", source=path))
    ids = [row["lineage"]["documents"][0] for row in rows_of(tmp_path / "out.jsonl")]
    assert ids == [f"long.md#{n}" for n in range(1, len(ids) + 1)]
    assert len(ids) > 2


def test_entities_are_those_of_the_text() -> None:
    passage = Passage("가온의 본사는 강릉에 있다.", ("d",))
    answer = '```json\n["가온", "강릉", "서울", "가온"]\n```'
    assert entities_in(answer, passage) == ["가온", "강릉"]
    for wrong in ("없음", "[가온]", '{"a": 1}', "[" * 10_000 + "]" * 10_000, "[1, null]"):
        assert entities_in(wrong, passage) == []


def test_copies_are_measured_in_word_sequences() -> None:
    source = " ".join(f"낱말{n}" for n in range(40))
    assert copied_share(source, f"앞 {source} 뒤") == 1.0
    assert copied_share(" ".join(reversed(source.split())), source) == 0.0
    half = " ".join(source.split()[:20] + [f"다른{n}" for n in range(20)])
    assert 0.3 < copied_share(half, source) < 0.6
    assert copied_share("", source) == 0.0


@pytest.mark.parametrize(
    ("text", "language", "fault"),
    [
        ("가온은 React와 TypeScript로 만든 화면을 쓰며, 서버는 Go로 되어 있습니다.", "ko", ""),
        ("React and TypeScript are what the interface of this product is made of.", "ko",
         "wrong_language"),
        ("The company 가온 has its headquarters in Gangneung since 1998.", "en", ""),
        ("가온의 본사는 강릉에 있다.", "en", "wrong_language"),
        ("12345 67890", "ko", "wrong_language"),
        ("미안하지만 다른 날을 잡자고 그가 말했다.", "ko", "refused"),
        ("그는 죄송하다는 말을 남기고 회의실을 나갔다.", "ko", ""),
        ("Sure, here is the summary: the company is in Gangneung.", "en", "preamble"),
    ],
)  # fmt: skip
def test_checks_of_an_answer(text: str, language: Any, fault: str) -> None:
    assert teacher_fault(text, "prompt", language, 5) == fault


def test_accounts_fit_whatever_happens(tmp_path: Path) -> None:
    actions: list[Any] = [
        good, lambda s: fake.answer("짧다"), lambda s: fake.answer("가", "length"),
        lambda s: fake.status(500), lambda s: fake.status(400), lambda s: fake.answer(None),
    ]  # fmt: skip

    def script(seen: Seen, _count: int) -> Any:
        return actions[number_of(seen) % len(actions)](seen)

    made: Script = script
    with teacher_server(made) as server:
        summary = synthesize(job(server, tmp_path, 30, "attempts=1"))
    reasons = Counter(drop["reason"] for drop in drops_of(tmp_path))
    assert reasons == summary["dropped"]
    assert summary["in"] == 30 == summary["out"] + sum(reasons.values())
    assert len(rows_of(tmp_path / "out.jsonl")) == summary["out"] == 5
