"""A run directory from a stranger: looked at or refused, soon; nothing outside is read or written.

Every file that a reading command opens is replaced by everything that it should not be.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from judged import make_run
from samdan.__main__ import main
from samdan.commands.judge import app as judge_app
from samdan.judge.store import Votes
from samdan.lm.files import MAX_LINE, lines_of, parse_json, write_text
from samdan.printing import json_text
from samdan.records import DataError, Metrics, SamdanError
from samdan.run.chatting import models_of
from samdan.run.comparing import compare
from samdan.run.following import Following
from samdan.run.judging import judged, results
from samdan.run.ledger import Ledger, read_lines
from samdan.run.status import again, shown

SECRET = "what-lies-outside-7351"
FILES = (
    "events.jsonl", "metrics.jsonl", "recipe.yaml", "report.json", "report.html", "now.json",
    ".lock", "judge/votes.sqlite", "judge/answers.json", "base/eval.json", "sft/eval.json",
    "cpt/gate.json", "cpt/data/manifest.json", "cpt/data/README.md", "cpt/model/config.json",
    "cpt/model/model.safetensors", "cpt/attempt-1/attempt.json", "cpt/attempt-x",
)  # fmt: skip
STEPS = ("base/load", "cpt/train", "cpt/gate", "sft/train", "sft/gate", "dpo/train", "dpo/gate")


def run_of(folder: Path) -> Path:
    """A run that looks finished."""
    run = make_run(folder, 3)
    lines = [{"event": "begin", "time": "2026-01-01T00:00:00+00:00", "machine": {}}]
    for step in STEPS:
        lines.append({"event": "step_begin", "time": "2026-01-01T00:00:01+00:00", "step": step})
        lines.append({"event": "step_done", "step": step, "identity": "i", "components": {},
                      "output": "o", "seconds": 1.0, "facts": {}})  # fmt: skip
    lines.append({"event": "ended", "seconds": 3.0, "status": "done"})
    (run / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")
    row = {"step_name": "cpt/train", "stage": "cpt", "step": 1, "tokens": 9, "loss": 2.0}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    return run


def looks(run: Path, other: Path) -> Iterator[Callable[[], object]]:
    """What commands do with a run that they only read, as they do it."""
    yield lambda: shown(run, as_json=False)
    yield lambda: shown(run, as_json=True)
    yield lambda: again(run)
    yield lambda: compare(run, other)
    yield lambda: results(run)
    yield lambda: Following(run)()
    yield lambda: models_of(str(run))


def outside(folder: Path) -> Path:
    """A file that is not the run's, readable to whoever looks at it."""
    place = folder / "outside"
    place.mkdir()
    for name in ("a", "README.md"):
        (place / name).write_text(json.dumps({"samples": [SECRET], "text": SECRET}), "utf-8")
    return place


def _fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _link(path: Path, out: Path) -> None:
    path.symlink_to(out / "a")


def _zero(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path, _: Path) -> None:
    path.symlink_to(path.name)


def _folder(path: Path, _: Path) -> None:
    path.mkdir()


def _huge(path: Path, _: Path) -> None:
    with path.open("wb") as opened:  # takes no room on the disk, but 64 GB to whoever reads it
        opened.truncate(1 << 36)


def _deep(path: Path, _: Path) -> None:
    path.write_text('{"a": ' + "[" * 100_000, "utf-8")


def _nested(path: Path, _: Path) -> None:
    path.write_text('{"stages": ' + "[" * 900 + "]" * 900 + "}\n", "utf-8")


def _list(path: Path, _: Path) -> None:
    path.write_text('[1, "a", null]\n', "utf-8")


def _strange(path: Path, _: Path) -> None:
    keys = ("stages", "by_source", "metrics", "verdicts", "items", "samples", "machine", "changes",
            "model", "base", "sft", "attempt", "rules", "seed", "evaluate")  # fmt: skip
    values = (3, [[1]], {"a": None}, "x", [{"name": 3}], {"cpt": {"said": 1}}, True)
    found = {key: values[(n * 5) % len(values)] for n, key in enumerate(keys)}
    path.write_text(json.dumps(found) + "\n", "utf-8")


def _bytes(path: Path, _: Path) -> None:
    path.write_bytes(b"SQLite format 3\0\xff\xfe\x00{\n\xed\xa0\x80" + bytes(range(256)) * 9)


KINDS = (_fifo, _link, _zero, _huge, _deep, _strange)
MORE = (_loop, _folder, _nested, _list, _bytes)


def said_by(look: Callable[[], object]) -> str:
    try:
        return str(look())
    except (SamdanError, OSError) as error:
        return f"refused: {error}"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("other") / "run")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind", [*KINDS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in MORE)]
)
@pytest.mark.parametrize("name", FILES)
def test_a_run_from_a_stranger(
    name: str, kind: Callable[[Path, Path], None], tmp_path: Path, other: Path
) -> None:
    out = outside(tmp_path)
    before = {file: file.read_bytes() for file in out.iterdir()}
    run, told = run_of(tmp_path / "run"), ""
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    for look in looks(run, other):
        with suppress(FileNotFoundError):  # a look may have replaced it
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        kind(path, out)
        told += said_by(look)
    for page in (run / "report.html", run / "report.json"):
        if page.is_file() and not page.is_symlink() and page.stat().st_size < 1 << 30:
            told += page.read_text("utf-8", "replace")
    assert SECRET not in told
    assert {file: file.read_bytes() for file in out.iterdir()} == before


def test_the_run_that_is_damaged_is_looked_at_in_whole(tmp_path: Path, other: Path) -> None:
    """The control of the test above: every look succeeds while nothing is replaced."""
    run = run_of(tmp_path / "run")
    with Votes(Ledger(run).votes()) as votes:
        votes.add_pairs(judged(run).pairs)
    for look in looks(run, other):
        assert look()


