"""`samdan synthesize` as a person calls it, and every command of its page in the documentation."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import teacher_server as fake
from e2e.helpers import Finished, python
from teacher_server import teacher_server

TRIPLES = "subject,relation,object\n가온,본사,강릉\n가온,대표이사,김하늘\n나래,본사,강릉\n"
FIT = (
    "질문: 무엇인가요?\n답: 이것은 시험에 쓰는 답이며, 길이가 넉넉해야 하므로 문장을 하나 더 "
    "적어 둡니다. {n}"
)


def samdan(*arguments: str | Path) -> Finished:
    return python("-m", "samdan", *map(str, arguments))


@pytest.fixture
def triples(tmp_path: Path) -> Path:
    path = tmp_path / "triples.csv"
    path.write_text(TRIPLES, "utf-8")
    return path


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_graph_becomes_documents_the_same_ones_every_time(triples: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a.jsonl", "b.jsonl", "a.jsonl"):  # the last one over the first one
        done = samdan("synthesize", "graph", triples, "--out", tmp_path / name, "--variants", "3")
        assert done.code == 0, done.err
        assert "ko: 3 facts x " in done.out
        assert f"{name}: " in done.out
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1] == made[2]
    assert {row["source"] for row in rows(tmp_path / "a.jsonl")} == {"synthetic"}
    assert sorted(path.name for path in tmp_path.glob("a.*")) == [
        *("a.jsonl", "a.jsonl.dropped.jsonl", "a.jsonl.summary.json")
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--style", "artcle"], 1, "--style artcle: unknown key; did you mean 'article'?"),
        (["--lang", "de"], 2, "de"),
        (["--variants", "0"], 2, "--variants"),
        (["--templates", "none.yaml"], 1, "none.yaml: there is no such file"),
    ],
)
def test_wrong_options_are_named(
    triples: Path, tmp_path: Path, arguments: list[str], code: int, expected: str
) -> None:
    done = samdan("synthesize", "graph", triples, "--out", tmp_path / "o.jsonl", *arguments)
    assert done.code == code
    assert expected in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "o.jsonl").exists()


def test_wrong_lines_are_named_and_nothing_is_overwritten(triples: Path, tmp_path: Path) -> None:
    triples.write_text(TRIPLES + "only,two\n,본사,부산\n", "utf-8")
    done = samdan("synthesize", "graph", triples, "--out", tmp_path / "o.jsonl")
    assert done.code == 1
    first, second = done.err.splitlines()
    assert first.endswith(
        "triples.csv:5: found 2 fields, expected 3: subject,relation,object; "
        "quote a value with a comma"
    )
    assert second.endswith("triples.csv:6: 'subject' is empty")
    triples.write_text(TRIPLES, "utf-8")
    assert samdan("synthesize", "graph", triples, "--out", triples).code == 1
    assert triples.read_text("utf-8") == TRIPLES


def test_neither_help_nor_a_graph_imports_a_heavy_library(triples: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['samdan', *{0!r}]\n"
        "from samdan.cli import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print(sorted({{'torch', 'numpy', 'transformers', 'pyarrow', 'ssl'}} & set(sys.modules)))"
    )
    asked = ["synthesize", "graph", str(triples), "--out", str(tmp_path / "o.jsonl")]
    for arguments, allowed in ((["--help"], "[]"), (asked, "['ssl']")):
        done = python("-c", program.format(arguments))
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1] == allowed


def test_a_teacher_that_is_down_or_needs_a_key_exits_clearly(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("가온의 본사는 강릉에 있다.", "utf-8")
    asked = ["synthesize", "teacher", tmp_path / "a.txt", "--out", tmp_path / "o.jsonl"]
    asked += ["--task", "qa", "--model", "m", "--endpoint"]
    with teacher_server(lambda seen, count: FIT) as server:
        url = server.url
    down = samdan(*asked, url, "--set", "attempts=1")
    assert down.code == 4
    assert "gives no answers" in down.err
    unset = samdan(*asked, url, "--set", "api_key_env=NO_SUCH_VARIABLE")
    assert unset.code == 1
    assert "the environment variable NO_SUCH_VARIABLE is not set" in unset.err
    plain = samdan(*asked, "http://llm.example/v1")
    assert plain.code == 1
    assert "--set allow_plain_http=true" in plain.err
    for done in (down, unset, plain):
        assert len(done.err.splitlines()) == 1


def _listens() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_it_ends_at_once_and_goes_on_later(tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"text": f"회사 {n}호의 본사는 강릉에 있다."}, ensure_ascii=False) + "\n"
        for n in range(5)
    )
    (tmp_path / "docs.jsonl").write_text(lines, "utf-8")
    out = tmp_path / "o.jsonl"

    def number_of(seen: fake.Seen) -> int:
        return int(re.findall(r"회사 (\d)호", seen.user)[0])

    def script(seen: fake.Seen, _count: int) -> fake.Action | str:
        return fake.hang if number_of(seen) == 3 else FIT.format(n=number_of(seen))

    with teacher_server(script) as server:
        asked = [sys.executable, "-m", "samdan", "synthesize", "teacher"]
        asked += [str(tmp_path / "docs.jsonl"), "--out", str(out), "--task", "qa", "--model", "m"]
        asked += ["--endpoint", server.url, "--set", "parallel=1"]
        # A shell that started the tests in the background makes them ignore the signal.
        process = subprocess.Popen(
            asked, stderr=subprocess.PIPE, text=True, preexec_fn=_listens, env={**os.environ}
        )
        while len(server.seen) < 4:  # the fourth hangs
            assert process.poll() is None, process.communicate()[1]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130, said
        assert re.match(r"samdan: stopped; [123] answers of this run are kept in .*\n$", said)
        assert not out.exists()
        server.script = lambda seen, count: FIT.format(n=number_of(seen))
        server.seen.clear()
        done = python(*asked[1:])
        assert done.code == 0, done.err
        asked_again = {number_of(seen) for seen in server.seen}
        assert {3, 4} <= asked_again <= {2, 3, 4}  # the third may have come while we stopped
        assert len(server.seen) == len(asked_again)
    assert len(rows(out)) == 5


def test_every_command_of_the_documentation_runs(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "synthesis.md").read_text("utf-8")
    for name, content in re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", page, re.M | re.S):
        (tmp_path / name).write_text(content, "utf-8")
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)
        for line in block.splitlines()
    ]
    assert len(commands) == 4

    def script(seen: fake.Seen, count: int) -> str:
        return FIT.format(n=re.sub(r"\s+", "", seen.user.split("<문서>")[-1])[:40])

    with teacher_server(script) as server:
        for command in commands:
            words = shlex.split(command.replace("http://127.0.0.1:8000/v1", server.url))
            assert words[:2] == ["samdan", "synthesize"]
            done = subprocess.run(
                [sys.executable, "-m", "samdan", *words[1:]],
                cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stderr)
            out = tmp_path / words[words.index("--out") + 1]
            summary = json.loads((tmp_path / f"{out.name}.summary.json").read_text("utf-8"))
            assert summary["out"] == len(rows(out)) > 0
            assert summary["in"] == summary["out"] + sum(summary["dropped"].values())
            if summary["method"] == "graph":
                parts = summary["languages"].values()
                assert all(part["coverage"]["below"] == 0 for part in parts)


def test_what_is_made_is_read_as_a_source(triples: Path, tmp_path: Path) -> None:
    from samdan.data.formats import records
    from samdan.recipe import Source
    from samdan.records import Document

    out = tmp_path / "synthetic.jsonl"
    assert samdan("synthesize", "graph", triples, "--out", out, "--lang", "both").code == 0
    read = list(records("cpt", Source(path=str(out), role="synthetic")))
    assert [record.text for record in read if isinstance(record, Document)] == [
        row["text"] for row in rows(out)
    ]
    assert {record.meta["source"] for record in read if isinstance(record, Document)} == {
        "synthetic"
    }
