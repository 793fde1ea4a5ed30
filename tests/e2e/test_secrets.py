"""No secret in anything that is written or said, and no attempt to reach the network.

Every command that writes is called with secrets in the environment, in its input and in what a
server answers; then every file that is there and everything that was said is searched for them.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.helpers import SECRETS, Finished, samdan
from teacher_server import Handler, Seen, answer, status, teacher_server

KEY = SECRETS["TEACHER_KEY"]
HUB = "hf_" + "aB3dE6" * 6
LOGIN = "canary8login5t2r9e"
QUERY = "canary7query5t2r9e"
ALL = (*(value for name, value in SECRETS.items() if name != "SAMDAN_TEST_DATABASE"),
       "canary9pw7q4w9e2r5t", HUB, LOGIN, QUERY)  # fmt: skip


def leaks(text: bytes) -> list[str]:
    return [secret for secret in ALL if secret.encode() in text]


def leaking_files(folder: Path) -> dict[str, list[str]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): found for path in files if (found := leaks(path.read_bytes()))}


@pytest.fixture(scope="module")
def place(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that may be written to, without what the models weigh."""
    folder = tmp_path_factory.mktemp("secrets")
    left = shutil.ignore_patterns("*.safetensors", "checkpoints")
    shutil.copytree(reference, folder / "run", ignore=left)
    shutil.copytree(reference, folder / "other", ignore=left)
    return folder


def said(place: Path, *arguments: str | Path) -> Finished:
    """A command with secrets around it and the network cut; nothing is tried, and none is said."""
    log = place / "offline.log"
    environment = SECRETS | {"OFFLINE_LOG": str(log)}
    done = samdan(*arguments, env=environment)
    assert "Traceback" not in done.err
    assert leaks((done.out + done.err).encode()) == []
    assert not log.exists(), log.read_text("utf-8")
    return done


def test_a_run_of_all_stages_tells_none(reference: Path) -> None:
    assert (reference / "report.html").is_file()
    assert (reference.parent / "said.txt").stat().st_size
    assert leaking_files(reference.parent) == {}


def test_a_secret_that_is_written_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"\xff" + KEY.encode())
    assert list(leaking_files(tmp_path).values()) == [[KEY]]


def _reading(place: Path) -> Iterator[tuple[str | Path, ...]]:
    run, other = place / "run", place / "other"
    yield ("report", run)
    yield ("status", run, "--json")
    yield ("compare", run, other, "--out", place / "compared.html")
    yield ("compare", run, other, "--json")
    yield ("judge", "report", run)
    yield ("doctor", "--json")


def test_what_reads_a_run_tells_none(place: Path) -> None:
    for arguments in _reading(place):
        said(place, *arguments)
    assert leaking_files(place) == {}


def test_what_reads_a_recipe_tells_none(recipe: Path, place: Path) -> None:
    assert said(place, "check", recipe).code == 0
    assert said(place, "plan", recipe, "--json").code == 0
    assert said(place, "preview", recipe, "--stage", "sft").code == 0
    for number, wrong in enumerate((
        f"base.path={HUB}",
        f"base.path=https://kim:{LOGIN}@example.com/m",
        f"samples=['Authorization: Bearer {KEY}']",
        f"stages.cpt.{HUB}=1",
        f"stages.cpt.learning_rate={HUB}",
    )):  # fmt: skip
        for command in (["check"], ["plan", "--json"], ["run", "--out", str(place / f"r{number}")]):
            done = said(place, command[0], recipe, *command[1:], "--set", wrong)
            assert done.code == 1, done.out
    text = recipe.read_text("utf-8")
    for number, added in enumerate((f"note: {HUB}", f"{HUB}: 1", f"seed: https://a:{LOGIN}@b/")):
        written = recipe.with_name(f"secret-{number}.yaml")
        written.write_text(f"{text}\n{added}\n", "utf-8")
        assert said(place, "run", written, "--out", place / f"w{number}").code == 1
        written.unlink()
    assert leaking_files(place) == {}


CONFIGS = {
    "trl": f"model_name_or_path: a/b\nhub_token: {HUB}\nlearning_rate: 1.0e-5\n"
           f"report_to: wandb\nwandb_api_key: {KEY}\n",
    "axolotl": f"base_model: a/b\nhf_use_auth_token: {HUB}\nlearning_rate: 1.0e-5\n"
               f"wandb_run_id: https://kim:{LOGIN}@example.com/\n"
               f"mlflow_tracking_uri: https://example.com/?token={QUERY}\n",
}  # fmt: skip


