"""No secret in what is written about a run."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from samdan import cli
from samdan.judge.store import Votes
from samdan.recipe import parse
from samdan.records import DataError, RecipeError
from samdan.redaction import masked, redacted, redacted_values, secrets_of
from samdan.run.ledger import Ledger
from samdan.run.terminal import Terminal

HUB = "hf_" + "aB3" * 12
OPEN = "sk-proj-" + "x9Y" * 10
RECIPE = """
samdan: 1
name: a
base: {path: model}
stages: [{name: cpt, data: [{path: a.md}]}]
"""


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"401 Unauthorized for token {HUB}", HUB),
        (f"Authorization: Bearer {OPEN}", OPEN),
        ("Authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
        ("https://kim:hunter2@example.com/v1 refused", "hunter2"),
        ("https://ghtoken@example.com/v1 refused", "ghtoken"),
        ("GET https://example.com/a?x=1&api_key=abc123&y=2", "abc123"),
        ("GET https://example.com/a?X-Amz-Signature=abc123", "abc123"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_secrets_are_blanked(text: str, secret: str) -> None:
    found = redacted(text)
    assert secret not in found
    assert "[secret]" in found
    assert redacted(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "stages.cpt.token: the key sk-learn is unknown",
        "본사는 https://example.com/a@b 에 있습니다. kim@example.com",
        "Bearer of bad news; 12 tokens of 3 keys: basic needs",
        "https://example.com/?page=2&keyword=서울",
        "hf_model and AKIA are names",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redacted(text) == text


def test_values_of_the_environment_are_known() -> None:
    environment = {
        "HF_TOKEN": "a-token-of-no-maker",
        "MY_API_KEY": "another-one-1",
        "DB_PASSWORD": "short",
        "SSH_KEY": "/home/kim/.ssh/id",
        "MONKEY": "banana-banana",
        "PATH": "/usr/bin:/bin",
    }
    known = secrets_of(environment)
    assert known == ("a-token-of-no-maker", "another-one-1")
    value = {"a": ["x a-token-of-no-maker"], "another-one-1": 3, "b": None}
    assert redacted_values(value, known) == {"a": ["x [secret]"], "[secret]": 3, "b": None}


def test_a_configuration_of_another_tool_loses_its_secrets() -> None:
    given = {"hub_token": "of-no-maker",
             "a": [{"api_key": "another-one", "pad_token": "<|pad_it|>"}],
             "uri": f"https://x.example/?token=abc123&b={HUB}", "use_auth_token": True}  # fmt: skip
    assert masked(given) == {
        "hub_token": "[secret]", "a": [{"api_key": "[secret]", "pad_token": "<|pad_it|>"}],
        "uri": "https://x.example/?token=[secret]&b=[secret]", "use_auth_token": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "assignment",
    [
        f"base.path={HUB}",
        "base.path=https://kim:hunter2@example.com/model",
        f"samples=[x, 'Bearer {OPEN}']",
        f"stages.cpt.{HUB}=1",
    ],
)
def test_a_recipe_holds_no_secret(assignment: str) -> None:
    with pytest.raises(RecipeError) as raised:
        parse(RECIPE, "recipe.yaml", [assignment])
    assert "recipe.yaml" in str(raised.value)
    for secret in (HUB, OPEN, "hunter2"):
        assert secret not in str(raised.value)


def test_an_error_tells_no_secret_and_obeys_no_escape(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "a-token-of-no-maker")

    def fails() -> None:
        raise DataError(f"a\x1b[2J\u202e.jsonl: {HUB} a-token-of-no-maker")

    monkeypatch.setattr(cli, "app", fails)
    before = os.umask(0o022)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        os.umask(before)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "samdan: a\\x1b[2J\\x202e.jsonl: [secret] [secret]\n"


def test_neither_events_nor_the_terminal_tell_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "a-token-of-no-maker")
    Ledger(tmp_path).record("failed", text=f"{HUB} a-token-of-no-maker", facts={"a": [HUB]})
    with Terminal() as terminal:
        terminal.say(f"{HUB} a-token-of-no-maker \x1b[31m")
    written = (tmp_path / "events.jsonl").read_text("utf-8") + capsys.readouterr().err
    assert "a-token" not in written
    assert HUB not in written
    assert "\x1b[31m" not in written
    assert json.loads(written.splitlines()[0])["facts"] == {"a": ["[secret]"]}


def test_nothing_is_for_everybody_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the caller's umask; votes hold the names of raters and are for their owner alone."""
    monkeypatch.setattr(cli, "app", lambda: (tmp_path / "made").mkdir())
    before = os.umask(0)
    try:
        cli.main()
    finally:
        os.umask(before)
    assert not (tmp_path / "made").stat().st_mode & stat.S_IWOTH
    with Votes(tmp_path / "judge" / "votes.sqlite"):
        mode = (tmp_path / "judge" / "votes.sqlite").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