@pytest.mark.parametrize("linked", ["cpt/data", "cpt", "judge"])
def test_folders_that_are_links_are_not_written_through(
    linked: str, tmp_path: Path, other: Path
) -> None:
    out = outside(tmp_path)
    before = {file: file.read_bytes() for file in out.iterdir()}
    run = run_of(tmp_path / "run")
    place = run / linked
    if place.exists():
        place.rename(run / "moved")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(out)
    for look in looks(run, other):
        said_by(look)
    assert {file: file.read_bytes() for file in out.iterdir() if file.is_file()} == before


def test_a_draft_that_lies_in_wait_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine", "utf-8")
    (tmp_path / f".a.json.{os.getpid()}.tmp").symlink_to(victim)
    (tmp_path / "a.json").symlink_to(victim)
    write_text(tmp_path / "a.json", "theirs")
    assert victim.read_text("utf-8") == "mine"
    assert not (tmp_path / "a.json").is_symlink()


@pytest.mark.parametrize("name", [".lock", "events.jsonl", "metrics.jsonl", "judge/votes.sqlite"])
@pytest.mark.parametrize("kind", [_link, _fifo, _zero])
def test_what_a_run_writes_goes_nowhere_else(
    name: str, kind: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    out = outside(tmp_path)
    before = (out / "a").read_bytes()
    (tmp_path / "run" / "judge").mkdir(parents=True)
    kind(tmp_path / "run" / name, out)
    ledger = Ledger(tmp_path / "run")
    writes = {
        ".lock": ledger.lock,
        "events.jsonl": lambda: ledger.record("begin"),
        "metrics.jsonl": lambda: ledger.add_metrics("cpt/train", "cpt", Metrics(1, 1, {})),
        "judge/votes.sqlite": lambda: Votes(ledger.votes()),
    }
    with pytest.raises((SamdanError, OSError)):
        writes[name]()
    assert (out / "a").read_bytes() == before


def test_tables_that_are_not_ours_are_not_asked(tmp_path: Path) -> None:
    """A view would be asked as if it were the table, and this one never ends."""
    run = run_of(tmp_path / "run")
    with Votes(Ledger(run).votes()) as votes:
        votes.add_pairs(judged(run).pairs)
    with closing(sqlite3.connect(Ledger(run).votes())) as file:
        file.execute("ALTER TABLE votes RENAME TO old")
        file.execute("CREATE VIEW votes AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
                     "SELECT i + 1 FROM n) SELECT i AS id, 'x' AS pair, 'y' AS rater, 'person' "
                     "AS cast_by, 'a' AS choice, 'a' AS first FROM n")  # fmt: skip
        file.commit()
    with pytest.raises(DataError, match="tables are not those that samdan makes"):
        results(run)
    found = CliRunner().invoke(judge_app, ["report", str(run)])
    assert isinstance(found.exception, DataError)


def test_lines_without_end_and_nesting_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    long = b'{"event": "' + b"x" * (2 * MAX_LINE) + b'"}\n'
    path.write_bytes(b'{"event": "a"}\n' + long + b"[" * 100_000 + b'\n{"event": "b"}')
    assert [row["event"] for row in read_lines(path)] == ["a", "b"]
    with path.open("rb") as opened:
        assert [len(line) for line in lines_of(opened)] == [15, 100_001, 14]
    for deep in ("[" * 100_000, "[" * 70 + "]" * 70, '{"a":' * 70 + "1" + "}" * 70):
        with pytest.raises(ValueError, match=r"nested too deep|Expecting"):
            parse_json(deep)
    assert parse_json("[" * 60 + "]" * 60)
    assert parse_json("[" + "[1]," * 500 + "2]")


def test_what_is_no_utf8_is_written_as_json_reads_it(tmp_path: Path) -> None:
    """fuzz: run:11:379, a lone surrogate in an event, which a report then told."""
    write_text(tmp_path / "a.json", json.dumps({"a": "\ud800가"}, ensure_ascii=False))
    assert parse_json((tmp_path / "a.json").read_bytes()) == {"a": "\ud800가"}
    ledger = Ledger(tmp_path)
    ledger.record("failed", text="\udcff\ud800")
    assert [event["text"] for event in ledger.events()] == ["\udcff\ud800"]


def test_json_for_a_terminal_is_the_same_json() -> None:
    value = {"a\u202e": ["\x1b[2J\x9b1m", "가\n\t\u2028", "\U000e0001 😀"], "n": 1.5}
    assert json.loads(json_text(value)) == value
    assert all(c == "\n" or c.isprintable() for c in json_text(value))


def test_names_of_a_run_are_not_obeyed(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate((b"a\x1b[2Jb", b"a\nb", b"\xff\xfe", "\u202e가".encode())):
        run = str(run_of(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))))
        for arguments in (["status", run], ["report", run], ["status", run, "--json"]):
            monkeypatch.setattr("sys.argv", ["samdan", *arguments])
            # A recipe's paths are UTF-8, and take [ for the beginning of a pattern.
            with nullcontext() if name in (b"a\nb", "\u202e가".encode()) else suppress(SystemExit):
                main()
        said = capfdbinary.readouterr()
        assert b"\x1b" not in said.out + said.err, number
        assert "\u202e" not in (said.out + said.err).decode("utf-8", "replace"), number


@pytest.mark.parametrize("target", ["status", "report"])
def test_reports_are_not_for_everybody_to_write(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["samdan", target, str(run)])
    before = os.umask(0)
    try:
        main()
    finally:
        os.umask(before)
    for file in (run / "report.html", run / "report.json"):
        assert not file.exists() or not file.stat().st_mode & stat.S_IWOTH