@pytest.mark.parametrize("tool", CONFIGS)
def test_another_tools_configuration_is_imported_without_its_secrets(
    tool: str, place: Path, tmp_path: Path
) -> None:
    file = tmp_path / "theirs.yaml"
    file.write_text(CONFIGS[tool], "utf-8")
    for arguments in ([], ["--out", place / f"{tool}.yaml"], ["--kind", "sft"]):
        said(place, "import-recipe", file, "--from", tool, *arguments)
    assert leaking_files(place) == {}


def _echo(seen: Seen, count: int) -> object:
    """A server that tells the key back, in failures and in answers."""
    key = seen.headers.get("authorization", "").removeprefix("Bearer ")

    def act(handler: Handler) -> None:
        kind = len(handler.server.state.seen) % 3
        told = f"Incorrect API key provided: {key}. Bearer {key}"
        text = f"질문: 무엇인가요? {key}\n답: {key} 이것은 길이가 넉넉한 답입니다. 더 적습니다. "
        good = answer(f"{text} [[A]] {len(handler.server.state.seen)}")
        failing = {0: status(400, told), 1: status(503, told) if count == 1 else good}
        failing.get(kind, good)(handler)

    return act


def test_a_teachers_key_is_told_to_the_teacher_alone(place: Path, tmp_path: Path) -> None:
    triples = place / "triples.csv"
    triples.write_text("subject,relation,object\n가온,본사,강릉\n나래,대표이사,김하늘\n", "utf-8")
    how = ("--set", "api_key_env=TEACHER_KEY", "--set", "backoff_seconds=0.001")
    with teacher_server(_echo) as server:  # type: ignore[arg-type]
        for _ in range(2):
            said(place, "synthesize", "teacher", triples, "--out", place / "taught.jsonl",
                 "--endpoint", server.url, "--model", "m", "--task", "qa", *how)  # fmt: skip
            assert {one.headers["authorization"] for one in server.seen} == {f"Bearer {KEY}"}
        said(place, "judge", "auto", place / "run", "--endpoint", server.url, "--model", "m", *how)
        said(place, "judge", "report", place / "run", "--json")
        said(place, "judge", "export", place / "run", "--out", place / "pairs.jsonl",
             "--by", "model:m")  # fmt: skip
    for code in (401, 403, 404, 302):
        with teacher_server(lambda seen, _: status(
            code, f"key {seen.headers['authorization']}",  # noqa: B023
            Location=f"https://kim:{LOGIN}@example.com/?token={QUERY}")) as server:  # fmt: skip
            done = said(place, "synthesize", "teacher", triples, "--out", place / "no.jsonl",
                        "--endpoint", server.url, "--model", "m", "--task", "qa", *how)  # fmt: skip
            assert done.code == 4
    for url in (f"http://kim:{LOGIN}@127.0.0.1:9/v1", f"http://127.0.0.1:9/v1?api_key={QUERY}"):
        done = said(place, "synthesize", "teacher", triples, "--out", place / "no.jsonl",
                    "--endpoint", url, "--model", "m", "--task", "qa")  # fmt: skip
        assert done.code == 1
    assert leaking_files(place) == {}


def test_permissions_are_no_wider_than_the_umask(place: Path) -> None:
    """Votes hold the names of raters and are for their owner alone."""
    before = os.umask(0o027)
    try:
        done = samdan("report", place / "other", env={})
        assert done.code == 0
    finally:
        os.umask(before)
    for path in place.rglob("*"):
        if not path.is_symlink():
            assert not path.stat().st_mode & stat.S_IWOTH, path
    votes = list(place.rglob("votes.sqlite*"))
    assert votes
    assert {stat.S_IMODE(path.stat().st_mode) for path in votes} == {0o600}


def test_nothing_of_a_run_is_for_everybody_to_write(reference: Path) -> None:
    found = [path for path in reference.rglob("*") if path.stat().st_mode & stat.S_IWOTH]
    assert found == []
    assert json.loads((reference / "report.json").read_text("utf-8"))["status"] == "done"
